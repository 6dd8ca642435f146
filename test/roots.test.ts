import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'node:test'
import { createClient, RefusedError } from '@sallyport/agent'
import type { Identity } from '@sallyport/agent'
import { errorCode } from '@sallyport/base'
import { certificatesFromPem, TrustBundle, verifySvid } from '@sallyport/spiffe'
import { list, members, numberOf, textOf } from '../packages/cli/src/shape.ts'
import { Ledger } from './support/ledger.ts'
import { World } from './support/world.ts'

const DECLARATION = join(import.meta.dirname, 'support/declaration')
/** Guards against hanging. */
const PATIENCE_MS = 120_000

/** The declaration of `support/` with identities that live for 20 s, so that a change of roots waits for nothing longer. */
function shortLives(t: { after(fn: () => void): void }): string {
  const dir = mkdtempSync(join(tmpdir(), 'sp-declared-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  cpSync(DECLARATION, dir, { recursive: true })
  const file = join(dir, 'network.yaml')
  const text = readFileSync(file, 'utf8').replace('svidTtlSeconds: 120', 'svidTtlSeconds: 20')
  assert.match(text, /svidTtlSeconds: 20\n/)
  writeFileSync(file, text)
  return file
}

interface RootShown {
  readonly fingerprint: string
  readonly state: string
  readonly waitsUntil: number
}

const shown = (value: unknown): readonly RootShown[] =>
  list(members(value as never)['roots'])
    .map(members)
    .map((row) => ({
      fingerprint: textOf(row['fingerprint']),
      state: textOf(row['state']),
      waitsUntil: numberOf(row['waitsUntil'] ?? 0),
    }))
const states = (roots: readonly RootShown[]): readonly string[] => roots.map(({ state }) => state)

/** Where the chain of this identity ends. */
function rootOf({ holder }: Identity): string {
  const { chainPem, rootsPem, trustDomain } = holder.current()
  const bundles = new Map([[trustDomain, TrustBundle.fromPem(trustDomain, rootsPem)]])
  return verifySvid(certificatesFromPem(chainPem), bundles, { now: Date.now() }).root
}
const trusts = ({ holder }: Identity): number =>
  certificatesFromPem(holder.current().rootsPem).length

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_MS
  while (!(await holds())) {
    assert.ok(performance.now() < end, `it never came to be: ${what}`)
    await sleep(100)
  }
}

test('the root is replaced under load: every process takes the new one up as it runs, and no call fails', async (t) => {
  const ledger = new Ledger()
  const world = await World.start({ networkFile: shortLives(t), services: ledger.services })
  t.after(() => world.stop())
  const operator = await world.operator()
  const { admin } = world
  const view = async (): Promise<readonly RootShown[]> => shown(await admin.get('/api/ca'))
  /** Asks for the next step until nobody has to be waited for any more. */
  const step = async (name: string): Promise<readonly RootShown[]> => {
    const end = performance.now() + PATIENCE_MS
    for (;;) {
      try {
        return shown(await admin.post(`/api/ca/root/${name}`, {}))
      } catch (error) {
        assert.match(errorCode(error), /^SP_CA_ROOT_(UNSEEN|IN_USE)$/)
        assert.ok(performance.now() < end, `${name} is refused for ever`)
        await sleep(250)
      }
    }
  }

  const identity = await world.join('agent', 'clerk')
  t.after(() => identity.stop())
  const failures: string[] = []
  const load = { calls: 0, stopped: false }
  /** @param each calls on one connection before the next */
  const drive = async (each: number): Promise<void> => {
    while (!load.stopped) {
      const client = createClient({ identity, gateway: world.gatewayTarget })
      for (let i = 0; i < each && !load.stopped; i++) {
        try {
          const answer = await client.request({ method: 'GET', path: '/ledger/v1/entries/1' })
          if (answer.status !== 200) failures.push(String(answer.status))
        } catch (error) {
          failures.push(error instanceof RefusedError ? error.code : String(error))
        }
        load.calls++
        await sleep(20)
      }
      await client.close()
    }
  }
  const lanes = [drive(1), drive(200)]
  t.after(() => {
    load.stopped = true
  })
  const flows = async (): Promise<void> => {
    const from = load.calls
    await until('calls are made', () => load.calls > from + 20)
    assert.deepEqual(failures, [])
  }
  await flows()

  const first = rootOf(identity)
  assert.deepEqual(states(shown(await admin.post('/api/ca/root/prepare', {}))), [
    'active',
    'prepared',
  ])
  await assert.rejects(admin.post('/api/ca/root/activate', {}), { code: 'SP_CA_ROOT_NOT_TRUSTED' })
  // Not over the socket of the local administrator: it takes a passkey.
  await assert.rejects(admin.post('/api/ca/root/sign/options', {}))
  assert.equal(await operator.signRoot(), true)
  assert.deepEqual(states(await view()), ['active', 'trusted'])
  await until('the agent trusts both', () => trusts(identity) === 2)
  assert.equal(rootOf(identity), first)
  await flows()

  assert.deepEqual(states(await step('activate')), ['outgoing', 'active'])
  await until('the agent is below the new root', () => rootOf(identity) !== first)
  assert.equal(trusts(identity), 2)
  await flows()

  assert.deepEqual(states(await step('retire')), ['retired', 'active'])
  await until('the agent trusts the new root alone', () => trusts(identity) === 1)
  await flows()
  load.stopped = true
  await Promise.all(lanes)
  assert.deepEqual(failures, [])

  // The gateway starts again with what it kept, though the file that it was given then is another now.
  await world.gateway.stop()
  await world.startGateway()
  const client = createClient({ identity, gateway: world.gatewayTarget })
  t.after(() => client.close())
  assert.equal((await client.request({ method: 'GET', path: '/ledger/v1/entries/1' })).status, 200)
  const seen = JSON.parse(readFileSync(join(world.gatewayDir, 'seen.json'), 'utf8'))
  assert.deepEqual(seen.roots.retired, [first])

  // Who brings the root of before cannot tell this control plane from another; who brings the new one can.
  await assert.rejects(world.join('agent', 'clerk'), { code: /^SP_(SVID|CONNECT)/ })
  assert.equal(
    certificatesFromPem(readFileSync(join(world.data, 'trust/ca.pem'), 'utf8')).length,
    1,
  )
})
