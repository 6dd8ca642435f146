import assert from 'node:assert/strict'
import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import {
  bits,
  boolean,
  der,
  oid,
  pem,
  sequence,
  set,
  unsigned,
} from '../../spiffe/src/der-write.ts'
import { extension } from '../../spiffe/test/forge.ts'
import { initTrust, startControl } from '../src/index.ts'
import { declarationWith } from './support/declaration.ts'
import { Peer, TestPlane } from './support/network.ts'
import { ORIGIN, RP_ID } from './support/signer.ts'

let plane: TestPlane
let skew = 0

before(async () => {
  plane = await TestPlane.start(declarationWith(), {
    clock: { now: () => Date.now() + skew, monotonic: () => performance.now() },
  })
})
after(() => plane.close())

test('a trust root is made once, and nothing starts without one', async () => {
  const { dataDir, declaration } = plane
  await assert.rejects(initTrust({ dataDir, declaration, rpId: RP_ID, origin: ORIGIN }), {
    code: 'SP_TRUST_EXISTS',
  })
  const bare = join(dataDir, 'elsewhere')
  const start = startControl({
    dataDir: bare,
    declaration,
    console: { port: 0 },
    plane: { host: '127.0.0.1', port: 0 },
  })
  await assert.rejects(start, { code: 'SP_TRUST_MISSING' })
  assert.equal(existsSync(join(bare, 'trust')), false)
})

test('a join token works once, for exactly its kind and name', async () => {
  const token = await plane.token('agent', 'flagger')
  const peer = new Peer(plane)
  const first = await peer.enrol(token)
  assert.equal(first.status, 200)
  assert.match(peer.spiffeId, /^spiffe:\/\/bank\.test\/agent\/flagger\/[a-z0-9]+$/)
  assert.equal(first.body['pins'], undefined)
  assert.equal((await peer.call('GET', '/v1/status')).body['quarantined'], false)

  const replayed = await new Peer(plane).enrol(token)
  assert.equal(replayed.status, 403)
  assert.equal(replayed.body['code'], 'SP_JOIN_TOKEN')
})

test('MUST-reject 13: what a request asks for beside its key is not in the certificate', async () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const greedy = 'spiffe://bank.test/gateway/gw1'
  // PKCS#10 (RFC 2986) with an extension request (RFC 2985, 5.4.2): another id, and to be a CA.
  const names = extension('2.5.29.17', true, sequence(der(0x86, Buffer.from(greedy))))
  const authority = extension('2.5.29.19', true, sequence(boolean(true)))
  const info = sequence(
    unsigned(Buffer.from([0])),
    sequence(set(sequence(oid('2.5.4.3'), der(0x0c, Buffer.from('gw1'))))),
    publicKey.export({ format: 'der', type: 'spki' }),
    der(0xa0, sequence(oid('1.2.840.113549.1.9.14'), set(sequence(names, authority)))),
  )
  const signature = sign('sha256', info, privateKey)
  const csr = pem(
    'CERTIFICATE REQUEST',
    sequence(info, sequence(oid('1.2.840.10045.4.3.2')), bits(signature)),
  )
  const token = await plane.token('agent', 'flagger')
  const { status, body } = await new Peer(plane).call('POST', '/v1/enroll', { token, csr })
  assert.equal(status, 200, JSON.stringify(body))
  const given = new X509Certificate(String(body['chain']))
  assert.equal(given.subjectAltName, `URI:${String(body['spiffeId'])}`)
  assert.match(String(body['spiffeId']), /^spiffe:\/\/bank\.test\/agent\/flagger\//)
  assert.equal(given.ca, false)
  assert.doesNotMatch(given.subject ?? '', /gw1/)
  const { x, y } = given.publicKey.export({ format: 'jwk' })
  assert.deepEqual({ x, y }, (({ x, y }) => ({ x, y }))(publicKey.export({ format: 'jwk' })))
})

test('two who race with one token: one wins', async () => {
  const token = await plane.token('agent', 'flagger')
  const answers = await Promise.all([1, 2, 3, 4].map(() => new Peer(plane).enrol(token)))
  assert.deepEqual(
    answers.map(({ status }) => status).toSorted((a, b) => a - b),
    [200, 403, 403, 403],
  )
})

