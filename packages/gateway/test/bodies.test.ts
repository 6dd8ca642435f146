import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { after, afterEach, before, describe, it } from 'node:test'
import type { Declaration, HttpBinding, InputSchema, Operation } from '@sallyport/network'
import { json } from './support/service.ts'
import { startWorld, until } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

const PATH = '/bank/v1/accounts/A/transfers'
const FORM = 'application/x-www-form-urlencoded'
const FILE: InputSchema = {
  type: 'record',
  members: {
    name: { schema: { type: 'string', maxLength: 255 }, required: true },
    type: { schema: { type: 'string', maxLength: 127 }, required: true },
    size: { schema: { type: 'long', minimum: 0, maximum: 1_000_000 }, required: true },
    sha256: { schema: { type: 'string', maxLength: 64 }, required: true },
  },
}

/** The operation `transfer`, taking its body in another form. */
const taking =
  (body: HttpBinding['body'] & object, policy = '') =>
  (declaration: Declaration): Declaration => {
    const changed = (operation: Operation): Operation => {
      const { binding, input } = operation
      if (operation.name !== 'transfer' || binding.kind !== 'http') return operation
      if (body.kind === 'form') return { ...operation, binding: { ...binding, body } }
      const parameters = { ...binding.parameters, file: 'body' } as const
      const members = { ...input.members, file: { schema: FILE, required: true } }
      return {
        ...operation,
        binding: { ...binding, body, parameters },
        input: { ...input, members },
      }
    }
    const systems = declaration.network.systems.map((system) => ({
      ...system,
      operations: system.operations.map(changed),
    }))
    const more = { id: 'more', source: policy, file: 'more.cedar', line: 1 }
    return {
      network: { ...declaration.network, systems },
      policies: policy === '' ? declaration.policies : [...declaration.policies, more],
    }
  }

/** The log's record of a decision. */
async function decisionOf(world: World, id: unknown) {
  const find = () => world.plane.records().find((one) => one.kind === 'decision' && one.id === id)
  await until(() => find() !== undefined)
  return find()
}

describe('forms through the gateway', () => {
  let world: World
  let agent: TestAgent
  before(async () => {
    world = await startWorld({}, undefined, taking({ kind: 'form', deep: [] }))
    agent = world.agent('teller')
  })
  after(() => world.close())
  afterEach(() => {
    world.bank.seen.length = 0
  })
  const post = async (body: string, type = FORM, path = PATH, from = agent) => {
    const headers = { 'content-type': type }
    const answer = await from.pool.request({ method: 'POST', path, headers, body })
    return {
      status: answer.statusCode,
      body: (await answer.body.json()) as Record<string, unknown>,
    }
  }

  it('are decided as JSON is, and go on in one spelling', async () => {
    const reply = await post('to=b%6Fb&amount=12&memo=a+b%26c', `${FORM}; charset=UTF-8`)
    assert.deepEqual(reply, { status: 200, body: { id: 'T-1' } })
    const [seen] = world.bank.seen
    assert.equal(seen?.body, 'amount=12&memo=a%20b%26c&to=bob')
    assert.equal(seen.headers['content-type'], FORM)
    assert.equal(world.bank.refusals, 0)
  })
  it('are refused where they are wrong, and nothing goes on', async () => {
    const wrong: readonly (readonly [string, string, number, string])[] = [
      ['to=bob&amount=1&amount=2', FORM, 400, 'SP_REQUEST_FORM'],
      ['to=bob&amount=1&other=2', FORM, 400, 'SP_INPUT_UNKNOWN'],
      ['to=bob&amount=1&accountId=B', FORM, 400, 'SP_INPUT_UNKNOWN'],
      ['to=bob&amount=0', FORM, 400, 'SP_INPUT_VALUE'],
      ['to=bob', FORM, 400, 'SP_INPUT_MISSING'],
      ['to=bob&amount=1', 'application/json', 415, 'SP_REQUEST_BODY'],
      ['{"to":"bob","amount":1}', 'application/json', 415, 'SP_REQUEST_BODY'],
      ['to=bob&amount=1', `${FORM}; charset=utf-7`, 415, 'SP_REQUEST_BODY'],
      [`to=bob&amount=1&memo=${'x'.repeat(300_000)}`, FORM, 413, 'SP_REQUEST_TOO_LARGE'],
    ]
    for (const [form, type, status, code] of wrong) {
      const reply = await post(form, type)
      assert.equal(reply.status, status, form.slice(0, 80))
      assert.equal(reply.body['code'], code, form.slice(0, 80))
    }
    assert.equal(world.bank.seen.length, 0)
    assert.equal((await post('to=bob&amount=1')).status, 200)
  })
})

