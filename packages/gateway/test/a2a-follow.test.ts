/** What follows a call over A2A: decided on where and for whom it comes from now, and on what holds when it goes out. */
import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { afterEach, describe, it } from 'node:test'
import { connect as tlsConnect } from 'node:tls'
import { systemClock } from '@sallyport/base'
import { declarationDigest, mandateToken } from '@sallyport/wire'
import type { MandateStatement } from '@sallyport/wire'
import { Pool } from 'undici'
import { startPeers } from './support/a2a.ts'
import type { TestPeer } from './support/a2a.ts'
import { replaceSync } from './support/disk.ts'
import { json } from './support/service.ts'
import { TestIssuer } from './support/tokens.ts'
import { until } from './support/world.ts'
import type { Json, World } from './support/world.ts'

const rpc = (method: string, params: unknown): object => ({ jsonrpc: '2.0', id: 1, method, params })

const explain = { parts: [{ text: 'x' }], metadata: { skillId: 'explain' } }
const move = { parts: [{ data: { account: 'A', amount: 5 } }], metadata: { skillId: 'move' } }

/** A peer whose every answer is of one task; of a message, in its envelope. */
const working =
  (id: string): NonNullable<TestPeer['raw']> =>
  ({ body }, res) => {
    const task = { id, contextId: 'c', status: { state: 'TASK_STATE_WORKING' } }
    const result = body?.['method'] === 'SendMessage' ? { task } : task
    json(res, { jsonrpc: '2.0', id: body?.['id'], result })
  }

/** A frame of the PROXY protocol 2, of a connection from there. */
const proxied = (address: string): Buffer =>
  Buffer.concat([
    Buffer.from('0d0a0d0a000d0a515549540a2111000c', 'hex'),
    Buffer.from([...address.split('.').map(Number), 10, 0, 0, 1, 0x1f, 0x90, 0x01, 0xbb]),
  ])

