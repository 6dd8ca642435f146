/** What one caller, or one peer, may take of a gateway over A2A, and what of it concerns anybody else. */
import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import { clerkCard, startPeers } from './support/a2a.ts'
import type { TestPeer } from './support/a2a.ts'
import { json } from './support/service.ts'
import { until } from './support/world.ts'
import type { Json, TestAgent, World } from './support/world.ts'

const rpc = (method: string, params: unknown): object => ({ jsonrpc: '2.0', id: 1, method, params })

const saying =
  (result: unknown): NonNullable<TestPeer['raw']> =>
  ({ body }, res) => {
    json(res, { jsonrpc: '2.0', id: body?.['id'], result })
  }

const fine = { message: { messageId: 'p', role: 'ROLE_AGENT', parts: [{ text: 'fine' }] } }

interface Told {
  readonly code: unknown
  readonly error: Json | undefined
  readonly result: Json | undefined
}

async function post(
  agent: TestAgent,
  method: string,
  params: unknown,
  system = 'clerk',
): Promise<Told> {
  const answer = await agent.pool.request({
    ...{ method: 'POST', path: `/${system}/a2a`, body: JSON.stringify(rpc(method, params)) },
    headers: { 'content-type': 'application/json', 'a2a-version': '1.0' },
  })
  const body = (await answer.body.json()) as Json
  const error = body['error'] as Json | undefined
  const data = error?.['data'] as Json | undefined
  return { error, result: body['result'] as Json | undefined, code: data?.['code'] ?? body['code'] }
}

const explain = (agent: TestAgent, more: object = {}, system = 'clerk'): Promise<Told> => {
  const said = { parts: [{ text: 'x' }], metadata: { skillId: 'explain' } }
  const message = { messageId: 'm', role: 'ROLE_USER', ...said }
  return post(agent, 'SendMessage', { message, ...more }, system)
}

const move = (agent: TestAgent): Promise<Told> => {
  const said = { parts: [{ data: { account: 'A', amount: 5 } }], metadata: { skillId: 'move' } }
  return post(agent, 'SendMessage', { message: { messageId: 'm', role: 'ROLE_USER', ...said } })
}

describe('the card of a peer', () => {
  let world: World
  let peer: TestPeer
  let close: () => Promise<void> = () => Promise.resolve()
  afterEach(() => close())
  const start = async (a2aCardMs: number): Promise<void> => {
    ;({ world, peer, close } = await startPeers({ a2aCardMs }))
    peer.raw = saying(fine)
  }

  it('that one caller was not given is asked for by the next one, who may be', async () => {
    await start(60_000)
    const [first, second] = [world.agent('reader', 'i1'), world.agent('reader', 'i2')]
    for (const [status, code] of [
      [429, 'SP_UPSTREAM_REFUSED'],
      [404, 'SP_UPSTREAM_REFUSED'],
      [403, 'SP_UPSTREAM_FAILED'],
    ] as const) {
      peer.cardStatus = ({ token }) => (token.sub.endsWith('/i1') ? status : 200)
      assert.equal((await explain(first)).code, code)
    }
    assert.ok((await explain(second)).result)
    // Read once, it counts for all.
    assert.ok((await explain(first)).result)
    assert.equal(peer.seen.filter(({ method }) => method === 'GET').length, 4)
  })

  it('stops a call before it goes out, and that is how it is counted', async () => {
    await start(0)
    const teller = world.agent('teller')
    const counted = async (code: string | undefined): Promise<boolean | undefined> => {
      const { length } = world.plane.settled
      assert.equal((await move(teller)).code, code)
      await until(() => world.plane.settled.length > length)
      return world.plane.settled.at(-1)?.commit
    }
    assert.equal(await counted(undefined), true)
    const posts = () => peer.seen.filter(({ method }) => method === 'POST').length
    const from = posts()
    peer.cardStatus = () => 503
    assert.equal(await counted('SP_UPSTREAM_FAILED'), false)
    peer.cardStatus = () => 200
    peer.card = { ...clerkCard(), description: 'Other.' }
    assert.equal(await counted('SP_A2A_CARD'), false)
    assert.equal(posts(), from)
    // What went out and was not answered may have been done.
    peer.card = clerkCard()
    peer.raw = (_seen, res) => {
      res.writeHead(503).end()
    }
    assert.equal(await counted('SP_UPSTREAM_FAILED'), true)
  })
})

