import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { requestHash } from '@sallyport/wire'
import type { GatewaySettings } from '../src/settings.ts'
import { Outside } from './support/outside.ts'
import { json } from './support/service.ts'
import type { Answer } from './support/service.ts'
import { ACCOUNT, startWorld, until, word } from './support/world.ts'
import type { Json, Reply, TestAgent, World } from './support/world.ts'

const TOKEN = /^tok_account_[A-Za-z0-9_-]{43,}$/

/** A refusal in its frozen form: these members and no others. */
function refusedAs(reply: Reply, status: number, code: string, outcome: string): void {
  assert.equal(reply.status, status, JSON.stringify(reply.body))
  assert.equal(reply.headers['content-type'], 'application/problem+json')
  const { title, decision, needs: _needs, retryAfterSeconds, ...rest } = reply.body
  assert.deepEqual(rest, { type: `https://sallyport.dev/errors/${code}`, status, code, outcome })
  assert.equal(typeof title, 'string')
  assert.match(word(decision), /^dec_[0-9a-z]{26}$/)
  const header = reply.headers['retry-after']
  assert.equal(retryAfterSeconds, header === undefined ? undefined : Number(header))
}

const callsOver = (codec: GatewaySettings['codec']) => (): void => {
  let world: World
  let reader: TestAgent
  let teller: TestAgent
  let usual: Answer
  const outside: { headers: Record<string, unknown>; url: string | undefined }[] = []
  const rates = new Outside((req, res) => {
    outside.push({ headers: req.headers, url: req.url })
    json(res, { rate: 42, echoed: req.headers['x-api-key'] })
  })

  before(async () => {
    await rates.listen()
    world = await startWorld({ settings: { codec } }, undefined, (declaration) =>
      rates.in(declaration),
    )
    usual = world.bank.answer
    reader = world.agent('reader')
    teller = world.agent('teller')
  })
  after(async () => {
    await world.close()
    rates.close()
  })
  beforeEach(() => {
    world.bank.answer = usual
    world.plane.limit = 'grant'
  })

  it('shows each caller the fields its policies grant, and drops what nobody declared', async () => {
    const seen = await reader.ask({ path: '/bank/v1/accounts/ACC-1' })
    assert.equal(seen.status, 200)
    const { id, ...account } = seen.body['account'] as Json
    assert.match(word(id), TOKEN)
    assert.deepEqual(account, {
      owner: 'A***',
      balance: 1200,
      memo: ACCOUNT.memo,
      status: 'open',
    })
    assert.deepEqual(Object.keys(seen.body), ['account'])
    const other = await teller.ask({ path: '/bank/v1/accounts/ACC-1' })
    assert.equal((other.body['account'] as Json)['id'], 'ACC-1')
  })

  it('restores a token before the decision, and forwards what was decided', async () => {
    const first = await reader.ask({ path: '/bank/v1/accounts/ACC-1' })
    const token = word((first.body['account'] as Json)['id'])
    const again = await reader.ask({ path: `/bank/v1/accounts/${token}` })
    assert.equal(again.status, 200)
    assert.equal(world.bank.seen.at(-1)?.url, '/v1/accounts/ACC-1')
    const forged = `${token.slice(0, -2)}${token.endsWith('AA') ? 'BB' : 'AA'}`
    refusedAs(
      await reader.ask({ path: `/bank/v1/accounts/${forged}` }),
      400,
      'SP_TOKEN_INVALID',
      'refused',
    )
  })

  it('forwards one canonical request with a token for exactly that, and no header of the caller', async () => {
    const path = '/bank/v1/accounts?open=true&limit=5&owner=Ann+L%C3%A9e%26x'
    const headers = {
      cookie: 'a=b',
      'x-forwarded-for': '10.0.0.1',
      'sallyport-call-token': 'forged',
      'x-spiffe-id': 'spiffe://test.example/agent/teller/i1',
      'user-agent': 'x',
    }
    assert.equal((await reader.ask({ path, headers })).status, 200)
    const seen = world.bank.seen.at(-1)
    const canonical = '/v1/accounts?limit=5&open=true&owner=Ann%20L%C3%A9e%26x'
    assert.equal(seen?.url, canonical)
    const names = Object.keys(seen.headers).toSorted()
    assert.deepEqual(names, [
      'accept',
      'accept-encoding',
      'connection',
      'host',
      'sallyport-call-token',
    ])
    assert.equal(seen.token.sub, 'spiffe://test.example/agent/reader/i1')
    assert.equal(seen.token.operation, 'bank.findAccounts')
    await until(() =>
      world.plane.records().some((r) => r.kind === 'decision' && r.id === seen.token.decision),
    )
    const record = world.plane
      .records()
      .find((r) => r.kind === 'decision' && r.id === seen.token.decision)
    assert.equal(
      record?.kind === 'decision' && record.requestHash,
      requestHash('GET', canonical, new Uint8Array()),
    )
  })

  it('re-serialises a body from the typed input', async () => {
    const body = { to: 'bob', amount: 5, memo: 'é' }
    const reply = await teller.ask({ path: '/bank/v1/accounts/A%20B/transfers', body })
    assert.deepEqual([reply.status, reply.body], [200, { id: 'T-1' }])
    const seen = world.bank.seen.at(-1)
    assert.equal(seen?.url, '/v1/accounts/A%20B/transfers')
    assert.equal(seen.body, '{"amount":5,"memo":"é","to":"bob"}')
    assert.equal(seen.headers['content-type'], 'application/json')
  })

  it('sends a whole number in its one spelling, and none that only a double makes whole', async () => {
    const send = async (amount: string): Promise<unknown> => {
      const before = world.bank.seen.length
      const answer = await teller.pool.request({
        method: 'POST',
        path: '/bank/v1/accounts/A/transfers',
        body: `{"amount":${amount},"to":"bob"}`,
        headers: { 'content-type': 'application/json' },
      })
      const said = JSON.parse(await answer.body.text()) as Json
      const sent = world.bank.seen.slice(before).map(({ body }) => body)
      return answer.statusCode === 200 ? sent.join() : [word(said['code']), ...sent].join()
    }
    for (const spelt of [
      '7',
      '7.0',
      '7.000000000000000000000',
      '7e0',
      '0.7e1',
      '70E-1',
      '700e-2',
    ]) {
      assert.equal(await send(spelt), '{"amount":7,"to":"bob"}', spelt)
    }
    for (const rounded of [
      '6.99999999999999999999',
      '7.00000000000000000001',
      '70000000000000000000001e-22',
    ]) {
      assert.equal(await send(rounded), 'SP_JSON_NUMBER', rounded)
    }
    for (const part of ['7.5', '1e-7', '6.99999999999999']) {
      assert.equal(await send(part), 'SP_INPUT_TYPE', part)
    }
    for (const huge of ['1e400', '-1e400', '1e16', '9007199254740993', '7e99999999999999999999']) {
      assert.equal(await send(huge), 'SP_JSON_NUMBER', huge)
    }
    for (const none of ['-0', '-0.0', '0e5', '-7', '1e-400']) {
      const code = none === '1e-400' ? 'SP_JSON_NUMBER' : 'SP_INPUT_VALUE'
      assert.equal(await send(none), code, none)
    }
  })

  it('has the decision durable before the upstream sees the request', async () => {
    let sizeThen = 0
    const before = world.gateway.stats().logSize
    world.bank.answer = (_seen, res) => {
      sizeThen = world.gateway.stats().logSize
      json(res, {})
    }
    await reader.ask({ path: '/bank/v1/accounts/ACC-9' })
    assert.ok(sizeThen > before)
  })

  it('refuses, with nothing told but the outcome', async () => {
    const before = world.bank.seen.length
    const move = (body: unknown, agent = teller) =>
      agent.ask({ path: '/bank/v1/accounts/A/transfers', body })
    const stranger = world.agent('stranger')
    const get = (path: string, agent = reader) => agent.ask({ path })
    refusedAs(await get('/bank/v1/accounts/A', stranger), 403, 'SP_NO_FLOW', 'not-permitted')
    refusedAs(await move({ nonsense: 1 }, reader), 403, 'SP_NO_FLOW', 'not-permitted')
    refusedAs(await move({ to: 'mallory', amount: 1 }), 403, 'SP_DENIED_FORBIDDEN', 'forbidden')
    refusedAs(await get('/bank/v1/nothing'), 403, 'SP_NO_OPERATION', 'not-permitted')
    refusedAs(await get('/vault/v1/secrets'), 403, 'SP_NO_OPERATION', 'not-permitted')
    refusedAs(await get('/bank/v1/accounts?owner=a&other=b'), 400, 'SP_INPUT_UNKNOWN', 'refused')
    refusedAs(await get('/bank/v1/accounts?limit=05'), 400, 'SP_INPUT_TYPE', 'refused')
    refusedAs(await get('/bank/v1/accounts?limit=101'), 400, 'SP_INPUT_VALUE', 'refused')
    refusedAs(await get('/bank/v1/accounts?open=1'), 400, 'SP_INPUT_TYPE', 'refused')
    refusedAs(await get('/bank/v1/accounts/A?accountId=B'), 400, 'SP_INPUT_UNKNOWN', 'refused')
    refusedAs(await move({ to: 'bob' }), 400, 'SP_INPUT_MISSING', 'refused')
    refusedAs(await move({ to: 'bob', amount: 1.5 }), 400, 'SP_INPUT_TYPE', 'refused')
    refusedAs(
      await move({ to: 'bob', amount: 1, accountId: 'B' }),
      400,
      'SP_INPUT_UNKNOWN',
      'refused',
    )
    refusedAs(await move([1]), 400, 'SP_REQUEST_BODY', 'refused')
    refusedAs(
      await move({ to: 'x'.repeat(300_000), amount: 1 }),
      413,
      'SP_REQUEST_TOO_LARGE',
      'refused',
    )
    assert.equal(world.bank.seen.length, before)
  })

  it('refuses other bodies than strict JSON', async () => {
    const send = async (body: string, type = 'application/json'): Promise<string> => {
      const answer = await teller.pool.request({
        method: 'POST',
        path: '/bank/v1/accounts/A/transfers',
        body,
        headers: { 'content-type': type },
      })
      return word((JSON.parse(await answer.body.text()) as Json)['code'])
    }
    assert.equal(await send('{"to":"bob","amount":1,"amount":2}'), 'SP_JSON_DUPLICATE_KEY')
    assert.equal(await send('{"__proto__":{},"to":"bob","amount":1}'), 'SP_JSON_FORBIDDEN_KEY')
    assert.equal(await send('{"to":"bob","amount":1'), 'SP_JSON_SYNTAX')
    assert.equal(await send('['.repeat(100)), 'SP_JSON_TOO_DEEP')
    assert.equal(await send('{"to":"bob","amount":1}', 'text/plain'), 'SP_REQUEST_BODY')
    assert.equal(await send('to=bob', 'application/x-www-form-urlencoded'), 'SP_REQUEST_BODY')
  })

  it('records every refusal with its why sealed, and explains it in the feed', async () => {
    const reply = await teller.ask({
      path: '/bank/v1/accounts/A/transfers',
      body: { to: 'mallory', amount: 1 },
    })
    const id = reply.body['decision']
    const find = () =>
      [...world.plane.feed.values()].find(
        ({ record }) => record.kind === 'decision' && record.id === id,
      )
    await until(() => find() !== undefined)
    const item = find()
    assert.ok(item?.record.kind === 'decision')
    assert.deepEqual(item.record.reasons, ['no-transfers-to-mallory'])
    assert.ok(item.record.why && item.record.input)
    assert.match(JSON.stringify(item.explanation), /no-transfers-to-mallory/)
    assert.equal(/"amount"|"to":/.test(JSON.stringify(item.record)), false)
  })

  it('counts against limits at the control plane, and fails closed', async () => {
    const move = () =>
      teller.ask({ path: '/bank/v1/accounts/A/transfers', body: { to: 'bob', amount: 7 } })
    const calls = world.bank.seen.length
    assert.equal((await move()).status, 200)
    assert.equal(world.plane.reserved.at(-1)?.['amount'], 7)
    await until(() => world.plane.settled.at(-1)?.commit === true)
    world.plane.limit = 'refuse'
    const limited = await move()
    refusedAs(limited, 429, 'SP_LIMIT_REACHED', 'limited')
    assert.equal(limited.headers['retry-after'], '7')
    world.plane.limit = 'fail'
    refusedAs(await move(), 503, 'SP_LIMIT_UNAVAILABLE', 'refused')
    assert.equal(world.bank.seen.length, calls + 1)
  })

  it('never carries two callers on one upstream connection', async () => {
    const from = world.bank.seen.length
    const other = world.agent('reader', 'i2')
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        ([reader, teller, other][i % 3] ?? other).ask({ path: '/bank/v1/accounts/A' }),
      ),
    )
    const callers = new Map<number, Set<string>>()
    for (const { connection, token } of world.bank.seen.slice(from)) {
      callers.set(connection, (callers.get(connection) ?? new Set()).add(token.sub))
    }
    assert.ok(callers.size >= 3)
    for (const subjects of callers.values()) assert.equal(subjects.size, 1)
  })

  it('lets nothing of an upstream through but projected JSON', async () => {
    const ask = () => reader.ask({ path: '/bank/v1/accounts/A' })
    const event = async (decision: unknown) => {
      const find = () =>
        world.plane
          .records()
          .filter((one) => one.kind === 'event')
          .find((one) => one.event === 'upstream-failed' && one.facts['decision'] === decision)
      await until(() => find() !== undefined)
      return find() ?? assert.fail()
    }
    const answers: Readonly<Record<string, readonly [Answer, number, string]>> = {
      'a redirect': [
        (_s, res) => res.writeHead(302, { location: 'https://evil.example' }).end(),
        502,
        'SP_UPSTREAM_FAILED',
      ],
      'an error page': [
        (_s, res) => json(res, { stack: 'at secret' }, 500),
        502,
        'SP_UPSTREAM_FAILED',
      ],
      'a login challenge': [
        (_s, res) => json(res, {}, 401, { 'www-authenticate': 'x' }),
        502,
        'SP_UPSTREAM_FAILED',
      ],
      'its own refusal': [
        (_s, res) => json(res, { reason: 'secret' }, 404),
        404,
        'SP_UPSTREAM_REFUSED',
      ],
      'a web page': [
        (_s, res) => res.writeHead(200, { 'content-type': 'text/html' }).end('<p>'),
        502,
        'SP_UPSTREAM_RESPONSE',
      ],
      'JSON that is none': [
        (_s, res) =>
          res.writeHead(200, { 'content-type': 'application/json' }).end('{"a":1,"a":2}'),
        502,
        'SP_UPSTREAM_RESPONSE',
      ],
      'an answer that is not encoded as it says': [
        (_s, res) => json(res, {}, 200, { 'content-encoding': 'gzip' }),
        502,
        'SP_UPSTREAM_ENCODING',
      ],
      'an answer that breaks off': [
        (_s, res) => {
          res.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' })
          res.write('{')
          setTimeout(() => res.destroy(), 10)
        },
        502,
        'SP_UPSTREAM_FAILED',
      ],
    }
    for (const [what, [answer, status, code]] of Object.entries(answers)) {
      world.bank.answer = answer
      const reply = await ask()
      assert.equal(reply.body['code'], code, what)
      refusedAs(reply, status, code, 'refused')
      assert.doesNotMatch(JSON.stringify([reply.headers, reply.body]), /secret|evil|www-auth/, what)
      // Operators find why, and nothing of the answer beside it; a refusal of the system's own is no failure.
      if (code === 'SP_UPSTREAM_REFUSED') continue
      const said = await event(reply.body['decision'])
      assert.equal(said.code, code, what)
      assert.equal(said.facts['system'], 'bank')
      assert.match(String(said.facts['detail']), /\w/)
      assert.doesNotMatch(JSON.stringify(said), /secret|evil|www-auth/, what)
    }
    world.bank.answer = (_s, res) =>
      json(res, { account: {} }, 200, { 'set-cookie': 'a=b', 'x-internal': 'y', etag: 'z' })
    const fine = await ask()
    assert.equal(fine.status, 200)
    for (const name of ['set-cookie', 'x-internal', 'etag', 'server'])
      assert.equal(fine.headers[name], undefined)
  })

  it('brings the credential of an external system itself, and shows it to nobody', async () => {
    const reply = await reader.ask({ path: '/rates/v1/rate', headers: { 'x-api-key': 'mine' } })
    assert.deepEqual([reply.status, reply.body], [200, { rate: 42 }])
    assert.equal(outside.at(-1)?.headers['x-api-key'], 'brokered-secret')
    assert.equal(outside.at(-1)?.headers['sallyport-call-token'], undefined)
    assert.equal(outside.at(-1)?.url, '/base/v1/rate')
  })

  it('tells a caller who it is, and nobody another’s approvals', async () => {
    const { body } = await reader.ask({ path: '/.sallyport/whoami' })
    assert.equal(body['instance'], 'spiffe://test.example/agent/reader/i1')
    const needs = await teller.ask({
      path: '/bank/v1/accounts/A/transfers',
      body: { to: 'bob', amount: 5000 },
    })
    refusedAs(needs, 403, 'SP_NEEDS_APPROVAL', 'needs')
    const [need] = needs.body['needs'] as Json[]
    assert.deepEqual({ ...need, approval: '?' }, { kind: 'approval', count: 1, approval: '?' })
    const path = `/.sallyport/approvals/${word(need?.['approval'])}`
    assert.deepEqual((await teller.ask({ path })).body, { status: 'pending' })
    refusedAs(await reader.ask({ path }), 404, 'SP_APPROVAL_UNKNOWN', 'refused')
    refusedAs(
      await reader.ask({ path: '/.sallyport/approvals/apr_none' }),
      404,
      'SP_APPROVAL_UNKNOWN',
      'refused',
    )
    refusedAs(
      await reader.ask({ path: '/.sallyport/stats' }),
      403,
      'SP_NO_OPERATION',
      'not-permitted',
    )
  })

  it('fetches a credential that it was not given, keeps it for a moment, and calls nothing without', async () => {
    const clock = { now: () => Date.now(), monotonic: () => performance.now() + ahead }
    let ahead = 0
    const { plane } = world
    await world.restart({ secrets: {}, clock })
    const caller = world.agent('reader', 'i7')
    const ask = () => caller.ask({ path: '/rates/v1/rate' })
    /** As if so much time had passed with the control plane in reach. */
    const later = async (ms: number): Promise<void> => {
      ahead += ms
      plane.publish()
      await until(() => world.gateway.stats().bundleAgeMs < ms, 30_000)
    }
    const sent = () => outside.at(-1)?.headers['x-api-key']
    const before = outside.length
    refusedAs(await ask(), 503, 'SP_CREDENTIAL_MISSING', 'refused')
    plane.credentials.set('rates-key', 'two\r\nlines: x')
    refusedAs(await ask(), 503, 'SP_CREDENTIAL_MISSING', 'refused')
    assert.equal(outside.length, before)
    await until(() => /upstream-failed.*rates-key/.test(JSON.stringify(plane.records())))
    plane.credentials.set('rates-key', 'first')
    await later(61_000)
    const read = plane.credentialReads
    await Promise.all([ask(), ask(), ask()])
    assert.deepEqual([sent(), plane.credentialReads - read], ['first', 1])
    plane.credentials.set('rates-key', 'second')
    await ask()
    assert.equal(sent(), 'first')
    await later(61_000)
    await ask()
    assert.equal(sent(), 'second')
    // Out of reach: the last one goes on for five minutes, and no longer.
    plane.credentialsDown = true
    await later(200_000)
    await ask()
    assert.equal(sent(), 'second')
    await later(150_000)
    refusedAs(await ask(), 503, 'SP_CREDENTIAL_MISSING', 'refused')
    plane.credentialsDown = false
    assert.equal((await ask()).status, 200)
    await later(61_000)
    plane.credentials.delete('rates-key')
    refusedAs(await ask(), 503, 'SP_CREDENTIAL_MISSING', 'refused')
    const records = JSON.stringify(plane.records())
    assert.doesNotMatch(records, /second|two\b/)
  })
}

for (const codec of ['llhttp', 'lean'] as const) {
  describe(`HTTP calls through a gateway, ${codec} towards systems`, callsOver(codec))
}