describe('lists through the gateway', () => {
  it('that are too short are refused where they are, and nothing goes on', async () => {
    const party: InputSchema = {
      type: 'record',
      members: {
        names: {
          schema: {
            type: 'set',
            items: { type: 'string', maxLength: 9 },
            minItems: 2,
            maxItems: 3,
          },
          required: true,
        },
      },
    }
    const world = await startWorld({}, undefined, (declaration) => ({
      ...declaration,
      network: {
        ...declaration.network,
        systems: declaration.network.systems.map((system) => ({
          ...system,
          operations: system.operations.map((operation) => {
            const { binding, input } = operation
            if (operation.name !== 'transfer' || binding.kind !== 'http') return operation
            const parameters = { ...binding.parameters, party: 'body' } as const
            const members = { ...input.members, party: { schema: party, required: true } }
            return {
              ...operation,
              binding: { ...binding, parameters },
              input: { ...input, members },
            }
          }),
        })),
      },
    }))
    try {
      const post = async (names: readonly string[]) => {
        const body = JSON.stringify({ to: 'bob', amount: 1, party: { names } })
        const headers = { 'content-type': 'application/json' }
        const answer = await world
          .agent('teller')
          .pool.request({ method: 'POST', path: PATH, headers, body })
        return { status: answer.statusCode, body: await answer.body.text() }
      }
      for (const names of [[], ['one']]) {
        const { status, body } = await post(names)
        assert.equal(status, 400)
        assert.match(body, /SP_INPUT_VALUE.*`party\.names` has fewer than 2 items/s)
      }
      assert.equal(world.bank.seen.length, 0)
      assert.equal((await post(['one', 'two'])).status, 200)
      assert.match(world.bank.seen[0]?.body ?? '', /"names":\["one","two"\]/)
    } finally {
      await world.close()
    }
  })
})

