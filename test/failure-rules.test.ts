import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import test from 'node:test'
import { enrol, RefusedError } from '@sallyport/agent'
import type { AgentClient } from '@sallyport/agent'
import { startEmbeddedPostgres } from '@sallyport/control'
import { members, textOf } from '../packages/cli/src/shape.ts'
import { readLog } from './support/audit.ts'
import { Ledger } from './support/ledger.ts'
import { PretendWorld } from './support/pretend-world.ts'
import { killHard, World } from './support/world.ts'

const DECLARATION = join(import.meta.dirname, 'support/declaration')

/** `200`, or the code that the call was refused with; `broken` where the connection was. */
async function outcome(call: Promise<{ readonly status: number }>): Promise<string> {
  try {
    return String((await call).status)
  } catch (error) {
    return error instanceof RefusedError ? `${error.status} ${error.code}` : 'broken'
  }
}

const read = (client: AgentClient): Promise<string> =>
  outcome(client.request({ method: 'GET', path: '/ledger/v1/entries/1' }))

let refs = 0
const write = (client: AgentClient, path = '/v1/entries', amount = 10): Promise<string> => {
  const body = { ref: `r${refs++}`, amount }
  return outcome(client.request({ method: 'POST', path: `/ledger${path}`, body }))
}

/** Asks again and again until the answer is `wanted`; other answers must be among `meanwhile`. */
async function becomes(
  wanted: string,
  meanwhile: readonly string[],
  withinMs: number,
  ask: () => Promise<string>,
): Promise<number> {
  const from = performance.now()
  for (;;) {
    const answer = await ask()
    const tookMs = performance.now() - from
    if (answer === wanted) return tookMs
    assert.ok(meanwhile.includes(answer), `${answer} while waiting for ${wanted}`)
    assert.ok(tookMs < withinMs, `still ${answer} after ${withinMs} ms, not ${wanted}`)
    await sleep(50)
  }
}

