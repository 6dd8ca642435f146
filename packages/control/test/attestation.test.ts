import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { sha256Hex } from '@sallyport/base'
import type { Agent } from '@sallyport/network'
import { possessionText } from '@sallyport/wire'
import { DerReader, readOne, TAG } from '../../spiffe/src/der-read.ts'
import { bits, octets, sequence, unsigned } from '../../spiffe/src/der-write.ts'
import { extension, forge } from '../../spiffe/test/forge.ts'
import type { Forged, Recipe } from '../../spiffe/test/forge.ts'
import { declarationWith, TRUST_DOMAIN } from './support/declaration.ts'
import { Peer, TestPlane } from './support/network.ts'
import type { Answer } from './support/network.ts'

const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1'
const HOST = 'monitor-1.bank.example'
const ISSUER = 'https://cluster.bank.example'

const authority = forge({ name: 'Machines', ca: true, uris: [] })
/** An extension that nobody here knows; also in authorities that are declared beside the first. */
const odd = (critical: boolean): Pick<Recipe, 'extra'> => ({
  extra: [extension('1.3.6.1.4.1.99999.1', critical, octets(Buffer.from([1])))],
})
const authorityWith = (name: string, recipe: Recipe): Forged =>
  forge({ name, ca: true, uris: [], ...recipe })
const authorities = {
  strict: authorityWith('Strict', odd(true)),
  lax: authorityWith('Lax', odd(false)),
  servers: authorityWith('Servers', { extended: [SERVER_AUTH] }),
  constrained: authorityWith('Constrained', { permitted: ['bank.example'] }),
}
const machine = (recipe: Recipe = {}): Forged =>
  forge({
    name: HOST,
    uris: [],
    dns: [HOST],
    sanCritical: false,
    extended: [CLIENT_AUTH],
    signer: authority,
    ...recipe,
  })

const cluster = generateKeyPairSync('rsa', { modulusLength: 2048 })
const KEYS = JSON.stringify({
  keys: [
    { use: 'sig', alg: 'RS256', kid: 'k1', ...cluster.publicKey.export({ format: 'jwk' }) },
    // What real sets may hold beside.
    { use: 'enc', kid: 'e1', ...cluster.publicKey.export({ format: 'jwk' }) },
  ],
})

const agent = (name: string, attest: Agent['attest']): Agent => ({
  name,
  description: '',
  owner: 'risk',
  segment: 'aml',
  criticality: 'high',
  roles: [],
  ...(attest && { attest }),
})
const AGENTS = [
  agent('monitor', {
    x509pop: { dnsName: HOST },
    kubernetes: { namespace: 'agents', serviceAccount: 'monitor' },
  }),
  agent('flagger', { kubernetes: { namespace: 'agents', serviceAccount: 'flagger' } }),
  agent('analyst', undefined),
]

/** An API server's TokenReview endpoint, on the wire as Kubernetes has it; its answer is the test's. */
class ApiServer {
  readonly certificate = forge({
    ...{ name: 'localhost', uris: [], dns: ['localhost'], sanCritical: false },
    ...{ extended: [SERVER_AUTH], signer: authority },
  })
  readonly asked: { path: string; authorization: string; body: unknown }[] = []
  answer: (token: string) => object = () => ({ authenticated: false })
  status = 201
  server: Server | undefined

  async start(): Promise<string> {
    const { pem: cert, keyPem: key } = this.certificate
    this.server = createServer({ cert, key }, (request, response) => {
      const run = async (): Promise<void> => {
        let text = ''
        for await (const chunk of request) text += String(chunk)
        // What the control plane sent.
        const body = JSON.parse(text) as { spec: { token: string } }
        const { authorization = '' } = request.headers
        this.asked.push({ path: request.url ?? '', authorization, body })
        response.writeHead(this.status, { 'content-type': 'application/json' })
        response.end(JSON.stringify({ ...body, status: this.answer(body.spec.token) }))
      }
      void run()
    })
    this.server.listen(0, 'localhost')
    await new Promise((resolve) => this.server?.once('listening', resolve))
    // A TCP listener always has an AddressInfo.
    return `https://localhost:${(this.server.address() as AddressInfo).port}`
  }
}

