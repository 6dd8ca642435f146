/** Tasks of A2A beyond one gateway: another one, the same one later, and the places that a peer pushes to. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { startGateway } from '../src/index.ts'
import type { Gateway } from '../src/index.ts'
import { startPeers } from './support/a2a.ts'
import type { TestPeer } from './support/a2a.ts'
import { json } from './support/service.ts'
import type { Json, TestAgent, World } from './support/world.ts'

/** A peer that has one task for each caller, and says so to whatever it is asked. */
const working: NonNullable<TestPeer['raw']> = ({ body, token }, res) => {
  const id = `task of ${token.sub}`
  const task = { id, contextId: 'c', status: { state: 'TASK_STATE_WORKING' } }
  const method = body?.['method']
  const result = method === 'SendMessage' || method === 'SubscribeToTask' ? { task } : task
  const told = { jsonrpc: '2.0', id: body?.['id'], result }
  if (method === 'SubscribeToTask') {
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    res.end(`data: ${JSON.stringify(told)}\n\n`)
  } else json(res, told)
}

const message = (over: object = {}): object => ({
  message: {
    ...{ messageId: 'm', role: 'ROLE_USER', parts: [{ text: 'x' }] },
    ...{ metadata: { skillId: 'explain' }, ...over },
  },
})

interface Told {
  readonly rpc: unknown
  readonly code: unknown
  readonly result: Json | undefined
}

async function ask(agent: TestAgent, method: string, params: object): Promise<Told> {
  const reply = await agent.pool.request({
    ...{ method: 'POST', path: '/hooked/a2a' },
    headers: { 'content-type': 'application/json', 'a2a-version': '1.0' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
  })
  const text = await reply.body.text()
  // Of a stream the first event says enough.
  const body = JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? text) as Json
  const error = body['error'] as { code: number; data: Json } | undefined
  return {
    ...{ rpc: error?.code, code: error?.data['code'] },
    result: body['result'] as Json | undefined,
  }
}

/** What was answered of a task. */
function made({ result }: Told): { readonly id: string; readonly contextId: string } {
  assert.ok(result)
  return result['task'] as { id: string; contextId: string }
}
const idOf = (told: Told): string => made(told).id

