import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { after, before, test } from 'node:test'
import { SignJWT } from 'jose'
import { declarationWith } from './support/declaration.ts'
import { Peer, TestPlane } from './support/network.ts'
import { ACCESS_TOKEN, claimsIn, CORE, EXCHANGE, post, tokenOf } from './support/oauth.ts'
import type { TokenAnswer } from './support/oauth.ts'

let plane: TestPlane
let flagger: Peer
let analyst: Peer
let skew = 0

const AGENT = 'spiffe://bank.test/agent'

before(async () => {
  const plain = declarationWith().network
  const [core] = plain.systems
  const [hold] = core?.operations ?? []
  if (!core || !hold) throw new Error('nothing to call')
  const operations = ['hold', 'release', 'pay'].map((name) => ({ ...hold, name }))
  const flow = (from: string, names: readonly string[], to = 'core') => ({
    ...{ id: `${from}-${to}`, from, to, operations: names, purpose: 'aml' },
  })
  const declaration = declarationWith({
    settings: { ...plain.settings, svidTtlSeconds: 900 },
    systems: [
      { ...core, operations },
      { ...core, name: 'other', operations },
    ],
    flows: [
      flow('flagger', ['hold', 'release', 'pay']),
      flow('analyst', ['hold', 'pay']),
      flow('analyst', ['hold', 'pay'], 'other'),
    ],
  })
  plane = await TestPlane.start(declaration, {
    clock: { now: () => Date.now() + skew, monotonic: () => performance.now() },
  })
  flagger = await plane.enrol('agent', 'flagger')
  analyst = await plane.enrol('agent', 'analyst')
})
after(() => plane.close())

const exchange = (
  peer: Peer,
  subject_token: string,
  more: Readonly<Record<string, string>> = {},
): Promise<TokenAnswer> =>
  post(peer, '/oauth2/token', {
    grant_type: EXCHANGE,
    subject_token,
    subject_token_type: ACCESS_TOKEN,
    ...more,
  })

const given = ({ status, body }: TokenAnswer): string => {
  assert.equal(status, 200, JSON.stringify(body))
  return String(body['access_token'])
}

const refused = ({ status, body }: TokenAnswer, error: string, why = error): void => {
  assert.equal(body['error'], error, `${why}: ${JSON.stringify(body)}`)
  assert.ok(status >= 400 && status < 500, why)
  assert.equal(body['access_token'], undefined, why)
}

const introspect = async (peer: Peer, token: string): Promise<Readonly<Record<string, unknown>>> =>
  (await post(peer, '/oauth2/introspect', { token })).body

test('the one whom the holder named takes over; the chain says who acts for whom', async () => {
  const token = await tokenOf(flagger, { may_act: `${AGENT}/analyst` })
  const answer = await exchange(analyst, token)
  const claims = claimsIn(given(answer))
  assert.equal(answer.body['issued_token_type'], ACCESS_TOKEN)
  assert.equal(answer.body['token_type'], 'Bearer')
  assert.equal(claims['sub'], flagger.spiffeId)
  assert.deepEqual(claims['act'], { sub: analyst.spiffeId })
  assert.equal(claims['client_id'], analyst.spiffeId)
  assert.equal(claims['aud'], CORE)
  assert.deepEqual(claims['cnf'], { spiffe_id: analyst.spiffeId })
  assert.equal(claims['scope'], 'hold pay', 'no more than its own flows')
  assert.ok(Number(claims['exp']) <= Number(claimsIn(token)['exp']), 'no longer')
  assert.deepEqual(claims['prior'], [claimsIn(token)['jti']])

  const onward = given(
    await exchange(analyst, String(answer.body['access_token']), {
      may_act: flagger.spiffeId,
    }),
  )
  const back = claimsIn(given(await exchange(flagger, onward)))
  assert.equal(back['sub'], flagger.spiffeId)
  assert.deepEqual(back['act'], { sub: flagger.spiffeId, act: { sub: analyst.spiffeId } })
})

test('a copy of a token that names nobody is exchanged by its holder alone', async () => {
  const token = await tokenOf(flagger)
  assert.equal(claimsIn(given(await exchange(flagger, token)))['act'], undefined)
  refused(await exchange(analyst, token), 'invalid_grant', 'not named')
  const other = await plane.enrol('agent', 'flagger')
  refused(await exchange(other, token), 'invalid_grant', 'another instance')
  const exactly = await tokenOf(flagger, { may_act: analyst.spiffeId })
  const sibling = await plane.enrol('agent', 'analyst')
  refused(await exchange(sibling, exactly), 'invalid_grant', 'another instance than named')
  given(await exchange(analyst, exactly))
  for (const may_act of [`${AGENT}/nobody`, AGENT, 'analyst', `${AGENT}/analyst/i/x`]) {
    const form = { grant_type: 'client_credentials', resource: CORE, may_act }
    refused(await post(flagger, '/oauth2/token', form), 'invalid_request', may_act)
  }
})