const api = new ApiServer()
let offline: TestPlane
let online: TestPlane
let skew = 0

before(async () => {
  const all = [authority, ...Object.values(authorities)]
  const x509pop = { ca: all.map(({ pem }) => pem).join('') }
  const kubernetes = { issuer: ISSUER, audience: 'sallyport' }
  offline = await TestPlane.start(
    declarationWith({
      agents: AGENTS,
      flows: [],
      limits: [],
      attestors: { x509pop, kubernetes: { ...kubernetes, keys: KEYS } },
    }),
    { clock: { now: () => Date.now() + skew, monotonic: () => performance.now() } },
  )
  online = await TestPlane.start(
    declarationWith({
      agents: AGENTS,
      flows: [],
      limits: [],
      attestors: {
        kubernetes: { ...kubernetes, api: { url: await api.start(), ca: authority.pem } },
      },
    }),
  )
})
after(async () => {
  await offline.close()
  await online.close()
  api.server?.closeAllConnections()
  api.server?.close()
})

interface Asked {
  readonly certificate?: Forged
  /** Signs instead of the certificate's own key. */
  readonly key?: Forged['key']
  readonly nonce?: string
  readonly signedCsr?: string
  readonly trustDomain?: string
  readonly signature?: string
  readonly pem?: string
}

async function nonce(plane = offline): Promise<string> {
  return String((await new Peer(plane).call('POST', '/v1/attest/nonce', {})).body['nonce'])
}

async function possess(peer: Peer, asked: Asked = {}): Promise<Answer> {
  const { certificate = machine() } = asked
  const { csr, keyPem } = peer.csr()
  const text = possessionText({
    trustDomain: asked.trustDomain ?? TRUST_DOMAIN,
    nonce: asked.nonce ?? (await nonce()),
    csr: asked.signedCsr ?? csr,
    certificate: sha256Hex(certificate.raw),
  })
  // What is signed names the nonce that is sent.
  const { nonce: sent } = JSON.parse(String(text)) as { nonce: string }
  const answer = await peer.call('POST', '/v1/attest/x509pop', {
    nonce: sent,
    csr,
    certificate: asked.pem ?? certificate.pem,
    signature:
      asked.signature ?? sign('sha256', text, asked.key ?? certificate.key).toString('base64url'),
  })
  if (answer.status === 200) peer.take(answer, keyPem)
  return answer
}

const REFUSED = 'SP_ATTESTATION_REFUSED'

test('the holder of a machine certificate enrols as its agent, and renews as any', async () => {
  const peer = new Peer(offline)
  const answer = await possess(peer)
  assert.equal(answer.status, 200, JSON.stringify(answer.body))
  assert.match(peer.spiffeId, /^spiffe:\/\/bank\.test\/agent\/monitor\/[a-z0-9]+$/)
  assert.equal((await peer.renew()).status, 200)
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const ed = generateKeyPairSync('ed25519')
  const edText = await possess(new Peer(offline), { certificate: machine({ keys: rsa }) })
  // PKCS#1 v1.5 is not what is asked for.
  assert.equal(edText.body['code'], REFUSED)
  const certificate = machine({ keys: ed })
  const fresh = new Peer(offline)
  const { csr } = fresh.csr()
  const given = await nonce()
  const text = possessionText({
    ...{ trustDomain: TRUST_DOMAIN, nonce: given, csr },
    certificate: sha256Hex(certificate.raw),
  })
  const proof = { nonce: given, csr, certificate: certificate.pem }
  const signature = sign(null, text, ed.privateKey).toString('base64url')
  assert.equal(
    (await fresh.call('POST', '/v1/attest/x509pop', { ...proof, signature })).status,
    200,
  )
})

