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

const ROOT = join(import.meta.dirname, '../../..')
const BIN = join(ROOT, 'packages/cli/bin/sallyport.ts')

/** The parts of SARIF 2.1.0 that code scanning reads; what else stands there is checked by name below. */
interface Log {
  readonly $schema: string
  readonly version: string
  readonly runs: readonly {
    readonly tool: {
      readonly driver: {
        readonly name: string
        readonly semanticVersion: string
        readonly rules: readonly {
          readonly id: string
          readonly shortDescription: { readonly text: string }
          readonly help: { readonly text: string; readonly markdown?: string }
          readonly helpUri: string
        }[]
      }
    }
    readonly automationDetails: { readonly id: string }
    readonly columnKind: string
    readonly results: readonly {
      readonly ruleId: string
      readonly ruleIndex: number
      readonly level: string
      readonly message: { readonly text: string }
      readonly locations: readonly {
        readonly physicalLocation: {
          readonly artifactLocation: { readonly uri: string; readonly uriBaseId: string }
          readonly region: {
            readonly startLine: number
            readonly startColumn: number
            readonly endLine?: number
            readonly endColumn?: number
          }
        }
      }[]
    }[]
  }[]
}

/** A repository with the declaration in a folder whose name a URI cannot hold as it is. */
function world(t: { after: (fn: () => void) => void }) {
  const dir = mkdtempSync(join(tmpdir(), 'sp-sarif-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const net = join(dir, 'my net:1')
  mkdirSync(net)
  cpSync(join(ROOT, 'packages/cli/templates/starter'), net, { recursive: true })
  writeFileSync(
    join(net, 'tests.yaml'),
    'rows:\n  - { agent: assistant, call: invoices.getInvoice, input: { invoiceId: I1 }, code: SP_ALLOWED }\n',
  )
  const edit = (file: string, from: string, to: string): void => {
    const text = readFileSync(join(net, file), 'utf8')
    assert.ok(text.includes(from), from)
    writeFileSync(join(net, file), text.replace(from, to))
  }
  const run = (...args: readonly string[]) => {
    const file = join(dir, 'out.sarif')
    rmSync(file, { force: true })
    const { status, stderr } = spawnSync(process.execPath, [BIN, ...args, '--sarif', 'out.sarif'], {
      cwd: dir,
      encoding: 'utf8',
    })
    // What this command writes, of the shape above.
    const log = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Log) : undefined
    return { status, stderr, results: log === undefined ? [] : read(log, dir), log }
  }
  return { dir, edit, run }
}

/** Each result as rule, level, uri and the text that its region covers, once the log has been found sound. */
function read(log: Log, dir: string): string[] {
  assert.equal(log.version, '2.1.0')
  assert.match(log.$schema, /^https:\/\/.*sarif-schema-2\.1\.0\.json$/)
  const [run, ...more] = log.runs
  assert.ok(run)
  assert.deepEqual(more, [])
  assert.equal(run.tool.driver.name, 'sallyport')
  assert.match(run.tool.driver.semanticVersion, /^\d+\.\d+\.\d+$/)
  assert.equal(run.columnKind, 'utf16CodeUnits')
  const { rules } = run.tool.driver
  assert.equal(new Set(rules.map(({ id }) => id)).size, rules.length)
  for (const { id, shortDescription, help, helpUri } of rules) {
    assert.match(id, /^SP_[A-Z_]+$/)
    // The text is that of the code's own page.
    assert.equal(help.text, readFileSync(join(ROOT, 'docs/errors', `${id}.md`), 'utf8'))
    assert.ok(help.text.includes(shortDescription.text))
    assert.ok(helpUri.endsWith(`/${id}`))
  }
  return run.results.map(({ ruleId, ruleIndex, level, message, locations }) => {
    assert.equal(rules[ruleIndex]?.id, ruleId)
    assert.notEqual(message.text, '')
    const [location] = locations
    assert.ok(location)
    const { artifactLocation, region } = location.physicalLocation
    const { uri, uriBaseId } = artifactLocation
    assert.equal(uriBaseId, '%SRCROOT%')
    // Relative, and still the file it names.
    assert.equal(URL.canParse(uri), false, uri)
    const lines = readFileSync(join(dir, decodeURIComponent(uri)), 'utf8').split('\n')
    const line = lines[region.startLine - 1] ?? ''
    const end = region.endLine === region.startLine ? (region.endColumn ?? 1) - 1 : undefined
    assert.ok(end === undefined || end <= line.length)
    return `${ruleId} ${level} ${uri}: ${line.slice(region.startColumn - 1, end)}`
  })
}

const NET = 'my%20net%3A1'
const NETWORK = ['my net:1/network.yaml']
const TEST = ['policy', 'test', '--network', 'my net:1/network.yaml']

test('nothing wrong is a log without results, a category a command', (t) => {
  const { run } = world(t)
  const check = run('check', ...NETWORK)
  assert.equal(check.status, 0, check.stderr)
  assert.deepEqual(check.results, [])
  assert.equal(check.log?.runs[0]?.automationDetails.id, 'sallyport/check/')
  const tested = run(...TEST)
  assert.equal(tested.status, 0, tested.stderr)
  assert.deepEqual(tested.results, [])
  assert.equal(tested.log?.runs[0]?.automationDetails.id, 'sallyport/policy-test/')
})

test('a system in plain TCP is a warning where its address stands, with its reason', (t) => {
  const { run, edit } = world(t)
  const at = "upstream: { url: 'tcp://mf.example:1414', plaintext: 'the mainframe has no TLS' }"
  const bounds = 'owner: finance, segment: core, protocol: opaque, opaque: {}'
  const operations = 'operations: { connect: { kind: write } }'
  edit('network.yaml', 'datasets:', `  mainframe: { ${bounds}, ${operations}, ${at} }\n\ndatasets:`)
  const { status, stderr, results } = run('check', ...NETWORK)
  assert.equal(status, 0, stderr)
  assert.match(
    stderr,
    /network\.yaml:\d+:\d+: warning: `mainframe` is not authenticated.*the mainframe has no TLS/,
  )
  assert.equal(results.length, 1)
  assert.match(results[0] ?? '', /^SP_NETWORK_PLAINTEXT warning \S+: '?tcp:\/\/mf\.example:1414/)
})

test('problems of the declaration stand where they are', (t) => {
  const { run, edit } = world(t)
  edit('network.yaml', 'quorum:', 'quorom:')
  edit('network.yaml', 'criticality: medium', 'criticality: middling')
  const { status, results } = run('check', ...NETWORK)
  assert.equal(status, 3)
  assert.deepEqual(results, [
    `SP_NETWORK_UNKNOWN_KEY error ${NET}/network.yaml: quorom`,
    `SP_NETWORK_SHAPE error ${NET}/network.yaml: middling`,
  ])
  assert.deepEqual(run(...TEST).results, results)
})

test('each policy that does not fit stands where it does not, whatever comments precede it', (t) => {
  const { run, edit } = world(t)
  edit('policies/assistant.cedar', 'amount <= 20000', 'amuont <= 20000')
  edit('policies/assistant.cedar', 'evidence.approvals >= 1', 'evidence.aprovals >= 1')
  const check = run('check', ...NETWORK)
  assert.equal(check.status, 3)
  assert.deepEqual(check.results, [
    `SP_CEDAR_INVALID error ${NET}/policies/assistant.cedar: context.input.amuont`,
    `SP_CEDAR_INVALID error ${NET}/policies/assistant.cedar: context.evidence.aprovals`,
  ])
  assert.match(check.stderr, /assistant\.cedar:16:8: .*amuont/)
  const tested = run(...TEST)
  assert.equal(tested.status, 3)
  assert.deepEqual(tested.results, check.results)
})

test('a policy that can never hold is a warning, and no failure', (t) => {
  const { run, edit } = world(t)
  edit(
    'policies/assistant.cedar',
    'context.input.amount <= 20000',
    'resource == System::"invoices" && false',
  )
  const { status, results } = run('check', ...NETWORK)
  assert.equal(status, 0)
  assert.equal(results.length, 1)
  assert.match(results[0] ?? '', /^SP_CEDAR_WARNING warning /)
})

test('a policy that is no Cedar stands where it stops being any', (t) => {
  const { run, edit } = world(t)
  edit('policies/assistant.cedar', '<= 20000 }', '<= 20000 ]')
  const { status, results } = run('check', ...NETWORK)
  assert.equal(status, 3)
  assert.equal(results.length, 1)
  assert.match(results[0] ?? '', /^SP_NETWORK_POLICY error .*assistant\.cedar: \]/)
})

test('failing rows, unreadable rows and unseen policies stand where they are', (t) => {
  const { run, edit } = world(t)
  const row =
    '{ agent: assistant, call: invoices.getInvoice, input: { invoiceId: I1 }, code: SP_ALLOWED }'
  edit('tests.yaml', 'SP_ALLOWED', 'SP_NO_FLOW')
  const failing = run(...TEST)
  assert.equal(failing.status, 1)
  assert.deepEqual(failing.results, [
    `SP_POLICY_TEST_FAILED error ${NET}/tests.yaml: ${row.replace('SP_ALLOWED', 'SP_NO_FLOW')}`,
  ])
  edit('tests.yaml', 'SP_NO_FLOW', 'SP_ALLOWED')
  const unseen = run(...TEST, '--min-coverage', '100')
  assert.equal(unseen.status, 1)
  assert.deepEqual(unseen.results, [
    `SP_POLICY_TEST_COVERAGE error ${NET}/policies/assistant.cedar: @id("assistant.pays-small-invoices")`,
    `SP_POLICY_TEST_COVERAGE error ${NET}/policies/assistant.cedar: @id("assistant.pays-with-approval")`,
  ])
  edit('tests.yaml', 'invoices.getInvoice', 'invoices.getInvoyce')
  const unreadable = run(...TEST)
  assert.equal(unreadable.status, 3)
  assert.match(
    unreadable.results.join(),
    /^SP_POLICY_TEST_REFERENCE error my%20net%3A1\/tests\.yaml: \{ agent/,
  )
})

test('a log that cannot be written is a usage error', (t) => {
  const { dir } = world(t)
  const { status, stderr } = spawnSync(
    process.execPath,
    [BIN, 'check', 'my net:1/network.yaml', '--sarif', 'no/such/folder.sarif'],
    { cwd: dir, encoding: 'utf8' },
  )
  assert.equal(status, 2)
  assert.match(stderr, /SP_USAGE_SARIF/)
})
