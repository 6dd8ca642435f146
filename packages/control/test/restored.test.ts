import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { acceptBundle } from '@sallyport/wire'
import type { BundleState } from '@sallyport/wire'
import { declarationWith } from './support/declaration.ts'
import { claimsIn, post, tokenOf } from './support/oauth.ts'
import { Peer, TestPlane } from './support/network.ts'
import type { Signer } from './support/signer.ts'

let plane: TestPlane
let gateway: Peer
let alice: Signer
let robbed: Peer
let freed: Peer
/** What the gateway has seen before the database was lost. */
let seen: BundleState
let newest: ReturnType<typeof current>
let revokedToken = ''
const revoked = `mdt_${'A'.repeat(43)}`
/** A use of a mandate that was given at this moment. */
const use = (issuedAt: number) =>
  context().mandates.reserve(`dec_${issuedAt}`, [
    {
      id: `mdt_${'B'.repeat(43)}`,
      uses: 9,
      issuedAt,
      expiresAt: issuedAt + 60_000,
      grant: 0,
      amount: 0,
    },
  ])

const context = () => plane.control.context
const current = () => context().bundles.current()

function pinsOf(): NonNullable<Peer['pins']> {
  assert.ok(gateway.pins)
  return gateway.pins
}

/** As a gateway takes it. */
function take(): void {
  seen = acceptBundle(seen, current(), pinsOf())
}

/** With owners and modes: the server may run as another user. */
function copy(from: string, to: string): void {
  execFileSync('cp', ['-a', join(plane.dataDir, from), join(plane.dataDir, to)])
}

/** The database as it was, with everything that is in it: a copy of its files while it stands still. */
async function restore(): Promise<void> {
  await plane.control.close()
  rmSync(join(plane.dataDir, 'pg'), { recursive: true })
  copy('backup', 'pg')
  await plane.restart()
}

before(async () => {
  plane = await TestPlane.start(declarationWith())
  alice = await plane.firstOperator('alice')
  gateway = await plane.enrol('gateway', 'gw1')
  seen = acceptBundle(undefined, current(), pinsOf())
  robbed = await plane.enrol('agent', 'flagger')
  freed = await plane.enrol('agent', 'flagger')
  await context().quarantine.quarantine({ subject: freed.spiffeId, reason: 'early', by: 'test' })
  // The key of what is revoked below is in the backup.
  await tokenOf(robbed)
  await plane.control.close()
  copy('pg', 'backup')
  await plane.restart()

  // After the backup: one is released, one is cut off.
  const [early] = await context().quarantine.list()
  assert.ok(early)
  const statement = await context().quarantine.releaseStatement(early.id, 'checked')
  const released = await context().quarantine.release({
    id: early.id,
    operator: 'alice',
    statement,
    signature: alice.sign(statement),
  })
  assert.equal(released.released, true)
  take()
  await context().mandates.revoke({ id: revoked, reason: 'over', by: 'test' })
  const token = await tokenOf(robbed)
  revokedToken = String(claimsIn(token)['jti'])
  assert.equal((await post(robbed, '/oauth2/revoke', { token })).status, 200)
  await context().quarantine.quarantine({ subject: robbed.spiffeId, reason: 'stolen', by: 'test' })
  take()
  // And one declaration comes into force, under the first serial.
  const { network, policies } = declarationWith()
  const declaration = { network: { ...network, name: 'later' }, policies }
  const { digest } = await context().bundles.propose({ declaration, by: 'alice' })
  const declared = await context().bundles.statement(digest)
  const signature = alice.sign(declared)
  await context().bundles.sign({ digest, operator: 'alice', statement: declared, signature })
  take()
  assert.equal(seen.declarationSerial, 1)
  newest = current()
})
after(() => plane.close())

test('a restored database has forgotten; its bundles are refused, and nothing of the backup is used', async () => {
  await plane.token('agent', 'flagger')
  await restore()
  assert.equal(context().quarantine.isQuarantined(robbed.spiffeId), false)
  assert.throws(() => acceptBundle(seen, current(), pinsOf()), { code: 'SP_BUNDLE_OLDER' })
})

