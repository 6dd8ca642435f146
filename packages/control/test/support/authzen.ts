import { request } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import type { Declaration, Network, Operation, Service, System } from '@sallyport/network'
import { declarationWith } from './declaration.ts'
import type { Peer } from './network.ts'

const operation = (over: Partial<Operation> & { name: string }): Operation => ({
  description: over.name,
  kind: 'read',
  binding: { kind: 'http', method: 'GET', path: `/v1/${over.name}`, parameters: {} },
  input: { type: 'record', members: {} },
  returns: { rate: 'public' },
  ...over,
})

const system = (name: string, port: number, operations: readonly Operation[]): System => ({
  name,
  description: name,
  owner: 'core',
  segment: 'aml',
  criticality: 'high',
  protocol: 'http',
  upstream: { kind: 'service', service: 'ledger', port },
  operations,
})

export const service = (name: string, point?: Service['enforcementPoint']): Service => ({
  name,
  description: name,
  owner: 'core',
  segment: 'aml',
  ...(point && { enforcementPoint: point }),
})

const policy = (id: string, source: string) => ({ id, file: 'p.cedar', line: 1, source })
const amount = { schema: { type: 'long', minimum: 0, maximum: 1e9 }, required: true } as const
const account = { schema: { type: 'string', maxLength: 64 }, required: true } as const

/** A bank with two systems; `front` and `thin` may ask about `core`, nobody about `vault`. */
export function bank(over: Partial<Network> = {}): Declaration {
  const base = declarationWith()
  const moveBinding = {
    kind: 'http',
    method: 'POST',
    path: '/v1/moves',
    parameters: { account: 'body', amount: 'body' },
  } as const
  const core = system('core', 7000, [
    ...(base.network.systems[0]?.operations ?? []),
    operation({ name: 'rates' }),
    operation({ name: 'broken' }),
    operation({ name: 'shut' }),
    operation({ name: 'silent', returns: {} }),
    operation({
      name: 'move',
      kind: 'write',
      binding: moveBinding,
      subject: 'account',
      input: { type: 'record', members: { account, amount } },
    }),
    operation({ name: 'customer', returns: { $: 'customers' } }),
  ])
  const vault = system('vault', 7001, [operation({ name: 'rates' })])
  const names = core.operations.map(({ name }) => name).filter((name) => name !== 'shut')
  return {
    network: {
      ...base.network,
      systems: [core, vault],
      services: [
        service('ledger'),
        service('front', { systems: ['core'], can: ['body', 'project', 'label'] }),
        service('thin', { systems: ['core'], can: [] }),
      ],
      datasets: [
        {
          name: 'customers',
          description: 'customers',
          system: 'core',
          owner: 'core',
          fields: [
            { name: 'id', class: 'internal', tags: [], mask: 'full' },
            { name: 'iban', class: 'restricted', tags: ['pii'], mask: 'last4' },
          ],
        },
      ],
      flows: [
        { id: 'f', from: 'flagger', to: 'core', operations: names, purpose: 'aml' },
        { id: 'v', from: 'flagger', to: 'vault', operations: ['rates'], purpose: 'aml' },
        { id: 'a', from: 'analyst', to: 'core', operations: ['rates'], purpose: 'aml' },
      ],
      ...over,
    },
    policies: [
      policy('reads', 'permit (principal, action in Action::"read", resource);'),
      policy('holds', 'permit (principal, action == Action::"core.hold", resource);'),
      policy(
        'small',
        'permit (principal, action == Action::"core.move", resource) when { context.input.amount <= 100 };',
      ),
      policy(
        'large',
        'permit (principal, action == Action::"core.move", resource) when { context.evidence.approvals >= 1 };',
      ),
      policy(
        'no-fortunes',
        'forbid (principal, action == Action::"core.move", resource) when { context.input.amount > 1000 };',
      ),
      policy(
        'broken',
        'forbid (principal, action == Action::"core.broken", resource) when { 9223372036854775807 + context.time.weekday > 0 };',
      ),
      policy(
        'after-pii',
        'forbid (principal, action == Action::"core.rates", resource) when { context.session.labels.contains("pii") };',
      ),
      policy(
        'risky',
        'forbid (principal, action == Action::"core.silent", resource) when { context.risk >= 40 };',
      ),
      policy(
        'fields',
        'permit (principal, action == Action::"field.read", resource) when { resource.class <= 1 };',
      ),
      policy('masks', 'permit (principal, action == Action::"field.mask", resource);'),
    ],
  }
}

export interface Told {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** Tests look at the members they expect. */
  readonly body: Record<string, unknown>
}

/** One request over a connection of its own, byte for byte as given. */
export async function send(
  peer: Peer,
  path: string,
  body?: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Told> {
  const socket = await peer.connect()
  const { promise, resolve, reject } = Promise.withResolvers<Told>()
  const req = request(
    {
      createConnection: () => socket,
      method: body === undefined ? 'GET' : 'POST',
      path,
      headers: { host: 'pdp.bank.test:7401', 'content-type': 'application/json', ...headers },
    },
    (res) => {
      const chunks: Buffer[] = []
      res.on('data', (chunk: Buffer) => chunks.push(chunk))
      res.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        const parsed = JSON.parse(text) as Told['body']
        resolve({ status: res.statusCode ?? 0, headers: res.headers, text, body: parsed })
      })
    },
  )
  req.on('error', reject)
  if (body === undefined) req.end()
  else req.end(typeof body === 'string' ? body : JSON.stringify(body))
  try {
    return await promise
  } finally {
    socket.destroy()
  }
}

export interface Question {
  readonly subject: { readonly type: string; readonly id: string }
  readonly action: {
    readonly name: string
    readonly properties?: Readonly<Record<string, unknown>>
  }
  readonly resource: { readonly type: string; readonly id: string }
}

export const ask = (
  subject: { readonly type: string; readonly id: string },
  name: string,
  properties?: Readonly<Record<string, unknown>>,
  system = 'core',
): Question => ({
  subject,
  action: { name, ...(properties && { properties }) },
  resource: { type: 'system', id: system },
})
