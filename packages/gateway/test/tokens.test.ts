import assert from 'node:assert/strict'
import { createHash, createHmac, randomUUID, X509Certificate } from 'node:crypto'
import { afterEach, beforeEach, describe, it } from 'node:test'
import type { Declaration } from '@sallyport/network'
import type { DecisionRecord } from '@sallyport/wire'
import { ProofKey, TestIssuer } from './support/tokens.ts'
import { ACCOUNT, startWorld, until, word } from './support/world.ts'
import type { Reply, TestAgent, World } from './support/world.ts'

const READER = 'spiffe://test.example/agent/reader/i1'
const TELLER = 'spiffe://test.example/agent/teller/i1'
const PATH = '/bank/v1/accounts/A'

let world: World
let issuer: TestIssuer
let reader: TestAgent

beforeEach(async () => {
  issuer = new TestIssuer()
  world = await startWorld({}, (plane) => {
    plane.tokens = issuer.trust()
  })
  reader = world.agent('reader')
})
afterEach(() => world.close())

const ask = (
  token: string,
  agent = reader,
  headers: Record<string, string> = {},
  path = PATH,
): Promise<Reply> => agent.ask({ path, headers: { authorization: `Bearer ${token}`, ...headers } })

const act = (...actors: readonly string[]): object | undefined =>
  actors.toReversed().reduce<object | undefined>((inner, sub) => {
    return inner === undefined ? { sub } : { sub, act: inner }
  }, undefined)

/** A guard against hanging, no bound on how fast it is. */
const soon = (holds: () => boolean): Promise<void> => until(holds, 30_000)

/** The first decision that is so, out of what the gateway tells the control plane. */
async function decided(so: (decision: DecisionRecord) => boolean): Promise<DecisionRecord> {
  const found = () => world.plane.records().find((one) => one.kind === 'decision' && so(one))
  await soon(() => found() !== undefined)
  const decision = found()
  if (decision?.kind !== 'decision') throw new Error('no decision')
  return decision
}