// MUST-reject 5
test('a stripped or unverifiable subject token fails and never downgrades', async () => {
  const token = await tokenOf(flagger)
  const [header = '', payload = ''] = token.split('.')
  const none = Buffer.from(JSON.stringify({ alg: 'none', typ: 'at+jwt' })).toString('base64url')
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const kid = (JSON.parse(Buffer.from(header, 'base64url').toString()) as { kid: string }).kid
  const forged = await new SignJWT(claimsIn(token))
    .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid })
    .sign(privateKey)
  given(await exchange(flagger, token))
  for (const [why, bad] of [
    ['no signature', `${header}.${payload}.`],
    ['alg none', `${none}.${payload}.`],
    ['another key', forged],
    ['not a token', 'x'],
    ['a claim set alone', payload],
  ] as const) {
    refused(await exchange(flagger, bad), 'invalid_grant', why)
  }
  refused(await exchange(flagger, ''), 'invalid_request', 'empty')
  const without = await post(flagger, '/oauth2/token', { grant_type: EXCHANGE, resource: CORE })
  refused(without, 'invalid_request', 'missing')
  const typed = await exchange(flagger, token, {
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
  })
  refused(typed, 'invalid_request', 'of another type')
  const actor = await exchange(flagger, token, {
    actor_token: 'x',
    actor_token_type: ACCESS_TOKEN,
  })
  refused(actor, 'invalid_request', 'an actor token that nobody verified')
  try {
    skew = 301_000
    refused(await exchange(flagger, token), 'invalid_grant', 'expired')
  } finally {
    skew = 0
  }
  assert.deepEqual(plane.errors, [])
})

// MUST-reject 6
test('whoever is disabled exchanges nothing, and nobody does for them; only the audience introspects', async () => {
  const lost = await plane.enrol('agent', 'flagger')
  const token = await tokenOf(lost, { may_act: `${AGENT}/analyst` })
  const derived = given(await exchange(analyst, token))
  const ledger = await plane.enrol('service', 'ledger')
  const seen = await introspect(ledger, derived)
  assert.equal(seen['active'], true)
  assert.equal(seen['sub'], lost.spiffeId)
  assert.deepEqual(seen['act'], { sub: analyst.spiffeId })
  for (const [who, peer] of [
    ['the holder', analyst],
    ['another agent', flagger],
    ['the service of nothing', await plane.enrol('gateway', 'gw1')],
  ] as const) {
    assert.deepEqual(await introspect(peer, derived), { active: false }, who)
  }
  const anonymous = await post(new Peer(plane), '/oauth2/introspect', { token: derived })
  refused(anonymous, 'invalid_client', 'nobody')

  await plane.control.context.quarantine.quarantine({
    subject: lost.spiffeId,
    reason: 'a test',
    by: 'alice',
  })
  refused(await exchange(analyst, token), 'invalid_grant', 'its subject is cut off')
  refused(await exchange(analyst, derived), 'invalid_grant', 'derived from it')
  assert.deepEqual(await introspect(ledger, derived), { active: false })
  given(await exchange(analyst, await tokenOf(analyst)))
})