test('an expired join token is refused; just before, it is not', async () => {
  const early = await plane.token('agent', 'flagger')
  const late = await plane.token('agent', 'flagger')
  try {
    skew = 9.9 * 60_000
    assert.equal((await new Peer(plane).enrol(early)).status, 200)
    skew = 10.1 * 60_000
    assert.equal((await new Peer(plane).enrol(late)).body['code'], 'SP_JOIN_TOKEN')
  } finally {
    skew = 0
  }
})

test('secrets of another kind are no join tokens, and join tokens nothing else', async () => {
  const { operators } = plane.control.context
  const { link } = await operators.createLink({ operator: 'alice', by: 'test' })
  assert.equal((await operators.openLink(link)).operator, 'alice')
  const asToken = await new Peer(plane).enrol(link)
  assert.equal(asToken.body['code'], 'SP_JOIN_TOKEN')
  const token = await plane.token('agent', 'flagger')
  await assert.rejects(operators.openLink(token), { code: 'SP_LINK_INVALID' })
  const seen = { userAgent: '', address: '127.0.0.1' }
  assert.equal(await plane.control.context.sessions.find(token, seen), undefined)
})

test('tokens are for what is declared', async () => {
  await assert.rejects(plane.token('agent', 'ledger'), { code: 'SP_JOIN_NAME' })
  await assert.rejects(plane.token('service', 'flagger'), { code: 'SP_JOIN_NAME' })
  await assert.rejects(plane.token('gateway', '../x'), { code: 'SP_JOIN_NAME' })
  assert.equal((await plane.enrol('service', 'ledger')).spiffeId.split('/')[3], 'service')
})

test('a gateway gets its pins, and only a gateway may make gateway calls', async () => {
  const gateway = await plane.enrol('gateway', 'gw1')
  assert.equal(gateway.pins?.trustDomain, 'bank.test')
  assert.equal((await gateway.call('GET', '/v1/bundle')).status, 200)
  const agent = await plane.enrol('agent', 'flagger')
  for (const path of ['/v1/bundle', '/v1/stream']) {
    assert.equal((await agent.call('GET', path)).body['code'], 'SP_PLANE_KIND')
  }
  for (const path of ['/v1/feed', '/v1/approvals', '/v1/limits/reserve', '/v1/limits/settle']) {
    assert.equal((await agent.call('POST', path, {})).body['code'], 'SP_PLANE_KIND')
  }
  const stranger = new Peer(plane)
  for (const path of ['/v1/bundle', '/v1/status']) {
    const refused = await stranger.call('GET', path)
    assert.equal(refused.status, 401)
    assert.equal(refused.body['code'], 'SP_PLANE_IDENTITY')
  }
  assert.equal((await gateway.call('GET', '/v1/nothing')).status, 404)
  assert.equal((await gateway.call('POST', '/v1/status', {})).status, 405)
})

test('renewal follows one lineage; the same request again has the same answer', async () => {
  const peer = await plane.enrol('agent', 'flagger')
  const old = peer.holder
  const { csr, keyPem } = peer.csr()
  const first = await peer.call('POST', '/v1/renew', { csr })
  const again = await peer.call('POST', '/v1/renew', { csr })
  assert.equal(first.status, 200)
  assert.deepEqual(again, first)
  peer.take(first, keyPem)
  assert.equal((await peer.renew()).status, 200)
  const { quarantine } = plane.control.context
  assert.equal(quarantine.isQuarantined(peer.spiffeId), false)

  // A thief renews from the certificate that was superseded, with a key of his own.
  const thief = new Peer(plane)
  thief.holder = old
  const stolen = await thief.call('POST', '/v1/renew', { csr: thief.csr().csr })
  assert.equal(stolen.status, 403)
  assert.equal(stolen.body['code'], 'SP_RENEW_SUPERSEDED')
  assert.equal(quarantine.isQuarantined(peer.spiffeId), true)
  assert.equal((await peer.renew()).body['code'], 'SP_QUARANTINED')
  const { bundle } = plane.control.context.bundles.current()
  assert.ok(bundle.quarantined.some(({ subject }) => subject === peer.spiffeId))
  assert.ok(bundle.revokedSerials.length >= 3)
  const status = await peer.call('GET', '/v1/status')
  assert.deepEqual(status.body, { instance: peer.spiffeId, quarantined: true })
})