describe('tokens at the gateway', () => {
  it('a call on behalf of a person: policy, record and service learn for whom, the upstream never sees the token', async () => {
    const token = await issuer.token(READER, {
      sub: 'operator:olga',
      act: act(READER, TELLER),
    })
    const answer = await ask(token)
    assert.equal(answer.status, 200)
    const seen = world.bank.seen.at(-1)
    assert.deepEqual(seen?.token.obo, { subject: 'operator:olga', actors: [READER, TELLER] })
    assert.equal(seen?.headers.authorization, undefined)
    assert.ok(!JSON.stringify(seen?.rawHeaders).includes(token), 'no passthrough')
    const { onBehalfOf } = await decided(() => true)
    assert.deepEqual(onBehalfOf, { subject: 'operator:olga', actors: [READER, TELLER] })
  })

  it('a token of nobody but the caller is no delegation; without one the certificate is enough', async () => {
    assert.equal((await ask(await issuer.token(READER))).status, 200)
    assert.equal(world.bank.seen.at(-1)?.token.obo, undefined)
    assert.equal((await reader.ask({ path: PATH })).status, 200)
  })

  it('a bad token refuses the call, and is never taken for none', async () => {
    const good = await issuer.token(READER)
    assert.equal((await ask(good)).status, 200)
    const [header = '', payload = '', signature = ''] = good.split('.')
    const encode = (value: unknown): string =>
      Buffer.from(JSON.stringify(value)).toString('base64url')
    const none = `${encode({ alg: 'none', typ: 'at+jwt', kid: issuer.kid })}.${payload}.`
    const spki = issuer.pair.publicKey.export({ format: 'der', type: 'spki' })
    const hs = `${encode({ alg: 'HS256', typ: 'at+jwt', kid: issuer.kid })}.${payload}`
    const mac = createHmac('sha256', spki).update(hs).digest('base64url')
    const now = Math.floor(Date.now() / 1000)
    const cases: readonly (readonly [string, string, string])[] = [
      ['alg none', none, 'SP_ACCESS_TOKEN_INVALID'],
      ['HS256 keyed with the public key', `${hs}.${mac}`, 'SP_ACCESS_TOKEN_INVALID'],
      [
        'a broken signature',
        `${header}.${payload}.A${signature.slice(1)}B`,
        'SP_ACCESS_TOKEN_INVALID',
      ],
      ['another type', await issuer.token(READER, {}, { typ: 'JWT' }), 'SP_ACCESS_TOKEN_INVALID'],
      [
        'an unknown critical header',
        await issuer.token(READER, {}, { crit: ['x'], x: true }),
        'SP_ACCESS_TOKEN_INVALID',
      ],
      ['an unknown key', await issuer.token(READER, {}, { kid: 'x' }), 'SP_ACCESS_TOKEN_INVALID'],
      [
        'another issuer',
        await issuer.token(READER, { iss: 'https://e.example' }),
        'SP_ACCESS_TOKEN_INVALID',
      ],
      [
        'another’s key',
        await new TestIssuer().token(READER, {}, { kid: issuer.kid }),
        'SP_ACCESS_TOKEN_INVALID',
      ],
      ['a long life', await issuer.token(READER, { exp: now + 3600 }), 'SP_ACCESS_TOKEN_INVALID'],
      [
        'the future',
        await issuer.token(READER, { iat: now + 120, exp: now + 180 }),
        'SP_ACCESS_TOKEN_INVALID',
      ],
      [
        'an end in the past',
        await issuer.token(READER, { iat: now - 90, exp: now - 30 }),
        'SP_ACCESS_TOKEN_EXPIRED',
      ],
      ['no holder', await issuer.token(READER, { cnf: {} }), 'SP_ACCESS_TOKEN_INVALID'],
      [
        'an unknown binding',
        await issuer.token(READER, { cnf: { spiffe_id: READER, x: 'y' } }),
        'SP_ACCESS_TOKEN_INVALID',
      ],
      [
        'JSON serialisation',
        Buffer.from('{"payload":"","signatures":[]}').toString('base64url'),
        'SP_ACCESS_TOKEN_INVALID',
      ],
    ]
    for (const [why, token, code] of cases) {
      const answer = await ask(token)
      assert.equal(answer.status, 401, why)
      assert.equal(answer.body['code'], code, why)
      assert.match(String(answer.headers['www-authenticate']), /^Bearer error="invalid_token"/, why)
    }
    for (const authorization of ['Basic cmVhZGVyOng=', 'Bearer', 'Bearer ', `Bearer ${good} x`]) {
      const answer = await reader.ask({ path: PATH, headers: { authorization } })
      assert.equal(answer.status, 401, authorization)
    }
    assert.equal((await ask(good)).status, 200, 'the good one is still good')
  })

  it('is for exactly one system', async () => {
    const aud = (value: unknown) => issuer.token(READER, { aud: value })
    assert.equal((await ask(await aud('https://gateway.test.example/bank'))).status, 200)
    for (const value of [
      'https://gateway.test.example/desk',
      'https://gateway.test.example/bank/',
      'https://elsewhere.example/bank',
      ['https://gateway.test.example/bank', 'https://gateway.test.example/desk'],
    ]) {
      const answer = await ask(await aud(value))
      assert.equal(answer.status, 401, String(value))
      assert.match(word(answer.body['code']), /^SP_ACCESS_TOKEN_(?:AUDIENCE|INVALID)$/)
    }
    const own = await ask(await issuer.token(READER), reader, {}, '/.sallyport/whoami')
    assert.equal(own.status, 401, 'the gateway’s own calls take no token')
  })

  it('a copy is worth nothing to anybody else, and a renewed certificate keeps it', async () => {
    const token = await issuer.token(READER)
    assert.equal(
      (await ask(token, world.agent('reader'))).status,
      200,
      'the certificate of another hour',
    )
    for (const thief of [world.agent('reader', 'i2'), world.agent('teller')]) {
      const answer = await ask(token, thief)
      assert.equal(answer.body['code'], 'SP_ACCESS_TOKEN_HOLDER')
    }
    const delegated = await issuer.token(READER, { sub: 'operator:olga', act: act(TELLER) })
    assert.equal((await ask(delegated)).body['code'], 'SP_ACCESS_TOKEN_HOLDER', 'another acts now')
  })

  it('bound to a certificate (RFC 8705): that one and no other', async () => {
    const { raw } = new X509Certificate(reader.material.chainPem)
    const thumbprint = createHash('sha256').update(raw).digest('base64url')
    const token = await issuer.token(READER, { cnf: { 'x5t#S256': thumbprint } })
    assert.equal((await ask(token)).status, 200)
    const renewed = world.agent('reader')
    assert.equal((await ask(token, renewed)).body['code'], 'SP_ACCESS_TOKEN_HOLDER')
  })

  it('names operations, and allows no other', async () => {
    assert.equal((await ask(await issuer.token(READER, { scope: 'getAccount' }))).status, 200)
    const answer = await ask(await issuer.token(READER, { scope: 'findAccounts' }))
    assert.equal(answer.status, 403)
    assert.equal(answer.body['code'], 'SP_ACCESS_TOKEN_SCOPE')
    assert.match(String(answer.headers['www-authenticate']), /insufficient_scope/)
    // Audited like any other refusal.
    await decided(({ code }) => code === 'SP_ACCESS_TOKEN_SCOPE')
    assert.equal((await ask(await issuer.token(READER, { scope: undefined }))).status, 403)
  })
})

