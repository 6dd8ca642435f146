import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { describe, it } from 'node:test'

import { kindOf } from '@sallyport/spiffe'
import { IdentityHolder, mtlsConnector } from '@sallyport/transport'
import type { RefusedFacts } from '@sallyport/transport'
import { issueCallToken, requestHash } from '@sallyport/wire'
import { Client } from 'undici'

import { createService } from '../src/index.ts'
import { identityOf, makeFabric } from './plane.ts'

const fabric = makeFabric()
const gateway = identityOf(fabric, '/gateway/g1')
const identity = { holder: new IdentityHolder(identityOf(fabric, '/service/core/1')) }

const claims = {
  iss: 'spiffe://bank.test/gateway/g1',
  sub: 'spiffe://bank.test/agent/monitor/1',
  aud: 'spiffe://bank.test/service/core',
  decision: 'dec_1',
  operation: 'placeHold',
}
const BODY = '{"amount":5}'
const PATH = '/v1/holds?x=1'

async function start() {
  const refused: RefusedFacts[] = []
  const service = await createService({
    identity,
    name: 'core',
    listen: { host: '127.0.0.1', port: 0 },
    maxBodyBytes: 1000,
    onRefused: (facts) => refused.push(facts),
    handler: async (request, response, call) => {
      let body = ''
      for await (const chunk of request) body += String(chunk)
      response.end(
        JSON.stringify({
          sub: call.sub,
          ...(call.obo ? { obo: call.obo } : {}),
          body,
          token: request.headers['sallyport-call-token'] ?? null,
          trace: request.headers['traceparent'] ?? null,
          raw: request.rawHeaders.some((text) => text.toLowerCase() === 'sallyport-call-token'),
        }),
      )
    },
  })
  assert.ok('port' in service.address)
  return { service, target: service.address, refused, [Symbol.asyncDispose]: () => service.close() }
}

type Target = Awaited<ReturnType<typeof start>>['target']

async function send(
  target: Target,
  token: string | string[] | undefined,
  options: {
    body?: string
    path?: string
    method?: 'POST' | 'PUT'
    as?: typeof gateway
    traceparent?: string
  } = {},
) {
  const client = new Client('http://core', {
    connect: mtlsConnector({
      identity: new IdentityHolder(options.as ?? gateway),
      target,
      expect: (peer) => kindOf(peer.id)?.name === 'core',
    }),
  })
  try {
    const answer = await client.request({
      method: options.method ?? 'POST',
      path: options.path ?? PATH,
      body: options.body ?? BODY,
      headers: {
        ...(token === undefined ? {} : { 'sallyport-call-token': token }),
        ...(options.traceparent === undefined ? {} : { traceparent: options.traceparent }),
      },
    })
    // Both answers of this service are JSON objects.
    return {
      status: answer.statusCode,
      body: (await answer.body.json()) as Record<string, unknown>,
    }
  } finally {
    await client.destroy()
  }
}

const token = (
  change: Partial<Parameters<typeof issueCallToken>[0]> = {},
  key = gateway.keyPem,
  now = Date.now(),
) =>
  issueCallToken(
    { ...claims, request: requestHash('POST', PATH, Buffer.from(BODY)), ...change },
    createPrivateKey(key),
    now,
  )

describe('createService', () => {
  it('answers a gateway with a token for exactly this request', async () => {
    await using running = await start()
    assert.deepEqual(await send(running.target, token()), {
      status: 200,
      body: { sub: claims.sub, body: BODY, token: null, trace: null, raw: false },
    })
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    assert.equal((await send(running.target, token(), { traceparent })).body['trace'], traceparent)
    const empty = token({ request: requestHash('POST', PATH, Buffer.alloc(0)) })
    assert.equal((await send(running.target, empty, { body: '' })).status, 200)
    const obo = { subject: 'operator:olga', actors: [claims.sub] }
    assert.deepEqual((await send(running.target, token({ obo }))).body['obo'], obo)
    assert.deepEqual(running.refused, [])
  })

  it('refuses every other token, and the same one twice', async () => {
    await using running = await start()
    const agentKey = identityOf(fabric, '/agent/monitor/1').keyPem
    const refused: readonly [
      string,
      Promise<string> | string | string[] | undefined,
      object,
      string,
    ][] = [
      ['no token', undefined, {}, 'SP_CALL_TOKEN_MISSING'],
      ['two tokens', [token(), token()], {}, 'SP_CALL_TOKEN_MISSING'],
      ['nonsense', 'x.y.z', {}, 'SP_CALL_TOKEN_INVALID'],
      [
        'another service',
        token({ aud: 'spiffe://bank.test/service/vault' }),
        {},
        'SP_CALL_TOKEN_INVALID',
      ],
      [
        'another gateway',
        token({ iss: 'spiffe://bank.test/gateway/g2' }),
        {},
        'SP_CALL_TOKEN_INVALID',
      ],
      ['another key', token({}, agentKey), {}, 'SP_CALL_TOKEN_INVALID'],
      ['expired', token({}, gateway.keyPem, Date.now() - 40_000), {}, 'SP_CALL_TOKEN_EXPIRED'],
      ['another body', token(), { body: '{"amount":6}' }, 'SP_CALL_TOKEN_REQUEST'],
      ['another path', token(), { path: '/v1/holds?x=2' }, 'SP_CALL_TOKEN_REQUEST'],
      ['another method', token(), { method: 'PUT' }, 'SP_CALL_TOKEN_REQUEST'],
      ['a large body', token(), { body: 'x'.repeat(1001) }, 'SP_REQUEST_TOO_LARGE'],
    ]
    for (const [name, value, options, code] of refused) {
      const answer = await send(running.target, await value, options)
      assert.equal(answer.body['code'], code, name)
      assert.equal(answer.status, code === 'SP_REQUEST_TOO_LARGE' ? 413 : 401, name)
      assert.equal((await send(running.target, token())).status, 200, name)
    }
    assert.deepEqual(
      running.refused.map(({ code }) => code),
      refused.map(([, , , code]) => code),
    )
    const once = token()
    assert.equal((await send(running.target, once)).status, 200)
    assert.equal((await send(running.target, once)).body['code'], 'SP_CALL_TOKEN_REPLAYED')
  })

  it('lets nobody but gateways connect, whatever they carry', async () => {
    await using running = await start()
    for (const path of ['/agent/monitor/1', '/service/vault/1', '/control/c1']) {
      const as = identityOf(fabric, path)
      await assert.rejects(
        send(running.target, token({ iss: `spiffe://bank.test${path}` }, as.keyPem), { as }),
      )
      assert.equal(running.refused.at(-1)?.code, 'SP_PEER_REFUSED')
    }
    assert.equal((await send(running.target, token())).status, 200)
  })

  it('turns a failing handler into an answer that says nothing', async () => {
    const service = await createService({
      identity,
      name: 'core',
      listen: { host: '127.0.0.1', port: 0 },
      handler: () => {
        throw new Error('secret')
      },
    })
    assert.ok('port' in service.address)
    const answer = await send(service.address, token())
    assert.equal(answer.status, 500)
    assert.doesNotMatch(JSON.stringify(answer.body), /secret/)
    await service.close()
  })
})
