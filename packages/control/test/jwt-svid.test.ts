import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { errorCode, sha256Hex } from '@sallyport/base'
import {
  createRoot,
  parseSpiffeId,
  readBundleDocument,
  TrustBundle,
  verifyJwtSvid,
  writeBundleDocument,
} from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { createJwtSvids } from '../src/domain/jwt-svids.ts'
import { startEmbeddedPostgres } from '../src/index.ts'
import type { EmbeddedPostgres } from '../src/index.ts'
import { openStore } from '../src/store/store.ts'
import type { Store } from '../src/store/store.ts'
import type { ControlAudit } from '../src/access/audit.ts'
import { openTrust, readTrust } from '../src/trust.ts'
import { declarationWith, TRUST_DOMAIN } from './support/declaration.ts'
import { Peer, TestPlane } from './support/network.ts'
import { WebCa } from './support/tls.ts'

let plane: TestPlane
const opened = () => openTrust(readTrust(plane.dataDir), plane.control.context.barrier, undefined)
let database: EmbeddedPostgres
const folder = mkdtempSync(join(tmpdir(), 'sp-jwt-'))

before(async () => {
  database = await startEmbeddedPostgres({ dir: join(folder, 'pg') })
  plane = await TestPlane.start(declarationWith(), { databaseUrl: database.url })
})
after(async () => {
  await plane.close()
  await database.stop()
  rmSync(folder, { recursive: true, force: true })
})

const AUDIENCE = 'https://ledger.bank.test'

async function bundles(peer: Peer): Promise<Parameters<typeof verifyJwtSvid>[1]> {
  const { status, body } = await peer.call('GET', '/v1/jwt-bundle')
  assert.equal(status, 200)
  const { bundle } = readBundleDocument(TRUST_DOMAIN, String(body['bundle']))
  return new Map([[TRUST_DOMAIN, bundle]])
}

test('an agent gets a JWT-SVID of its own id, and every one is in the audit log', async () => {
  const peer = await plane.enrol('agent', 'flagger')
  const { status, body } = await peer.call('POST', '/v1/jwt-svid', { audience: [AUDIENCE] })
  assert.equal(status, 200)
  const token = String(body['token'])
  const now = Date.now()
  const verified = verifyJwtSvid(token, await bundles(peer), { audience: AUDIENCE, now })
  assert.equal(verified.id.uri, peer.spiffeId)
  assert.equal(verified.expiresAt, body['expiresAt'])
  assert.ok(verified.expiresAt <= now + 301_000)
  const wrong = { audience: 'https://other.bank.test', now }
  const known = await bundles(peer)
  assert.throws(() => verifyJwtSvid(token, known, wrong), { code: 'SP_JWT_SVID_AUDIENCE' })

  const records = logged().filter((line) => line.includes(peer.spiffeId))
  assert.equal(records.length, 1)
  // The log tells which token it was, and is none.
  assert.ok(records[0]?.includes(sha256Hex(token)))
  assert.ok(!records[0]?.includes(token.split('.')[2] ?? token))
})

/** What the control plane's own log has of this. */
function logged(): string[] {
  const folder = join(plane.dataDir, 'control', 'log')
  const text = readdirSync(folder)
    .map((name) => readFileSync(join(folder, name), 'latin1'))
    .join('')
  return text.split('"at":').filter((part) => part.includes('jwt-svid-issued'))
}

test('refused: no audience, too many, twice the same, nothing that is one text', async () => {
  const peer = await plane.enrol('agent', 'flagger')
  const code = async (audience: unknown): Promise<unknown> =>
    (await peer.call('POST', '/v1/jwt-svid', { audience })).body['code']
  assert.equal(await code([AUDIENCE, 'spiffe://bank.test/service/ledger']), undefined)
  for (const audience of [
    [],
    Array.from({ length: 9 }, (_, i) => `a${i}`),
    [AUDIENCE, AUDIENCE],
    [''],
    ['a b'],
    ['a\u0000'],
    ['\u0430'],
    ['a'.repeat(513)],
    [7],
    AUDIENCE,
    null,
  ]) {
    assert.equal(await code(audience), 'SP_PLANE_BODY', JSON.stringify(audience))
  }
  const named = { audience: [AUDIENCE], spiffeId: 'spiffe://bank.test/agent/other/1' }
  assert.equal((await peer.call('POST', '/v1/jwt-svid', named)).body['code'], 'SP_PLANE_BODY')
})

test('refused: gateways, strangers, and whoever is quarantined', async () => {
  const ask = { audience: [AUDIENCE] }
  const service = await plane.enrol('service', 'ledger')
  assert.equal((await service.call('POST', '/v1/jwt-svid', ask)).status, 200)
  const gateway = await plane.enrol('gateway', 'gw1')
  assert.equal((await gateway.call('POST', '/v1/jwt-svid', ask)).body['code'], 'SP_PLANE_KIND')
  const stranger = new Peer(plane)
  assert.equal((await stranger.call('POST', '/v1/jwt-svid', ask)).status, 401)
  assert.equal((await stranger.call('GET', '/v1/jwt-bundle')).status, 401)
  const peer = await plane.enrol('agent', 'flagger')
  assert.equal((await peer.call('POST', '/v1/jwt-svid', ask)).status, 200)
  const { quarantine } = plane.control.context
  await quarantine.quarantine({ subject: peer.spiffeId, reason: 'test', by: 'test' })
  assert.equal((await peer.call('POST', '/v1/jwt-svid', ask)).body['code'], 'SP_QUARANTINED')
})