describe('tokens over MCP and for payments', () => {
  const rpc = (
    method: string,
    headers: Record<string, string>,
    params: object = {},
  ): Promise<Reply> =>
    reader.ask({
      method: 'POST',
      path: '/desk/mcp',
      body: { jsonrpc: '2.0', id: randomUUID(), method, params },
      headers,
    })

  // MUST-reject 9
  it('a session is for one subject: no other call is served in it', async () => {
    const forWhom = async (sub: string) => ({
      authorization: `Bearer ${await issuer.token(READER, {
        sub,
        act: act(READER),
        aud: 'https://gateway.test.example/desk',
        scope: 'read_note',
      })}`,
    })
    const olga = await forWhom('operator:olga')
    const hello = {
      protocolVersion: '2025-06-18',
      capabilities: {},
      clientInfo: { name: 't', version: '1' },
    }
    const opened = await rpc('initialize', olga, hello)
    assert.equal(opened.status, 200)
    const session = { 'mcp-session-id': word(opened.headers['mcp-session-id']) }
    assert.equal((await rpc('tools/list', { ...olga, ...session })).status, 200)
    for (const other of [{}, await forWhom(TELLER)]) {
      const answer = await rpc('tools/list', { ...other, ...session })
      assert.equal(answer.body['code'], 'SP_MCP_SESSION')
    }
    assert.equal((await rpc('tools/list', { ...olga, ...session })).status, 200)
  })

  it('payments that a token names are all that it pays', async () => {
    await world.close()
    world = await startWorld(
      {},
      (plane) => {
        plane.tokens = issuer.trust()
      },
      payable,
    )
    const teller = world.agent('teller')
    const payment = {
      type: 'payment',
      amount: 500,
      currency: 'EUR',
      creditor: 'ACC-9',
      operations: ['transfer'],
    }
    const pay = async (over: object, details: readonly object[] | undefined = [payment]) => {
      const token = await issuer.token(TELLER, {
        scope: 'transfer',
        authorization_details: details,
      })
      const body = { amount: 500, to: 'B', currency: 'EUR', creditor: 'ACC-9', ...over }
      return teller.ask({
        path: '/bank/v1/accounts/A/transfers',
        body,
        headers: { authorization: `Bearer ${token}` },
      })
    }
    assert.equal((await pay({})).status, 200)
    assert.equal((await pay({ amount: 1 })).status, 200)
    for (const over of [{ amount: 501 }, { currency: 'USD' }, { creditor: 'ACC-1' }]) {
      const answer = await pay(over)
      assert.equal(answer.body['code'], 'SP_ACCESS_TOKEN_SCOPE', JSON.stringify(over))
    }
    const bad = await pay({}, [{ ...payment, type: 'anything' }])
    assert.equal(bad.status, 401, 'details that nobody understands')
    assert.equal((await pay({}, [])).status, 401, 'an empty list')
  })

  it('policy demands what a person agreed to: neither nothing, nor what an agent asked for by itself', async () => {
    await world.close()
    world = await startWorld(
      {},
      (plane) => {
        plane.tokens = issuer.trust()
      },
      consented,
    )
    const teller = world.agent('teller')
    const payment = (amount: number) => ({
      ...{ type: 'payment', amount, currency: 'EUR', creditor: 'ACC-9' },
      operations: ['transfer'],
    })
    const pay = async (claims: object | undefined, amount = 500) => {
      const given = { scope: 'transfer', sub: 'operator:olga', act: act(TELLER), ...claims }
      const authorization = `Bearer ${await issuer.token(TELLER, given)}`
      const { status, body } = await teller.ask({
        path: '/bank/v1/accounts/A/transfers',
        body: { amount, to: 'B', currency: 'EUR', creditor: 'ACC-9' },
        headers: claims === undefined ? {} : { authorization },
      })
      return status === 200 ? 200 : body['code']
    }
    const details = { authorization_details: [payment(900), payment(500)] }
    assert.equal(await pay({ ...details, details_by: 'operator:olga' }), 200)
    const record = await decided(({ operation }) => operation === 'transfer')
    assert.ok(record.payment, 'kept for replays')
    assert.doesNotMatch(JSON.stringify(record), /ACC-9/, 'sealed')
    const forbidden = 'SP_DENIED_FORBIDDEN'
    assert.equal(await pay(undefined), forbidden, 'no token')
    assert.equal(await pay({}), forbidden, 'a token without details')
    assert.equal(await pay({ ...details, details_by: TELLER }), forbidden, 'its own limit')
    assert.equal(await pay({ ...details, details_by: READER }), forbidden, 'of another agent')
    assert.equal(await pay(details), forbidden, 'nobody knows whose')
    const over = { ...details, details_by: 'operator:olga' }
    assert.equal(await pay(over, 901), 'SP_ACCESS_TOKEN_SCOPE', 'more than was agreed to')
    assert.equal(await pay(over, 900), 200)
  })
})

