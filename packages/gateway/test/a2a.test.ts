import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { AgentCard, Role, TaskState } from '@a2a-js/sdk'
import type { Message, Part, SendMessageRequest, StreamResponse, Task } from '@a2a-js/sdk'
import type { Client } from '@a2a-js/sdk/client'
import { AgentEvent } from '@a2a-js/sdk/server'
import type { AgentExecutor, ExecutionEventBus, RequestContext } from '@a2a-js/sdk/server'
import type { FeedItem } from '@sallyport/wire'
import { a2aClient, a2aCodes, clerkCard, startPeers } from './support/a2a.ts'
import type { TestPeer } from './support/a2a.ts'
import { until } from './support/world.ts'
import type { Json, TestAgent, World } from './support/world.ts'

const text = (value: string): Part => part({ $case: 'text', value })
const data = (value: unknown): Part => part({ $case: 'data', value })
const part = (content: Part['content']): Part => ({
  content,
  metadata: undefined,
  filename: '',
  mediaType: '',
})

let count = 0
const say = (parts: Part[], skillId?: string, over: Partial<Message> = {}): SendMessageRequest => ({
  tenant: '',
  configuration: undefined,
  metadata: undefined,
  message: {
    messageId: `m-${++count}`,
    contextId: '',
    taskId: '',
    role: Role.ROLE_USER,
    parts,
    metadata: skillId === undefined ? undefined : { skillId },
    extensions: [],
    referenceTaskIds: [],
    ...over,
  },
})

const NOTE = { id: 'N-1', text: 'hello', secret: 'pii' }

const told = ({ taskId, contextId }: RequestContext, parts: Part[]): Message => ({
  messageId: 'from-the-peer',
  contextId,
  taskId,
  role: Role.ROLE_AGENT,
  parts,
  metadata: { leak: 'pii' },
  extensions: ['https://leak.example/pii'],
  referenceTaskIds: [],
})

const task = (context: RequestContext, state: TaskState, parts: Part[] = []): Task => ({
  id: context.taskId,
  contextId: context.contextId,
  status: { state, message: undefined, timestamp: '2026-01-02T03:04:05Z' },
  artifacts:
    parts.length === 0
      ? []
      : [
          {
            artifactId: 'pii-artifact',
            name: 'pii-name',
            description: 'pii-description',
            parts,
            metadata: { leak: 'pii' },
            extensions: [],
          },
        ],
  history: [],
  metadata: { leak: 'pii' },
})

const status = ({ taskId, contextId }: RequestContext, state: TaskState, message?: Message) =>
  AgentEvent.statusUpdate({
    taskId,
    contextId,
    status: { state, message, timestamp: undefined },
    metadata: undefined,
  })

/** Says what it was asked, and more than is declared. */
const explain: AgentExecutor['execute'] = (context, bus) => {
  const [said] = context.userMessage.parts
  const words = said?.content?.$case === 'text' ? said.content.value : ''
  bus.publish(
    AgentEvent.message(told(context, [text(`about ${words}`), data({ note: NOTE, more: 'pii' })])),
  )
  bus.finished()
  return Promise.resolve()
}

/** Does at once what it was told. */
const move: AgentExecutor['execute'] = (context, bus) => {
  bus.publish(
    AgentEvent.task(
      task(context, TaskState.TASK_STATE_COMPLETED, [data({ id: 'T-1', internal: 'pii' })]),
    ),
  )
  bus.finished()
  return Promise.resolve()
}

const partsOf = (parts: readonly Part[]): unknown[] => parts.map(({ content }) => content?.value)