test('no more in a minute than the log should bear; another instance has its own share', async () => {
  const [peer, other] = [
    await plane.enrol('agent', 'flagger'),
    await plane.enrol('agent', 'flagger'),
  ]
  const svids = createJwtSvids({
    ...{ clock: { now: () => 1_000_000, monotonic: () => 1000 }, trust: await opened() },
    // Never reached beyond the keys: what is counted is counted first.
    store: {} as Store,
    audit: () => Promise.reject(new Error('not reached')),
  })
  const codes = async (uri: string): Promise<unknown> =>
    svids.issue({ id: parseSpiffeId(uri) } as VerifiedSvid, [AUDIENCE]).catch(errorCode)
  for (let i = 0; i < 300; i++) assert.equal(await codes(peer.spiffeId), 'SP_INTERNAL')
  assert.equal(await codes(peer.spiffeId), 'SP_JWT_SVID_FLOOD')
  assert.equal(await codes(other.spiffeId), 'SP_INTERNAL')
})

test('the key is replaced in time, and what the old one signed stays valid until it expires', async () => {
  const peer = await plane.enrol('agent', 'flagger')
  const caller = peer.holder?.current()
  assert.ok(caller)
  let now = Date.now()
  const store = await openStore(database.url)
  const records: unknown[] = []
  const svids = createJwtSvids({
    ...{ store, clock: { now: () => now, monotonic: () => now }, trust: await opened() },
    audit: () =>
      Promise.resolve({
        base: () => ({ v: 1, at: now, gateway: '' }),
        append: (lines: readonly unknown[]) => Promise.resolve(void records.push(...lines)),
      } as unknown as ControlAudit),
  })
  const verified = async (): Promise<ReturnType<typeof verifyJwtSvid>> => {
    const id = parseSpiffeId(peer.spiffeId)
    const day = { id, serial: '', notAfter: now + 3_600_000 } as VerifiedSvid
    const { token } = await svids.issue(day, [AUDIENCE])
    const { bundle } = readBundleDocument(TRUST_DOMAIN, await svids.bundle())
    known = [...bundle.jwtKeys.keys()]
    return verifyJwtSvid(token, new Map([[TRUST_DOMAIN, bundle]]), { audience: AUDIENCE, now })
  }
  let known: string[] = []
  try {
    const { kid: first } = await verified()
    const keys = known.length
    // Twenty minutes before its end the next one is there to be known, and does not sign yet.
    now += 24 * 3_600_000 - 15 * 60_000
    while (known.length < keys + 1) assert.equal((await verified()).kid, first)
    now += 7 * 60_000
    const { kid: second } = await verified()
    assert.notEqual(second, first)
    assert.ok(known.includes(first))
    now += 9 * 60_000
    assert.equal((await verified()).kid, second)
    assert.ok(!known.includes(first))

    // Whoever can write to the database alone makes nobody trust a key.
    await store.run((db) =>
      db
        .updateTable('jwt_svid_keys')
        .set({ not_after: now + 99_000_000 })
        .execute(),
    )
    const { bundle } = readBundleDocument(TRUST_DOMAIN, await svids.bundle())
    assert.equal(bundle.jwtKeys.size, 0)
    assert.ok(records.length > 3)
  } finally {
    await store.close()
  }
})

test('bundles of federated trust domains come along, each a document of its own', async () => {
  const ca = new WebCa()
  const leaf = ca.leaf({ dns: ['localhost'] })
  const partner = createRoot({ trustDomain: 'partner.example', ttlSeconds: 86_400 })
  const document = writeBundleDocument({
    bundle: TrustBundle.fromPem('partner.example', partner.certificatePem),
  })
  const cert = leaf.pem + ca.issuer.pem
  const web = createServer({ cert, key: leaf.keyPem }, (_request, response) =>
    response.end(document),
  ).listen(0, '127.0.0.1')
  await once(web, 'listening')
  // A TCP listener always has an AddressInfo.
  const { port } = web.address() as AddressInfo
  const federating = await TestPlane.start(
    declarationWith({
      federation: [
        {
          ...{ trustDomain: 'partner.example', profile: 'https_web', ca: ca.root.pem },
          url: `https://localhost:${port}/bundle`,
        },
      ],
    }),
  )
  try {
    await federating.control.context.foreigners.refresh('partner.example')
    const agent = await federating.enrol('agent', 'flagger')
    const { body } = await agent.call('GET', '/v1/jwt-bundle')
    assert.deepEqual(body['federated'], { 'partner.example': document })
    assert.equal((await agent.call('POST', '/v1/jwt-svid', { audience: [AUDIENCE] })).status, 200)
  } finally {
    await federating.close()
    web.closeAllConnections()
    web.close()
  }
})
