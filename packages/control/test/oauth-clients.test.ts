import assert from 'node:assert/strict'
import { createPrivateKey, hash, randomUUID, X509Certificate } from 'node:crypto'
import type { webcrypto } from 'node:crypto'
import { after, before, test } from 'node:test'
import { createLocalJWKSet, jwtVerify, SignJWT } from 'jose'
import type { JSONWebKeySet } from 'jose'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { declarationWith } from './support/declaration.ts'
import { Peer, TestPlane } from './support/network.ts'
import {
  ACCESS_TOKEN,
  claimsIn,
  CORE,
  EXCHANGE,
  fetchAs,
  ISSUER,
  post,
  tokenOf,
} from './support/oauth.ts'

let plane: TestPlane
let flagger: Peer
let skew = 0

before(async () => {
  plane = await TestPlane.start(declarationWith(), {
    clock: { now: () => Date.now() + skew, monotonic: () => performance.now() },
  })
  flagger = await plane.enrol('agent', 'flagger')
})
after(() => plane.close())

const ASK = { grant_type: 'client_credentials', resource: CORE }

/** As independent clients ask. */
const options = (peer: Peer) => ({
  [oauth.customFetch]: fetchAs(peer),
  // The test's issuer is http://localhost; its connections are TLS all the same.
  [oauth.allowInsecureRequests]: true,
})

async function discovered(peer: Peer): Promise<oauth.AuthorizationServer> {
  const issuer = new URL(ISSUER)
  const answer = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...options(peer) })
  return oauth.processDiscoveryResponse(issuer, answer)
}

/** A peer without a certificate: only what it sends can say who it is. */
const nobody = (): Peer => new Peer(plane)

async function webCryptoKey(peer: Peer): Promise<webcrypto.CryptoKey> {
  const pem = peer.holder?.current().keyPem ?? ''
  const der = createPrivateKey(pem).export({ format: 'der', type: 'pkcs8' })
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' }
  return crypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign'])
}

test('an agent has a token for one system by its certificate alone, bound to it', async () => {
  const server = await discovered(flagger)
  assert.equal(server.issuer, ISSUER)
  assert.equal(server.authorization_response_iss_parameter_supported, true)
  const answer = await oauth.clientCredentialsGrantRequest(
    server,
    { client_id: flagger.spiffeId },
    oauth.TlsClientAuth(),
    { resource: CORE },
    options(flagger),
  )
  const result = await oauth.processClientCredentialsResponse(
    server,
    { client_id: flagger.spiffeId },
    answer,
  )
  assert.equal(result.scope, 'hold')
  const claims = claimsIn(result.access_token)
  assert.equal(claims['iss'], ISSUER)
  assert.equal(claims['sub'], flagger.spiffeId)
  assert.equal(claims['client_id'], flagger.spiffeId)
  assert.equal(claims['aud'], CORE)
  assert.deepEqual(claims['cnf'], { spiffe_id: flagger.spiffeId })
  assert.ok(Number(claims['exp']) - Number(claims['iat']) <= 300)

  // By the published keys anybody can read it; whoever does not know how it is bound refuses it.
  const keys = (await (await fetchAs(flagger)(server.jwks_uri ?? '')).json()) as JSONWebKeySet
  const read = await jwtVerify(result.access_token, createLocalJWKSet(keys), {
    issuer: ISSUER,
    audience: CORE,
    typ: 'at+jwt',
  })
  assert.equal(read.payload.sub, flagger.spiffeId)
  const request = new Request(CORE, { headers: { authorization: `Bearer ${result.access_token}` } })
  await assert.rejects(oauth.validateJwtAccessToken(server, request, CORE, options(flagger)), {
    code: 'OAUTH_UNSUPPORTED_OPERATION',
  })
  assert.deepEqual(plane.errors, [])
})

test('the client is who the certificate says, whatever the body says', async () => {
  const analyst = await plane.enrol('agent', 'analyst')
  const mine = await post(flagger, '/oauth2/token', { ...ASK, client_id: flagger.spiffeId })
  assert.equal(mine.status, 200)
  for (const client_id of [analyst.spiffeId, 'flagger', '']) {
    const theirs = await post(flagger, '/oauth2/token', { ...ASK, client_id })
    assert.equal(theirs.body['error'], 'invalid_client', client_id)
  }
  const twice = await fetchAs(flagger)(`${ISSUER}/oauth2/token`, {
    method: 'POST',
    body: new URLSearchParams([
      ...Object.entries(ASK),
      ['client_id', flagger.spiffeId],
      ['client_id', analyst.spiffeId],
    ]),
  })
  assert.equal(twice.status, 400)
  const named = await post(nobody(), '/oauth2/token', { ...ASK, client_id: flagger.spiffeId })
  assert.equal(named.body['error'], 'invalid_client')
})