describe('what a peer answers over A2A', () => {
  let world: World
  let peer: TestPeer
  let close: () => Promise<void>
  let reader: TestAgent
  before(async () => {
    ;({ world, peer, close } = await startPeers())
    reader = world.agent('reader', 'i1', 900)
  })
  after(() => close())

  const many = <T>(n: number, one: (n: number) => T): T[] =>
    Array.from({ length: n }, (_, i) => one(i))
  const parts = (n: number, part: object = { text: 'a' }): object[] => many(n, () => part)
  const said = (given: object[]): object => ({ message: { ...fine.message, parts: given } })
  const task = (over: object): object => ({
    task: { id: 't', contextId: 'c', status: { state: 'TASK_STATE_WORKING' }, ...over },
  })
  const artifacts = (n: number, of = 1): object =>
    task({ artifacts: many(n, (i) => ({ artifactId: `a${i}`, parts: parts(of) })) })
  const history = (n: number): object => task({ history: many(n, () => fine.message) })
  const half = 1024 * 1024

  const bounds: Readonly<Record<string, readonly [taken: object, refused: object]>> = {
    'the parts of a message': [said(parts(256)), said(parts(257))],
    'the parts of all artifacts together': [artifacts(128, 2), artifacts(127, 3)],
    artifacts: [artifacts(128), artifacts(129)],
    history: [history(1024), history(1025)],
    'what texts hold together': [
      said(parts(2, { text: 'x'.repeat(half) })),
      said([...parts(2, { text: 'x'.repeat(half) }), { text: 'x' }]),
    ],
    'what an object holds': [
      said([{ data: { note: { text: 'x'.repeat(half) } } }]),
      said([{ data: { note: { text: 'x'.repeat(2 * half) } } }]),
    ],
    'the name of a file': [
      said([{ text: 'a', filename: 'x'.repeat(255) }]),
      said([{ text: 'a', filename: 'x'.repeat(256) }]),
    ],
    'the address of a file': [
      said([{ url: `https://x.example/${'x'.repeat(2000)}` }]),
      said([{ url: `https://x.example/${'x'.repeat(2048)}` }]),
    ],
  }
  for (const [what, [taken, refused]] of Object.entries(bounds)) {
    it(`is so much: ${what}`, async () => {
      peer.raw = saying(taken)
      assert.ok((await explain(reader)).result)
      peer.raw = saying(refused)
      assert.equal((await explain(reader)).code, 'SP_UPSTREAM_RESPONSE')
    })
  }
})