describe('files through the gateway', () => {
  const forbids = `forbid (principal, action == Action::"bank.transfer", resource)
    when { context.input.file.size > 100000 || context.input.file.type == "text/html" };`
  const settings = { maxUploadsBytesPerInstance: 900_000, maxUploadsBytes: 1_500_000 }
  let world: World
  let agent: TestAgent
  before(async () => {
    const change = taking({ kind: 'parts', files: ['file'] }, forbids)
    world = await startWorld({ settings }, undefined, change)
    agent = world.agent('teller')
    world.bank.answer = (_seen, res) => {
      json(res, { id: 'T-1' })
    }
  })
  after(() => world.close())
  afterEach(() => {
    world.bank.seen.length = 0
  })
  const form = (bytes: Buffer, type = 'application/pdf'): FormData => {
    const data = new FormData()
    data.set('amount', '5')
    data.set('to', 'bob')
    data.set('file', new File([new Uint8Array(bytes)], 'a.pdf', { type }))
    return data
  }
  /** As any client writes it. */
  const post = async (data: FormData, from = agent) => {
    const request = new Request('http://x', { method: 'POST', body: data })
    const answer = await from.pool.request({
      method: 'POST',
      path: PATH,
      headers: { 'content-type': request.headers.get('content-type') ?? '' },
      body: Buffer.from(await request.arrayBuffer()),
    })
    return {
      status: answer.statusCode,
      body: (await answer.body.json()) as Record<string, unknown>,
    }
  }

  const head = (length: number): string =>
    `POST ${PATH} HTTP/1.1\r\nHost: g\r\nContent-Type: multipart/form-data; boundary=B\r\nContent-Length: ${length}\r\n\r\n`

  it('are decided by what they are, and arrive as they were', async () => {
    const content = Buffer.from('%PDF-1.7\r\n--x\r\n')
    assert.deepEqual(await post(form(content)), { status: 200, body: { id: 'T-1' } })
    const [seen] = world.bank.seen
    const type = seen?.headers['content-type'] ?? ''
    assert.match(type, /^multipart\/form-data; boundary=sallyport-[0-9a-f]{48}$/)
    const read = await new Response(seen?.body ?? '', {
      headers: { 'content-type': type },
    }).formData()
    assert.deepEqual([...read.keys()], ['amount', 'to', 'file'])
    const file = read.get('file')
    assert.ok(file instanceof File)
    assert.equal(file.name, 'a.pdf')
    assert.equal(file.type, 'application/pdf')
    assert.deepEqual(Buffer.from(await file.arrayBuffer()), content)
    // Not a byte of what the caller sent around them.
    assert.doesNotMatch(seen?.body ?? '', /formdata/i)
  })

  it('are denied by their type and their size', async () => {
    const denied = async (data: FormData): Promise<unknown> => {
      const reply = await post(data)
      await decisionOf(world, reply.body['decision'])
      return reply.body['code']
    }
    assert.equal(await denied(form(Buffer.alloc(10), 'text/html')), 'SP_DENIED_FORBIDDEN')
    assert.equal(await denied(form(Buffer.alloc(100_001))), 'SP_DENIED_FORBIDDEN')
    assert.equal((await post(form(Buffer.alloc(100_000)))).status, 200)
    assert.equal(world.bank.seen.length, 1)
  })

  it('have a digest that the log commits to', async () => {
    const content = randomBytes(1000)
    const digest = createHash('sha256').update(content).digest('hex')
    const only = taking(
      { kind: 'parts', files: ['file'] },
      `forbid (principal, action == Action::"bank.transfer", resource)
       unless { context.input.file.sha256 == "${digest}" };`,
    )
    const other = await startWorld({}, undefined, only)
    try {
      const teller = other.agent('teller')
      assert.equal((await post(form(content), teller)).status, 200)
      content[0] = (content[0] ?? 0) ^ 1
      assert.equal((await post(form(content), teller)).status, 403)
    } finally {
      await other.close()
    }
  })

  it('are not read from those who may not send them', async () => {
    // It is answered before any of it was sent.
    const socket = await world.agent('reader').raw()
    socket.on('error', () => undefined)
    let heard = ''
    socket.on('data', (bytes: Buffer) => (heard += String(bytes)))
    socket.write(head(800_000))
    await until(() => heard.includes('SP_'))
    assert.match(heard, /^HTTP\/1\.1 403 [^]*SP_NO_FLOW/)
    socket.destroy()
  })

  it('have only so much room at once, which they give back', async () => {
    for (let i = 0; i < 4; i++) assert.equal((await post(form(Buffer.alloc(800_000)))).status, 403)
    // One that is never whole.
    const socket = await agent.raw()
    socket.on('error', () => undefined)
    socket.write(head(850_000) + 'x'.repeat(800_000))
    await until(() => world.gateway.stats().inFlight === 1)
    // Once all that was sent has been read.
    let reply = await post(form(Buffer.alloc(200_000)))
    for (let i = 0; i < 200 && reply.status !== 503; i++) {
      reply = await post(form(Buffer.alloc(200_000)))
    }
    assert.equal(reply.body['code'], 'SP_OVERLOADED')
    // Another instance has room of its own.
    assert.equal((await post(form(Buffer.alloc(1000)), world.agent('teller', 'i2'))).status, 200)
    socket.destroy()
    await until(() => world.gateway.stats().inFlight === 0)
    assert.equal((await post(form(Buffer.alloc(200_000)))).status, 403)
  })

  it('are refused where their parts are wrong, and nothing goes on', async () => {
    const twice = form(Buffer.alloc(1))
    twice.append('amount', '6')
    assert.equal((await post(twice)).body['code'], 'SP_REQUEST_PARTS')
    const none = new FormData()
    none.set('amount', '5')
    none.set('to', 'bob')
    assert.equal((await post(none)).body['code'], 'SP_INPUT_MISSING')
    none.set('file', 'text')
    assert.equal((await post(none)).body['code'], 'SP_REQUEST_PARTS')
    const claimed = { amount: 5, to: 'bob', file: { name: 'a', type: 'b', size: 1, sha256: 'c' } }
    const asJson = await agent.ask({ method: 'POST', path: PATH, body: claimed })
    assert.equal(asJson.status, 415)
    assert.equal(world.bank.seen.length, 0)
  })
})