/** The same, where policy asks for consent to exactly the payment: a person's, or of a teller, who cannot give it to itself. */
function consented(declaration: Declaration): Declaration {
  const bank = payable(declaration)
  const source = `@id("consented") forbid (principal, action == Action::"bank.transfer", resource)
    unless { context has payment && (context.payment.by like "operator:*" || context.payment.by like "*/teller/*") && context.input.amount <= context.payment.amount
      && context.input.creditor == context.payment.creditor && context.input.currency == context.payment.currency };`
  const policy = { id: 'consented', source, file: 'consented.cedar', line: 1 }
  return { ...bank, policies: [...bank.policies, policy] }
}

/** The same bank, whose transfers name currency and creditor. */
function payable(declaration: Declaration): Declaration {
  const text = { schema: { type: 'string', maxLength: 64 }, required: true } as const
  const { network } = declaration
  const systems = network.systems.map((system) => ({
    ...system,
    operations: system.operations.map((operation) => {
      const { binding, input } = operation
      if (operation.name !== 'transfer' || binding.kind !== 'http') return operation
      const parameters = { ...binding.parameters, currency: 'body', creditor: 'body' } as const
      const members = { ...input.members, currency: text, creditor: text }
      return { ...operation, binding: { ...binding, parameters }, input: { ...input, members } }
    }),
  }))
  return { ...declaration, network: { ...network, systems } }
}

