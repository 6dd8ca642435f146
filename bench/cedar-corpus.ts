import { existsSync, globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { closeCedar, EntityStore, loadPolicySet, loadSchema, splitPolicies } from '@sallyport/cedar'
import type { EntityJson } from '@sallyport/cedar'
import { parseLossless, readCorpus } from '../packages/cedar/test/corpus.ts'
import type { CorpusRequest } from '../packages/cedar/test/corpus.ts'
import { bounded } from './row.ts'
import type { Row } from './row.ts'

/** Runs Cedar's own integration corpus: decision, reasons and ids of erroring policies must all agree. */
export async function run(): Promise<readonly Row[]> {
  const data = process.env['SALLYPORT_DATA'] ?? join(import.meta.dirname, '../../shared/data')
  const root = join(data, 'cedar-corpus')
  if (!existsSync(root)) throw new Error(`no corpus at ${root}: set SALLYPORT_DATA`)
  try {
    return [
      bounded(
        'generated corpus: decision, reasons, error ids',
        await generated(root),
        'requests',
        '=',
        62_472,
      ),
      bounded(
        'handwritten corpus: decision, reasons, error ids',
        await handwritten(root),
        'requests',
        '=',
        74,
      ),
    ]
  } finally {
    await closeCedar()
  }
}

async function generated(root: string): Promise<number> {
  let agreeing = 0
  for (const { name, policy, entities, requests } of readCorpus(root)) {
    const set = await loadPolicySet({ policies: [{ id: 'policy0', source: policy }] })
    const store = EntityStore.from(entities)
    for (const request of requests) {
      if (agrees(set.decide(request, store), request)) agreeing++
      else process.stderr.write(`differs: ${name}\n`)
    }
  }
  return agreeing
}

interface HandwrittenCase {
  readonly policies: string
  readonly entities: string
  readonly schema: string
  readonly requests: readonly CorpusRequest[]
}

async function handwritten(root: string): Promise<number> {
  const read = (path: string): string => readFileSync(join(root, path), 'utf8')
  let agreeing = 0
  for (const file of globSync('tests/*/*.json', { cwd: root }).toSorted()) {
    const test = parseLossless(read(file)) as HandwrittenCase
    const schema = await loadSchema(read(test.schema))
    const policies = await splitPolicies(read(test.policies), 'f.cedar')
    const set = await loadPolicySet({
      policies: policies.map(({ source }, i) => ({ id: `policy${i}`, source })),
    })
    const given = parseLossless(read(test.entities)) as readonly EntityJson[]
    const store = EntityStore.from(schema.entities(given))
    for (const request of test.requests) {
      const context = schema.context(request.action, request.context)
      if (agrees(set.decide({ ...request, context }, store), request)) agreeing++
      else process.stderr.write(`differs: ${file}\n`)
    }
  }
  return agreeing
}

function agrees(
  answer: ReturnType<Awaited<ReturnType<typeof loadPolicySet>>['decide']>,
  expected: CorpusRequest,
): boolean {
  const ids = (list: readonly string[]): string => list.toSorted().join()
  return (
    answer.decision === expected.decision &&
    ids(answer.reasons) === ids(expected.reason) &&
    ids(answer.errors.map(({ policyId }) => policyId)) === ids(expected.errors)
  )
}