describe('A2A through a gateway, by the official SDK on both sides', () => {
  let world: World
  let peer: TestPeer
  let close: () => Promise<void>
  let teller: TestAgent
  let client: Client
  before(async () => {
    ;({ world, peer, close } = await startPeers())
    teller = world.agent('teller', 'i1', 900)
    client = await a2aClient(teller, 'clerk')
  })
  after(() => close())
  beforeEach(() => {
    peer.raw = undefined
    peer.card = clerkCard()
    peer.execute = explain
  })

  it('shows each caller a card with the skills that it may reach, and itself as the place to call', async () => {
    const skills = async (agent: TestAgent): Promise<unknown> => {
      const { skills: all } = await (await a2aClient(agent, 'clerk')).getAgentCard()
      return all.map(({ id }) => id)
    }
    assert.deepEqual(await skills(teller), ['explain', 'move'])
    assert.deepEqual(await skills(world.agent('reader')), ['explain'])
    const { body } = await teller.ask({
      path: '/clerk/.well-known/agent-card.json',
      headers: { 'a2a-version': '1.0' },
    })
    const card = AgentCard.fromJSON(body)
    assert.deepEqual(
      card.supportedInterfaces.map(({ url }) => url),
      ['https://gateway.invalid/clerk/a2a', 'https://gateway.invalid/clerk/a2a'],
    )
    assert.equal(card.signatures.length, 0)
    assert.doesNotMatch(JSON.stringify(body), /clerk\.test\.example|hidden/)
    await assert.rejects(a2aClient(world.agent('stranger'), 'clerk'), /403/)
  })

  it('asks a skill, and shows of the answer what is declared', async () => {
    const answer = await client.sendMessage(say([text('doors')], 'explain'))
    assert.ok('messageId' in answer)
    assert.deepEqual(partsOf(answer.parts), ['about doors', { note: { id: 'N-1', text: 'hello' } }])
    assert.doesNotMatch(JSON.stringify(answer), /pii|from-the-peer/)
    const { body, token, headers } = peer.seen.at(-1) ?? assert.fail()
    assert.ok(body)
    const { message } = body['params'] as { message: Json }
    assert.equal(headers['a2a-version'], '1.0')
    assert.deepEqual(message['metadata'], { skillId: 'explain' })
    assert.deepEqual(message['parts'], [{ text: 'doors' }])
    assert.equal(token.sub, `spiffe://${world.plane.trustDomain}/agent/teller/i1`)
    assert.equal(token.operation, 'clerk.explain')
    assert.equal(message['messageId'], token.decision)
  })

  it('lets a peer of the network go on in the trace of its caller', async () => {
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    const ask = async (headers: Record<string, string>): Promise<unknown> => {
      const message = {
        ...{ role: 'ROLE_USER', messageId: 'm', parts: [{ text: 'doors' }] },
        metadata: { skillId: 'explain' },
      }
      const { body } = await teller.ask({
        path: '/clerk/a2a',
        body: { jsonrpc: '2.0', id: 1, method: 'SendMessage', params: { message } },
        headers: { 'a2a-version': '1.0', ...headers },
      })
      assert.ok(body['result'], JSON.stringify(body))
      return peer.seen.at(-1)?.headers['traceparent']
    }
    const { seen } = peer
    assert.match(String(await ask({ traceparent })), /^00-4bf92f3577b34da6a3ce929d0e0e4736-/)
    assert.ok(!JSON.stringify(seen).includes('00f067aa0ba902b7'))
    assert.equal(await ask({}), undefined)
  })

  it('types the object of a message as the skill declares it, and decides about it', async () => {
    peer.execute = move
    const answer = await client.sendMessage(
      say([data({ account: 'A', amount: 5 }), text('rent')], 'move'),
    )
    assert.ok('artifacts' in answer)
    assert.equal(answer.status?.state, TaskState.TASK_STATE_COMPLETED)
    assert.deepEqual(partsOf(answer.artifacts[0]?.parts ?? []), [{ id: 'T-1' }])
    assert.doesNotMatch(JSON.stringify(answer), /pii/)
    const from = peer.seen.length
    for (const [parts, code] of [
      [[data({ account: 'A', amount: 5, extra: 1 })], 'SP_INPUT_UNKNOWN'],
      [[data({ account: 'A' })], 'SP_INPUT_MISSING'],
      [[data({ account: 'A', amount: '5' })], 'SP_INPUT_TYPE'],
      [[text('just words')], 'SP_INPUT_MISSING'],
      [[data({ account: 'A', amount: 5, reason: 'x' }), text('y')], 'SP_A2A_MESSAGE'],
    ] as const) {
      await assert.rejects(client.sendMessage(say([...parts], 'move')), (error) => {
        assert.deepEqual(a2aCodes(error), [-32602, code])
        return true
      })
    }
    await assert.rejects(
      client.sendMessage(say([data({ account: 'mallory', amount: 5 })], 'move')),
      (error) => {
        assert.deepEqual(a2aCodes(error), [-32050, 'SP_DENIED_FORBIDDEN'])
        return true
      },
    )
    assert.equal(peer.seen.length, from)
  })

  it('knows which skill is meant, or says that it does not', async () => {
    const reader = await a2aClient(world.agent('reader'), 'clerk')
    const only = await reader.sendMessage(say([text('x')]))
    assert.ok('messageId' in only)
    const reject = async (skill: string | undefined, expected: unknown): Promise<void> => {
      await assert.rejects(client.sendMessage(say([text('x')], skill)), (error) => {
        assert.deepEqual(a2aCodes(error), expected)
        return true
      })
    }
    await reject(undefined, [-32602, 'SP_A2A_MESSAGE'])
    await reject('nothing', [-32050, 'SP_NO_OPERATION'])
    await reject('hidden', [-32050, 'SP_NO_FLOW'])
    // A place of its own for each skill, for clients that cannot name one.
    const direct = await a2aClient(teller, 'clerk/a2a/explain')
    assert.deepEqual(
      (await direct.getAgentCard()).skills.map(({ id }) => id),
      ['explain'],
    )
    assert.ok('messageId' in (await direct.sendMessage(say([text('x')]))))
    await assert.rejects(direct.sendMessage(say([text('x')], 'move')), /no such operation/)
  })

  it('streams, event by event, each cut down', async () => {
    let go: () => void = () => undefined
    const gate = new Promise<void>((resolve) => {
      go = resolve
    })
    peer.execute = async (context, bus) => {
      bus.publish(AgentEvent.task(task(context, TaskState.TASK_STATE_SUBMITTED)))
      bus.publish(
        status(
          context,
          TaskState.TASK_STATE_WORKING,
          told(context, [text('on it'), data({ note: NOTE })]),
        ),
      )
      await gate
      bus.publish(
        AgentEvent.artifactUpdate({
          taskId: context.taskId,
          contextId: context.contextId,
          artifact: task(context, TaskState.TASK_STATE_WORKING, [data({ note: NOTE })])
            .artifacts[0],
          append: false,
          lastChunk: true,
          metadata: { leak: 'pii' },
        }),
      )
      bus.publish(status(context, TaskState.TASK_STATE_COMPLETED))
      bus.finished()
    }
    const events: StreamResponse[] = []
    for await (const event of client.sendMessageStream(say([text('x')], 'explain'))) {
      events.push(event)
      // The first two came while the peer was still at work.
      if (events.length === 2) go()
    }
    assert.deepEqual(
      events.map(({ payload }) => payload?.$case),
      ['task', 'statusUpdate', 'artifactUpdate', 'statusUpdate'],
    )
    const all = JSON.stringify(events)
    assert.doesNotMatch(all, /pii/)
    assert.match(all, /on it/)
    const first = events[0]?.payload
    assert.ok(first?.$case === 'task')
    assert.ok(
      events
        .slice(1)
        .every(
          ({ payload }) =>
            payload?.$case !== 'task' &&
            payload?.$case !== 'message' &&
            payload?.value.taskId === first.value.id,
        ),
    )
    const known = await client.getTask({ tenant: '', id: first.value.id })
    assert.equal(known.status?.state, TaskState.TASK_STATE_COMPLETED)
    assert.deepEqual(partsOf(known.artifacts[0]?.parts ?? []), [
      { note: { id: 'N-1', text: 'hello' } },
    ])
  })

  /** Works until it is cancelled. */
  const working = async (): Promise<{ id: string; contextId: string; bus: ExecutionEventBus }> => {
    let opened: ExecutionEventBus | undefined
    let context: RequestContext | undefined
    peer.execute = (given, bus) => {
      opened = bus
      context = given
      bus.publish(AgentEvent.task(task(given, TaskState.TASK_STATE_WORKING)))
      return new Promise((resolve) => {
        bus.once('finished', resolve)
      })
    }
    peer.cancelTask = (_id, bus) => {
      assert.ok(context)
      bus.publish(status(context, TaskState.TASK_STATE_CANCELED))
      bus.finished()
      return Promise.resolve()
    }
    const request = say([text('x')], 'explain')
    const made = await client.sendMessage({
      ...request,
      configuration: {
        acceptedOutputModes: [],
        taskPushNotificationConfig: undefined,
        returnImmediately: true,
      },
    })
    assert.ok('status' in made && opened)
    return { id: made.id, contextId: made.contextId, bus: opened }
  }

  it('keeps a task to whoever made it', async () => {
    const { id } = await working()
    const other = await a2aClient(world.agent('teller', 'i2'), 'clerk')
    const hooked = await a2aClient(world.agent('reader'), 'hooked')
    const from = peer.seen.length
    const unknown = async (ask: Promise<unknown>): Promise<void> => {
      await assert.rejects(ask, (error) => {
        assert.deepEqual(a2aCodes(error), [-32001, 'SP_A2A_TASK'])
        return true
      })
    }
    for (const stranger of [other, hooked]) {
      await unknown(stranger.getTask({ tenant: '', id }))
      await unknown(stranger.cancelTask({ tenant: '', id, metadata: undefined }))
      await unknown(stranger.resubscribeTask({ tenant: '', id }).next())
      await unknown(stranger.sendMessage(say([text('x')], 'explain', { taskId: id })))
      await unknown(stranger.sendMessage(say([text('x')], 'explain', { referenceTaskIds: [id] })))
    }
    const { tasks } = await other.listTasks(listed())
    assert.deepEqual(tasks, [])
    assert.equal(peer.seen.length, from)
    // Its owner may.
    assert.equal((await client.getTask({ tenant: '', id })).id, id)
    assert.deepEqual(
      (await client.listTasks(listed())).tasks
        .filter((one) => one.id === id)
        .map(({ status }) => status?.state),
      [TaskState.TASK_STATE_WORKING],
    )
    const cancelled = await client.cancelTask({ tenant: '', id, metadata: undefined })
    assert.equal(cancelled.status?.state, TaskState.TASK_STATE_CANCELED)
  })

  it('lets its owner subscribe to a task again', async () => {
    const { id, bus } = await working()
    const events = client.resubscribeTask({ tenant: '', id })
    const first = await events.next()
    assert.equal(first.value?.payload?.$case, 'task')
    bus.finished()
    await client.cancelTask({ tenant: '', id, metadata: undefined }).catch(() => undefined)
    for await (const _rest of events);
  })

  it('decides what follows a call again, and records it', async () => {
    const reader = world.agent('reader', 'i7')
    const mine = await a2aClient(reader, 'clerk')
    peer.execute = move
    const made = await mine.sendMessage(say([text('x')], 'explain'))
    assert.ok('status' in made)
    assert.equal((await mine.getTask({ tenant: '', id: made.id })).id, made.id)
    const own = (): FeedItem['record'][] => {
      const id = `spiffe://${world.plane.trustDomain}/agent/reader/i7`
      const ids = world.plane
        .records()
        .flatMap((one) => (one.kind === 'decision' && one.instance === id ? [one.id] : []))
      return world.plane
        .records()
        .filter(
          (one) =>
            (one.kind === 'decision' && ids.includes(one.id)) ||
            (one.kind === 'outcome' && ids.includes(one.decisionId)),
        )
    }
    // The message, and asking for its task: each intent with its outcome.
    await until(() => own().length >= 4)
    assert.deepEqual(
      own().map((one) => (one.kind === 'decision' ? [one.operation, one.decision] : one.kind)),
      [['explain', 'allow'], 'outcome', ['explain', 'allow'], 'outcome'],
    )
    const { revision } = world.gateway.stats()
    const from = peer.seen.length
    const id = `spiffe://${world.plane.trustDomain}/agent/reader/i7`
    world.plane.risk = { [id]: { score: 90, at: Date.now() } }
    world.plane.publish()
    await until(() => world.gateway.stats().revision?.n !== revision?.n)
    await assert.rejects(mine.getTask({ tenant: '', id: made.id }), (error) => {
      assert.deepEqual(a2aCodes(error), [-32050, 'SP_DENIED_FORBIDDEN'])
      return true
    })
    assert.equal(peer.seen.length, from)
    world.plane.risk = {}
    world.plane.publish()
  })
})

const listed = () => ({
  tenant: '',
  contextId: '',
  status: TaskState.TASK_STATE_UNSPECIFIED,
  pageToken: '',
  statusTimestampAfter: undefined,
})
