import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import type { Declaration, InputSchema, Operation } from '@sallyport/network'
import type { IdentityMaterial } from '@sallyport/transport'
import type { DecisionRecord } from '@sallyport/wire'
import { readAuthRequest } from '../src/points/auth-request.ts'
import { readCheckRequest } from '../src/points/ext-authz.ts'
import { field } from '../src/points/protobuf.ts'
import { withPoints } from './support/points.ts'
import { startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

interface Http {
  readonly method: string
  readonly path: string
  readonly protocol: string
  readonly headers: Readonly<Record<string, string>>
  readonly raw_body: Buffer
  readonly header_map: { readonly headers: readonly { key: string; raw_value: Buffer }[] }
}

interface CheckAnswer {
  readonly status: { readonly code: number }
  readonly http_response?: 'denied_response' | 'ok_response'
  readonly denied_response?: { readonly status: { code: number }; readonly body: string }
  readonly ok_response?: {
    readonly headers: readonly { header: { key: string; value: string } }[]
    readonly headers_to_remove: readonly string[]
  }
}

type CheckClient = grpc.Client & {
  Check(
    question: unknown,
    done: (error: grpc.ServiceError | null, answer: CheckAnswer) => void,
  ): grpc.ClientUnaryCall
}

/** As Envoy is configured: mutual TLS with an SVID of its own, `include_peer_certificate`. */
class Envoy {
  readonly #client: CheckClient

  constructor(world: World, identity: IdentityMaterial) {
    const at = world.gateway.pointsAddress
    assert.ok(at && 'port' in at)
    const proto = loadSync(new URL('./fixtures/ext_authz.proto', import.meta.url).pathname, {
      keepCase: true,
      oneofs: true,
      defaults: true,
    })
    // Made from the file above: it has this one service.
    const api = grpc.loadPackageDefinition(proto) as unknown as {
      envoy: { service: { auth: { v3: { Authorization: grpc.ServiceClientConstructor } } } }
    }
    const tls = grpc.credentials.createSsl(
      Buffer.from(identity.rootsPem),
      Buffer.from(identity.keyPem),
      Buffer.from(identity.chainPem),
      // Envoy matches the SPIFFE id instead of a host name.
      { checkServerIdentity: () => undefined },
    )
    this.#client = new api.envoy.service.auth.v3.Authorization(
      `${at.host}:${at.port}`,
      tls,
    ) as unknown as CheckClient
  }

  ask(
    agent: IdentityMaterial | undefined,
    http: Partial<Http>,
    extensions: Readonly<Record<string, string>> = { 'sallyport-system': 'rates' },
  ): Promise<CheckAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<CheckAnswer>()
    const certificate = agent === undefined ? '' : encodeURIComponent(leafOf(agent))
    const question = {
      attributes: {
        source: { principal: 'spiffe://test.example/agent/forged/x', certificate },
        request: {
          time: { seconds: 1, nanos: 2 },
          http: {
            id: '1',
            method: 'GET',
            path: '/v1/rate',
            host: 'rates.test',
            scheme: 'https',
            size: -1,
            protocol: 'HTTP/1.1',
            headers: { ':path': '/v1/rate', ':method': 'GET', accept: '*/*' },
            ...http,
          },
        },
        context_extensions: extensions,
      },
    }
    this.#client.Check(question, (error, answer) => {
      if (error) reject(error)
      else resolve(answer)
    })
    return promise
  }

  close(): void {
    this.#client.close()
  }
}

const leafOf = ({ chainPem }: IdentityMaterial): string =>
  `${chainPem.split('-----END CERTIFICATE-----')[0] ?? ''}-----END CERTIFICATE-----\n`

const codeOf = ({ denied_response: denied }: CheckAnswer): unknown =>
  denied === undefined ? 'allowed' : (JSON.parse(denied.body) as { code: string }).code

function decisions(world: World): readonly DecisionRecord[] {
  return world.plane.records().filter((record) => record.kind === 'decision')
}