describe('proofs of possession (RFC 9449)', () => {
  const URL_OF = `https://gateway.test.example${PATH}`
  const hashOf = (token: string): string => createHash('sha256').update(token).digest('base64url')
  let key: ProofKey
  let token: string

  beforeEach(async () => {
    key = new ProofKey()
    token = await issuer.token(READER, { cnf: { jkt: await key.thumbprint(), spiffe_id: READER } })
  })

  const send = (dpop: string | undefined, agent = reader, scheme = 'DPoP'): Promise<Reply> =>
    agent.ask({
      path: PATH,
      headers: { authorization: `${scheme} ${token}`, ...(dpop === undefined ? {} : { dpop }) },
    })

  async function nonce(): Promise<string> {
    const answer = await send(await key.proof({ htm: 'GET', htu: URL_OF, ath: hashOf(token) }))
    assert.equal(answer.body['code'], 'SP_DPOP_NONCE')
    assert.match(String(answer.headers['www-authenticate']), /^DPoP error="use_dpop_nonce"/)
    return String(answer.headers['dpop-nonce'])
  }

  it('a fresh proof with the gateway’s nonce is accepted, once', async () => {
    const claims = { htm: 'GET', htu: URL_OF, ath: hashOf(token), nonce: await nonce() }
    const proof = await key.proof(claims)
    assert.equal((await send(proof)).status, 200)
    assert.equal((await send(proof)).body['code'], 'SP_DPOP_PROOF', 'replayed')
    const raced = await key.proof(claims)
    const answers = await Promise.all([1, 2, 3, 4].map(() => send(raced)))
    assert.equal(answers.filter(({ status }) => status === 200).length, 1, 'four at once')
    assert.equal((await send(await key.proof(claims))).status, 200)
  })

  it('for another method, address, token, key or nonce, or missing, it is refused', async () => {
    const good = { htm: 'GET', htu: URL_OF, ath: hashOf(token), nonce: await nonce() }
    assert.equal((await send(await key.proof(good))).status, 200)
    for (const [why, bad] of [
      ['htm', { ...good, htm: 'POST' }],
      ['htu path', { ...good, htu: `${URL_OF}B` }],
      ['htu host', { ...good, htu: `https://elsewhere.example${PATH}` }],
      ['ath', { ...good, ath: hashOf('another') }],
      ['no ath', { ...good, ath: undefined }],
      ['no jti', { ...good, jti: undefined }],
    ] as const) {
      assert.equal((await send(await key.proof(bad))).body['code'], 'SP_DPOP_PROOF', why)
    }
    const forged = await key.proof({ ...good, nonce: Buffer.alloc(32).toString('base64url') })
    assert.equal((await send(forged)).body['code'], 'SP_DPOP_NONCE')
    const stranger = await new ProofKey().proof(good)
    assert.equal((await send(stranger)).body['code'], 'SP_ACCESS_TOKEN_HOLDER', 'another key')
    const thief = world.agent('reader', 'i2')
    assert.equal((await send(await key.proof(good), thief)).body['code'], 'SP_ACCESS_TOKEN_HOLDER')
    assert.equal((await send(undefined)).body['code'], 'SP_DPOP_PROOF', 'no proof')
    const bearer = await send(await key.proof(good), reader, 'Bearer')
    assert.equal(bearer.body['code'], 'SP_ACCESS_TOKEN_INVALID', 'as a bearer token')
    const bare = await reader.ask({ path: PATH, headers: { dpop: await key.proof(good) } })
    assert.equal(bare.body['code'], 'SP_DPOP_PROOF', 'a proof of nothing')
  })
})