test('a token is for exactly one system that a flow leads to', async () => {
  assert.equal(claimsIn(await tokenOf(flagger))['aud'], CORE)
  for (const resource of [
    'https://gateway.bank.test/unknown',
    'https://gateway.bank.test/core/',
    'https://gateway.bank.test/core#x',
    'https://gateway.other.test/core',
    'HTTPS://gateway.bank.test/core',
  ]) {
    const answer = await post(flagger, '/oauth2/token', { ...ASK, resource })
    assert.equal(answer.body['error'], 'invalid_target', resource)
  }
  const none = await post(flagger, '/oauth2/token', { grant_type: 'client_credentials' })
  assert.notEqual(none.status, 200)
  const analyst = await plane.enrol('agent', 'analyst')
  const foreign = await post(analyst, '/oauth2/token', ASK)
  assert.equal(foreign.body['error'], 'invalid_target')
  const wide = await post(flagger, '/oauth2/token', { ...ASK, scope: 'hold release' })
  assert.equal(wide.body['scope'], 'hold', 'what is not declared is left out')
  const nothing = await post(flagger, '/oauth2/token', { ...ASK, scope: 'release' })
  assert.equal(nothing.body['error'], 'invalid_scope')
})

test('private_key_jwt: the key of the certificate proves the client, once, to one issuer', async () => {
  const config = new openid.Configuration(
    { ...(await discovered(flagger)) },
    flagger.spiffeId,
    undefined,
    openid.PrivateKeyJwt(await webCryptoKey(flagger)),
  )
  config[openid.customFetch] = fetchAs(flagger)
  openid.allowInsecureRequests(config)
  const result = await openid.clientCredentialsGrant(config, { resource: CORE })
  assert.equal(claimsIn(result.access_token)['sub'], flagger.spiffeId)

  const key = createPrivateKey(flagger.holder?.current().keyPem ?? '')
  const assertion = (over: Readonly<Record<string, unknown>> = {}): Promise<string> => {
    const now = Math.floor(Date.now() / 1000)
    const claims = { iss: flagger.spiffeId, sub: flagger.spiffeId, aud: ISSUER, jti: randomUUID() }
    return new SignJWT({ ...claims, iat: now, exp: now + 60, ...over })
      .setProtectedHeader({ alg: 'ES256' })
      .sign(key)
  }
  const present = (client_assertion: string) =>
    post(flagger, '/oauth2/token', {
      ...ASK,
      client_assertion,
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    })
  const good = await assertion()
  assert.equal((await present(good)).status, 200)
  assert.equal((await present(good)).body['error'], 'invalid_client', 'used twice')
  const raced = await assertion()
  const answers = await Promise.all([1, 2, 3, 4].map(() => present(raced)))
  assert.equal(answers.filter(({ status }) => status === 200).length, 1, 'four at once')
  for (const [why, over] of [
    ['a list of audiences', { aud: [ISSUER] }],
    ['several audiences', { aud: [ISSUER, 'https://elsewhere.example'] }],
    ['the address of the endpoint', { aud: `${ISSUER}/oauth2/token` }],
    ['another issuer', { aud: 'https://elsewhere.example' }],
    ['a long life', { exp: Math.floor(Date.now() / 1000) + 3600 }],
    ['an end in the past', { exp: Math.floor(Date.now() / 1000) - 60 }],
    ['another subject', { sub: flagger.spiffeId.replace('flagger', 'analyst') }],
  ] as const) {
    const answer = await present(await assertion(over))
    assert.ok(answer.status >= 400 && answer.status < 500, why)
  }
  const other = await plane.enrol('agent', 'flagger')
  const stolen = createPrivateKey(other.holder?.current().keyPem ?? '')
  const claims = { iss: flagger.spiffeId, sub: flagger.spiffeId, aud: ISSUER, jti: randomUUID() }
  const forged = await new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256' })
    .setExpirationTime('1m')
    .sign(stolen)
  assert.equal((await present(forged)).body['error'], 'invalid_client', 'another key')
})

