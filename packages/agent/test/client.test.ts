import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { afterEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { assertFresh, IdentityHolder, peerOf } from '@sallyport/transport'

import { createClient, RefusedError } from '../src/index.ts'
import type { AgentClient } from '../src/index.ts'
import { identityOf, json, makeFabric, problem, serve } from './plane.ts'
import type { Routes } from './plane.ts'

const TRACEPARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
const fabric = makeFabric()
const holder = (path: string, ttl?: number): IdentityHolder =>
  new IdentityHolder(identityOf(fabric, path, ttl))

async function gateway(routes: Routes, path = '/gateway/g1') {
  return serve(holder(path), routes)
}

const open = new Set<AgentClient>()
function client(target: { host: string; port: number }, agent = holder('/agent/monitor/1')) {
  const made = createClient({ identity: { holder: agent }, gateway: target })
  open.add(made)
  return made
}
// Also after a test that failed: what it left open would keep the process alive for ever.
afterEach(async () => {
  await Promise.all([...open].map((one) => one.close()))
  open.clear()
})

describe('createClient', () => {
  it('calls through a gateway with its own identity', async () => {
    await using running = await gateway((request, response, body) => {
      json(response, 200, {
        method: request.method,
        url: request.url,
        body,
        peer: peerOf(request.socket)?.id.uri,
        approval: request.headers['sallyport-approval'] ?? null,
      })
    })
    const agent = client(running.target)
    const answer = await agent.request({
      method: 'POST',
      path: '/core/v1/holds',
      query: { a: 'b c' },
      body: { z: 1, a: 2 },
      approval: 'ap_1',
    })
    assert.deepEqual(answer.body, {
      method: 'POST',
      url: '/core/v1/holds?a=b+c',
      body: '{"a":2,"z":1}',
      peer: 'spiffe://bank.test/agent/monitor/1',
      approval: 'ap_1',
    })
    await agent.close()
    await assert.rejects(agent.request({ method: 'GET', path: '/core' }), {
      code: 'SP_CLIENT_CLOSED',
    })
  })

  it('passes on the trace that it is given, whichever way it calls, and makes none up', async () => {
    await using running = await gateway((request, response) => {
      json(response, 200, request.headers['traceparent'] ?? null)
    })
    const agent = client(running.target)
    const path = '/core/v1/holds'
    const headers = { traceparent: TRACEPARENT }
    const ask = async (given: Record<string, string>): Promise<unknown[]> => {
      const { body } = await agent.request({ method: 'GET', path, headers: given })
      const fetched = await agent.fetch(agent.url(path), { headers: given })
      const chunks: Buffer[] = []
      for await (const chunk of agent.stream({ method: 'GET', path, headers: given })) {
        chunks.push(chunk)
      }
      return [body, await fetched.json(), JSON.parse(Buffer.concat(chunks).toString())]
    }
    assert.deepEqual(await ask(headers), [TRACEPARENT, TRACEPARENT, TRACEPARENT])
    assert.deepEqual(await ask({}), [null, null, null])
  })

  it('talks to gateways only', async () => {
    await using impostor = await gateway((_request, response) => {
      json(response, 200, {})
    }, '/service/core/1')
    const agent = client(impostor.target)
    await assert.rejects(agent.request({ method: 'GET', path: '/core' }), {
      code: 'SP_PEER_REFUSED',
    })
    await agent.close()
  })

  it('tries again where a gateway is too busy to shake hands: nothing was sent', async (t) => {
    const heard: string[] = []
    await using running = await gateway((_request, response, body) => {
      heard.push(body)
      json(response, 200, {})
    })
    const { host, port } = running.target
    const met: Socket[] = []
    // The first to come is left standing.
    const busy = createServer((socket) => {
      socket.on('error', () => undefined)
      met.push(socket)
      if (met.length > 1) socket.pipe(connect(port, host)).pipe(socket)
    }).listen(0, '127.0.0.1')
    t.after(() => {
      for (const socket of met) socket.destroy()
      busy.close()
    })
    await once(busy, 'listening')
    const address = busy.address()
    assert.ok(typeof address === 'object' && address !== null)
    const agent = client({ host: '127.0.0.1', port: address.port })
    const answer = await agent.request({ method: 'POST', path: '/core/holds', body: { a: 1 } })
    assert.equal(answer.status, 200)
    assert.deepEqual(heard, ['{"a":1}'])
    // A busy machine may need one more.
    assert.ok(met.length >= 2)
    await agent.close()
  })

  it('makes typed errors of refusals, and answers of everything else', async () => {
    await using running = await gateway((request, response) => {
      if (request.url === '/core/needs')
        problem(response, 403, 'SP_NEEDS_APPROVAL', {
          outcome: 'needs',
          decision: 'dec_1',
          needs: [{ kind: 'approval', count: 1, approval: 'ap_9' }],
        })
      else if (request.url === '/core/limited') {
        response.setHeader('retry-after', '3')
        problem(response, 429, 'SP_LIMITED', { outcome: 'limited' })
      } else if (request.url === '/core/broken')
        response.writeHead(200, { 'content-type': 'application/json' }).end('{"a":1,"a":2}')
      else json(response, 404, { error: 'no such account' })
    })
    const agent = client(running.target)
    const needs: unknown = await agent
      .request({ method: 'GET', path: '/core/needs' })
      .catch((error: unknown) => error)
    assert.ok(needs instanceof RefusedError)
    assert.equal(needs.code, 'SP_NEEDS_APPROVAL')
    assert.equal(needs.outcome, 'needs')
    assert.equal(needs.decision, 'dec_1')
    assert.deepEqual(needs.needs, [{ kind: 'approval', count: 1, approval: 'ap_9' }])
    await assert.rejects(agent.request({ method: 'GET', path: '/core/limited' }), {
      outcome: 'limited',
      retryAfterSeconds: 3,
    })
    await assert.rejects(agent.request({ method: 'GET', path: '/core/broken' }), {
      code: 'SP_RESPONSE_INVALID',
    })
    assert.equal((await agent.request({ method: 'GET', path: '/core/x' })).status, 404)
    await agent.close()
  })

  it('waits for an approval, and gives up in time', async () => {
    let asked = 0
    await using running = await gateway((request, response) => {
      assert.match(request.url ?? '', /^\/\.sallyport\/approvals\/ap_[12]$/)
      asked++
      json(response, 200, {
        status: request.url?.endsWith('1') && asked > 3 ? 'approved' : 'pending',
      })
    })
    const agent = client(running.target)
    assert.equal(await agent.awaitApproval('ap_1', { timeoutMs: 5000, intervalMs: 10 }), 'approved')
    assert.equal(asked, 4)
    assert.equal(await agent.awaitApproval('ap_2', { timeoutMs: 60, intervalMs: 10 }), 'pending')
    await agent.close()
  })

  it(
    'rotates at 2-second lifetimes on both sides without a failed call or a broken stream',
    { timeout: 60_000 },
    async (t) => {
      const gatewayHolder = holder('/gateway/g1', 2)
      const agentHolder = holder('/agent/monitor/1', 2)
      const proven = new Map<string, number>()
      const streams = new Set<ServerResponse>()
      await using running = await serve(gatewayHolder, (request, response) => {
        const peer = peerOf(request.socket)
        assert.ok(peer)
        assertFresh(peer, Date.now())
        proven.set(peer.id.uri, Math.max(proven.get(peer.id.uri) ?? 0, peer.notAfter))
        if (request.url === '/core/stream') {
          response.writeHead(200, { 'content-type': 'application/octet-stream' })
          streams.add(response)
        } else json(response, 200, { ok: true })
      })
      // The gateway's half: a stream lives only as long as its caller keeps proving a fresh SVID.
      const ticker = setInterval(() => {
        for (const stream of streams) {
          if ((proven.get('spiffe://bank.test/agent/monitor/1') ?? 0) < Date.now()) stream.destroy()
          else stream.write('tick')
        }
      }, 20)
      let rotations = 0
      const rotate = setInterval(() => {
        gatewayHolder.replace(identityOf(fabric, '/gateway/g1', 2))
        agentHolder.replace(identityOf(fabric, '/agent/monitor/1', 2))
        rotations++
      }, 900)
      let ended = false
      // Whatever fails below: a timer or a loop that goes on keeps the process alive for ever.
      t.after(() => {
        ended = true
        clearInterval(rotate)
        clearInterval(ticker)
      })
      const agent = client(running.target, agentHolder)
      const over = (): boolean => ended || rotations >= 5
      let ticks = 0
      const failures: unknown[] = []
      const listen = async (): Promise<void> => {
        for await (const chunk of agent.stream({ method: 'GET', path: '/core/stream' })) {
          ticks += chunk.length / 4
          if (over()) return
        }
        failures.push('the stream ended')
      }
      let calls = 0
      const call = async (): Promise<void> => {
        while (!over()) {
          await agent
            .request({ method: 'POST', path: '/core/x', body: {} })
            .catch((error: unknown) => failures.push(error))
          calls++
          await sleep(2)
        }
      }
      await Promise.all([listen(), listen(), call(), call(), call()])
      assert.deepEqual(failures, [])
      assert.ok(calls > 0 && ticks > 0, `${calls} calls, ${ticks} ticks`)
      await agent.close()
    },
  )

  it('ends a stream whose gateway proved nothing fresh in time', { timeout: 60_000 }, async () => {
    await using running = await serve(holder('/gateway/g1', 2), (_request, response) => {
      response.writeHead(200)
      response.write('tick')
    })
    const agent = client(running.target)
    const started = Date.now()
    await assert.rejects(async () => {
      for await (const chunk of agent.stream({ method: 'GET', path: '/core/stream' }))
        assert.equal(String(chunk), 'tick')
    })
    const took = Date.now() - started
    assert.ok(took > 800, `${took} ms`)
    await agent.close()
  })
})

describe('McpClient', () => {
  const served =
    (sse: boolean): Routes =>
    (request, response, body) => {
      assert.equal(request.url, '/case-store/mcp')
      // What the client under test sent.
      const message = JSON.parse(body) as {
        id?: number
        method: string
        params?: { name?: string; cursor?: string; _meta?: object }
      }
      const reply = (payload: object): void => {
        const text = { jsonrpc: '2.0', id: message.id, ...payload }
        if (message.method === 'initialize') response.setHeader('mcp-session-id', 's1')
        if (!sse) json(response, 200, text)
        else {
          response.writeHead(200, { 'content-type': 'text/event-stream' })
          response.end(
            `: hello\n\nevent: message\ndata: {"jsonrpc":"2.0","method":"notifications/progress"}\n\nevent: message\r\ndata: ${JSON.stringify(text)}\r\n\r\n`,
          )
        }
      }
      if (message.method !== 'initialize') {
        assert.equal(request.headers['mcp-session-id'], 's1')
        assert.equal(request.headers['mcp-protocol-version'], '2025-06-18')
      }
      if (message.id === undefined) response.writeHead(202).end()
      else if (message.method === 'initialize')
        reply({ result: { protocolVersion: '2025-06-18', capabilities: {}, serverInfo: {} } })
      else if (message.method === 'tools/list')
        reply({
          result: message.params?.cursor
            ? { tools: [{ name: 'b', inputSchema: {} }] }
            : { tools: [{ name: 'a', inputSchema: {} }], nextCursor: 'c' },
        })
      else if (message.params?.name === 'refused')
        reply({
          error: {
            code: -32001,
            message: 'refused',
            data: {
              code: 'SP_NEEDS_APPROVAL',
              title: 'needs',
              outcome: 'needs',
              needs: [{ kind: 'approval', count: 1, approval: 'ap_1' }],
            },
          },
        })
      else if (message.params?.name === 'broken') reply({ error: { code: -32602, message: 'bad' } })
      else
        reply({
          result: {
            content: [],
            structuredContent: {
              meta: message.params?._meta ?? null,
              trace: request.headers['traceparent'] ?? null,
            },
          },
        })
    }
  for (const sse of [false, true]) {
    it(`lists and calls tools over ${sse ? 'server-sent events' : 'JSON'}`, async () => {
      await using running = await gateway(served(sse))
      const agent = client(running.target)
      const mcp = agent.mcp('case-store')
      assert.deepEqual(
        (await mcp.listTools()).map(({ name }) => name),
        ['a', 'b'],
      )
      const result = await mcp.callTool('a', { x: 1 }, { approval: 'ap_7' })
      assert.deepEqual(result.structuredContent, {
        meta: { 'sallyport/approval': 'ap_7' },
        trace: null,
      })
      const traced = await mcp.callTool('a', {}, { traceparent: TRACEPARENT })
      assert.deepEqual(traced.structuredContent, { meta: null, trace: TRACEPARENT })
      await assert.rejects(
        mcp.callTool('refused', {}),
        (error) => error instanceof RefusedError && error.needs?.[0]?.approval === 'ap_1',
      )
      await assert.rejects(mcp.callTool('broken', {}), { code: 'SP_MCP_ERROR' })
      await agent.close()
    })
  }
})
