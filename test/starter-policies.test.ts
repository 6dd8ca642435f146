import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { SallyportError } from '@sallyport/base'
import { closeCedar } from '@sallyport/cedar'
import { createDecider } from '@sallyport/decide'
import { loadDeclaration } from '@sallyport/network'
import type { Declaration, PolicySource } from '@sallyport/network'
import { readTests, runTests } from '@sallyport/policy'
import type { TestFile } from '@sallyport/policy'
import { mutantsOf } from './support/policy-mutants.ts'

const FOLDER = join(import.meta.dirname, '../examples/policies')
const BIN = join(import.meta.dirname, '../packages/cli/bin/sallyport.ts')
const STARTERS = [
  'break-glass',
  'business-hours',
  'customer-consent',
  'data-residency',
  'four-eyes',
  'model-risk-tiers',
  'purpose-binding',
  'segregation-of-duties',
  'velocity',
]

after(closeCedar)

test('every folder is a starter that is tested here, with a page', () => {
  const folders = readdirSync(FOLDER, { withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  )
  assert.deepEqual(folders.map(({ name }) => name).sort(), STARTERS)
  for (const name of STARTERS) {
    const page = readFileSync(join(FOLDER, name, 'README.md'), 'utf8')
    for (const heading of ['## What it holds', '## How to adapt it', '## What it does not do']) {
      assert.ok(page.includes(heading), `${name}: ${heading}`)
    }
  }
  assert.ok(existsSync(join(FOLDER, 'README.md')))
})

/** What a matrix says of a declaration: `holds`, that a row fails, or that the policies no longer fit the network. */
async function verdict(tests: TestFile, declaration: Declaration): Promise<string> {
  try {
    const decider = await createDecider({ declaration })
    const { results } = await runTests([tests], declaration, decider)
    return results.every(({ passed }) => passed) ? 'holds' : 'a row fails'
  } catch (error) {
    if (error instanceof SallyportError && error.code.startsWith('SP_CEDAR_')) return 'does not fit'
    throw error
  }
}

const changed = (declaration: Declaration, policy: PolicySource, source: string): Declaration => ({
  ...declaration,
  policies: declaration.policies.map((each) => (each === policy ? { ...each, source } : each)),
})

/** Stands in for a policy that is not there, so that rows which name it can still be read. */
const NEVER = 'permit (principal, action, resource) when { false };'

for (const name of STARTERS) {
  test(`${name}: is accepted, holds, and no part of it can change unseen`, async () => {
    const networkFile = join(FOLDER, name, 'network.yaml')
    const checked = spawnSync(process.execPath, [BIN, 'check', networkFile], { encoding: 'utf8' })
    assert.equal(checked.status, 0, checked.stderr)
    const declaration = await loadDeclaration({ networkFile })
    const text = readFileSync(join(FOLDER, name, 'tests.yaml'), 'utf8')
    const tests = readTests(text, `${name}/tests.yaml`)
    const run = await runTests([tests], declaration)
    for (const { row, mismatches } of run.results) {
      assert.deepEqual(mismatches, [], `line ${row.span.line}: ${row.name}`)
    }
    const unseen = run.coverage.policies.flatMap(({ policyId, unseen }) =>
      unseen.map(({ never, text }) => `${policyId} never ${never} ${text}`),
    )
    assert.deepEqual(unseen, [])

    const survivors: string[] = []
    let failed = 0
    for (const policy of declaration.policies) {
      const mutants = [{ what: 'without it', source: NEVER }, ...mutantsOf(policy.source)]
      for (const { what, source } of mutants) {
        const said = await verdict(tests, changed(declaration, policy, source))
        if (said === 'holds') survivors.push(`${policy.id}: ${what}`)
        if (said === 'a row fails') failed++
      }
    }
    assert.deepEqual(survivors, [])
    // A mutator that only made what does not type-check would prove nothing.
    assert.ok(failed >= 2 * declaration.policies.length, `${failed} mutants`)
  })
}