describe('continuous evaluation', () => {
  it('a revoked token stops at once, and with it all that was made from it', async () => {
    const jti = randomUUID()
    const first = await issuer.token(READER, { jti })
    const derived = await issuer.token(READER, { prior: ['x', jti] })
    const other = await issuer.token(READER)
    for (const token of [first, derived, other]) assert.equal((await ask(token)).status, 200)
    world.plane.tokens = issuer.trust({
      revoked: [{ jti, exp: Math.floor(Date.now() / 1000) + 60 }],
    })
    world.plane.publish()
    const { n } = world.gateway.stats().revision ?? { n: 0 }
    await soon(() => (world.gateway.stats().revision?.n ?? 0) > n || n >= 2)
    for (const token of [first, derived]) {
      assert.equal((await ask(token)).body['code'], 'SP_ACCESS_TOKEN_REVOKED')
    }
    assert.equal((await ask(other)).status, 200)
  })

  it('whoever is in the chain and is cut off takes the token along; it does not come back', async () => {
    const forPerson = { sub: 'operator:olga', act: act(READER, TELLER) }
    const token = await issuer.token(READER, { ...forPerson, serials: ['ab12'] })
    assert.equal((await ask(token)).status, 200)
    for (const [why, claims] of [
      ['a person who is not declared', { ...forPerson, sub: 'operator:eve' }],
      [
        'an agent that is not declared',
        { ...forPerson, act: act(READER, TELLER.replace('teller', 'x')) },
      ],
      [
        'a subject of another trust domain',
        { ...forPerson, sub: 'spiffe://else.example/agent/reader/i1' },
      ],
      ['a whole agent for a subject', { ...forPerson, sub: 'spiffe://test.example/agent/reader' }],
    ] as const) {
      const answer = await ask(await issuer.token(READER, claims))
      assert.equal(answer.body['code'], 'SP_ACCESS_TOKEN_SUBJECT', why)
    }
    world.plane.quarantine(TELLER)
    await soon(() => world.gateway.stats().revision?.n === 2)
    assert.equal((await ask(token)).body['code'], 'SP_ACCESS_TOKEN_SUBJECT')
    assert.equal((await reader.ask({ path: PATH })).status, 200, 'the caller itself is not cut')
    const clean = await issuer.token(READER, {
      sub: 'operator:olga',
      act: act(READER),
      serials: ['ab12'],
    })
    assert.equal((await ask(clean)).status, 200)
    world.plane.revokedSerials = [{ serial: 'ab12', notAfter: Date.now() + 60_000 }]
    world.plane.publish()
    await soon(() => world.gateway.stats().revision?.n === 3)
    assert.equal((await ask(clean)).body['code'], 'SP_ACCESS_TOKEN_SUBJECT')
  })

  // MUST-reject 6
  it('an operator who is declared and has no passkey any more is nobody to act for', async () => {
    await world.close()
    world = await startWorld(
      {},
      (plane) => {
        plane.tokens = issuer.trust()
      },
      (declaration) => {
        const { network } = declaration
        const ivan = { name: 'ivan', displayName: 'Ivan', roles: ['viewer'] } as const
        const operators = [...network.operators, ivan]
        return { ...declaration, network: { ...network, operators } }
      },
    )
    reader = world.agent('reader')
    const forWhom = (sub: string) => issuer.token(READER, { sub, act: act(READER) })
    assert.equal((await ask(await forWhom('operator:olga'))).status, 200)
    const answer = await ask(await forWhom('operator:ivan'))
    assert.equal(answer.body['code'], 'SP_ACCESS_TOKEN_SUBJECT')
  })

  it('a stream ends when somebody in the chain of its token is cut off', async () => {
    world.bank.answer = (_seen, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.write(`data: ${JSON.stringify({ account: ACCOUNT })}\n\n`)
    }
    const open = async (token: string): Promise<() => boolean> => {
      const answer = await reader.pool.request({
        method: 'GET',
        path: '/bank/v1/watch',
        headers: { accept: 'text/event-stream', authorization: `Bearer ${token}` },
      })
      assert.equal(answer.statusCode, 200)
      let ended = false
      answer.body.on('error', () => (ended = true))
      answer.body.on('close', () => (ended = true))
      answer.body.resume()
      return () => ended
    }
    const person = { sub: 'operator:olga' }
    const through = await open(await issuer.token(READER, { ...person, act: act(READER, TELLER) }))
    const direct = await open(await issuer.token(READER, { ...person, act: act(READER) }))
    world.plane.quarantine(TELLER)
    await soon(through)
    assert.equal(direct(), false, 'the other stream goes on')
    const jti = randomUUID()
    const revoked = await open(await issuer.token(READER, { ...person, jti, act: act(READER) }))
    world.plane.tokens = issuer.trust({
      revoked: [{ jti, exp: Math.floor(Date.now() / 1000) + 60 }],
    })
    world.plane.publish()
    await soon(revoked)
    assert.equal(direct(), false)
  })

  it('without an issuer in the bundle, or by a key that has ended, no token is valid', async () => {
    const token = await issuer.token(READER)
    assert.equal((await ask(token)).status, 200)
    const trust = issuer.trust()
    world.plane.tokens = {
      ...trust,
      keys: trust.keys.map((entry) => ({ ...entry, notAfter: Date.now() - 1 })),
    }
    world.plane.publish()
    await soon(() => world.gateway.stats().revision?.n === 2)
    assert.equal((await ask(token)).body['code'], 'SP_ACCESS_TOKEN_INVALID')
    world.plane.tokens = undefined
    world.plane.publish()
    await soon(() => world.gateway.stats().revision?.n === 3)
    assert.equal((await ask(token)).body['code'], 'SP_ACCESS_TOKEN_INVALID')
    assert.equal((await reader.ask({ path: PATH })).status, 200)
  })
})