/** The declaration of `support/` with short budgets: 3 s for writes and restricted data, 6 s for the rest. */
function shortBudgets(t: { after(fn: () => void): void }): string {
  const dir = mkdtempSync(join(tmpdir(), 'sp-declared-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  cpSync(DECLARATION, dir, { recursive: true })
  const file = join(dir, 'network.yaml')
  const text = readFileSync(file, 'utf8')
    .replace(/stalenessSeconds: 60/, 'stalenessSeconds: 6')
    .replace(/strictStalenessSeconds: 30/, 'strictStalenessSeconds: 3')
  assert.match(text, / stalenessSeconds: 6\n *strictStalenessSeconds: 3\n/)
  writeFileSync(file, text)
  return file
}

test('without its control plane a gateway goes on for its budget, writes less long, and then refuses', async (t) => {
  const ledger = new Ledger()
  const networkFile = shortBudgets(t)
  const world = await World.start({ networkFile, services: ledger.services })
  t.after(() => world.stop())
  const clerk = await world.caller('clerk')
  t.after(() => clerk.close())
  assert.equal(await read(clerk), '200')
  assert.equal(await write(clerk), '200')

  await killHard(world.control)
  const from = performance.now()
  assert.equal(await read(clerk), '200')
  assert.equal(await write(clerk), '200')
  await becomes('503 SP_STALE', ['200'], 5000, () => write(clerk))
  const strict = performance.now() - from
  assert.ok(strict > 1500 && strict < 6000, `writes went on for ${strict} ms`)
  assert.equal(await read(clerk), '200', 'reads have the longer budget')
  await becomes('503 SP_STALE', ['200'], 6000, () => read(clerk))
  const loose = performance.now() - from
  assert.ok(loose > 4500 && loose < 12_000, `reads went on for ${loose} ms`)
  const reached = ledger.entries.length
  for (let i = 0; i < 5; i++) {
    assert.equal(await write(clerk), '503 SP_STALE')
    assert.equal(await read(clerk), '503 SP_STALE')
  }
  assert.equal(ledger.entries.length, reached, 'a refused call was forwarded')

  await world.startControl()
  await becomes('200', ['503 SP_STALE'], 15_000, () => write(clerk))
  assert.equal(await read(clerk), '200')
})

test('without its database enrolment, approvals and limits fail closed, and all come back', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sp-db-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const start = (): ReturnType<typeof startEmbeddedPostgres> =>
    startEmbeddedPostgres({ dir: join(dir, 'pg'), restart: false })
  let database = await start()
  t.after(() => database.stop())
  const ledger = new Ledger()
  const world = await World.start({
    networkFile: shortBudgets(t),
    services: ledger.services,
    databaseUrl: database.url,
  })
  t.after(() => world.stop())
  const clerk = await world.caller('clerk')
  t.after(() => clerk.close())
  const { token } = members(await world.joinToken('agent', 'clerk'))
  const join_ = async (): Promise<string> => {
    try {
      const identity = await enrol({
        ...{ planeTarget: world.planeTarget, rootsPem: world.rootsPem },
        ...{ token: textOf(token), trustDomain: world.trustDomain },
      })
      return kindOfId(identity.spiffeId)
    } catch (error) {
      return error instanceof RefusedError ? `${error.status} ${error.code}` : 'broken'
    }
  }
  assert.equal(await write(clerk, '/v1/draws'), '200')
  assert.equal(await write(clerk, '/v1/entries', 5000), '403 SP_NEEDS_APPROVAL')

  await database.stop()
  const reached = ledger.entries.length
  assert.equal(await join_(), '503 SP_STORE_UNAVAILABLE')
  assert.equal(await write(clerk, '/v1/entries', 5001), '503 SP_APPROVAL_UNAVAILABLE')
  assert.equal(await write(clerk, '/v1/draws'), '503 SP_LIMIT_UNAVAILABLE')
  assert.equal(ledger.entries.length, reached, 'a refused call was forwarded')
  // What needs none of it goes on, but the control plane vouches for nothing while it cannot read.
  assert.equal(await read(clerk), '200')
  await becomes('503 SP_STALE', ['200'], 12_000, () => read(clerk))

  database = await start()
  await becomes('200', ['503 SP_STALE'], 15_000, () => read(clerk))
  // As gateways see it back; each call asks for itself.
  await becomes('200', ['503 SP_STALE', '503 SP_LIMIT_UNAVAILABLE'], 5000, () =>
    write(clerk, '/v1/draws'),
  )
  assert.equal(await write(clerk, '/v1/entries', 5002), '403 SP_NEEDS_APPROVAL')
  assert.equal(await join_(), 'agent', 'the token was not spent by the attempt that failed')
  assert.equal(await join_(), '403 SP_JOIN_TOKEN', 'but by the one that did not')
})

const kindOfId = (spiffeId: string): string => new URL(spiffeId).pathname.split('/')[1] ?? ''

test('a gateway refuses bundles that are old, forged, or widen without signatures, and says so', async (t) => {
  const world = await PretendWorld.start({
    settings: { stalenessSeconds: 3, strictStalenessSeconds: 2 },
  })
  t.after(() => world.stop())
  const { plane } = world
  const clerk = world.clerk('i1')
  const instance = `spiffe://${plane.trustDomain}/agent/clerk/i9`
  const cut = [{ id: 'qua_1', subject: instance, reason: 'test', by: 'test', at: Date.now() }]
  const outsider = world.clerk('i9')
  assert.equal(await write(outsider), '200')
  const before = plane.bundle(2)
  plane.publish(before)
  assert.equal(await write(clerk), '200')
  // A newer one that narrows is taken at once.
  plane.publish(plane.bundle(3, { quarantined: cut }))
  await becomes('broken', ['200', '403 SP_QUARANTINED'], 3000, () => write(outsider))
  assert.equal(await write(clerk), '200')

  const { policies } = plane.declaration
  const wider = {
    ...plane.declaration,
    policies: policies.filter(({ id }) => !id.startsWith('bounds.')),
  }
  const stranger = generateKeyPairSync('ed25519').privateKey
  const quarantined = cut
  const refused: readonly (readonly [string, Parameters<typeof plane.publish>[0]])[] = [
    ['an older one replayed', before],
    ['a quarantine taken back without a release', plane.bundle(4)],
    ['another key', plane.bundle(4, { quarantined }, stranger)],
    [
      'a wider declaration that nobody signed',
      plane.bundle(4, { quarantined, declaration: wider }),
    ],
    ['another content under the same revision', plane.bundle(3, { quarantined, issuedAt: 1 })],
    ['another trust domain', plane.bundle(4, { quarantined, trustDomain: 'evil.example' })],
  ]
  // A frame half written is read as the end of the log.
  const events = async (): Promise<readonly string[]> =>
    (await readLog(world.gatewayDir)).all.flatMap((record) =>
      record.kind === 'event' && record.event === 'bundle-refused' ? [record.code ?? ''] : [],
    )
  for (const [what, bundle] of refused) {
    const count = (await events()).length
    plane.publish(bundle)
    for (let i = 0; (await events()).length === count; i++) {
      assert.ok(i < 100, `${what}: nothing says that it was refused`)
      await sleep(20)
    }
    // What was in force stays in force.
    assert.equal(await write(outsider), 'broken', what)
    const purge = clerk.request({ method: 'DELETE', path: '/ledger/v1/entries/1' })
    assert.match(await outcome(purge), /SP_DENIED_FORBIDDEN|SP_STALE/, what)
  }
  // One that cannot be taken vouches for nothing: heartbeats no longer count.
  await becomes('503 SP_STALE', ['200'], 5000, () => write(clerk))
  // And a good one brings it back.
  plane.publish(plane.bundle(5, { quarantined: cut }))
  await becomes('200', ['503 SP_STALE'], 3000, () => write(clerk))
  // What was seen survives a restart: the old bundle is refused then too, and nobody is served before a newer one.
  plane.publish(before)
  await world.gateway.stop()
  const count = (await events()).length
  const starting = world.startGateway()
  for (let i = 0; (await events()).length === count; i++) {
    assert.ok(i < 500, 'nothing says that the old bundle was refused')
    await sleep(20)
  }
  plane.publish(plane.bundle(6, { quarantined: cut }))
  await starting
  assert.equal(await write(world.clerk('i1')), '200')
  assert.equal(await write(world.clerk('i9')), 'broken')
  assert.equal(
    world.ledger.entries.some(({ operation }) => operation === 'purge'),
    false,
  )
})
