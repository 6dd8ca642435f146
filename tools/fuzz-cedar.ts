/**
 * `node tools/fuzz-cedar.ts [--minutes N] [--seed S] [--keep FOLDER]`: random and mutated policies, templates, files, schemas
 * and data, each tried on `@sallyport/cedar` and on cedar-wasm in child processes. Looks for crashes, hangs, errors without a
 * code, and differences. What it finds is made small, printed, and kept as a file where a folder is given
 * (`packages/cedar/test/seeds` is replayed by the tests). Exit code 1 where anything was found.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { inChildren, serve } from '../packages/cedar/test/children.ts'
import { makeCase, runCase, smaller } from '../packages/cedar/test/fuzz.ts'
import type { Case } from '../packages/cedar/test/fuzz.ts'

interface Batch {
  readonly cases: Readonly<Record<string, number>>
  readonly found: readonly { readonly case: Case; readonly wrong: string }[]
}

/** Cases that one message asks for: a message a case would cost as much as many a case. */
const BATCH = 50
const BATCHES_A_CHILD = 40
const HANG_MS = 300_000

async function runBatch(index: number): Promise<Batch> {
  const cases: Record<string, number> = {}
  const found: { case: Case; wrong: string }[] = []
  for (let seed = index * BATCH; seed < (index + 1) * BATCH; seed++) {
    const tried = makeCase(seed)
    cases[tried.kind] = (cases[tried.kind] ?? 0) + 1
    const wrong = await runCase(tried).catch((error: unknown) => {
      // What the oracle dies of is tried again in a fresh process; the seed says of what.
      throw new Error(`seed ${seed}: ${JSON.stringify(tried).slice(0, 4000)}`, { cause: error })
    })
    if (wrong === undefined) continue
    const small = await smaller(tried)
    found.push({ case: small, wrong: (await runCase(small)) ?? wrong })
  }
  return { cases, found }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '1' },
      seed: { type: 'string', default: String(Date.now() % 1e6) },
      processes: { type: 'string', default: '1' },
      keep: { type: 'string' },
    },
  })
  const [minutes, seed] = [Number(values.minutes), Number(values.seed)]
  process.stderr.write(`seed ${seed}, ${minutes} min\n`)
  const until = performance.now() + minutes * 60_000
  function* batches(): Generator<number> {
    for (let batch = seed; performance.now() < until; batch++) yield batch
  }
  const cases: Record<string, number> = {}
  let found = 0
  const report = (what: object): void => {
    found++
    const text = `${JSON.stringify(what)}\n`
    process.stdout.write(text)
    if (values.keep === undefined) return
    mkdirSync(values.keep, { recursive: true })
    const name = createHash('sha256').update(text).digest('hex').slice(0, 8)
    writeFileSync(join(values.keep, `${name}.json`), text)
  }
  await inChildren<Batch>({
    module: import.meta.filename,
    args: ['--child'],
    indexes: batches(),
    processes: Number(values.processes),
    perChild: BATCHES_A_CHILD,
    hangMs: HANG_MS,
    onResult(_, batch) {
      for (const [kind, count] of Object.entries(batch.cases)) {
        cases[kind] = (cases[kind] ?? 0) + count
      }
      batch.found.forEach(report)
    },
    onLost: ({ index, why, detail }) => report({ batch: index, why, detail }),
  })
  const total = Object.values(cases).reduce((a, b) => a + b, 0)
  process.stdout.write(`${JSON.stringify({ seed, minutes, total, cases, found })}\n`)
  process.exitCode = found > 0 ? 1 : 0
}

if (process.argv[2] === '--child') serve(runBatch)
else await main()