test('DPoP: the nonce is asked for, and the token is bound to the key', async () => {
  const server = await discovered(flagger)
  const client = { client_id: flagger.spiffeId }
  const pair = await oauth.generateKeyPair('ES256')
  const handle = oauth.DPoP({}, pair)
  const once = async () =>
    oauth.processClientCredentialsResponse(
      server,
      client,
      await oauth.clientCredentialsGrantRequest(
        server,
        client,
        oauth.TlsClientAuth(),
        { resource: CORE },
        { DPoP: handle, ...options(flagger) },
      ),
    )
  await assert.rejects(once(), (error) => oauth.isDPoPNonceError(error))
  const result = await once()
  assert.equal(result.token_type, 'dpop')
  const cnf = claimsIn(result.access_token)['cnf']
  assert.deepEqual(Object.keys(cnf as object).toSorted(), ['jkt', 'spiffe_id'])
})

test('a token that could be bound to nobody is not issued', async () => {
  const key = createPrivateKey(flagger.holder?.current().keyPem ?? '')
  const assertion = await new SignJWT({ jti: randomUUID() })
    .setProtectedHeader({ alg: 'ES256' })
    .setIssuer(flagger.spiffeId)
    .setSubject(flagger.spiffeId)
    .setAudience(ISSUER)
    .setExpirationTime('1m')
    .sign(key)
  const form = {
    ...ASK,
    scope: 'hold',
    client_assertion: assertion,
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
  }
  const answer = await post(nobody(), '/oauth2/token', form)
  assert.equal(answer.body['error'], 'invalid_request')
  assert.match(String(answer.body['error_description']), /proof of possession/)
})

test('an agent that is cut off has no more tokens, by any door', async () => {
  const peer = await plane.enrol('agent', 'flagger')
  assert.ok(await tokenOf(peer))
  await plane.control.context.quarantine.quarantine({
    subject: peer.spiffeId,
    reason: 'a test',
    by: 'alice',
  })
  const answer = await post(peer, '/oauth2/token', ASK)
  assert.equal(answer.body['code'], 'SP_QUARANTINED')
  assert.ok(await tokenOf(flagger), 'others are not touched')
})

test('what is sent to the token endpoint is bounded and a form', async () => {
  const at = `${ISSUER}/oauth2/token`
  const big = await fetchAs(flagger)(at, {
    method: 'POST',
    body: new URLSearchParams({ ...ASK, filler: 'x'.repeat(40_000) }),
  })
  assert.equal(big.status, 400)
  const json = await fetchAs(flagger)(at, {
    method: 'POST',
    body: JSON.stringify(ASK),
    headers: { 'content-type': 'application/json' },
  })
  assert.equal(json.status, 400)
  assert.deepEqual(plane.errors, [])
})

/** As RFC 8705, section 3.1 has it. */
const thumbprintOf = (peer: Peer): string =>
  hash('sha256', new X509Certificate(peer.holder?.current().chainPem ?? '').raw, 'base64url')

test('tokens of an agent that is declared so are for the very certificate, and end with its renewal', async () => {
  const small = declarationWith()
  const agents = small.network.agents.map((agent) =>
    agent.name === 'flagger' ? { ...agent, tokenBinding: 'certificate' as const } : agent,
  )
  const strict = await TestPlane.start(declarationWith({ agents }))
  try {
    const peer = await strict.enrol('agent', 'flagger')
    const thumbprint = thumbprintOf(peer)
    const token = await tokenOf(peer)
    assert.deepEqual(claimsIn(token)['cnf'], {
      'x5t#S256': thumbprint,
      spiffe_id: peer.spiffeId,
    })
    const exchange = () =>
      post(peer, '/oauth2/token', {
        grant_type: EXCHANGE,
        subject_token: token,
        subject_token_type: ACCESS_TOKEN,
      })
    const made = await exchange()
    assert.equal(made.status, 200, JSON.stringify(made.body))
    const { cnf } = claimsIn(String(made.body['access_token']))
    assert.equal((cnf as Record<string, unknown>)['x5t#S256'], thumbprint)
    assert.equal((await peer.renew()).status, 200)
    assert.notEqual(thumbprintOf(peer), thumbprint)
    assert.equal((await exchange()).body['error'], 'invalid_grant', 'the renewed certificate')
    const fresh = claimsIn(await tokenOf(peer))['cnf'] as Record<string, unknown>
    assert.equal(fresh['x5t#S256'], thumbprintOf(peer))
    assert.equal(
      (claimsIn(await tokenOf(flagger))['cnf'] as Record<string, unknown>)['x5t#S256'],
      undefined,
      'others are bound to the instance',
    )
  } finally {
    await strict.close()
  }
})
