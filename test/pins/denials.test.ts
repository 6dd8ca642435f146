/**
 * What a refused caller is told, member by member, as frozen text: nothing here comes from `src`. A change of any of it
 * is a change of the wire, and what is added could tell an attacker something.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { TLSSocket } from 'node:tls'
import { setTimeout as sleep } from 'node:timers/promises'
import { readLog } from '../support/audit.ts'
import { PretendWorld } from '../support/pretend-world.ts'
import { say } from '../support/say.ts'
import type { Heard } from '../support/say.ts'

let world: PretendWorld
let socket: TLSSocket
const everything: string[] = []

before(async () => {
  world = await PretendWorld.start({
    settings: { stalenessSeconds: 2, strictStalenessSeconds: 2 },
  })
  socket = await world.connect('i1')
})
after(async () => {
  socket.destroy()
  await world.stop()
})

/** The body with the ids that differ from call to call replaced by names. */
function pinned({ text }: Heard): unknown {
  everything.push(text)
  const named = text
    .replaceAll(/"dec_[0-9a-z]{20,40}"/g, '"DECISION"')
    .replaceAll(/"apr_[0-9a-z]{20,40}"/g, '"APPROVAL"')
  return JSON.parse(named)
}

function problem(heard: Heard, status: number): unknown {
  assert.equal(heard.status, status)
  assert.equal(heard.headers['content-type'], 'application/problem+json')
  assert.equal(heard.headers['cache-control'], 'no-store')
  const hop = ['connection', 'keep-alive']
  const names = Object.keys(heard.headers).filter((name) => !hop.includes(name))
  assert.deepEqual(names.toSorted(), [
    ...['cache-control', 'content-length', 'content-type', 'date'],
    ...(status === 429 ? ['retry-after'] : []),
    'x-content-type-options',
  ])
  return pinned(heard)
}

const entry = (amount: unknown): unknown => ({ ref: 'r', amount })

test('http: forbidden', async () => {
  assert.deepEqual(problem(await say(socket, 'DELETE', '/ledger/v1/entries/1'), 403), {
    type: 'https://sallyport.dev/errors/SP_DENIED_FORBIDDEN',
    title: 'the call is forbidden',
    status: 403,
    code: 'SP_DENIED_FORBIDDEN',
    outcome: 'forbidden',
    decision: 'DECISION',
  })
  // A bound on an argument reads exactly the same: how far it was off is nobody's business.
  const near = pinned(await say(socket, 'POST', '/ledger/v1/entries', entry(82_194)))
  const far = pinned(await say(socket, 'POST', '/ledger/v1/entries', entry(999_999)))
  assert.deepEqual(near, far)
  assert.deepEqual(near, pinned(await say(socket, 'DELETE', '/ledger/v1/entries/1')))
})

test('http: not permitted', async () => {
  const body = { title: 'the call is not permitted', status: 403, outcome: 'not-permitted' }
  assert.deepEqual(problem(await say(socket, 'POST', '/ledger/v1/seizures', entry(1)), 403), {
    ...body,
    type: 'https://sallyport.dev/errors/SP_DENIED_NOT_PERMITTED',
    code: 'SP_DENIED_NOT_PERMITTED',
    decision: 'DECISION',
  })
  assert.deepEqual(problem(await say(socket, 'GET', '/ledger/v1/entries'), 403), {
    ...body,
    type: 'https://sallyport.dev/errors/SP_NO_FLOW',
    code: 'SP_NO_FLOW',
    decision: 'DECISION',
  })
})

test('http: not to be decided', async () => {
  assert.deepEqual(problem(await say(socket, 'POST', '/ledger/v1/entries', entry(666)), 403), {
    type: 'https://sallyport.dev/errors/SP_DENIED_POLICY_ERROR',
    title: 'the call could not be decided',
    status: 403,
    code: 'SP_DENIED_POLICY_ERROR',
    outcome: 'error',
    decision: 'DECISION',
  })
})

test('http: needs', async () => {
  assert.deepEqual(problem(await say(socket, 'POST', '/ledger/v1/entries', entry(5000)), 403), {
    type: 'https://sallyport.dev/errors/SP_NEEDS_APPROVAL',
    title: 'the call needs an approval',
    status: 403,
    code: 'SP_NEEDS_APPROVAL',
    outcome: 'needs',
    decision: 'DECISION',
    needs: [{ kind: 'approval', count: 1, approval: 'APPROVAL' }],
  })
})

test('http: limited', async (t) => {
  world.plane.limit = 'refuse'
  t.after(() => {
    world.plane.limit = 'grant'
  })
  const heard = await say(socket, 'POST', '/ledger/v1/draws', entry(1))
  assert.equal(heard.headers['retry-after'], '7')
  assert.deepEqual(problem(heard, 429), {
    type: 'https://sallyport.dev/errors/SP_LIMIT_REACHED',
    title: 'a limit is reached',
    status: 429,
    code: 'SP_LIMIT_REACHED',
    outcome: 'limited',
    decision: 'DECISION',
    retryAfterSeconds: 7,
  })
})