test('what no control plane signed is not taken over, from a gateway either', async () => {
  const forged = structuredClone(newest)
  const refused = await gateway.call('POST', '/v1/later', {
    bundle: { ...forged.bundle, quarantined: [] },
    signature: forged.signature,
  })
  assert.equal(refused.body['code'], 'SP_BUNDLE_SIGNATURE')
  assert.equal(
    (await robbed.call('POST', '/v1/later', { ...newest })).body['code'],
    'SP_PLANE_KIND',
  )
})

test('a gateway shows the newest bundle: what it takes away holds at once, what was one-time is void', async () => {
  const before = Date.now()
  assert.equal((await use(before)).granted, true)
  const token = await plane.token('agent', 'flagger')
  const { link } = await context().operators.createLink({ operator: 'bob', by: 'test' })
  const shown = await gateway.call('POST', '/v1/later', { ...newest })
  assert.deepEqual(shown, { status: 200, body: {} })
  assert.equal(context().quarantine.isQuarantined(robbed.spiffeId), true)
  assert.equal(context().quarantine.isQuarantined(freed.spiffeId), false)
  assert.equal((await robbed.renew()).body['code'], 'SP_QUARANTINED')
  // What was used of a mandate is not known any more: only one that is given from now on counts.
  assert.equal((await use(before - 1)).granted, false)
  assert.equal((await use(Date.now() + 1)).granted, true)
  assert.ok(current().bundle.tokens?.revoked.some(({ jti }) => jti === revokedToken))
  const { restored } = await context().health.read()
  assert.deepEqual(restored?.revision, newest.bundle.revision)
  assert.match(String(plane.errors.at(-1)), /older than what gateways enforce/)

  assert.equal((await new Peer(plane).enrol(token)).body['code'], 'SP_JOIN_TOKEN')
  await assert.rejects(context().operators.openLink(link), { code: 'SP_LINK_INVALID' })
  // Shown again, by another: nothing changes.
  const { revision } = current().bundle
  assert.equal((await gateway.call('POST', '/v1/later', { ...newest })).status, 200)
  assert.deepEqual(current().bundle.revision, revision)
})

test('a signature for the old epoch opens no new one; a quorum for the new one does, and gateways take it', async () => {
  const digest = current().bundle.declarationDigest
  const proposals = await context().bundles.proposals()
  assert.ok(proposals.some((proposal) => proposal.digest === digest))
  const statement = await context().bundles.statement(digest)
  assert.equal(statement.epoch, newest.bundle.revision.epoch + 1)
  // The backup knows of no serial; what gateways have shown counts.
  assert.equal(statement.serial, 2)
  const old = { ...statement, epoch: newest.bundle.revision.epoch }
  const sign = (given: typeof statement) =>
    context().bundles.sign({
      digest,
      operator: 'alice',
      statement: given,
      signature: alice.sign(given),
    })
  await assert.rejects(sign(old), { code: 'SP_DECLARATION_STATEMENT' })
  const { live } = await sign(statement)
  assert.equal(live, true)
  assert.deepEqual(current().bundle.revision, { epoch: statement.epoch, n: 1 })
  take()
  assert.deepEqual(seen.revision, { epoch: statement.epoch, n: 1 })
  assert.ok(seen.quarantined.some(({ subject }) => subject === robbed.spiffeId))
  assert.ok(seen.revokedMandates?.some(({ id }) => id === revoked))
  assert.equal((await context().health.read()).restored, undefined)

  // And everything goes on: the next revision, and a release in the new epoch.
  const [cut] = await context().quarantine.list()
  assert.ok(cut)
  const release = await context().quarantine.releaseStatement(cut.id, 'new key')
  await context().quarantine.release({
    id: cut.id,
    operator: 'alice',
    statement: release,
    signature: alice.sign(release),
  })
  take()
  assert.deepEqual(seen.quarantined, [])
})
