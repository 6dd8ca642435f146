import assert from 'node:assert/strict'
import { createPrivateKey } from 'node:crypto'
import { after, before, beforeEach, describe, it } from 'node:test'
import { systemClock } from '@sallyport/base'
import type { Declaration } from '@sallyport/network'
import { certificatesFromPem } from '@sallyport/spiffe'
import { mandateId, mandateToken, signAgentMandate } from '@sallyport/wire'
import type { DecisionRecord, MandateStatement, SignedMandate } from '@sallyport/wire'
import { TestOperator } from './support/passkey.ts'
import { ACCOUNT, startWorld, TestAgent, until } from './support/world.ts'
import type { Json, Reply, World } from './support/world.ts'

/** An agent with the teller's rights beside it, and payments that only a task makes possible. */
function withLead({ network, policies }: Declaration): Declaration {
  const teller = network.agents.find(({ name }) => name === 'teller')
  assert.ok(teller)
  const source = (id: string, text: string) => ({
    id,
    source: `@id("${id}") ${text}`,
    file: 'test.cedar',
    line: 1,
  })
  return {
    network: {
      ...network,
      agents: [...network.agents, { ...teller, name: 'lead' }],
      flows: [
        ...network.flows,
        ...network.flows
          .filter(({ from }) => from === 'teller')
          .map((flow) => ({ ...flow, id: `lead-${flow.id}`, from: 'lead' })),
      ],
    },
    policies: [
      ...policies,
      source(
        'lead-transfers',
        'permit (principal in Agent::"lead", action == Action::"bank.transfer", resource) when { context.input.amount <= 500 };',
      ),
      source(
        'lead-notes',
        'permit (principal in Agent::"lead", action == Action::"desk.write_note", resource);',
      ),
      source(
        'payroll-is-a-task',
        'forbid (principal, action == Action::"bank.transfer", resource) when { context.input.to == "payroll" } unless { context has mandate && context.mandate.delegator like "operator:*" && context.mandate.depth <= 2 };',
      ),
    ],
  }
}

let offset = 0
const clock = { now: () => systemClock.now() + offset, monotonic: () => systemClock.monotonic() }