test('http: malformed', async () => {
  const typed = await say(socket, 'POST', '/ledger/v1/entries', entry('many'))
  assert.deepEqual(problem(typed, 400), {
    type: 'https://sallyport.dev/errors/SP_INPUT_TYPE',
    title: 'the input `amount` must be a whole number',
    status: 400,
    code: 'SP_INPUT_TYPE',
    outcome: 'refused',
    decision: 'DECISION',
  })
  const twice = await say(socket, 'POST', '/ledger/v1/entries', '{"ref":"a","ref":"b"}')
  assert.deepEqual(problem(twice, 400), {
    type: 'https://sallyport.dev/errors/SP_JSON_DUPLICATE_KEY',
    title: 'a JSON object names the same member twice',
    status: 400,
    code: 'SP_JSON_DUPLICATE_KEY',
    outcome: 'refused',
    decision: 'DECISION',
  })
})

test('http: nowhere', async () => {
  const body = {
    type: 'https://sallyport.dev/errors/SP_NO_OPERATION',
    title: 'there is no such operation',
    status: 403,
    code: 'SP_NO_OPERATION',
    outcome: 'not-permitted',
    decision: 'DECISION',
  }
  // A system that exists and one that does not read the same.
  assert.deepEqual(problem(await say(socket, 'GET', '/ledger/v9'), 403), body)
  assert.deepEqual(problem(await say(socket, 'GET', '/nowhere/v9'), 403), body)
})

test('mcp: every outcome of a call', async (t) => {
  const mcp = await Mcp.open(socket)
  assert.deepEqual(await mcp.call(1, 'burn_notes', { ref: 'r' }), {
    jsonrpc: '2.0',
    id: 1,
    error: {
      code: -32001,
      message: 'the call is forbidden',
      data: {
        type: 'https://sallyport.dev/errors/SP_DENIED_FORBIDDEN',
        title: 'the call is forbidden',
        status: 403,
        code: 'SP_DENIED_FORBIDDEN',
        outcome: 'forbidden',
        decision: 'DECISION',
      },
    },
  })
  assert.deepEqual(await mcp.call(2, 'shred_notes', { ref: 'r' }), {
    jsonrpc: '2.0',
    id: 2,
    error: {
      code: -32001,
      message: 'the call is not permitted',
      data: {
        type: 'https://sallyport.dev/errors/SP_DENIED_NOT_PERMITTED',
        title: 'the call is not permitted',
        status: 403,
        code: 'SP_DENIED_NOT_PERMITTED',
        outcome: 'not-permitted',
        decision: 'DECISION',
      },
    },
  })
  assert.deepEqual(await mcp.call(3, 'add_note', { ref: 'r', words: 5000 }), {
    jsonrpc: '2.0',
    id: 3,
    error: {
      code: -32001,
      message: 'the call needs an approval',
      data: {
        type: 'https://sallyport.dev/errors/SP_NEEDS_APPROVAL',
        title: 'the call needs an approval',
        status: 403,
        code: 'SP_NEEDS_APPROVAL',
        outcome: 'needs',
        decision: 'DECISION',
        needs: [{ kind: 'approval', count: 1, approval: 'APPROVAL' }],
      },
    },
  })
  assert.deepEqual(await mcp.call(4, 'add_note', { ref: 'r', words: 'x' }), {
    jsonrpc: '2.0',
    id: 4,
    error: {
      code: -32602,
      message: 'the input `words` must be a whole number',
      data: {
        type: 'https://sallyport.dev/errors/SP_INPUT_TYPE',
        title: 'the input `words` must be a whole number',
        status: 400,
        code: 'SP_INPUT_TYPE',
        outcome: 'refused',
        decision: 'DECISION',
      },
    },
  })
  world.plane.limit = 'refuse'
  t.after(() => {
    world.plane.limit = 'grant'
  })
  assert.deepEqual(await mcp.call(5, 'read_note', { ref: 'r' }), {
    jsonrpc: '2.0',
    id: 5,
    error: {
      code: -32001,
      message: 'a limit is reached',
      data: {
        type: 'https://sallyport.dev/errors/SP_LIMIT_REACHED',
        title: 'a limit is reached',
        status: 429,
        code: 'SP_LIMIT_REACHED',
        outcome: 'limited',
        decision: 'DECISION',
        retryAfterSeconds: 7,
      },
    },
  })
})