describe('a task of A2A', () => {
  let world: World
  let peer: TestPeer
  let second: Gateway
  const stack = new AsyncDisposableStack()
  before(async () => {
    const started = await startPeers()
    stack.defer(() => started.close())
    ;({ world, peer } = started)
    peer.raw = working
    const dataDir = await mkdtemp(join(tmpdir(), 'sallyport-gateway-'))
    stack.defer(() => rm(dataDir, { recursive: true, force: true }))
    const at = { host: '127.0.0.1', port: peer.port }
    const upstreams = { clerk: at, hooked: at }
    const own = { id: 'gw2', dataDir, joinToken: 'join:gw2', upstreams }
    second = await startGateway({ ...world.options, ...own })
    stack.defer(() => second.close())
  })
  after(() => stack.disposeAsync())

  /** One agent's connections to a gateway. */
  const through = (gateway: Gateway, instance: string): TestAgent => {
    const first = world.gateway
    world.gateway = gateway
    try {
      return world.agent('reader', instance, 900)
    } finally {
      world.gateway = first
    }
  }
  const refusedBy = async (agent: TestAgent, id: string): Promise<void> => {
    const { length } = peer.seen
    for (const [method, params] of [
      ['GetTask', { id }],
      ['CancelTask', { id }],
      ['SubscribeToTask', { id }],
      ['SendMessage', message({ taskId: id })],
      ['CreateTaskPushNotificationConfig', { taskId: id, url: 'https://hooks.test.example/a2a' }],
      ['ListTaskPushNotificationConfigs', { taskId: id }],
    ] as const) {
      const { rpc, code } = await ask(agent, method, params)
      assert.deepEqual([rpc, code], [-32001, 'SP_A2A_TASK'], method)
    }
    const referring = await ask(agent, 'SendMessage', message({ referenceTaskIds: [id] }))
    assert.deepEqual([referring.rpc, referring.code], [-32001, 'SP_A2A_TASK'])
    assert.equal(peer.seen.length, length)
    assert.deepEqual((await ask(agent, 'ListTasks', {})).result?.['tasks'], [])
  }

  it('is known to the gateway that made it, and refused by another as one that is not there', async () => {
    const [here, there] = [through(world.gateway, 'i1'), through(second, 'i1')]
    const id = idOf(await ask(here, 'SendMessage', message()))
    await refusedBy(there, id)
    for (const method of ['GetTask', 'CancelTask', 'SubscribeToTask']) {
      assert.ok((await ask(here, method, { id })).result, method)
    }
    assert.equal(idOf(await ask(here, 'SendMessage', message({ taskId: id }))), id)
    // The other one makes tasks of its own.
    assert.notEqual(idOf(await ask(there, 'SendMessage', message())), id)
  })

  it('is refused by the same gateway once that has begun anew', async () => {
    const here = through(world.gateway, 'i2')
    const id = idOf(await ask(here, 'SendMessage', message()))
    assert.ok((await ask(here, 'GetTask', { id })).result)
    const at = { host: '127.0.0.1', port: peer.port }
    await world.restart({ upstreams: { clerk: at, hooked: at } })
    await refusedBy(through(world.gateway, 'i2'), id)
  })

  it('names a conversation that another gateway does not know: there it is a new one', async () => {
    const [here, there] = [through(world.gateway, 'i3'), through(second, 'i3')]
    const { contextId } = made(await ask(here, 'SendMessage', message()))
    const sent = (): unknown => {
      const body = peer.seen.at(-1)?.body
      assert.ok(body)
      const { message: told } = body['params'] as { message: Json }
      return told['contextId']
    }
    assert.equal(sent(), undefined)
    assert.ok((await ask(here, 'SendMessage', message({ contextId }))).result)
    assert.equal(sent(), 'c')
    assert.ok((await ask(there, 'SendMessage', message({ contextId }))).result)
    assert.equal(sent(), undefined)
  })
})

describe('a place to push to', () => {
  it('is opened by nobody but the peer that was told of it', async () => {
    let connections = 0
    const hook = createServer((socket) => {
      connections++
      socket.destroy()
    })
    hook.listen(0, '127.0.0.1')
    await once(hook, 'listening')
    const address = hook.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    const url = `https://127.0.0.1:${address.port}/a2a`
    const { world, peer, close } = await startPeers({}, ({ network, policies }) => ({
      policies,
      network: {
        ...network,
        systems: network.systems.map((system) =>
          system.a2a && system.name === 'hooked'
            ? { ...system, a2a: { ...system.a2a, push: [url] } }
            : system,
        ),
      },
    }))
    try {
      peer.raw = working
      const reader = world.agent('reader', 'i1', 900)
      const configuration = { taskPushNotificationConfig: { id: 'p1', url } }
      const id = idOf(await ask(reader, 'SendMessage', { ...message(), configuration }))
      const set = { taskId: id, id: 'p2', url }
      assert.ok((await ask(reader, 'CreateTaskPushNotificationConfig', set)).result)
      const gone = { taskId: id, id: 'p2' }
      assert.equal((await ask(reader, 'DeleteTaskPushNotificationConfig', gone)).result, null)
      // A redirect to it is none that is followed.
      peer.raw = (_seen, res) => {
        res.writeHead(302, { location: url }).end()
      }
      assert.equal((await ask(reader, 'GetTask', { id })).code, 'SP_UPSTREAM_FAILED')
      const told = peer.seen.flatMap(({ body }) => JSON.stringify(body ?? {}).match(/https:[^"]*/g))
      assert.deepEqual(told.filter(Boolean), [url, url])
      assert.equal(connections, 0)
      // It is there: the peer reaches it.
      await once(connect(address.port, '127.0.0.1'), 'close')
      assert.equal(connections, 1)
    } finally {
      await close()
      hook.close()
    }
  })
})