describe('mandates at the gateway', () => {
  let world: World
  let teller: TestAgent
  let lead: TestAgent
  let reader: TestAgent
  const id = (agent: string, instance = 'i1'): string =>
    `spiffe://${world.plane.trustDomain}/agent/${agent}/${instance}`
  before(async () => {
    const prepare = (plane: World['plane']): void => {
      plane.gatewayTtl = 3600
    }
    world = await startWorld({ clock }, prepare, withLead)
    world.bank.now = clock.now
    world.desk.now = clock.now
    teller = world.agent('teller')
    lead = world.agent('lead', 'i1', 900)
    reader = world.agent('reader')
  })
  beforeEach(() => {
    world.plane.mandateAnswer = 'grant'
  })
  after(() => world.close())

  const PAYROLL = {
    system: 'bank',
    operations: ['transfer'],
    arguments: { to: { equals: 'payroll' } },
    amount: { input: 'amount', currency: 'EUR', perUse: 900, total: 5000 },
  } as const
  let nonce = 0
  const statement = (over: Partial<MandateStatement> = {}): MandateStatement => ({
    kind: 'mandate',
    nonce: `nonce-${String(nonce++).padStart(16, '0')}`,
    delegator: 'operator:olga',
    delegate: `spiffe://${world.plane.trustDomain}/agent/teller`,
    task: 'pay the salaries of November',
    grants: [PAYROLL],
    issuedAt: clock.now(),
    notBefore: clock.now(),
    expiresAt: clock.now() + 600_000,
    uses: 10,
    ...over,
  })
  const given = (
    over: Partial<MandateStatement> = {},
    by = world.plane.operator,
  ): SignedMandate => {
    const signed = statement(over)
    return { statement: signed, passkey: by.sign(signed) }
  }
  /** Signed by an agent with its SVID. */
  const passedOn = (
    by: TestAgent,
    instance: string,
    parent: SignedMandate | undefined,
    over: Partial<MandateStatement> = {},
  ): SignedMandate => {
    const above =
      parent === undefined ? {} : { ...parent.statement, parent: mandateId(parent.statement) }
    const own = { ...statement(), ...above, delegator: instance, ...over }
    const { keyPem, chainPem } = by.material
    return signAgentMandate(own, createPrivateKey(keyPem), certificatesFromPem(chainPem))
  }
  /** As the control plane holds them, by the last one's id. */
  const held = (...chain: SignedMandate[]): string => {
    const leaf = chain.at(-1)
    assert.ok(leaf)
    const key = mandateId(leaf.statement)
    world.plane.mandates.set(key, chain)
    return key
  }
  const pay = (
    mandate: string | undefined,
    over: { amount?: number; to?: string; agent?: TestAgent } = {},
  ): Promise<Reply> =>
    (over.agent ?? teller).ask({
      path: '/bank/v1/accounts/A/transfers',
      body: { to: over.to ?? 'payroll', amount: over.amount ?? 400 },
      ...(mandate === undefined ? {} : { headers: { 'Sallyport-Mandate': mandate } }),
    })
  const refusedAs = async (reply: Promise<Reply>, code: string, status = 403): Promise<void> => {
    const sent = world.bank.seen.length
    const { status: got, body } = await reply
    assert.deepEqual([body['code'], got], [code, status])
    assert.equal(world.bank.seen.length, sent, 'nothing went out')
  }
  const recordOf = async (reply: Reply): Promise<DecisionRecord> => {
    const decision = reply.headers['sallyport-decision'] ?? reply.body['decision']
    const find = () => world.plane.records().find((r) => r.kind === 'decision' && r.id === decision)
    await until(() => find() !== undefined)
    const record = find()
    assert.ok(record?.kind === 'decision')
    return record
  }

  it('tells that a call needs one, and lets it through with one', async () => {
    const bare = await pay(undefined)
    assert.deepEqual(
      [bare.status, bare.body['code'], bare.body['outcome'], bare.body['needs']],
      [403, 'SP_NEEDS_MANDATE', 'needs', [{ kind: 'mandate', count: 1 }]],
    )
    const root = given()
    const key = held(root)
    const reply = await pay(key)
    assert.equal(reply.status, 200)
    const record = await recordOf(reply)
    assert.deepEqual(record.mandate, {
      ...{ id: key, delegator: 'operator:olga', depth: 1, chain: [key] },
      task: 'pay the salaries of November',
    })
    assert.equal(world.bank.seen.at(-1)?.token.mandate, key)
    assert.deepEqual(world.plane.mandateUses.at(-1)?.['hops'], [
      {
        id: key,
        uses: 10,
        issuedAt: root.statement.issuedAt,
        expiresAt: root.statement.expiresAt,
        grant: 0,
        amount: 400,
        total: 5000,
      },
    ])
    await until(() =>
      world.plane.mandatesSettled.some((s) => s.decisionId === record.id && s.commit),
    )
    // The whole chain may be carried as well.
    assert.equal((await pay(mandateToken([given()]))).status, 200)
  })

  it('holds a caller to it even where policy asks for none', async () => {
    assert.equal((await pay(undefined, { to: 'bob' })).status, 200)
    await refusedAs(pay(held(given()), { to: 'bob' }), 'SP_MANDATE_CALL')
  })

  it('adds nothing to what policy gives', async () => {
    const wide = { grants: [{ system: 'bank', operations: ['transfer'] }] }
    const key = held(given(wide))
    assert.equal((await pay(key, { to: 'bob' })).status, 200)
    await refusedAs(pay(key, { to: 'mallory' }), 'SP_DENIED_FORBIDDEN')
    const forReader = held(given({ ...wide, delegate: id('reader') }))
    await refusedAs(pay(forReader, { agent: reader }), 'SP_NO_FLOW')
  })

  it('covers the exact call only', async () => {
    const key = held(given())
    assert.equal((await pay(key, { amount: 900 })).status, 200)
    await refusedAs(pay(key, { amount: 901 }), 'SP_MANDATE_CALL')
  })

  it('is of no use to anybody else', async () => {
    const mine = held(given({ delegate: id('teller', 'i1') }))
    assert.equal((await pay(mine)).status, 200)
    await refusedAs(pay(mine, { agent: world.agent('teller', 'i2') }), 'SP_MANDATE_HOLDER')
    await refusedAs(pay(mine, { agent: lead }), 'SP_MANDATE_HOLDER')
  })

  it('is refused where it is not signed, unknown, malformed or over', async () => {
    assert.equal((await pay(held(given()))).status, 200)
    await refusedAs(pay(held(given({}, new TestOperator('olga')))), 'SP_MANDATE_SIGNATURE')
    const good = given()
    await refusedAs(pay(`mdt_${'A'.repeat(43)}`), 'SP_MANDATE_UNKNOWN')
    await refusedAs(pay('mdc.AAAA'), 'SP_MANDATE_FORMAT', 400)
    await refusedAs(pay('x'.repeat(9000)), 'SP_REQUEST_HEADER', 400)
    await refusedAs(
      pay(held(given({ issuedAt: 1000, notBefore: 1000, expiresAt: 2000 }))),
      'SP_MANDATE_EXPIRED',
    )
    // The control plane answers with another one: what was asked for by its hash is not it.
    const other = mandateId(good.statement)
    world.plane.mandates.set(other, [given({ uses: 9 })])
    await refusedAs(pay(other), 'SP_MANDATE_UNKNOWN')
  })

  it('passes on, and each delegator must be allowed the very same call', async () => {
    const root = given({ delegate: id('lead') })
    const below = passedOn(lead, id('lead'), root, { delegate: id('teller'), task: 'pay one' })
    const key = held(root, below)
    const reply = await pay(key, { amount: 500 })
    assert.equal(reply.status, 200)
    const { mandate } = await recordOf(reply)
    assert.deepEqual(mandate, {
      // The words of whoever passed it on are not olga's.
      ...{ id: key, delegator: 'operator:olga', depth: 2, task: 'pay the salaries of November' },
      chain: [mandateId(root.statement), key],
    })
    // The lead may pay 500 at most, whatever the mandate says and the teller may.
    await refusedAs(pay(key, { amount: 501 }), 'SP_MANDATE_DELEGATOR')
    // Of an agent with no right to pay at all.
    const any = { delegate: id('teller'), grants: [{ system: 'bank', operations: ['transfer'] }] }
    const bob = { amount: 1, to: 'bob' }
    assert.equal((await pay(held(passedOn(lead, id('lead'), undefined, any)), bob)).status, 200)
    const wish = passedOn(reader, id('reader'), undefined, any)
    await refusedAs(pay(held(wish), bob), 'SP_MANDATE_DELEGATOR')
    const forged = passedOn(reader, id('lead'), root, { delegate: id('teller') })
    await refusedAs(pay(held(root, forged)), 'SP_MANDATE_CHAIN')
    const wider = passedOn(lead, id('lead'), root, { delegate: id('teller'), uses: 11 })
    await refusedAs(pay(held(root, wider)), 'SP_MANDATE_WIDENS')
  })

  it('is counted before anything goes out, and given back where nothing did', async () => {
    const key = held(given())
    world.plane.mandateAnswer = 'refuse'
    await refusedAs(pay(key), 'SP_MANDATE_USED')
    world.plane.mandateAnswer = 'revoked'
    await refusedAs(pay(key), 'SP_MANDATE_REVOKED')
    world.plane.mandateAnswer = 'fail'
    await refusedAs(pay(key), 'SP_MANDATE_UNAVAILABLE', 503)
    world.plane.mandateAnswer = 'grant'
    world.plane.limit = 'refuse'
    const before = world.plane.mandateUses.length
    await refusedAs(pay(key), 'SP_LIMIT_REACHED', 429)
    assert.equal(world.plane.mandateUses.length, before)
    world.plane.limit = 'grant'
    assert.equal((await pay(key)).status, 200)
  })

  it('travels over MCP', async () => {
    const grants = [{ system: 'desk', operations: ['read_note'] }]
    const key = held(given({ grants }))
    const post = (body: unknown, session?: string): Promise<Reply> =>
      teller.ask({
        path: '/desk/mcp',
        body,
        headers: {
          accept: 'application/json',
          ...(session === undefined ? {} : { 'mcp-session-id': session }),
        },
      })
    const params = {
      protocolVersion: '2025-06-18',
      capabilities: {},
      clientInfo: { name: 't', version: '1' },
    }
    const hello = await post({ jsonrpc: '2.0', id: 1, method: 'initialize', params })
    const session = String(hello.headers['mcp-session-id'])
    const call = async (mandate: unknown): Promise<unknown> => {
      const meta = {
        name: 'read_note',
        arguments: { id: 'N-1' },
        _meta: { 'sallyport/mandate': mandate },
      }
      const { body } = await post(
        { jsonrpc: '2.0', id: 2, method: 'tools/call', params: meta },
        session,
      )
      const error = body['error'] as Json | undefined
      return error === undefined ? 'ok' : (error['data'] as Json)['code']
    }
    assert.equal(await call(key), 'ok')
    assert.equal(await call(held(given())), 'SP_MANDATE_CALL')
    assert.equal(await call(mandateToken([given({ grants })])), 'ok')
    assert.equal(await call(7), 'SP_MCP_MESSAGE')
    assert.equal(await call('x'.repeat(70_000)), 'SP_MCP_MESSAGE')
  })

  it('ends with any hop that is revoked, at once and below it too', async () => {
    const root = given({ delegate: id('lead') })
    const below = passedOn(lead, id('lead'), root, { delegate: id('teller') })
    const key = held(root, below)
    const carried = mandateToken([root, below])
    assert.equal((await pay(key)).status, 200)
    const notAfter = root.statement.expiresAt
    world.plane.revokedMandates = [{ id: mandateId(root.statement), notAfter }]
    world.plane.publish()
    await until(() =>
      world.plane.records().some((r) => r.kind === 'event' && r.event === 'mandate-revoked'),
    )
    await refusedAs(pay(key), 'SP_MANDATE_REVOKED')
    await refusedAs(pay(carried), 'SP_MANDATE_REVOKED')
    assert.equal((await pay(held(given()))).status, 200)
    // A bundle that forgets it is refused.
    const refused = world.gateway.stats().bundlesRefused
    const { revokedMandates } = world.plane
    world.plane.revokedMandates = []
    world.plane.publish()
    await until(() => world.gateway.stats().bundlesRefused > refused)
    await refusedAs(pay(key), 'SP_MANDATE_REVOKED')
    world.plane.revokedMandates = revokedMandates
    world.plane.publish()
    await until(() => world.gateway.stats().bundleAgeMs < 1000)
    assert.equal((await pay(held(given()))).status, 200)
  })

  it('is looked up once for all who ask at once, and whoever makes ids up is held back, nobody else', async () => {
    const lookups = (): number => world.plane.mandateLookups.length
    const honest = world.agent('teller', 'honest')
    const key = held(given({ uses: 100 }))
    const before = lookups()
    const { requests } = world.gateway.stats()
    const gate = Promise.withResolvers<void>()
    world.plane.mandateGate = gate.promise
    const calls = Array.from({ length: 8 }, () => pay(key, { agent: honest }))
    await until(() => world.gateway.stats().requests >= requests + 8 && lookups() > before)
    gate.resolve()
    const all = await Promise.all(calls)
    assert.deepEqual([...new Set(all.map(({ status }) => status))], [200])
    assert.equal(lookups(), before + 1)
    const hostile = world.agent('teller', 'hostile')
    const made = Array.from({ length: 300 }, (_, n) => `mdt_${String(n).padStart(43, 'x')}`)
    const answers = await Promise.all(made.map((one) => pay(one, { agent: hostile })))
    const codes = new Set(answers.map(({ body }) => body['code']))
    assert.deepEqual([...codes].map(String).toSorted(), ['SP_MANDATE_UNKNOWN', 'SP_OVERLOADED'])
    assert.ok(lookups() < before + 1 + made.length, 'every one of them was looked up')
    // The same of whole chains, each of which costs the checks of its signatures.
    const forger = new TestOperator('olga')
    const forging = world.agent('teller', 'forging')
    const forged = await Promise.all(
      Array.from({ length: 200 }, () => pay(mandateToken([given({}, forger)]), { agent: forging })),
    )
    assert.deepEqual([...new Set(forged.map(({ body }) => body['code']))].map(String).toSorted(), [
      'SP_MANDATE_SIGNATURE',
      'SP_OVERLOADED',
    ])
    assert.equal((await pay(held(given()), { agent: honest })).status, 200)
  })

  it('counts as it was signed last, where the one that is remembered has outlived its signer', async () => {
    const short = (ttl: number) => new TestAgent(world, world.plane.agent('lead', 'short', ttl))
    const holder = world.agent('teller', 'patient', 600)
    const by = id('lead', 'short')
    const root = given({ delegate: by })
    const before = short(3)
    const first = passedOn(before, by, root, { delegate: id('teller', 'patient') })
    const renewed = short(600)
    const { keyPem, chainPem } = renewed.material
    const anew = ({ statement: same }: SignedMandate): SignedMandate =>
      signAgentMandate(same, createPrivateKey(keyPem), certificatesFromPem(chainPem))
    const carried = (leaf: SignedMandate) => pay(mandateToken([root, leaf]), { agent: holder })
    const later = async (ms: number): Promise<void> => {
      offset += ms
      await until(() => world.gateway.stats().bundleAgeMs < 1000)
    }
    assert.equal((await carried(first)).status, 200)
    await later(4000)
    assert.equal((await carried(anew(first))).status, 200)
    // The same by its id: what is remembered is the old one.
    const between = short(12)
    const next = given({ delegate: by })
    const late = passedOn(between, by, next, { delegate: id('teller', 'patient') })
    const key = held(next, late)
    assert.equal((await pay(key, { agent: holder })).status, 200)
    await later(10_000)
    held(next, anew(late))
    assert.equal((await pay(key, { agent: holder })).status, 200)
    await Promise.all([before, renewed, between].map(({ pool }) => pool.destroy()))
  })

  it('opens a fresh session where it comes from outside, and only then', async () => {
    let fresh = world.agent('teller', 'tainted', 600)
    const self = id('teller', 'tainted')
    const grants = [{ system: 'desk', operations: ['write_note'] }, PAYROLL]
    const note = async (mandate?: string): Promise<unknown> => {
      const headers = { accept: 'application/json' }
      const params = {
        protocolVersion: '2025-06-18',
        capabilities: {},
        clientInfo: { name: 't', version: '1' },
      }
      const hello = await fresh.ask({
        path: '/desk/mcp',
        headers,
        body: { jsonrpc: '2.0', id: 1, method: 'initialize', params },
      })
      const session = { ...headers, 'mcp-session-id': String(hello.headers['mcp-session-id']) }
      const call = {
        name: 'write_note',
        arguments: { id: 'N-1', text: 'x' },
        ...(mandate === undefined ? {} : { _meta: { 'sallyport/mandate': mandate } }),
      }
      const { body } = await fresh.ask({
        path: '/desk/mcp',
        headers: session,
        body: { jsonrpc: '2.0', id: 2, method: 'tools/call', params: call },
      })
      const error = body['error'] as Json | undefined
      return error === undefined ? 'ok' : (error['data'] as Json)['code']
    }
    const early = held(given({ grants, delegate: self }))
    assert.equal(await note(), 'ok')
    const taint = (): Promise<Reply> => fresh.ask({ path: `/bank/v1/accounts/${ACCOUNT.id}` })
    assert.equal((await taint()).status, 200)
    const dirty = 'SP_DENIED_NOT_PERMITTED'
    assert.equal(await note(), dirty)
    /** A clock that goes on: what is enforced has to be confirmed again. */
    const later = async (ms: number): Promise<void> => {
      offset += ms
      await until(() => world.gateway.stats().bundleAgeMs < 1000)
    }
    // One that was in hand before, one that it gives itself, one that a sibling gives: they clear nothing.
    assert.equal(await note(early), dirty)
    // Nor one given so soon that a gateway whose clock is behind could not tell which came first.
    await later(30_000)
    assert.equal(await note(held(given({ grants, delegate: self }))), dirty)
    await later(65_000)
    const outside = { grants, delegate: self }
    assert.equal(await note(held(passedOn(fresh, self, undefined, outside))), dirty)
    const sibling = world.agent('teller', 'sibling', 600)
    const kin = passedOn(sibling, id('teller', 'sibling'), undefined, outside)
    assert.equal(await note(held(kin)), dirty)
    // One from a person begins anew; the instance itself stays what it was, also on another connection.
    const task = held(given(outside))
    assert.equal(await note(task), 'ok')
    assert.equal(await note(), dirty)
    // Another agent's word clears nothing, with a person's task behind it or without: two could work together.
    const root = given({ grants, delegate: id('lead') })
    assert.equal(await note(held(passedOn(lead, id('lead'), undefined, outside))), dirty)
    assert.equal(await note(held(root, passedOn(lead, id('lead'), root, outside))), dirty)
    // What comes with a task is what its delegators have touched.
    const tainted = fresh
    fresh = world.agent('teller', 'untainted', 600)
    const inside = { grants, delegate: id('teller', 'untainted') }
    const clean = held(root, passedOn(lead, id('lead'), root, inside))
    assert.equal(await note(clean), 'ok')
    assert.equal((await lead.ask({ path: `/bank/v1/accounts/${ACCOUNT.id}` })).status, 200)
    assert.equal(await note(clean), dirty)
    fresh = tainted
    // Touched again, under whichever session, it counts in every one that was open.
    await later(65_000)
    assert.equal((await taint()).status, 200)
    assert.equal(await note(task), dirty)
    await later(65_000)
    const newest = held(given(outside))
    assert.equal(await note(newest), 'ok')
    // From the log it is known to the minute only, and the most restrictive reading is taken.
    await world.restart()
    const again = new TestAgent(world, fresh.material)
    fresh = again
    assert.equal(await note(newest), dirty)
    await again.pool.destroy()
  })
})