// MUST-reject 7, second half; the first is in packages/oauth/test/artefacts.test.ts
test('scope, audience and details only narrow', async () => {
  const pay = (over: Readonly<Record<string, unknown>> = {}): string =>
    JSON.stringify([
      {
        type: 'payment',
        amount: 10_000,
        currency: 'EUR',
        creditor: 'ACC-1',
        operations: ['pay'],
        ...over,
      },
    ])
  const token = await tokenOf(flagger, {
    scope: 'hold pay',
    authorization_details: pay(),
    may_act: `${AGENT}/analyst`,
  })
  assert.deepEqual(claimsIn(token)['authorization_details'], JSON.parse(pay()))
  const same = claimsIn(given(await exchange(analyst, token)))
  assert.deepEqual(
    same['authorization_details'],
    JSON.parse(pay()),
    'kept where none are asked for',
  )
  // Whoever asked for them first, whoever holds them now.
  assert.equal(claimsIn(token)['details_by'], flagger.spiffeId)
  assert.equal(same['details_by'], flagger.spiffeId)
  const narrow = await exchange(analyst, token, {
    scope: 'pay',
    authorization_details: pay({ amount: 500 }),
  })
  assert.equal(claimsIn(given(narrow))['scope'], 'pay')
  assert.deepEqual(
    claimsIn(given(narrow))['authorization_details'],
    JSON.parse(pay({ amount: 500 })),
  )
  assert.equal(claimsIn(given(narrow))['details_by'], flagger.spiffeId)
  const unlimited = await tokenOf(flagger, { scope: 'hold pay', may_act: `${AGENT}/analyst` })
  assert.equal(claimsIn(unlimited)['details_by'], undefined)
  const own = await exchange(analyst, unlimited, { authorization_details: pay() })
  assert.equal(claimsIn(given(own))['details_by'], analyst.spiffeId, 'its own limit')
  for (const [why, over] of [
    ['more', { amount: 10_001 }],
    ['another currency', { currency: 'USD' }],
    ['another creditor', { creditor: 'ACC-2' }],
    ['another operation', { operations: ['pay', 'hold'] }],
    ['no amount', { amount: undefined }],
    ['a negative amount', { amount: -1 }],
    ['an unknown member', { until: 'never' }],
    ['an unknown type', { type: 'anything' }],
  ] as const) {
    const answer = await exchange(analyst, token, { authorization_details: pay(over) })
    refused(answer, 'invalid_authorization_details', why)
  }
  refused(await exchange(flagger, token, { scope: 'hold release' }), 'invalid_scope', 'wider')
  refused(
    await exchange(analyst, await tokenOf(flagger, { may_act: analyst.spiffeId }), {
      scope: 'release',
    }),
    'invalid_scope',
    'beyond its own flows',
  )
  const other = 'https://gateway.bank.test/other'
  refused(await exchange(analyst, token, { resource: other }), 'invalid_target', 'another system')
  refused(await exchange(analyst, token, { audience: other }), 'invalid_target', 'another audience')
  given(await exchange(analyst, token, { resource: CORE }))
  const form = { grant_type: 'client_credentials', resource: CORE, scope: 'hold' }
  const outside = await post(flagger, '/oauth2/token', { ...form, authorization_details: pay() })
  refused(outside, 'invalid_authorization_details', 'details outside the scope')
})

test('a chain has an end', async () => {
  let token = await tokenOf(flagger, { may_act: `${AGENT}/analyst` })
  const named = (next: Peer) => ({ may_act: next.spiffeId })
  token = given(await exchange(analyst, token, named(flagger)))
  token = given(await exchange(flagger, token, named(analyst)))
  token = given(await exchange(analyst, token, named(flagger)))
  token = given(await exchange(flagger, token, named(analyst)))
  refused(await exchange(analyst, token), 'invalid_grant', 'the fifth')
})

test('revocation ends a token and all that was made from it, for its holder alone', async () => {
  const ledger = await plane.enrol('service', 'ledger')
  const token = await tokenOf(flagger, { may_act: `${AGENT}/analyst` })
  const derived = given(await exchange(analyst, token))
  const grandchild = given(await exchange(analyst, derived))
  const active = async (one: string) => (await introspect(ledger, one))['active']
  const strangers = await post(analyst, '/oauth2/revoke', { token })
  assert.equal(strangers.status, 200, 'as if it were unknown')
  refused(await post(new Peer(plane), '/oauth2/revoke', { token }), 'invalid_client', 'nobody')
  for (const one of [token, derived, grandchild]) assert.equal(await active(one), true)
  assert.equal((await post(analyst, '/oauth2/revoke', { token: derived })).status, 200)
  assert.deepEqual(
    [await active(token), await active(derived), await active(grandchild)],
    [true, false, false],
  )
  assert.equal((await post(flagger, '/oauth2/revoke', { token })).status, 200)
  assert.equal(await active(token), false)
  refused(await exchange(analyst, token), 'invalid_grant', 'revoked')
  assert.equal((await post(flagger, '/oauth2/revoke', { token: 'nonsense' })).status, 200)

  // Each goes to every gateway, so that one client has only so many.
  let last = 200
  for (let i = 0; i < 70 && last === 200; i++) {
    last = (await post(flagger, '/oauth2/revoke', { token: await tokenOf(flagger) })).status
  }
  assert.equal(last, 400)
  assert.equal(await active(await tokenOf(flagger)), true)
})

test('gateways learn by the signed bundle which keys sign and what was revoked', async () => {
  const gateway = await plane.enrol('gateway', 'gw2')
  const stream = await gateway.follow()
  const token = await tokenOf(analyst, { resource: 'https://gateway.bank.test/other' })
  const { jti } = claimsIn(token)
  await post(analyst, '/oauth2/revoke', { token })
  await stream.until(
    (f) =>
      f.bundles.some(({ signed }) => signed.bundle.tokens?.revoked.some((one) => one.jti === jti)),
    30_000,
  )
  const { tokens } = stream.bundles.at(-1)?.signed.bundle ?? {}
  const { kid } = JSON.parse(Buffer.from(token.split('.')[0] ?? '', 'base64url').toString()) as {
    kid: string
  }
  assert.ok(tokens?.keys.some((key) => key.kid === kid))
  stream.close()
})
