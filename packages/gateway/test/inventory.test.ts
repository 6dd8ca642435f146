/** What nobody declared is counted for the inventory: by kind and name, without values, within bounds. */
import assert from 'node:assert/strict'
import { connect } from 'node:tls'
import { after, before, describe, it } from 'node:test'
import type { EventRecord } from '@sallyport/wire'
import type { Route } from '../src/adapters/http.ts'
import { Drift } from '../src/inventory/drift.ts'
import { routeName } from '../src/inventory/names.ts'
import { startWorld, until } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

type Facts = EventRecord['facts']

describe('the inventory that a gateway takes of its traffic', () => {
  let world: World
  let reader: TestAgent

  before(async () => {
    world = await startWorld({ settings: { driftReportMs: 20 } })
    reader = world.agent('reader')
  })
  after(() => world.close())

  const seen = (): Facts[] =>
    [...world.plane.feed.values()].flatMap(({ record }) =>
      record.kind === 'event' && record.event === 'drift-seen' ? [record.facts] : [],
    )
  const named = (kind: string, name: string): Facts | undefined =>
    seen().find((facts) => facts['kind'] === kind && facts['name'] === name)

  it('names the operation, the tool and the system that somebody asked for, and who', async () => {
    const customer = 'DE89370400440532013000'
    const refused = await reader.ask({ path: `/bank/refunds/${customer}`, body: { secret: 1 } })
    assert.equal(refused.body['code'], 'SP_NO_OPERATION')
    assert.equal((await reader.ask({ path: '/payments/v1' })).body['code'], 'SP_NO_OPERATION')
    await until(() => named('destination', 'payments') !== undefined)
    await until(() => named('operation', 'POST /refunds/{}') !== undefined)
    const { first, last, ...rest } = named('operation', 'POST /refunds/{}') ?? {}
    assert.deepEqual(rest, {
      ...{ kind: 'operation', system: 'bank', name: 'POST /refunds/{}', by: 'reader', calls: 1 },
    })
    assert.ok(Number(first) > 0 && Number(last) >= Number(first))
    assert.doesNotMatch(JSON.stringify(seen()), new RegExp(customer))
  })

  it('names members of an answer that no schema declares, and none that policy drops', async () => {
    // `hidden` is declared nowhere; `memo` and `owner` are, whatever the caller may see of them.
    assert.equal((await reader.ask({ path: '/bank/v1/accounts/ACC-1' })).status, 200)
    await until(() => named('field', 'accounts.hidden') !== undefined)
    await until(() => named('field', 'getAccount $.debug') !== undefined)
    const fields = seen().filter(({ kind }) => kind === 'field')
    assert.deepEqual([...new Set(fields.map(({ name }) => String(name)))].toSorted(), [
      'accounts.hidden',
      'getAccount $.accounts',
      'getAccount $.debug',
    ])
    assert.ok(fields.every(({ by, system }) => by === 'reader' && system === 'bank'))
  })

  it('names where a client wanted to go that takes the gateway for a proxy', async () => {
    const socket = await reader.raw()
    socket.write('CONNECT api.vendor.example:443 HTTP/1.1\r\nhost: api.vendor.example:443\r\n\r\n')
    await until(() => named('destination', 'api.vendor.example:443') !== undefined)
    socket.destroy()
    const other = await reader.raw()
    other.write(
      'GET http://plain.vendor.example/x?key=1 HTTP/1.1\r\nhost: plain.vendor.example\r\n\r\n',
    )
    await until(() => named('destination', 'plain.vendor.example') !== undefined)
    other.destroy()
    assert.equal(named('destination', 'plain.vendor.example')?.['by'], 'reader')
  })

  it('names callers that nobody declared, and handshakes of whoever has no identity', async () => {
    const ghost = world.agent('ghost', 'i7')
    await assert.rejects(ghost.ask({ path: '/bank/v1/accounts/ACC-1' }))
    const name = 'spiffe://test.example/agent/ghost'
    await until(() => named('caller', name) !== undefined)
    const { port } = world.gateway.address
    const socket = connect({
      host: '127.0.0.1',
      port,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
    })
    socket.on('error', () => undefined)
    await until(() => named('caller', 'SP_PEER_ANONYMOUS') !== undefined)
    socket.destroy()
    // A declared agent is none of these.
    assert.ok(seen().every((facts) => facts['kind'] !== 'caller' || facts['name'] !== 'reader'))
  })
})

describe('counts of what nobody declared', () => {
  const bench = () => {
    const events: Facts[] = []
    const clock = { now: () => 1000, monotonic: () => 0 }
    const onEvent = (_event: string, { facts }: Pick<EventRecord, 'facts'>): void => {
      events.push(facts)
    }
    return { events, drift: new Drift({ clock, reportMs: 3_600_000, onEvent }) }
  }

  it('are few, however many names somebody makes up, and nobody else’s are lost', () => {
    const { events, drift } = bench()
    for (let i = 0; i < 5000; i++)
      drift.saw({ kind: 'operation', system: 's', name: `n${i}` }, 'loud')
    drift.saw({ kind: 'operation', system: 's', name: 'real' }, 'quiet')
    drift.close()
    const loud = events.filter(({ by }) => by === 'loud')
    assert.equal(loud.length, 17)
    assert.equal(loud.find(({ name }) => name === '*')?.['calls'], 5000 - 16)
    assert.equal(events.find(({ by }) => by === 'quiet')?.['name'], 'real')
  })

  it('are few, however many addresses ask', () => {
    const { events, drift } = bench()
    for (let i = 0; i < 5000; i++) {
      drift.refused({
        code: 'SP_TLS_HANDSHAKE',
        reason: 'x',
        remoteAddress: `10.0.${i >> 8}.${i & 255}`,
      })
    }
    // Who has an identity and no declaration is still named.
    drift.refused({
      ...{ code: 'SP_PEER_REFUSED', reason: 'the agent is not declared' },
      ...{ spiffeId: 'spiffe://test.example/agent/ghost/i1', remoteAddress: '10.0.0.1' },
    })
    drift.close()
    assert.deepEqual(
      events.map(({ name, calls }) => [name, calls]),
      [
        ['SP_TLS_HANDSHAKE', 5000],
        ['spiffe://test.example/agent/ghost', 1],
      ],
    )
  })
})

describe('names of paths', () => {
  // Only the parts are looked at.
  const routes = ['/v1/accounts/{id}', '/v1/accounts/{id}/holds', '/v1/customers'].map(
    (path) =>
      ({
        parts: path
          .slice(1)
          .split('/')
          .map((text) => (text.startsWith('{') ? { parameter: 'id' } : { text })),
      }) as unknown as Route,
  )
  const cases: readonly (readonly [string, string])[] = [
    ['v1/accounts/alice/refunds', '/v1/accounts/{}/refunds'],
    ['v1/accounts/alice/holds/bob', '/v1/accounts/{}/holds/{}'],
    ['v1/customers/alice', '/v1/customers/{}'],
    ['v1/refunds/alice/approve', '/v1/refunds/{}/approve'],
    ['v2/loans', '/v2/loans'],
    ['v1/DE89370400440532013000', '/v1/{}'],
    ['v1/a@b.example', '/v1/{}'],
    ['v1/line\nbreak', '/v1/{}'],
    [`v1/${'x'.repeat(41)}`, '/v1/{}'],
  ]
  for (const [path, shown] of cases) {
    it(`${JSON.stringify(path)} is ${shown}`, () => {
      assert.equal(routeName(routes, 'GET', path.split('/')), `GET ${shown}`)
    })
  }
})
