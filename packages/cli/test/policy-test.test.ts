import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

const ROOT = join(import.meta.dirname, '../../..')
const BIN = join(ROOT, 'packages/cli/bin/sallyport.ts')
const STARTER = join(ROOT, 'packages/cli/templates/starter')

const TESTS = `defaults: { agent: assistant }
rows:
  - { call: invoices.getInvoice, input: { invoiceId: I1 }, code: SP_ALLOWED, tags: [read] }
tables:
  - call: invoices.payInvoice
    input: { invoiceId: I1, currency: EUR }
    columns: [input.amount, approvals, code]
    rows:
      - [20000, null, SP_ALLOWED]
      - [20001, null, SP_NEEDS_APPROVAL]
      - [20001, [first], SP_ALLOWED]
`

/** A declaration with tests beside it, and the command run in its folder. */
function world(t: { after: (fn: () => void) => void }) {
  const dir = mkdtempSync(join(tmpdir(), 'sp-ptest-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  cpSync(STARTER, dir, { recursive: true })
  writeFileSync(join(dir, 'tests.yaml'), TESTS)
  const run = (...args: readonly string[]) =>
    spawnSync(process.execPath, [BIN, 'policy', 'test', ...args], { cwd: dir, encoding: 'utf8' })
  const edit = (file: string, from: string, to: string): void => {
    const path = join(dir, file)
    const text = readFileSync(path, 'utf8')
    assert.ok(text.includes(from), from)
    writeFileSync(path, text.replace(from, to))
  }
  return { dir, run, edit }
}

test('a matrix that holds exits 0, in every format', (t) => {
  const { run } = world(t)
  const plain = run()
  assert.equal(plain.status, 0, plain.stderr)
  assert.equal(plain.stdout, '4 of 4 rows passed\n')
  for (const args of [['--json'], ['--format', 'json']]) {
    const json = run(...args, '--coverage')
    assert.equal(json.status, 0, json.stderr)
    // The command's own documented output.
    const report = JSON.parse(json.stdout) as {
      passed: boolean
      rows: unknown[]
      coverage: { network: string; percent: number }[]
    }
    assert.equal(report.passed, true)
    assert.equal(report.rows.length, 4)
    assert.deepEqual(
      report.coverage.map(({ network, percent }) => [network, percent]),
      [['network.yaml', 100]],
    )
  }
  assert.match(run('--format', 'tap').stdout, /^TAP version 14\n1\.\.4\nok 1 - tests\.yaml:3 /)
  assert.match(run('--format', 'junit').stdout, /<testsuites [^>]*tests="4" failures="0"/)
  assert.equal(run('--tag', 'read').stdout, '1 of 1 rows passed\n')
})

test('a changed policy fails the row that holds it, and exits 1', (t) => {
  const { run, edit } = world(t)
  edit('policies/assistant.cedar', 'amount <= 20000', 'amount <= 20001')
  const { status, stdout } = run()
  assert.equal(status, 1)
  assert.match(stdout, /✗ tests\.yaml:10 assistant calls invoices\.payInvoice/)
  assert.match(stdout, /code: expected SP_NEEDS_APPROVAL, got SP_ALLOWED/)
  assert.match(stdout, /is permitted by `assistant\.pays-small-invoices`/)
  assert.match(stdout, /3 of 4 rows passed\n$/)
  assert.equal(run('--format', 'tap').status, 1)
})

test('coverage below the threshold exits 1 and names what was never seen', (t) => {
  const { run } = world(t)
  assert.equal(run('--min-coverage', '100').status, 0)
  const { status, stdout } = run('--tag', 'read', '--min-coverage', '100')
  assert.equal(status, 1)
  assert.match(stdout, /never true: when context\.evidence\.approvals >= 1/)
  assert.match(stdout, /coverage of at least 100 %: coverage is/)
})

test('what cannot be run exits 2 or 3 and says where', (t) => {
  const { run, edit } = world(t)
  assert.equal(run('--min-coverage', '101').status, 2)
  assert.equal(run('--format', 'xml').status, 2)
  assert.equal(run('--tag', 'none').status, 2)
  const none = run('other.yaml', '--json')
  assert.equal(none.status, 3)
  assert.equal(
    (JSON.parse(none.stdout) as { error: { code: string } }).error.code,
    'SP_POLICY_TEST_FILE',
  )
  edit('tests.yaml', 'invoices.getInvoice', 'invoices.getInvoices')
  const reference = run()
  assert.equal(reference.status, 3)
  assert.match(reference.stderr, /tests\.yaml:3:5: the declaration has no operation .*did you mean/)
  edit('tests.yaml', 'tags:', 'tagz:')
  assert.match(run().stderr, /tests\.yaml:3:\d+: .*tagz.*SP_NETWORK_UNKNOWN_KEY/)
  edit('network.yaml', 'quorum', 'quorom')
  edit('tests.yaml', 'tagz:', 'tags:')
  assert.equal(run().status, 3)
})