test('refused: a proof without the key, for another request, another network or another nonce', async () => {
  const code = async (asked: Asked): Promise<unknown> =>
    (await possess(new Peer(offline), asked)).body['code']
  assert.equal(await code({}), undefined)
  assert.equal(await code({ key: machine().key }), REFUSED)
  assert.equal(await code({ signedCsr: new Peer(offline).csr().csr }), REFUSED)
  assert.equal(await code({ trustDomain: 'other.test' }), REFUSED)
  assert.equal(await code({ signature: 'AAAA' }), REFUSED)
  for (const made of ['AAAA', `${await nonce()}AA`, (await nonce()).replace(/^./, '_')]) {
    assert.equal(await code({ nonce: made }), REFUSED, made)
  }
})

test('a nonce is good once, also for two at the same time, and for two minutes', async () => {
  const given = await nonce()
  const codes = await Promise.all(
    [1, 2, 3].map(async () => (await possess(new Peer(offline), { nonce: given })).status),
  )
  assert.deepEqual(
    codes.toSorted((a, b) => a - b),
    [200, 403, 403],
  )
  const [early, late] = [await nonce(), await nonce()]
  try {
    skew = 110_000
    assert.equal((await possess(new Peer(offline), { nonce: early })).status, 200)
    skew = 121_000
    assert.equal((await possess(new Peer(offline), { nonce: late })).body['code'], REFUSED)
  } finally {
    skew = 0
  }
})

test('refused: certificates of others, of CAs, for other names and other uses, out of time', async () => {
  const past = { notBefore: Date.now() - 7_200_000, notAfter: Date.now() - 3_600_000 }
  const stranger = forge({ name: 'Machines', ca: true, uris: [] })
  const below = forge({ name: 'Below', ca: true, uris: [], signer: authority })
  const cases: readonly [string, Recipe][] = [
    ['another CA of the same name', { signer: stranger }],
    ['a CA below the declared one', { signer: below }],
    ['self-signed', { signer: forge({ name: HOST, uris: [] }) }],
    ['a leaf that signs', { signer: machine() }],
    ['a CA', { ca: true }],
    ['another name', { dns: ['other.bank.example'] }],
    ['a second name', { dns: [HOST, 'other.bank.example'] }],
    ['a name beside', { uris: ['spiffe://bank.test/agent/monitor/1'] }],
    ['no name', { dns: [] }],
    ['a name that quotes another', { dns: [`${HOST}, DNS:x`] }],
    ['for servers', { extended: [SERVER_AUTH] }],
    ['expired', past],
    ['not yet valid', { notBefore: Date.now() + 3_600_000, notAfter: Date.now() + 7_200_000 }],
    ['tampered', { tamper: true }],
  ]
  for (const [what, recipe] of cases) {
    const { body } = await possess(new Peer(offline), { certificate: machine(recipe) })
    assert.equal(body['code'], REFUSED, what)
    // Which of them it was is nobody's business.
    assert.ok(!JSON.stringify(body).includes('CA'), what)
  }
  const good = machine()
  const two = { certificate: good, pem: good.pem + authority.pem }
  assert.equal((await possess(new Peer(offline), two)).body['code'], REFUSED)
  assert.equal((await possess(new Peer(offline), { certificate: good })).status, 200)
})

