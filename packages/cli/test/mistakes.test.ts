import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'

const ROOT = join(import.meta.dirname, '../../..')
const BIN = join(ROOT, 'packages/cli/bin/sallyport.ts')
const MERIDIAN = join(ROOT, 'examples/meridian/network.yaml')
const STARTER = join(ROOT, 'packages/cli/templates/starter')

interface Result {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

const sallyport = (...args: readonly string[]): Result =>
  spawnSync(process.execPath, [BIN, ...args], { cwd: ROOT, encoding: 'utf8' })

function folder(t: { after: (fn: () => void) => void }): string {
  const dir = mkdtempSync(join(tmpdir(), 'sp-mistakes-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

test('a file that is not there, a word that is no number and a kind that is none are usage errors, not crashes', (t) => {
  const dir = folder(t)
  const nothing = join(dir, 'nothing')
  const noKey = join(dir, 'no-key.pem')
  writeFileSync(noKey, 'x')
  const log = ['--data', dir] as const
  mkdirSync(join(dir, 'gateway/gw1/log'), { recursive: true })
  writeFileSync(join(dir, 'gateway/gw1/log/origin'), 'test.example/gateway/gw1\n')
  for (const [args, code, says] of [
    [['check', MERIDIAN, '--layers', '--nftables', nothing], 'SP_USAGE_OPTION', nothing],
    [['check', MERIDIAN, '--layers', '--kubernetes', nothing], 'SP_USAGE_OPTION', nothing],
    [['check', MERIDIAN, '--nftables', nothing], 'SP_USAGE_OPTION', '--layers'],
    [['audit', 'verify', '--key', nothing, ...log], 'SP_USAGE_OPTION', nothing],
    [['audit', 'verify', '--key', noKey, ...log], 'SP_USAGE_OPTION', 'no public key'],
    [['audit', 'verify', '--checkpoint', nothing, ...log], 'SP_USAGE_OPTION', nothing],
    [['audit', 'tail', '--count', '20x', ...log], 'SP_USAGE_OPTION', '--count'],
    [['demo', '--duration', '1x'], 'SP_USAGE_OPTION', '--duration'],
    [['demo', '--transactions', nothing], 'SP_MERIDIAN_CSV_READ', nothing],
    [['demo', '--transactions', noKey], 'SP_MERIDIAN_CSV', 'no-key.pem:1:1'],
    [['policy', 'diff', MERIDIAN, MERIDIAN, '--bound', '1x'], 'SP_USAGE_OPTION', '--bound'],
    [['gateway', '--id', 'gw1', '--secrets', nothing], 'SP_USAGE_OPTION', nothing],
    [['gateway', '--id', 'gw1', '--secrets', noKey], 'SP_CONFIG_SECRETS', noKey],
    [['gateway', '--id', 'gw1', '--token-file', nothing], 'SP_USAGE_OPTION', nothing],
    [['gateway', '--id', 'gw1', '--data', dir], 'SP_GATEWAY_PINS', 'pins.json` is not there'],
    [
      ['segment', 'emit', 'nftables', '--network', MERIDIAN, '--addresses', nothing],
      'SP_USAGE_OPTION',
      nothing,
    ],
  ] as const) {
    const { status, stdout, stderr } = sallyport(...args)
    const said = `${args.join(' ')}\n${stdout}${stderr}`
    assert.ok(status !== 0 && status !== null, said)
    assert.match(stderr, new RegExp(`\\[${code}\\]`), said)
    assert.ok(stderr.includes(says), said)
    assert.doesNotMatch(stderr, /\n {4}at /, said)
  }
  const kind = sallyport('inventory', 'diff', '--kind', 'feld', ...log)
  assert.equal(kind.status, 2)
  assert.match(kind.stderr, /operation, field/)
})

test('descriptions that were not fetched are not compared, and said not to be', (t) => {
  const dir = folder(t)
  const check = (): Result => sallyport('check', MERIDIAN, '--layers', '--described', dir)
  const none = check()
  assert.equal(none.status, 2, none.stdout)
  assert.match(none.stderr, /has none of the descriptions \[SP_USAGE_OPTION\]/)
  const one = 'openapi/core-banking.yaml'
  mkdirSync(join(dir, 'openapi'))
  cpSync(join(ROOT, 'examples/meridian', one), join(dir, one))
  const some = check()
  assert.equal(some.status, 0, some.stderr)
  assert.match(some.stdout, /not compared: `openapi\/messages\.yaml` as it is described now/)
  assert.doesNotMatch(some.stdout, /core-banking\.yaml/)
})

test('check takes the folder of a declaration, and lists its problems each by its own', (t) => {
  const dir = folder(t)
  cpSync(STARTER, dir, { recursive: true })
  assert.equal(sallyport('check', dir).status, 0)
  const file = join(dir, 'network.yaml')
  const text = readFileSync(file, 'utf8')
  writeFileSync(file, text.replace('quorum:', 'quorom:'))
  const { stderr } = sallyport('check', dir)
  // What belongs to one problem stands to the right of what belongs to all.
  assert.match(stderr, /^ {2}why: network\.yaml:\d+:\d+: .*\n {9}why: /m)
})

test('whoever reads some of what is printed and leaves ends the command quietly', async (t) => {
  const dir = folder(t)
  const { spawn } = await import('node:child_process')
  const child = spawn(process.execPath, [BIN, 'policy', 'schema', '--help'], { cwd: dir })
  child.stdout.destroy()
  let said = ''
  child.stderr.on('data', (bytes: Buffer) => (said += bytes.toString()))
  const ended = await new Promise((resolve) => child.once('close', resolve))
  assert.equal(said, '')
  assert.equal(ended, 0)
})
