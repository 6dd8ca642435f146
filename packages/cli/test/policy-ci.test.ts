import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { readYaml } from '@sallyport/network'

const ROOT = join(import.meta.dirname, '../../..')
const BIN = join(ROOT, 'packages/cli/bin/sallyport.ts')
const PAGE = readFileSync(join(ROOT, 'docs/policy/ci.md'), 'utf8')

const TESTS = `defaults: { agent: assistant }
rows: [{ call: invoices.getInvoice, input: { invoiceId: I1 }, code: SP_ALLOWED }]
tables:
  - call: invoices.payInvoice
    input: { invoiceId: I1, currency: EUR }
    columns: [input.amount, approvals, code]
    rows: [[20000, null, SP_ALLOWED], [20001, null, SP_NEEDS_APPROVAL], [20001, [first], SP_ALLOWED]]
`

/** The examples as the servers read them. */
const examples = [...PAGE.matchAll(/```yaml\n([^]*?)```/g)].map(([, text = '']) => text)
const commands = (example: string): string[] =>
  example
    .split('\n')
    .map((line) => /- (?:run: )?(npx sallyport .*)$/.exec(line)?.[1])
    .filter((line) => line !== undefined)

for (const [i, name] of ['GitHub Actions', 'GitLab CI'].entries()) {
  test(`the commands for ${name} do what the page says`, (t) => {
    const example = examples[i] ?? ''
    assert.deepEqual(readYaml(example, 'ci.yaml').problems, [])
    const lines = commands(example)
    assert.equal(lines.length, 2)
    const dir = mkdtempSync(join(tmpdir(), 'sp-ci-'))
    t.after(() => rmSync(dir, { recursive: true, force: true }))
    cpSync(join(ROOT, 'packages/cli/templates/starter'), dir, { recursive: true })
    writeFileSync(join(dir, 'tests.yaml'), TESTS)
    mkdirSync(join(dir, 'reports'))
    const run = (line: string): number | null => {
      const command = line.replace(/^npx sallyport/, `"${process.execPath}" "${BIN}"`)
      const { status, stderr } = spawnSync('sh', ['-c', command], { cwd: dir, encoding: 'utf8' })
      // Nothing but errors goes to stderr.
      if (status === 0) assert.equal(stderr, '')
      return status
    }
    assert.deepEqual(lines.map(run), [0, 0])
    const policy = join(dir, 'policies/assistant.cedar')
    const text = readFileSync(policy, 'utf8')
    writeFileSync(policy, text.replace('amount <= 20000', 'amount <= 20001'))
    assert.deepEqual(lines.map(run), [0, 1])
    writeFileSync(policy, text.replace('amount <= 20000', 'amuont <= 20000'))
    assert.deepEqual(lines.map(run), [3, 3])
    const junit = ['reports/junit.xml', 'junit.xml'].find((file) => existsSync(join(dir, file)))
    assert.ok(junit)
  })
}