test('refused: critical extensions that are not understood, of the machine and of its CA', async () => {
  const status = async (recipe: Recipe): Promise<[number, unknown]> => {
    const { status: told, body } = await possess(new Peer(offline), {
      certificate: machine(recipe),
    })
    return [told, body['code']]
  }
  const [critical, plain] = [odd(true), odd(false)]
  assert.deepEqual(await status(plain), [200, undefined], 'one that may be passed over')
  assert.deepEqual(await status(critical), [403, REFUSED], 'of the machine')
  const { strict, lax, servers, constrained } = authorities
  assert.deepEqual(await status({ signer: lax }), [200, undefined], 'of a CA, to be passed over')
  assert.deepEqual(await status({ signer: strict }), [403, REFUSED], 'of a CA')
  assert.deepEqual(await status({ signer: constrained }), [403, REFUSED], 'name constraints')
  assert.deepEqual(await status({ signer: servers }), [403, REFUSED], 'a CA for servers')
  // Key usage that is there counts: keyAgreement alone signs nothing.
  assert.deepEqual(await status({ usage: [4] }), [403, REFUSED], 'a key that is not for signatures')
  assert.deepEqual(await status({ usage: null }), [200, undefined], 'a key for anything')
  const twice = extension('2.5.29.19', false, sequence())
  assert.deepEqual(await status({ ca: null, extra: [twice, twice] }), [403, REFUSED], 'twice')
})

/** Order of P-256. */
const N = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n

/** The same certificate under the other signature that ECDSA has for it: (r, n − s). No key is needed for that. */
function respelt(certificate: Buffer): Buffer {
  const parts = new DerReader(readOne(certificate, TAG.sequence).content)
  const [body, algorithm] = [parts.next().raw, parts.next().raw]
  const pair = new DerReader(readOne(parts.next().content.subarray(1), TAG.sequence).content)
  const r = pair.next().raw
  const s = N - BigInt(`0x${pair.next().content.toString('hex')}`)
  const other = unsigned(Buffer.from(s.toString(16).padStart(64, '0'), 'hex'))
  return sequence(body, algorithm, bits(sequence(r, other)))
}