test('http and mcp: an identity that has ended', async () => {
  const [one, other] = [await world.connect('i2', 6), await world.connect('i2', 6)]
  const calls: readonly (() => Promise<Heard>)[] = [
    () => say(one, 'GET', '/ledger/v1/entries/1'),
    () => say(other, 'POST', '/desk/mcp', Mcp.message(1, 'read_note', { ref: 'r' }), Mcp.headers),
  ]
  // A call while it lasted, and the same one after.
  for (const call of calls) assert.notEqual((await call()).status, 401)
  await sleep(6500)
  for (const call of calls) {
    const heard = await call()
    assert.equal(heard.status, 401)
    assert.equal(heard.headers.connection, 'close')
    assert.deepEqual(pinned(heard), {
      type: 'https://sallyport.dev/errors/SP_SVID_EXPIRED',
      title: 'the certificate is not valid now',
      status: 401,
      code: 'SP_SVID_EXPIRED',
      outcome: 'refused',
      decision: 'DECISION',
    })
    // Found in the log, with whose certificate it was.
    const { decision } = JSON.parse(heard.text) as { readonly decision: string }
    const { all } = await readLog(world.gatewayDir)
    const found = all.find((record) => record.kind === 'event' && record.facts['id'] === decision)
    assert.ok(found?.kind === 'event')
    assert.equal(found.event, 'request-refused')
    assert.equal(found.code, 'SP_SVID_EXPIRED')
    assert.equal(found.subject, 'spiffe://test.example/agent/clerk/i2')
  }
})

test('http and mcp: stale', async () => {
  const mcp = await Mcp.open(await world.connect('i1'))
  world.plane.beating = false
  await sleep(2500)
  const body = {
    type: 'https://sallyport.dev/errors/SP_STALE',
    title: 'the gateway has been cut off for too long',
    status: 503,
    code: 'SP_STALE',
    outcome: 'refused',
    decision: 'DECISION',
  }
  assert.deepEqual(problem(await say(socket, 'GET', '/ledger/v1/entries/1'), 503), body)
  assert.deepEqual(await mcp.call(1, 'read_note', { ref: 'r' }), {
    jsonrpc: '2.0',
    id: 1,
    error: { code: -32001, message: 'the gateway has been cut off for too long', data: body },
  })
  // What is no request of JSON-RPC has no id to be answered under.
  const other = await world.connect('i3')
  assert.deepEqual(problem(await say(other, 'POST', '/desk/mcp', { jsonrpc: '2.0' }), 503), body)
  other.destroy()
  mcp.end()
})

test('nothing that was said gives away a policy, a threshold or a clause', () => {
  assert.ok(everything.length >= 20)
  const { network, policies } = world.plane.declaration
  const secrets = [
    ...policies.map(({ id }) => id),
    ...policies.flatMap(({ source }) => source.match(/\d{3,}/g) ?? []),
    ...policies.flatMap(({ source }) => source.match(/context\.[\w.]+/g) ?? []),
    ...network.limits.flatMap(({ id, maxCalls }) => [id, String(maxCalls)]),
    ...network.operators.flatMap(({ name, displayName }) => [name, displayName]),
    ...network.flows.map(({ purpose }) => purpose),
    ...['permit (', 'forbid (', 'principal', 'polic', 'Agent::', 'clerk'],
  ]
  for (const needed of ['bounds.no-fortunes', '82193', '4711', 'context.input.amount', '31337']) {
    assert.ok(secrets.includes(needed), needed)
  }
  for (const text of everything) {
    // Ids are random letters and digits.
    const said = text.replaceAll(/"(dec|apr)_[0-9a-z]+"/g, '')
    for (const secret of secrets) assert.ok(!said.includes(secret), `\`${secret}\` in ${text}`)
  }
})

/** MCP by hand, on a socket of the caller's. */
class Mcp {
  static readonly headers: Readonly<Record<string, string>> = {
    accept: 'application/json, text/event-stream',
    'mcp-protocol-version': '2025-06-18',
  }
  readonly #socket: TLSSocket
  readonly #session: string

  private constructor(onto: TLSSocket, session: string) {
    this.#socket = onto
    this.#session = session
  }

  static message(id: number, name: string, args: unknown): unknown {
    return { jsonrpc: '2.0', id, method: 'tools/call', params: { name, arguments: args } }
  }

  static async open(onto: TLSSocket): Promise<Mcp> {
    const clientInfo = { name: 't', version: '1' }
    const params = { protocolVersion: '2025-06-18', capabilities: {}, clientInfo }
    const hello = { jsonrpc: '2.0', id: 0, method: 'initialize', params }
    const heard = await say(onto, 'POST', '/desk/mcp', hello, Mcp.headers)
    return new Mcp(onto, String(heard.headers['mcp-session-id']))
  }

  async call(id: number, name: string, args: unknown): Promise<unknown> {
    const headers = { ...Mcp.headers, 'mcp-session-id': this.#session }
    return pinned(
      await say(this.#socket, 'POST', '/desk/mcp', Mcp.message(id, name, args), headers),
    )
  }

  end(): void {
    this.#socket.destroy()
  }
}
