/** Draft → shadow → live: what the control plane keeps, publishes, counts and demands. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Declaration } from '@sallyport/network'
import { declarationDigest } from '@sallyport/wire'
import type { AuditRecord, DecisionRecord, FeedItem } from '@sallyport/wire'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Peer } from './support/network.ts'
import type { Signer } from './support/signer.ts'

let plane: TestPlane
let alice: Signer
let olga: Signer
let gateway: Peer
let skew = 0
let index = 0

const base = declarationWith({ quorum: 2 })
const settings = { ...base.network.settings, svidTtlSeconds: 86_400, shadowMinutes: 30 }
const declaration: Declaration = { ...base, network: { ...base.network, settings } }
const draft = (id: string): Declaration => ({
  ...declaration,
  policies: [
    ...declaration.policies,
    { id, file: 'd.cedar', line: 1, source: 'permit (principal, action, resource);' },
  ],
})

before(async () => {
  plane = await TestPlane.start(declaration, {
    clock: { now: () => Date.now() + skew, monotonic: () => performance.now() + skew },
  })
  alice = await plane.firstOperator('alice')
  olga = await plane.nextOperator('olga', alice)
  gateway = await plane.enrol('gateway', 'gw1')
})
after(() => plane.close())

const bundles = () => plane.control.context.bundles

async function sign(signer: Signer, digest: string): Promise<{ live: boolean }> {
  const statement = await bundles().statement(digest)
  return bundles().sign({
    digest,
    operator: signer.operator,
    statement,
    signature: signer.sign(statement),
  })
}

async function feed(...records: readonly AuditRecord[]): Promise<number> {
  const items: FeedItem[] = records.map((record) => ({ index: index++, record }))
  const { status } = await gateway.call('POST', '/v1/feed', {
    shard: 'bank.test/gateway/gw1',
    items,
  })
  return status
}

const header = () => ({ v: 1, at: Date.now(), gateway: gateway.spiffeId }) as const
const decision = (
  id: string,
  live: DecisionRecord['decision'],
  shadow: DecisionRecord['shadow'],
): DecisionRecord => ({
  ...header(),
  kind: 'decision',
  id,
  instance: 'spiffe://bank.test/agent/flagger/i1',
  agent: 'flagger',
  system: 'core',
  operation: 'hold',
  decision: live,
  code: live === 'allow' ? 'SP_ALLOWED' : 'SP_DENIED_NOT_PERMITTED',
  reasons: [],
  errors: [],
  needs: [],
  revision: { epoch: 1, n: 1 },
  declarationDigest: bundles().digest(),
  stateDigest: 'a'.repeat(64),
  labels: [],
  risk: 0,
  requestHash: 'b'.repeat(64),
  peer: { serial: '0a' },
  ...(shadow && { shadow }),
})

test('a shadow is published, signed, and stays through later revisions and a restart', async () => {
  const stream = await gateway.follow()
  const { digest, shadow } = await bundles().propose({ declaration: draft('one'), by: 'alice' })
  assert.deepEqual(shadow, { stage: 'draft', minutes: 0, required: 30 })
  const inForce = bundles().digest()
  await bundles().startShadow({ digest, by: 'alice' })
  const carries = (f: typeof stream): boolean =>
    f.bundles.at(-1)?.signed.bundle.shadow?.digest === digest
  await stream.until(carries)
  // The rule of a gateway has taken it (`follow` judges by it), and nothing in force has changed.
  assert.equal(stream.state.declarationDigest, inForce)
  const published = stream.bundles.at(-1)?.signed.bundle.shadow
  assert.equal(declarationDigest(published?.declaration), digest)
  const peer = await plane.enrol('agent', 'flagger')
  await stream.until((f) => peer.spiffeId in (f.bundles.at(-1)?.signed.bundle.risk ?? {}))
  assert.ok(carries(stream))
  stream.close()
  await plane.restart()
  const again = await gateway.follow()
  assert.ok(carries(again))
  const [proposal] = await bundles().proposals()
  assert.equal(proposal?.shadow.stage, 'shadow')
  assert.equal(proposal.shadow.by, 'alice')
  // Another one takes its place.
  const other = await bundles().propose({ declaration: draft('two'), by: 'olga' })
  await bundles().startShadow({ digest: other.digest, by: 'olga' })
  await again.until((f) => f.bundles.at(-1)?.signed.bundle.shadow?.digest === other.digest)
  await bundles().stopShadow()
  await again.until((f) => f.bundles.at(-1)?.signed.bundle.shadow === undefined)
  again.close()
})

test('what was not proposed, or is in force, cannot be put into shadow', async () => {
  for (const digest of ['f'.repeat(64), bundles().digest()]) {
    const start = bundles().startShadow({ digest, by: 'alice' })
    await assert.rejects(start, { code: 'SP_DECLARATION_UNKNOWN' })
  }
  const bad = { ...draft('bad'), policies: [{ id: 'x', file: 'f', line: 1, source: 'permit (' }] }
  await assert.rejects(bundles().propose({ declaration: bad, by: 'alice' }), {
    code: 'SP_DECLARATION_INVALID',
  })
})

test('the report counts what gateways recorded, once, with examples', async () => {
  const { digest } = await bundles().propose({ declaration: draft('counted'), by: 'alice' })
  await bundles().startShadow({ digest, by: 'alice' })
  const against = bundles().digest()
  const counts = (agreed: number): AuditRecord => ({
    ...header(),
    kind: 'event',
    event: 'shadow-counts',
    facts: { digest, against, agreed, differed: 3, failed: 1, skipped: 2 },
  })
  const allow = { digest, decision: 'allow', code: 'SP_ALLOWED' } as const
  const deny = { digest, decision: 'deny', code: 'SP_DENIED_FORBIDDEN' } as const
  const needs = {
    digest,
    decision: 'needs',
    code: 'SP_NEEDS_APPROVAL',
    needs: [{ kind: 'approval', count: 1 }],
  } as const
  const never = await bundles().propose({ declaration: draft('never'), by: 'alice' })
  const stranger = { ...allow, digest: never.digest }
  const records = [
    decision('dec_a', 'deny', allow),
    decision('dec_b', 'deny', allow),
    decision('dec_c', 'allow', deny),
    decision('dec_d', 'deny', needs),
    decision('dec_e', 'allow', { ...allow, changes: ['field a.b: mask to whole'] }),
    decision('dec_f', 'allow', undefined),
    decision('dec_g', 'deny', stranger),
    counts(40),
    counts(2),
  ]
  assert.equal(await feed(...records), 200)
  // Sent again, it counts no more.
  index -= records.length
  assert.equal(await feed(...records), 200)
  const report = await bundles().shadowReport(digest)
  assert.deepEqual(report.counts, {
    agreed: 42,
    denyToAllow: 2,
    allowToDeny: 1,
    needsChanged: 1,
    otherwise: 1,
    notCompared: 6,
  })
  const [widest] = report.changes
  assert.deepEqual([widest?.from, widest?.to, widest?.calls], ['deny', 'allow', 2])
  assert.deepEqual(
    widest?.examples.map(({ decisionId, live, shadow }) => [decisionId, live.decision, shadow]),
    [
      ['dec_a', 'deny', allow],
      ['dec_b', 'deny', allow],
    ],
  )
  // What was never in shadow is not counted, whatever a gateway says.
  const none = await bundles().shadowReport(never.digest)
  assert.deepEqual([none.counts.denyToAllow, none.changes], [0, []])
  await assert.rejects(bundles().shadowReport('e'.repeat(64)), { code: 'SP_DECLARATION_UNKNOWN' })
})

test('a gateway that makes up counts does not make those of others fail', async () => {
  const { digest } = await bundles().propose({ declaration: draft('vast'), by: 'alice' })
  await bundles().startShadow({ digest, by: 'alice' })
  const agreed = Number.MAX_SAFE_INTEGER
  const against: string = bundles().digest()
  const facts = { digest, against, agreed }
  const record: AuditRecord = { ...header(), kind: 'event', event: 'shadow-counts', facts }
  for (let batch = 0; batch < 2; batch++) {
    assert.equal(await feed(...Array.from({ length: 600 }, (): AuditRecord => record)), 200)
  }
  const report = await bundles().shadowReport(digest)
  assert.equal(report.counts.agreed, Number.MAX_SAFE_INTEGER)
})

test('the last signature waits for the declared minutes of shadow; one operator alone never suffices', async () => {
  const { digest } = await bundles().propose({ declaration: draft('live'), by: 'alice' })
  // Who proposed may sign, once, and that is one of two.
  assert.equal((await sign(alice, digest)).live, false)
  assert.equal((await sign(alice, digest)).live, false)
  await assert.rejects(sign(olga, digest), { code: 'SP_DECLARATION_SHADOW' })
  await bundles().startShadow({ digest, by: 'alice' })
  await assert.rejects(sign(olga, digest), { code: 'SP_DECLARATION_SHADOW' })
  skew += 29 * 60_000
  await assert.rejects(sign(olga, digest), { code: 'SP_DECLARATION_SHADOW' })
  skew += 60_000
  const [proposal] = (await bundles().proposals()).filter((each) => each.digest === digest)
  assert.deepEqual(proposal?.signed, ['alice'])
  assert.equal(proposal.shadow.minutes, 30)
  assert.equal((await sign(olga, digest)).live, true)
  assert.equal(bundles().digest(), digest)
  // What is in force is no shadow any more.
  assert.equal(bundles().current().bundle.shadow, undefined)
})
