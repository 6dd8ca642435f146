import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

const ROOT = join(import.meta.dirname, '../../..')
const BIN = join(ROOT, 'packages/cli/bin/sallyport.ts')
const STARTER = join(ROOT, 'packages/cli/templates/starter')
const MERIDIAN = join(ROOT, 'examples/meridian/network.yaml')

interface Result {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

function sallyport(args: readonly string[], cwd: string = ROOT): Result {
  return spawnSync(process.execPath, [BIN, ...args], { cwd, encoding: 'utf8' })
}

function folder(t: { after: (fn: () => void) => void }): string {
  const dir = mkdtempSync(join(tmpdir(), 'sp-cli-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

test('check accepts the examples, and with --json stdout is one JSON document', () => {
  for (const file of [join(STARTER, 'network.yaml'), MERIDIAN]) {
    const plain = sallyport(['check', file])
    assert.equal(plain.status, 0, plain.stderr)
    const { status, stdout, stderr } = sallyport(['check', file, '--json'])
    assert.equal(status, 0, stderr)
    // The command's own documented output.
    const result = JSON.parse(stdout) as { segments: { equal: boolean }[]; policies: number }
    assert.ok(result.policies > 0)
    assert.ok(result.segments.length === 2 && result.segments.every(({ equal }) => equal))
  }
})

test('check says what is wrong, where, and exits 3', (t) => {
  const dir = folder(t)
  cpSync(STARTER, dir, { recursive: true })
  const file = join(dir, 'network.yaml')
  const text = readFileSync(file, 'utf8')
  for (const [from, to, code] of [
    ['segment: agents\n', 'segment: agentz\n', 'SP_NETWORK_'],
    ['criticality: medium', 'criticality: medium\n    criticality: high', 'SP_NETWORK_'],
    ['quorum: 2', 'quorom: 2', 'SP_NETWORK_'],
  ] as const) {
    writeFileSync(file, text.replace(from, to))
    const { status, stdout, stderr } = sallyport(['check', file])
    assert.equal(status, 3, stderr)
    assert.equal(stdout, '')
    assert.match(stderr, new RegExp(code))
    assert.match(stderr, /network\.yaml:\d+:\d+/)
    assert.match(stderr, /fix:/)
  }
  writeFileSync(file, text)
  const policy = join(dir, 'policies/assistant.cedar')
  const cedar = readFileSync(policy, 'utf8')
  writeFileSync(policy, cedar.replace('context.input.amount <= 20000', 'context.input.amuont <= 1'))
  const wrong = sallyport(['check', file])
  assert.equal(wrong.status, 3, wrong.stderr)
  assert.match(wrong.stderr, /amuont/)
  writeFileSync(policy, cedar)
  assert.equal(sallyport(['check', file]).status, 0)
})

test('init makes the trust root once, closed to others, and never again', (t) => {
  const dir = folder(t)
  const first = sallyport(['init'], dir)
  assert.equal(first.status, 0, first.stderr)
  for (const key of ['ca.key', 'bundle.key', 'genesis.key']) {
    assert.equal(statSync(join(dir, '.sallyport/trust', key)).mode & 0o777, 0o600, key)
  }
  const before = readFileSync(join(dir, '.sallyport/trust/ca.pem'), 'utf8')
  const again = sallyport(['init'], dir)
  assert.equal(again.status, 3, again.stderr)
  assert.match(again.stderr, /SP_TRUST_EXISTS/)
  assert.equal(readFileSync(join(dir, '.sallyport/trust/ca.pem'), 'utf8'), before)
})

test('init wants to hear that one operator shall be enough', (t) => {
  const dir = folder(t)
  cpSync(STARTER, dir, { recursive: true })
  const file = join(dir, 'network.yaml')
  writeFileSync(file, readFileSync(file, 'utf8').replace('quorum: 2', 'quorum: 1'))
  const { status, stderr } = sallyport(['init'], dir)
  assert.equal(status, 3)
  assert.match(stderr, /SP_CONFIG_QUORUM/)
  assert.equal(sallyport(['init', '--single-operator'], dir).status, 0)
})

test('segment emit and verify', () => {
  const verified = sallyport(['segment', 'verify', '--network', MERIDIAN])
  assert.equal(verified.status, 0, verified.stderr)
  const emitted = sallyport(['segment', 'emit', 'kubernetes', '--network', MERIDIAN])
  assert.equal(emitted.status, 0, emitted.stderr)
  assert.match(emitted.stdout, /kind: NetworkPolicy/)
  assert.equal(sallyport(['segment', 'emit', 'cisco', '--network', MERIDIAN]).status, 2)
})

test('usage errors exit 2; a control plane that does not run exits 3', (t) => {
  const dir = folder(t)
  assert.equal(sallyport(['no-such-command']).status, 2)
  assert.equal(sallyport(['agent', 'quarantine', 'x']).status, 2)
  const { status, stdout, stderr } = sallyport(['agent', 'list', '--data', dir, '--json'])
  assert.equal(status, 3, stderr)
  // With --json a failure is one JSON document on stdout too.
  const failure = JSON.parse(stdout) as { error: { code: string } }
  assert.equal(failure.error.code, 'SP_CONFIG_NOT_RUNNING')
  assert.equal(sallyport(['--version']).status, 0)
})

test('help and explain load none of the planes: a command loads what it runs, when it runs', (t) => {
  const dir = folder(t)
  const hook = `
    import { registerHooks } from 'node:module'
    const urls = []
    registerHooks({ load: (url, context, next) => (urls.push(url), next(url, context)) })
    process.on('exit', () => process.stderr.write(urls.map((url) => '\\nloaded ' + url).join('')))`
  const loaded = (...args: readonly string[]): string[] => {
    const preload = `data:text/javascript,${encodeURIComponent(hook)}`
    const { stderr } = spawnSync(process.execPath, ['--import', preload, BIN, ...args], {
      cwd: dir,
      encoding: 'utf8',
    })
    const files = [...stderr.matchAll(/^loaded file:\S*\/packages\/(\w+)\/src\//gm)]
    return [...new Set(files.map(([, name = '']) => name))].toSorted()
  }
  for (const args of [['--help'], ['policy', 'explain', 'dec_1'], ['agent', 'list']]) {
    assert.deepEqual(loaded(...args), ['base', 'cli'], args.join(' '))
  }
  assert.ok(loaded('check', MERIDIAN).includes('decide'))
})