test('an instance that renews without end is held back, and can still be cut off; nobody else is held back', async () => {
  const hijacked = await plane.enrol('agent', 'flagger')
  let renewed = 0
  let answer = await hijacked.renew()
  for (; answer.status === 200 && renewed < 60; renewed++) answer = await hijacked.renew()
  assert.deepEqual([answer.status, answer.body['code']], [429, 'SP_RENEW_FLOOD'])
  const other = await plane.enrol('agent', 'flagger')
  assert.equal((await other.renew()).status, 200)
  const { quarantine, bundles } = plane.control.context
  const before = bundles.current().bundle.revokedSerials.length
  await quarantine.quarantine({ subject: hijacked.spiffeId, reason: 'test', by: 'test' })
  const { length } = bundles.current().bundle.revokedSerials
  assert.ok(length > before && length <= before + 60, `${length - before} serials`)
})

test('of many who renew at once each gets its own answer, a thief and one that is cut off among them', async () => {
  const peers = await Promise.all(Array.from({ length: 8 }, () => plane.enrol('agent', 'flagger')))
  const [robbed, cut, ...others] = peers
  assert.ok(robbed && cut)
  const thief = new Peer(plane)
  thief.holder = robbed.holder
  assert.equal((await robbed.renew()).status, 200)
  const { quarantine } = plane.control.context
  const before = new Map(others.map((peer) => [peer, peer.holder]))
  const asked = Promise.all([
    thief.call('POST', '/v1/renew', { csr: thief.csr().csr }),
    ...others.map((peer) => peer.renew()),
  ])
  await quarantine.quarantine({ subject: cut.spiffeId, reason: 'test', by: 'test' })
  const [stolen, ...renewed] = await asked
  assert.equal(stolen.body['code'], 'SP_RENEW_SUPERSEDED')
  assert.equal((await cut.renew()).body['code'], 'SP_QUARANTINED')
  assert.deepEqual(
    renewed.map(({ status, body }, index) => [
      status,
      body['spiffeId'] === others[index]?.spiffeId,
    ]),
    others.map(() => [200, true]),
  )
  for (const peer of others) {
    assert.notEqual(peer.holder, before.get(peer))
    assert.equal(quarantine.isQuarantined(peer.spiffeId), false)
  }
  assert.equal(quarantine.isQuarantined(robbed.spiffeId), true)
})

test('hostile bodies are refused with their code', async () => {
  const gateway = await plane.enrol('gateway', 'gw2')
  const refused = async (text: string): Promise<unknown> =>
    (await gateway.raw('POST', '/v1/limits/settle', text)).body['code']
  assert.equal(await refused('{"reservationId":"r","commit":true}'), 'SP_LIMIT_RESERVATION')
  assert.equal(
    await refused('{"reservationId":"r","reservationId":"s","commit":true}'),
    'SP_JSON_DUPLICATE_KEY',
  )
  assert.equal(
    await refused('{"__proto__":{},"reservationId":"r","commit":true}'),
    'SP_JSON_FORBIDDEN_KEY',
  )
  assert.equal(await refused('{"reservationId":"r","commit":"yes"}'), 'SP_PLANE_BODY')
  assert.equal(await refused('{"reservationId":"r","commit":true,"more":1}'), 'SP_PLANE_BODY')
  assert.equal(await refused('{"reservationId":"r"}'), 'SP_PLANE_BODY')
  assert.equal(await refused('[1]'), 'SP_PLANE_BODY')
  assert.equal(await refused('{'), 'SP_JSON_SYNTAX')
  assert.equal(await refused('['.repeat(5000)), 'SP_JSON_TOO_DEEP')
  assert.equal(await refused(`"${'x'.repeat(20_000)}"`), 'SP_JSON_TOO_LARGE')
  assert.equal(
    (await new Peer(plane).call('POST', '/v1/enroll', { token: 'x', csr: 'y' })).body['code'],
    'SP_JOIN_TOKEN',
  )
  const token = await plane.token('agent', 'flagger')
  const noCsr = await new Peer(plane).call('POST', '/v1/enroll', { token, csr: 'y' })
  assert.equal(noCsr.status, 400)
})

test('who opens a request and does not finish it is cut off', async () => {
  const socket = await new Peer(plane).connect()
  const closed = Promise.withResolvers<void>()
  socket.on('close', () => closed.resolve())
  socket.on('error', () => undefined)
  socket.resume()
  socket.write('POST /v1/enroll HTTP/1.1\r\nhost: plane\r\nx-slow: ')
  const late = setTimeout(() => closed.reject(new Error('still open after 10 s')), 10_000)
  await closed.promise
  clearTimeout(late)
})
