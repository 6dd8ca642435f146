/** Exit codes of the command line, as frozen numbers: scripts and CI depend on them. 5 (denied) is for later commands. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { RefusedError } from '@sallyport/agent'
import { Ledger } from '../support/ledger.ts'
import { World } from '../support/world.ts'

const BIN = join(import.meta.dirname, '../../packages/cli/bin/sallyport.ts')
const DECLARATION = join(import.meta.dirname, '../support/declaration')
const NETWORK = join(DECLARATION, 'network.yaml')

function run(...args: readonly string[]): {
  readonly status: number | null
  readonly said: string
} {
  const { status, stderr } = spawnSync(process.execPath, [BIN, ...args], { encoding: 'utf8' })
  return { status, said: stderr }
}

function exits(code: number, pattern: RegExp, ...args: readonly string[]): void {
  const { status, said } = run(...args)
  assert.equal(status, code, `${args.join(' ')}: ${said}`)
  assert.match(said, pattern)
}

test('0 done, 2 not understood, 3 not configured', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sp-exit-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  cpSync(DECLARATION, dir, { recursive: true })
  exits(0, /^$/, 'check', join(dir, 'network.yaml'))
  exits(2, /unknown command/, 'no-such-command')
  exits(2, /--reason/, 'agent', 'quarantine', 'clerk')
  exits(3, /SP_CONFIG_NOT_RUNNING/, 'agent', 'list', '--data', dir)
  const file = join(dir, 'network.yaml')
  writeFileSync(file, readFileSync(file, 'utf8').replace('quorum', 'quorom'))
  exits(3, /SP_NETWORK_/, 'check', file)
})

test('1 failed, 4 not who may, 6 a person has to, 7 not verified', async (t) => {
  const ledger = new Ledger()
  const world = await World.start({ networkFile: NETWORK, services: ledger.services })
  t.after(() => world.stop())
  const data = ['--data', world.data]
  const clerk = await world.caller('clerk')
  t.after(() => clerk.close())
  const body = { ref: 'r', amount: 5000 }
  const refused = await clerk.request({ method: 'POST', path: '/ledger/v1/entries', body }).then(
    () => undefined,
    (error: unknown) => error,
  )
  assert.ok(refused instanceof RefusedError)
  const approval = refused.needs?.[0]?.approval ?? ''
  exits(0, /^$/, 'agent', 'list', ...data)
  exits(1, /./, 'policy', 'explain', 'dec_00000000000000000000000000', ...data)
  exits(4, /SP_JOIN_NAME/, 'agent', 'enroll', 'nobody', ...data)
  exits(6, /SP_NEEDS_PASSKEY/, 'approval', 'approve', approval, ...data)
  exits(6, /./, 'agent', 'release', 'clerk', ...data)
  await world.gateway.stop()
  exits(0, /note/, 'audit', 'verify', ...data)
  const segment = join(world.gatewayDir, 'log', '00000000.seg')
  const log = readFileSync(segment)
  const at = log.indexOf('"decision"')
  assert.ok(at > 0)
  const file = openSync(segment, 'r+')
  writeSync(file, Buffer.from('"decisioN"'), 0, 10, at)
  exits(7, /./, 'audit', 'verify', ...data)
})