describe('places that a peer is told to push to', () => {
  let world: World
  let peer: TestPeer
  let close: () => Promise<void>
  before(async () => {
    ;({ world, peer, close } = await startPeers({ maxA2aPushesPerTask: 2 }))
  })
  after(() => close())
  const TASK = { id: 't', contextId: 'c', status: { state: 'TASK_STATE_WORKING' } }
  beforeEach(() => {
    peer.raw = saying({ task: TASK })
  })

  const URL_ = 'https://hooks.test.example/a2a'
  const set = (agent: TestAgent, config: object): Promise<Told> =>
    explain(agent, { configuration: { taskPushNotificationConfig: config } }, 'hooked')

  const bad: Readonly<Record<string, object>> = {
    'a token that ends a header': { token: 'secret\r\nx-more: 1' },
    'a token with a space': { token: 'secret word' },
    'a token of other letters': { token: 'sécret' },
    'a token that is too long': { token: 's'.repeat(4097) },
    'a token that is none': { token: { secret: 1 } },
    'credentials that end a header': {
      authentication: { scheme: 'Bearer', credentials: 'secret\n' },
    },
    'credentials with parameters': {
      authentication: { scheme: 'Digest', credentials: 'username="secret"' },
    },
    'credentials that are too long': {
      authentication: { scheme: 'Bearer', credentials: 's'.repeat(4097) },
    },
    'a scheme of two words': { authentication: { scheme: 'Bearer secret', credentials: 'x' } },
    'a scheme that ends a header': { authentication: { scheme: 'Bearer\r\n', credentials: 'x' } },
    'no scheme': { authentication: { credentials: 'secret' } },
  }
  for (const [what, config] of Object.entries(bad)) {
    it(`take not ${what}, and it is not told again`, async () => {
      const { length } = peer.seen
      const told = await set(world.agent('reader', 'bad', 900), { url: URL_, ...config })
      assert.equal(told.code, 'SP_A2A_MESSAGE')
      assert.doesNotMatch(JSON.stringify(told), /s[eé]cret|ssss/)
      assert.equal(peer.seen.length, length)
    })
  }

  it('have a token and credentials that the peer is told, and nobody else', async () => {
    const reader = world.agent('reader', 'i1', 900)
    const token = 'c2VjcmV0LW9uZQ._~+/-=='
    const authentication = {
      scheme: 'Bearer',
      credentials: 'eyJhbGciOiJFUzI1NiJ9.e30.c2VjcmV0LXR3bw',
    }
    const config = { id: 'p1', url: URL_, token, authentication }
    const echo = { metadata: { config }, history: [{ ...fine.message, metadata: { config } }] }
    peer.raw = saying({ task: { ...TASK, ...echo } })
    const told: unknown[] = [await set(reader, config)]
    const sent = peer.seen.at(-1)?.body?.['params'] as { configuration: Json } | undefined
    assert.deepEqual(sent?.configuration['taskPushNotificationConfig'], config)
    const { id } = ((told[0] as Told).result ?? {})['task'] as { id: string }
    const about = async (method: string, params: object, agent = reader): Promise<Told> => {
      const answer = await post(agent, method, params, 'hooked')
      told.push(answer)
      return answer
    }
    const got = await about('GetTaskPushNotificationConfig', { taskId: id, id: 'p1' })
    assert.deepEqual(got.result, { taskId: id, id: 'p1', url: URL_ })
    await about('ListTaskPushNotificationConfigs', { taskId: id })
    peer.raw = saying({ ...TASK, ...echo })
    assert.ok((await about('GetTask', { id })).result)
    peer.raw = saying(config)
    assert.ok((await about('CreateTaskPushNotificationConfig', { taskId: id, ...config })).result)
    const other = world.agent('reader', 'i2', 900)
    const notTheirs = await about('GetTaskPushNotificationConfig', { taskId: id, id: 'p1' }, other)
    assert.equal(notTheirs.code, 'SP_A2A_TASK')
    // Neither does whoever reads the log, which has all of it: what is answered was recorded.
    const files = await readdir(world.dataDir, { recursive: true, withFileTypes: true })
    const texts = await Promise.all(
      files
        .filter((file) => file.isFile())
        .map(({ parentPath, name }) => readFile(join(parentPath, name), 'latin1')),
    )
    const all = [...texts, ...told.map((answer) => JSON.stringify(answer))]
    assert.ok(texts.some((text) => text.includes('"operation":"explain"')))
    for (const secret of [token, authentication.credentials, 'c2VjcmV0']) {
      assert.ok(!all.some((text) => text.includes(secret)), secret)
    }
  })

  it('are so many of a task, and one that goes makes room', async () => {
    const reader = world.agent('reader', 'i4', 900)
    peer.raw = saying({ task: { ...TASK, id: 'many' } })
    const first = await set(reader, { id: 'p1', url: URL_ })
    const { id } = (first.result ?? {})['task'] as { id: string }
    peer.raw = saying({})
    const one = (own: string): Promise<Told> =>
      post(reader, 'CreateTaskPushNotificationConfig', { taskId: id, id: own, url: URL_ }, 'hooked')
    assert.ok((await one('p2')).result)
    assert.ok((await one('p2')).result)
    const { length } = peer.seen
    const { code, error } = await one('p3')
    assert.equal(code, 'SP_A2A_PUSH_LIMIT')
    assert.equal(error?.['code'], -32050)
    assert.equal((error['data'] as Json)['retryAfterSeconds'], 60)
    assert.equal(peer.seen.length, length)
    const gone = { taskId: id, id: 'p1' }
    const deleted = await post(reader, 'DeleteTaskPushNotificationConfig', gone, 'hooked')
    assert.equal(deleted.result, null)
    assert.ok((await one('p3')).result)
  })
})