const pemOf = (raw: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${raw.toString('base64')}\n-----END CERTIFICATE-----\n`

const keysOf = ({ key }: Forged) => ({ privateKey: key, publicKey: createPublicKey(key) })

test('what is quarantined does not come back by the same proof; another machine still comes', async () => {
  const certificate = machine()
  const peer = new Peer(offline)
  assert.equal((await possess(peer, { certificate })).status, 200)
  const { quarantine } = offline.control.context
  await quarantine.quarantine({ subject: peer.spiffeId, reason: 'test', by: 'test' })
  const again = await possess(new Peer(offline), { certificate })
  assert.equal(again.body['code'], 'SP_QUARANTINED')
  // Nor by the same certificate in another spelling, nor by another one for the same key.
  const raw = respelt(certificate.raw)
  assert.notDeepEqual(raw, certificate.raw)
  const spelt = { ...certificate, raw, pem: pemOf(raw) }
  for (const other of [spelt, machine({ keys: keysOf(certificate) })]) {
    const anew = await possess(new Peer(offline), { certificate: other })
    assert.equal(anew.body['code'], 'SP_QUARANTINED')
  }
  assert.equal((await possess(new Peer(offline))).status, 200)
})

interface Claims {
  readonly [name: string]: unknown
}

const seconds = (): number => Math.floor(Date.now() / 1000)
const claims = (over: Claims = {}): Claims => ({
  iss: ISSUER,
  aud: ['sallyport'],
  sub: 'system:serviceaccount:agents:monitor',
  iat: seconds(),
  nbf: seconds(),
  exp: seconds() + 3600,
  jti: '1',
  'kubernetes.io': {
    namespace: 'agents',
    pod: { name: 'monitor-0', uid: '5c0b0d7e-3b0b-4a59-8b59-000000000001' },
    serviceaccount: { name: 'monitor', uid: '5c0b0d7e-3b0b-4a59-8b59-000000000002' },
  },
  ...over,
})

function tokenOf(body: Claims, header: object = {}, key = cluster.privateKey): string {
  const data = [{ alg: 'RS256', kid: 'k1', ...header }, body]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  return `${data}.${sign('sha256', Buffer.from(data), key).toString('base64url')}`
}

async function pod(plane: TestPlane, token: string, peer = new Peer(plane)): Promise<Answer> {
  const { csr, keyPem } = peer.csr()
  const answer = await peer.call('POST', '/v1/attest/kubernetes', { token, csr })
  if (answer.status === 200) peer.take(answer, keyPem)
  return answer
}

test('a pod with a projected token enrols as the agent of its service account', async () => {
  const peer = new Peer(offline)
  assert.equal((await pod(offline, tokenOf(claims()), peer)).status, 200)
  assert.match(peer.spiffeId, /\/agent\/monitor\//)
  const other = claims({
    sub: 'system:serviceaccount:agents:flagger',
    aud: 'sallyport',
    'kubernetes.io': { namespace: 'agents', serviceaccount: { name: 'flagger' } },
  })
  const flagger = new Peer(offline)
  assert.equal((await pod(offline, tokenOf(other), flagger)).status, 200)
  assert.match(flagger.spiffeId, /\/agent\/flagger\//)
})

test('a pod that is cut off does not come back by a token of its account that names no pod; other pods do', async () => {
  const named = (sub: string, uid?: string): Claims => {
    const account = { namespace: 'agents', serviceaccount: { name: sub } }
    return claims({
      sub: `system:serviceaccount:agents:${sub}`,
      'kubernetes.io': uid === undefined ? account : { ...account, pod: { name: 'p', uid } },
    })
  }
  const { quarantine } = offline.control.context
  const peer = new Peer(offline)
  assert.equal((await pod(offline, tokenOf(named('monitor', 'pod-a')), peer)).status, 200)
  await quarantine.quarantine({ subject: peer.spiffeId, reason: 'test', by: 'test' })
  for (const uid of ['pod-a', undefined]) {
    const again = await pod(offline, tokenOf(named('monitor', uid)))
    assert.equal(again.body['code'], 'SP_QUARANTINED', uid)
  }
  assert.equal((await pod(offline, tokenOf(named('monitor', 'pod-ab')))).status, 200)
  // Of one that came without naming its pod nobody knows which it is.
  const unnamed = new Peer(offline)
  assert.equal((await pod(offline, tokenOf(named('flagger')), unnamed)).status, 200)
  await quarantine.quarantine({ subject: unnamed.spiffeId, reason: 'test', by: 'test' })
  const renamed = await pod(offline, tokenOf(named('flagger', 'pod-b')))
  assert.equal(renamed.body['code'], 'SP_QUARANTINED')
})

test('refused: tokens of another issuer, audience, account or time, and of no signature', async () => {
  const bound = (namespace: string, name: string): Claims => ({
    'kubernetes.io': { namespace, serviceaccount: { name } },
  })
  const cases: readonly [string, string][] = [
    ['issuer', tokenOf(claims({ iss: `${ISSUER}/` }))],
    ['audience', tokenOf(claims({ aud: ['https://kubernetes.default.svc'] }))],
    ['audience in part', tokenOf(claims({ aud: 'sallyport-other' }))],
    ['no audience', tokenOf(claims({ aud: undefined }))],
    ['expired', tokenOf(claims({ exp: seconds() - 1 }))],
    ['no expiry', tokenOf(claims({ exp: undefined }))],
    ['a token for years', tokenOf(claims({ exp: seconds() + 90_000 }))],
    ['not yet valid', tokenOf(claims({ nbf: seconds() + 300 }))],
    ['a user', tokenOf(claims({ sub: 'kubernetes-admin' }))],
    [
      'another namespace',
      tokenOf(claims({ sub: 'system:serviceaccount:other:monitor', ...bound('other', 'monitor') })),
    ],
    [
      'an undeclared account',
      tokenOf(claims({ sub: 'system:serviceaccount:agents:x', ...bound('agents', 'x') })),
    ],
    ['in contradiction', tokenOf(claims(bound('agents', 'flagger')))],
    ['in contradiction too', tokenOf(claims({ sub: 'system:serviceaccount:agents:flagger' }))],
    ['not bound', tokenOf(claims({ 'kubernetes.io': undefined }))],
    [
      'another key',
      tokenOf(claims(), {}, generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey),
    ],
    ['another kid', tokenOf(claims(), { kid: 'k2' })],
    ['a key for encryption', tokenOf(claims(), { kid: 'e1' })],
    ['critical', tokenOf(claims(), { crit: ['x'], x: 1 })],
    ['none', `${tokenOf(claims(), { alg: 'none' }).split('.').slice(0, 2).join('.')}.AA`],
    ['cut', tokenOf(claims()).slice(0, -8)],
    ['nothing', 'x'],
  ]
  for (const [what, token] of cases) {
    assert.equal((await pod(offline, token)).body['code'], REFUSED, what)
  }
  assert.equal((await pod(offline, tokenOf(claims()))).status, 200)
})

test('the API server is asked about a token, with the audience, and its word counts', async () => {
  const token = tokenOf(
    claims(),
    {},
    generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey,
  )
  const reviewed = {
    authenticated: true,
    audiences: ['sallyport'],
    user: {
      username: 'system:serviceaccount:agents:monitor',
      uid: '5c0b0d7e',
      groups: ['system:serviceaccounts'],
      extra: { 'authentication.kubernetes.io/pod-uid': ['5c0b0d7e-1'] },
    },
  }
  const tokenFile = join(online.dataDir, 'control', 'kubernetes.token')
  assert.equal((await pod(online, token)).body['code'], 'SP_ATTESTATION_UNAVAILABLE')
  mkdirSync(join(online.dataDir, 'control'), { recursive: true, mode: 0o700 })
  writeFileSync(tokenFile, 'reviewer\n', { mode: 0o600 })
  api.answer = (asked) => (asked === token ? reviewed : { authenticated: false })
  const peer = new Peer(online)
  assert.equal((await pod(online, token, peer)).status, 200)
  assert.match(peer.spiffeId, /\/agent\/monitor\//)
  assert.deepEqual(api.asked.at(-1), {
    path: '/apis/authentication.k8s.io/v1/tokenreviews',
    authorization: 'Bearer reviewer',
    body: {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      spec: { token, audiences: ['sallyport'] },
    },
  })
  assert.equal((await pod(online, 'another')).body['code'], REFUSED)
  const { user } = reviewed
  for (const answer of [
    { ...reviewed, authenticated: false },
    { ...reviewed, authenticated: 'true' },
    { ...reviewed, audiences: undefined },
    { ...reviewed, audiences: ['other'] },
    { ...reviewed, user: { ...user, username: 'system:serviceaccount:agents:x' } },
    { ...reviewed, user: { ...user, username: 'system:anonymous' } },
    { ...reviewed, user: undefined },
    {},
  ]) {
    api.answer = () => answer
    assert.equal((await pod(online, token)).body['code'], REFUSED, JSON.stringify(answer))
  }
  api.answer = () => reviewed
  for (const status of [302, 401, 500]) {
    api.status = status
    assert.equal((await pod(online, token)).body['code'], 'SP_ATTESTATION_UNAVAILABLE')
  }
  api.status = 201
  assert.equal((await pod(online, token)).status, 200)
  // An impostor of the API server has no certificate of the declared CA.
  const impostor = forge({
    ...{ name: 'localhost', uris: [], dns: ['localhost'], sanCritical: false },
    ...{ extended: [SERVER_AUTH] },
  })
  api.server?.setSecureContext({ cert: impostor.pem, key: impostor.keyPem })
  assert.equal((await pod(online, token)).body['code'], 'SP_ATTESTATION_UNAVAILABLE')
  api.server?.setSecureContext({ cert: api.certificate.pem, key: api.certificate.keyPem })
  assert.equal((await pod(online, token)).status, 200)
})

test('where a network declares no attestor, nothing enrols by proof', async () => {
  assert.equal(
    (await possess(new Peer(online), { nonce: await nonce(online) })).body['code'],
    REFUSED,
  )
})