describe('a gateway asked by Envoy (ext_authz, gRPC)', () => {
  let world: World
  let envoy: Envoy
  before(async () => {
    world = await startWorld(
      { points: { host: '127.0.0.1', port: 0 } },
      undefined,
      withPoints({
        edge: { systems: ['rates', 'bank', 'desk'], can: ['body', 'project', 'label', 'outcome'] },
        blind: { systems: ['rates', 'bank'], can: [] },
      }),
    )
    envoy = new Envoy(world, world.plane.service('edge'))
  })
  after(async () => {
    envoy.close()
    await world.close()
  })
  const reader = (): IdentityMaterial => world.plane.agent('reader')

  it('lets a declared call through, names its decision, and takes what is only ours away', async () => {
    const answer = await envoy.ask(reader(), {})
    assert.equal(answer.status.code, 0)
    assert.equal(answer.http_response, 'ok_response')
    const [{ header } = { header: { key: '', value: '' } }] = answer.ok_response?.headers ?? []
    assert.equal(header.key, 'sallyport-decision')
    assert.ok(answer.ok_response?.headers_to_remove.includes('sallyport-mandate'))
    await until(() => decisions(world).some(({ id }) => id === header.value))
    const record = decisions(world).find(({ id }) => id === header.value)
    assert.deepEqual(
      [record?.agent, record?.system, record?.operation, record?.decision],
      ['reader', 'rates', 'rate', 'allow'],
    )
    assert.deepEqual(record?.pep, {
      id: 'spiffe://test.example/service/edge/s1',
      unobserved: ['project', 'label', 'outcome'],
    })
  })

  it('keeps the trace of the call that it decides', async () => {
    const traceOf = async (headers: Record<string, string>): Promise<DecisionRecord['trace']> => {
      const answer = await envoy.ask(reader(), { headers })
      const id = answer.ok_response?.headers[0]?.header.value
      await until(() => decisions(world).some((one) => one.id === id))
      return decisions(world).find((one) => one.id === id)?.trace
    }
    const [traceId, parentId] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7']
    const traceparent = `00-${traceId}-${parentId}-01`
    assert.deepEqual(await traceOf({ traceparent }), { parentId, traceId })
    // As Envoy shows two of them.
    assert.equal(await traceOf({ traceparent: `${traceparent},${traceparent}` }), undefined)
    assert.equal(await traceOf({}), undefined)
  })

  it('decides by the caller’s certificate, whatever else is said of who calls', async () => {
    assert.equal(codeOf(await envoy.ask(world.plane.agent('stranger'), {})), 'SP_NO_FLOW')
    const denied = await envoy.ask(undefined, {})
    assert.equal(codeOf(denied), 'SP_POINT_REQUEST')
    const foreign = await startWorld()
    try {
      const answer = await envoy.ask(foreign.plane.agent('reader'), {})
      assert.equal(answer.denied_response?.status.code, 401)
      assert.match(String(codeOf(answer)), /^SP_SVID_/)
    } finally {
      await foreign.close()
    }
    const old = world.plane.agent('reader', 'old', 1)
    await until(() => Date.now() > old.notAfter)
    assert.equal(codeOf(await envoy.ask(old, {})), 'SP_SVID_EXPIRED')
    assert.equal(codeOf(await envoy.ask(world.plane.service('bank'), {})), 'SP_NOT_AN_AGENT')
  })

  it('refuses what has two readings, as at its own edge', async () => {
    for (const path of [
      '/v1/../v1/rate',
      '/v1//rate',
      '/v1/x/%2e%2e/rate',
      '/v1/rate#x',
      'http://rates.test/v1/rate',
    ]) {
      assert.equal(codeOf(await envoy.ask(reader(), { path })), 'SP_REQUEST_TARGET', path)
    }
    for (const name of ['x-http-method-override', 'x-original-url']) {
      const headers = { [name]: 'DELETE' }
      assert.equal(codeOf(await envoy.ask(reader(), { headers })), 'SP_REQUEST_HEADER', name)
    }
    const twice = { key: 'content-type', raw_value: Buffer.from('application/json') }
    const header_map = { headers: [twice, twice] }
    assert.equal(codeOf(await envoy.ask(reader(), { header_map })), 'SP_REQUEST_HEADER')
    const once_ = { headers: [twice] }
    assert.equal(codeOf(await envoy.ask(reader(), { header_map: once_ })), 'allowed')
  })

  it('answers for the systems that the enforcement point fronts, and for no other', async () => {
    for (const system of ['ledger', 'bank2']) {
      const answer = await envoy.ask(reader(), {}, { 'sallyport-system': system })
      assert.equal(codeOf(answer), 'SP_PEP_SYSTEM')
    }
    assert.equal(codeOf(await envoy.ask(reader(), {}, {})), 'SP_PEP_SYSTEM', 'it fronts several')
    const blind = new Envoy(world, world.plane.service('blind'))
    const there = await blind.ask(reader(), {}, { 'sallyport-system': 'desk' })
    assert.equal(codeOf(there), 'SP_PEP_SYSTEM', 'there is one, which it does not front')
    blind.close()
    const mcp = await envoy.ask(reader(), {}, { 'sallyport-system': 'desk' })
    assert.equal(codeOf(mcp), 'SP_PEP_INCAPABLE')
  })

  const transfer = (body: unknown, over: Partial<Http> = {}): Partial<Http> => {
    const raw_body = Buffer.from(JSON.stringify(body))
    return {
      method: 'POST',
      path: '/v1/accounts/ACC-1/transfers',
      headers: { 'content-type': 'application/json', 'content-length': String(raw_body.length) },
      raw_body,
      ...over,
    }
  }
  const toBank = { 'sallyport-system': 'bank' }

  it('decides by the body, if all of it is shown, and counts the call under its limits', async () => {
    const teller = world.plane.agent('teller')
    const reserved = world.plane.reserved.length
    const small = await envoy.ask(teller, transfer({ amount: 10, to: 'bob' }), toBank)
    assert.equal(codeOf(small), 'allowed')
    assert.equal(world.plane.reserved.length, reserved + 1)
    await until(() => world.plane.settled.some(({ commit }) => commit))
    const evil = await envoy.ask(teller, transfer({ amount: 10, to: 'mallory' }), toBank)
    assert.equal(codeOf(evil), 'SP_DENIED_FORBIDDEN')
    const twice = transfer({}, { raw_body: Buffer.from('{"amount":10,"amount":9,"to":"bob"}') })
    const doubled = { ...twice, headers: { 'content-type': 'application/json' } }
    assert.equal(codeOf(await envoy.ask(teller, doubled, toBank)), 'SP_JSON_DUPLICATE_KEY')
    // Forwarded as it is, it would be another amount for whoever reads it by its digits.
    const rounded = transfer(
      {},
      { raw_body: Buffer.from('{"amount":9.99999999999999999999,"to":"bob"}') },
    )
    const cents = { ...rounded, headers: { 'content-type': 'application/json' } }
    assert.equal(codeOf(await envoy.ask(teller, cents, toBank)), 'SP_JSON_NUMBER')
    const cut = transfer({ amount: 10, to: 'bob' })
    for (const headers of [
      { ...cut.headers, 'content-length': '4096' },
      { ...cut.headers, 'x-envoy-auth-partial-body': 'true' },
    ]) {
      assert.equal(codeOf(await envoy.ask(teller, { ...cut, headers }, toBank)), 'SP_PEP_INCAPABLE')
    }
    // In pieces, of which none was shown: not typed as if there were none.
    const pieces = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' }
    const hidden = { ...cut, headers: pieces, raw_body: Buffer.alloc(0) }
    assert.equal(codeOf(await envoy.ask(teller, hidden, toBank)), 'SP_PEP_INCAPABLE')
    assert.equal(codeOf(await envoy.ask(teller, { ...cut, headers: pieces }, toBank)), 'allowed')
    const large = await envoy.ask(teller, transfer({ amount: 5000, to: 'bob' }), toBank)
    assert.equal(codeOf(large), 'SP_NEEDS_APPROVAL')
    assert.match(large.denied_response?.body ?? '', /"approval":"/)
  })

  it('refuses what the enforcement point cannot carry out', async () => {
    const accounts = { path: '/v1/accounts/ACC-1' }
    const cannot = await envoy.ask(world.plane.agent('teller'), accounts, toBank)
    assert.equal(codeOf(cannot), 'SP_PEP_INCAPABLE', 'fields that may not pass whole')
    const blind = new Envoy(world, world.plane.service('blind'))
    try {
      const teller = world.plane.agent('teller')
      const unseen = await blind.ask(teller, transfer({ amount: 10, to: 'bob' }), toBank)
      assert.equal(codeOf(unseen), 'SP_PEP_INCAPABLE')
      assert.equal(codeOf(await blind.ask(reader(), {})), 'allowed')
      // By its head alone nobody sees whether a request of HTTP/2 has a body.
      const h2 = await blind.ask(reader(), { protocol: 'HTTP/2' })
      assert.equal(codeOf(h2), 'SP_PEP_INCAPABLE')
      assert.equal(codeOf(await envoy.ask(reader(), { protocol: 'HTTP/2' })), 'allowed')
    } finally {
      blind.close()
    }
  })

  it('lets nobody ask who is no declared enforcement point', async () => {
    for (const identity of [world.plane.service('bank'), world.plane.agent('reader')]) {
      const other = new Envoy(world, identity)
      await assert.rejects(other.ask(reader(), {}), { code: grpc.status.UNAVAILABLE })
      other.close()
    }
  })

  it('lets a quarantined caller do nothing more, and a quarantined enforcement point ask nothing more', async () => {
    const cut = world.plane.agent('reader', 'cut')
    assert.equal(codeOf(await envoy.ask(cut, {})), 'allowed')
    const applied = (subject: string) => (): boolean =>
      world.plane
        .records()
        .some(
          (r) => r.kind === 'event' && r.event === 'quarantine-applied' && r.subject === subject,
        )
    const instance = 'spiffe://test.example/agent/reader/cut'
    world.plane.quarantine(instance)
    await until(applied(instance))
    assert.equal(codeOf(await envoy.ask(cut, {})), 'SP_QUARANTINED')
    assert.equal(codeOf(await envoy.ask(reader(), {})), 'allowed')
    const point = 'spiffe://test.example/service/edge/s1'
    world.plane.quarantine(point)
    await until(applied(point))
    await assert.rejects(envoy.ask(reader(), {}), { code: grpc.status.UNAVAILABLE })
  })
})

/** `rates.rate` takes inputs from its query and from a header. */
function withInputs({ network, policies }: Declaration): Declaration {
  const text = { schema: { type: 'string', maxLength: 100 }, required: false } as const
  const systems = network.systems.map((system) =>
    system.name !== 'rates'
      ? system
      : {
          ...system,
          operations: system.operations.map((operation) => ({
            ...operation,
            binding: {
              ...({ kind: 'http', method: 'GET', path: '/v1/rate' } as const),
              parameters: { q: 'query', 'X-Desk': 'header' } as const,
            },
            input: { type: 'record', members: { q: text, 'X-Desk': text } } as const,
          })),
        },
  )
  return { network: { ...network, systems }, policies }
}

describe('a request that goes on as its caller spelled it', () => {
  let world: World
  let envoy: Envoy
  before(async () => {
    const points = withPoints({ edge: { systems: ['rates'], can: ['body'] } })
    world = await startWorld({ points: { host: '127.0.0.1', port: 0 } }, undefined, (declaration) =>
      points(withInputs(declaration)),
    )
    envoy = new Envoy(world, world.plane.service('edge'))
  })
  after(async () => {
    envoy.close()
    await world.close()
  })

  it('is refused where its query could be read otherwise behind it', async () => {
    const reader = world.plane.agent('reader')
    for (const query of ['q=a+b', 'q=a;q=b', '?;q=b']) {
      const answer = await envoy.ask(reader, { path: `/v1/rate?${query}` })
      assert.equal(codeOf(answer), 'SP_REQUEST_TARGET', query)
    }
    for (const query of ['q=a%20b', 'q=a%2Bb', 'q=a%3Bq%3Db', 'q=a:b']) {
      assert.equal(codeOf(await envoy.ask(reader, { path: `/v1/rate?${query}` })), 'allowed', query)
    }
  })

  it('is refused where an input may stand in several headers that were shown as one', async () => {
    const reader = world.plane.agent('reader')
    const merged = { headers: { 'x-desk': 'fx,rates' } }
    assert.equal(codeOf(await envoy.ask(reader, merged)), 'SP_PEP_INCAPABLE')
    assert.equal(codeOf(await envoy.ask(reader, { headers: { 'x-desk': 'fx' } })), 'allowed')
    const other = { headers: { accept: 'text/html,*/*' } }
    assert.equal(codeOf(await envoy.ask(reader, other)), 'allowed', 'no input')
    const raw = { headers: [{ key: 'x-desk', raw_value: Buffer.from('fx,rates') }] }
    assert.equal(codeOf(await envoy.ask(reader, { header_map: raw })), 'allowed', 'sent like this')
  })
})

/** With an operation that takes bytes, and one that answers them, of which all may leave. */
const withBytes = ({ network, policies }: Declaration): Declaration => ({
  policies: [
    ...policies,
    { id: 'put', source: 'permit (principal, action, resource);', file: 'p.cedar', line: 1 },
  ],
  network: {
    ...network,
    systems: network.systems.map((system) => {
      const [rate] = system.operations
      if (system.name !== 'rates' || rate?.binding.kind !== 'http') return system
      const { binding } = rate
      const body: InputSchema = {
        type: 'record',
        members: {
          type: { schema: { type: 'string', maxLength: 127 }, required: true },
          size: { schema: { type: 'long', minimum: 0, maximum: 1000 }, required: true },
        },
      }
      const put: Operation = {
        ...{ ...rate, name: 'put', kind: 'write' },
        input: { type: 'record', members: { body: { schema: body, required: true } } },
        binding: {
          ...{ kind: 'http', method: 'PUT', path: '/v1/file', parameters: { body: 'body' } },
          body: { kind: 'raw' },
        },
      }
      const file: Operation = {
        ...{ ...rate, name: 'file', returns: { $: 'public' } },
        binding: {
          ...{ ...binding, path: '/v1/file' },
          bytes: { types: ['application/pdf'], maxBytes: 1000 },
        },
      }
      return { ...system, operations: [...system.operations, put, file] }
    }),
    flows: network.flows.map((flow) =>
      flow.to === 'rates' ? { ...flow, operations: [...flow.operations, 'put', 'file'] } : flow,
    ),
  },
})

describe('bytes, which an enforcement point does not see', () => {
  it('are neither sent nor had by way of it, whatever else it can do', async () => {
    const points = withPoints({
      edge: { systems: ['rates'], can: ['body', 'project', 'label', 'outcome'] },
    })
    const world = await startWorld(
      { points: { host: '127.0.0.1', port: 0 } },
      undefined,
      (declaration) => points(withBytes(declaration)),
    )
    const envoy = new Envoy(world, world.plane.service('edge'))
    try {
      const reader = world.plane.agent('reader')
      const headers = { 'content-type': 'application/pdf', 'content-length': '3' }
      const put = { method: 'PUT', path: '/v1/file', headers, raw_body: Buffer.from('abc') }
      assert.equal(codeOf(await envoy.ask(reader, put)), 'SP_PEP_INCAPABLE')
      assert.equal(codeOf(await envoy.ask(reader, { path: '/v1/file' })), 'SP_PEP_INCAPABLE')
      // What it does see goes on.
      assert.equal(codeOf(await envoy.ask(reader, {})), 'allowed')
    } finally {
      envoy.close()
      await world.close()
    }
  })
})

describe('what a caller reads by way of an enforcement point', () => {
  it('is not known here, and that is taken down before it may pass', async () => {
    const confidential = (declaration: Declaration): Declaration => {
      const { network } = declaration
      return {
        ...declaration,
        network: {
          ...network,
          datasets: network.datasets.map((set) =>
            set.name === 'notes'
              ? { ...set, fields: set.fields.filter(({ name }) => name !== 'secret') }
              : set,
          ),
          systems: network.systems.map((system) => ({
            ...system,
            operations: system.operations.map((operation) =>
              operation.name === 'rate' ? { ...operation, returns: { rate: 'notes' } } : operation,
            ),
          })),
        },
      }
    }
    const point = withPoints({ edge: { systems: ['rates'], can: ['body'] } })
    const world = await startWorld(
      { points: { host: '127.0.0.1', port: 0 } },
      undefined,
      (declaration) => point(confidential(declaration)),
    )
    const envoy = new Envoy(world, world.plane.service('edge'))
    try {
      const readers = (): string => readFileSync(join(world.dataDir, 'read-values'), 'utf8')
      const stranger = world.plane.agent('stranger')
      assert.equal(codeOf(await envoy.ask(stranger, {})), 'SP_NO_FLOW')
      assert.doesNotMatch(existsSync(join(world.dataDir, 'read-values')) ? readers() : '', /agent/)
      assert.equal(codeOf(await envoy.ask(world.plane.agent('reader'), {})), 'allowed')
      assert.match(readers(), /^\d+ spiffe:\/\/test\.example\/agent\/reader\/i1$/m)
    } finally {
      envoy.close()
      await world.close()
    }
  })
})

describe('the subrequest of nginx', () => {
  const whole = [
    ...['host', 'points', 'x-sallyport-system', 'rates', 'x-sallyport-method', 'GET'],
    ...['x-sallyport-target', '/v1/rate', 'x-sallyport-certificate', 'x'],
    ...['x-sallyport-framing', 'length= coding= protocol=HTTP/1.1', 'accept', '*/*'],
  ]

  it('is read where it is as documented', () => {
    const read = readAuthRequest(whole)
    assert.deepEqual(read.rawHeaders, ['host', 'points', 'accept', '*/*'])
    assert.equal(read.isHttp1, true)
    assert.equal(read.body, undefined)
    const framed = whole.map((text) =>
      text.startsWith('length=') ? 'length=2 coding=chunked protocol=HTTP/2.0' : text,
    )
    assert.deepEqual(readAuthRequest(framed).rawHeaders.slice(-4), [
      ...['content-length', '2'],
      ...['transfer-encoding', 'chunked'],
    ])
    assert.equal(readAuthRequest(framed).isHttp1, false)
  })

  it('is refused where anything of it is missing, twice or written otherwise', () => {
    const refused = { code: 'SP_POINT_REQUEST' }
    const more = (count: number): string[] => [
      ...whole,
      ...Array.from({ length: count }, (_, n) => [`x-${n}`, '']).flat(),
    ]
    assert.throws(() => readAuthRequest(more(600)), refused, 'so many that some may be left out')
    assert.equal(readAuthRequest(more(400)).rawHeaders.length, 804)
    for (const name of ['system', 'method', 'target', 'certificate', 'framing']) {
      const at = whole.indexOf(`x-sallyport-${name}`)
      assert.throws(() => readAuthRequest(whole.toSpliced(at, 2)), refused, `no ${name}`)
      const twice = [...whole, `X-Sallyport-${name}`, 'other']
      assert.throws(() => readAuthRequest(twice), refused, `${name} twice`)
    }
    for (const framing of ['', 'length=2', 'length=x coding= protocol=HTTP/1.1']) {
      const bent = whole.map((text) => (text.startsWith('length=') ? framing : text))
      assert.throws(() => readAuthRequest(bent), refused, framing)
    }
  })
})

describe('a question of Envoy', () => {
  it('is refused where it is no message, or says something twice', () => {
    const good = field(1, field(4, field(2, field(2, 'GET'))))
    assert.equal(readCheckRequest(good).method, 'GET')
    const bad: [string, Buffer][] = [
      [
        'two methods',
        field(1, field(4, field(2, Buffer.concat([field(2, 'GET'), field(2, 'PUT')])))),
      ],
      ['two attributes', Buffer.concat([good, good])],
      ['a number in place of a message', field(1, 5)],
      ['no UTF-8', field(1, field(4, field(2, field(2, Buffer.from([0xff])))))],
      ['a group', Buffer.from([0x0b, 0x0c])],
      ['field 0', Buffer.from([0x02, 0x00])],
      ['an endless number', Buffer.alloc(12, 0xff)],
      ['a length beyond the end', Buffer.from([0x0a, 0x7f, 0x01])],
    ]
    for (const [what, bytes] of bad) {
      assert.throws(() => readCheckRequest(bytes), { code: 'SP_POINT_REQUEST' }, what)
    }
    for (let cut = 1; cut < good.length; cut++) {
      assert.throws(() => readCheckRequest(good.subarray(0, cut)), { code: 'SP_POINT_REQUEST' })
    }
    // Fields that nobody here knows are passed over, as the encoding has it.
    const unknown = Buffer.concat([good, field(99, 'x'), field(98, 7)])
    assert.equal(readCheckRequest(unknown).method, 'GET')
  })
})