describe('what follows a call over A2A', () => {
  let world: World
  let peer: TestPeer
  let close: () => Promise<void> = () => Promise.resolve()
  afterEach(() => close())

  const start = async (...how: Parameters<typeof startPeers>): Promise<void> => {
    ;({ world, peer, close } = await startPeers(...how))
    peer.raw = working('t')
  }
  /** The same gateway with an additional policy. */
  const forbidding =
    (when: string): Parameters<typeof startPeers>[1] =>
    (declaration) => ({
      ...declaration,
      policies: [
        ...declaration.policies,
        {
          ...{ id: 'more', file: 'more.cedar', line: 1 },
          source: `@id("more") forbid (principal, action in Action::"call", resource) when { ${when} };`,
        },
      ],
    })

  /** One agent's connections, through a balancer where that says an address. */
  const from = (address?: string, agent = 'reader') => {
    const { chainPem, keyPem } = world.plane.agent(agent, 'i1', 900)
    const { port } = world.gateway.address
    const pool = new Pool('https://gateway.invalid', {
      connect: (_options, done) => {
        const raw = connect({ host: '127.0.0.1', port })
        if (address !== undefined) raw.write(proxied(address))
        const socket = tlsConnect({
          ...{ socket: raw, cert: chainPem, key: keyPem },
          ...{ rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] },
        })
        socket.once('error', (error) => {
          done(error, null)
        })
        socket.once('secureConnect', () => {
          done(null, socket)
        })
      },
    })
    return async (method: string, params: unknown, token?: string) => {
      const answer = await pool.request({
        ...{ method: 'POST', path: '/clerk/a2a', body: JSON.stringify(rpc(method, params)) },
        headers: {
          'content-type': 'application/json',
          'a2a-version': '1.0',
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
      })
      const body = (await answer.body.json()) as Json
      const error = body['error'] as { data: Json } | undefined
      const result = body['result'] as Json | undefined
      return { code: error?.data['code'] ?? body['code'], result }
    }
  }
  type Ask = ReturnType<typeof from>

  const made = async (ask: Ask, said: object = explain, token?: string): Promise<string> => {
    const message = { messageId: 'm', role: 'ROLE_USER', ...said }
    const { result, code } = await ask('SendMessage', { message }, token)
    assert.ok(result, JSON.stringify(code))
    const { id } = result['task'] as { id: string }
    return id
  }

  it('is decided on the address that it comes from, not on that of the call before', async () => {
    await start(
      {},
      forbidding('context has source && context.source == ip("203.0.113.9")'),
      false,
      { proxyFrom: ['127.0.0.1/32'] },
    )
    const [here, there] = [from('203.0.113.8'), from('203.0.113.9')]
    const id = await made(here)
    for (const method of ['GetTask', 'CancelTask']) {
      const { length } = peer.seen
      assert.equal((await there(method, { id })).code, 'SP_DENIED_FORBIDDEN')
      assert.equal(peer.seen.length, length)
      assert.equal((await here(method, { id })).result?.['id'], id)
    }
  })

  it('tells the peer through whom it comes now', async () => {
    await start()
    const issuer = new TestIssuer()
    world.plane.tokens = issuer.trust()
    const { revision } = world.gateway.stats()
    world.plane.publish()
    await until(() => world.gateway.stats().revision?.n !== revision?.n)
    const reader = `spiffe://${world.plane.trustDomain}/agent/reader/i1`
    const teller = `spiffe://${world.plane.trustDomain}/agent/teller/i1`
    const token = (act: object): Promise<string> =>
      issuer.token(reader, {
        ...{ sub: 'operator:olga', scope: 'explain', act },
        aud: `https://gateway.${world.plane.trustDomain}/clerk`,
      })
    const ask = from()
    const id = await made(ask, explain, await token({ sub: reader }))
    const actors = async (act: object): Promise<unknown> => {
      assert.equal((await ask('GetTask', { id }, await token(act))).result?.['id'], id)
      return peer.seen.at(-1)?.token.obo?.actors
    }
    assert.deepEqual(await actors({ sub: reader, act: { sub: teller } }), [reader, teller])
    assert.deepEqual(await actors({ sub: reader }), [reader])
  })

  it('is held to the stricter budget of a gateway that is cut off, where the call writes', async () => {
    let ahead = 0
    await start(
      {},
      ({ network, policies }) => ({
        network: { ...network, settings: { ...network.settings, stalenessSeconds: 3600 } },
        policies,
      }),
      false,
      { clock: { now: systemClock.now, monotonic: () => systemClock.monotonic() + ahead } },
    )
    const [reader, teller] = [from(), from(undefined, 'teller')]
    const reads = await made(reader)
    peer.raw = working('w')
    const writes = await made(teller, move)
    assert.equal((await teller('GetTask', { id: writes })).result?.['id'], writes)
    await world.plane.stop()
    // Whatever it had sent has arrived by then.
    await until(() => world.gateway.stats().bundleAgeMs > 1000)
    ahead = 60_000
    const { length } = peer.seen
    for (const method of ['GetTask', 'CancelTask']) {
      assert.equal((await teller(method, { id: writes })).code, 'SP_STALE')
    }
    assert.equal(peer.seen.length, length)
    peer.raw = working('t')
    assert.equal((await reader('GetTask', { id: reads })).result?.['id'], reads)
  })

  it('is decided on the call that its task went on by last', async () => {
    await start()
    const ask = from(undefined, 'teller')
    const id = await made(ask, move)
    const mandate = async (): Promise<unknown> => {
      assert.equal((await ask('GetTask', { id })).result?.['id'], id)
      return peer.seen.at(-1)?.token.mandate
    }
    assert.equal(await mandate(), undefined)
    const statement: MandateStatement = {
      ...{ kind: 'mandate', nonce: 'nonce-0123456789abcdef', delegator: 'operator:olga' },
      ...{ delegate: `spiffe://${world.plane.trustDomain}/agent/teller`, task: 'rent', uses: 10 },
      grants: [{ system: 'clerk', operations: ['move_money'] }],
      ...{ issuedAt: Date.now(), notBefore: Date.now(), expiresAt: Date.now() + 600_000 },
    }
    const token = mandateToken([{ statement, passkey: world.plane.operator.sign(statement) }])
    const metadata = { ...move.metadata, 'sallyport/mandate': token }
    assert.equal(await made(ask, { ...move, metadata, taskId: id }), id)
    const went = peer.seen.at(-1)?.token.mandate
    assert.ok(went)
    assert.equal(await mandate(), went)
  })

  const risky = async (score: number): Promise<void> => {
    const reader = `spiffe://${world.plane.trustDomain}/agent/reader/i1`
    const { revision } = world.gateway.stats()
    world.plane.risk = { [reader]: { score, at: Date.now() } }
    world.plane.publish()
    await until(() => world.gateway.stats().revision?.n !== revision?.n)
  }

  it('is answered by what holds once its peer has answered', async () => {
    await start()
    const ask = from()
    const id = await made(ask)
    const during = async (
      method: string,
      meanwhile: () => Promise<void>,
    ): Promise<Awaited<ReturnType<Ask>>> => {
      const asked = Promise.withResolvers<() => void>()
      peer.raw = (seen, res) => {
        asked.resolve(() => {
          working('t')(seen, res)
        })
      }
      const message = { messageId: 'm', role: 'ROLE_USER', ...explain }
      const answer = ask(method, method === 'SendMessage' ? { message } : { id })
      const reply = await asked.promise
      await meanwhile()
      reply()
      return answer
    }
    for (const method of ['GetTask', 'SendMessage', 'CancelTask']) {
      assert.ok((await during(method, () => risky(10))).result)
      assert.equal((await during(method, () => risky(90))).code, 'SP_DENIED_FORBIDDEN')
      await risky(0)
    }
    const { declaration } = world.plane
    const { network, policies } = declaration
    const changed = { network: { ...network, name: 'changed' }, policies }
    const digest = declarationDigest(changed)
    const statement = { kind: 'declaration', digest, epoch: 1, serial: 1 } as const
    const change = async (): Promise<void> => {
      const { revision } = world.gateway.stats()
      world.plane.publish({
        ...{ declaration: changed, declarationDigest: digest, declarationSerial: 1 },
        declarationSignatures: [world.plane.operator.sign(statement)],
      })
      await until(() => world.gateway.stats().revision?.n !== revision?.n)
    }
    const late = await during('SendMessage', change)
    assert.equal(late.code, 'SP_DECLARATION_CHANGED')
    // What was made meanwhile is there all the same.
    peer.raw = working('t')
    assert.equal((await ask('GetTask', { id })).result?.['id'], id)
  })

  it('does not go out where it is denied while its record is being written', async () => {
    await start()
    const ask = from()
    const id = await made(ask)
    assert.equal((await ask('GetTask', { id })).result?.['id'], id)
    const during = async (meanwhile: () => Promise<void>): Promise<Awaited<ReturnType<Ask>>> => {
      const done = Promise.withResolvers<undefined>()
      const begun = Promise.withResolvers<undefined>()
      const mend = await replaceSync(async (sync) => {
        begun.resolve(undefined)
        await done.promise
        await sync()
      })
      try {
        const answer = ask('GetTask', { id })
        await begun.promise
        await meanwhile()
        done.resolve(undefined)
        return await answer
      } finally {
        done.resolve(undefined)
        mend()
      }
    }
    // What does not change the decision changes nothing.
    assert.equal((await during(() => risky(10))).result?.['id'], id)
    const { length } = peer.seen
    assert.equal((await during(() => risky(90))).code, 'SP_DENIED_FORBIDDEN')
    assert.equal(peer.seen.length, length)
  })
})
