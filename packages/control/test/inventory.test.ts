/** The inventory: what a gateway reports of undeclared traffic is kept, bounded, and turned into what would declare it. */
import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { indexNetwork, loadDeclaration } from '@sallyport/network'
import type { AuditRecord, DecisionRecord, FeedItem } from '@sallyport/wire'
import type { DriftView } from '../src/domain/inventory.ts'
import { suggestion } from '../src/domain/suggestions.ts'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Peer } from './support/network.ts'

describe('the inventory of a control plane', () => {
  let plane: TestPlane
  let gateway: Peer
  let index = 0

  before(async () => {
    plane = await TestPlane.start(declarationWith())
    gateway = await plane.enrol('gateway', 'gw1')
  })
  after(() => plane.close())

  const header = () => ({ v: 1, at: Date.now(), gateway: gateway.spiffeId }) as const
  async function feed(...records: readonly AuditRecord[]): Promise<void> {
    for (let from = 0; from < records.length; from += 500) {
      const items: FeedItem[] = records
        .slice(from, from + 500)
        .map((record, i) => ({ index: index + i, record }))
      // At least once: what is sent twice counts once.
      for (let i = 0; i < 2; i++) {
        const shard = 'bank.test/gateway/gw1'
        const { status } = await gateway.call('POST', '/v1/feed', { shard, items })
        assert.equal(status, 200)
      }
      index += items.length
    }
  }
  const drift = (facts: Readonly<Record<string, string | number | boolean>>): AuditRecord => ({
    ...header(),
    ...{ kind: 'event', event: 'drift-seen' },
    facts: {
      ...{ kind: 'operation', system: 'core', name: 'GET /v1/x', by: 'flagger' },
      ...{ calls: 1, first: 1000, last: 2000 },
      ...facts,
    },
  })
  const decision = (over: Partial<DecisionRecord>): DecisionRecord => ({
    ...header(),
    kind: 'decision',
    id: 'd',
    instance: 'spiffe://bank.test/agent/flagger/i1',
    agent: 'flagger',
    system: 'core',
    operation: 'hold',
    decision: 'allow',
    code: 'SP_ALLOWED',
    reasons: [],
    errors: [],
    needs: [],
    revision: { epoch: 1, n: 1 },
    declarationDigest: 'c'.repeat(64),
    stateDigest: 'a'.repeat(64),
    labels: [],
    risk: 0,
    requestHash: 'b'.repeat(64),
    peer: { serial: '0a' },
    ...over,
  })
  const inventory = () => plane.control.context.inventory

  it('counts each report once, and adds it to what there is', async () => {
    await feed(drift({ calls: 3 }), drift({ calls: 4, first: 500, last: 9000 }))
    await feed(drift({ calls: 5, first: 700, last: 800 }))
    const [found] = await inventory().drift()
    const { suggestion: told, ...rest } = found ?? {}
    assert.deepEqual(rest, {
      ...{ kind: 'operation', system: 'core', name: 'GET /v1/x', by: 'flagger' },
      ...{ calls: 12, first: 500, last: 9000 },
    })
    assert.match(String(told), /"\/v1\/x":\n {4}get: /)
  })

  it('takes nothing that is of another shape, and nothing of the future', async () => {
    const before = await inventory().drift()
    await feed(
      drift({ kind: 'secret' }),
      // Derived here from decisions: a report of it is none.
      drift({ kind: 'flow' }),
      drift({ name: 7 }),
      drift({ calls: 0 }),
      drift({ calls: 1.5 }),
      drift({ first: 9, last: 3 }),
    )
    assert.deepEqual(await inventory().drift(), before)
    await feed(drift({ name: 'GET /later', last: Number.MAX_SAFE_INTEGER }))
    const later = (await inventory().drift()).find(({ name }) => name === 'GET /later')
    assert.ok(later && later.last <= Date.now())
  })

  it('keeps few names of each who asks, and few who ask', async () => {
    const names = Array.from({ length: 120 }, (_, i) =>
      drift({ name: `GET /made-up${i}`, by: 'loud' }),
    )
    await feed(...names, drift({ name: 'GET /real', by: 'quiet' }))
    const rows = await inventory().drift()
    const loud = rows.filter(({ by }) => by === 'loud')
    assert.equal(loud.length, 51)
    assert.equal(loud.find(({ name }) => name === '*')?.calls, 70)
    assert.ok(rows.some(({ by, name }) => by === 'quiet' && name === 'GET /real'))
    const callers = Array.from({ length: 260 }, (_, i) =>
      drift({ kind: 'caller', system: '', name: 'SP_TLS_HANDSHAKE', by: `10.0.0.${i}` }),
    )
    await feed(...callers)
    const strangers = (await inventory().drift()).filter(({ kind }) => kind === 'caller')
    assert.equal(strangers.length, 201)
    assert.equal(strangers.find(({ by }) => by === '*')?.calls, 60)
  })

  it('names a call without a flow, and what is declared with its owner and last use', async () => {
    const unused = await inventory().declared()
    const of = (rows: typeof unused, kind: string, name: string) =>
      rows.find((row) => row.kind === kind && row.name === name)
    assert.deepEqual(of(unused, 'operation', 'core.hold'), {
      ...{ kind: 'operation', name: 'core.hold', owner: 'core', calls: 0, last: null },
    })
    const [analyst, denied] = [
      { agent: 'analyst' },
      { decision: 'deny', code: 'SP_NO_FLOW' },
    ] as const
    await feed(
      decision({ at: 5000 }),
      decision({ at: 6000 }),
      decision({ ...analyst, ...denied, at: 7000 }),
    )
    const used = await inventory().declared()
    for (const [kind, name] of [
      ['operation', 'core.hold'],
      ['system', 'core'],
      ['service', 'ledger'],
      ['agent', 'flagger'],
    ] as const) {
      const { calls, last } = of(used, kind, name) ?? {}
      assert.deepEqual({ calls, last }, { calls: 2, last: 6000 }, kind)
    }
    // What was refused is no use.
    assert.equal(of(used, 'agent', 'analyst')?.last, null)
    const flow = (await inventory().drift()).find(({ kind }) => kind === 'flow')
    assert.deepEqual([flow?.system, flow?.name, flow?.by], ['core', 'hold', 'analyst'])
  })
})

describe('what would declare it', () => {
  const folder = join(import.meta.dirname, '../../../examples/meridian')
  const at = mkdtempSync(join(tmpdir(), 'sp-inventory-'))
  after(() => rmSync(at, { recursive: true, force: true }))
  const networkFile = join(at, 'network.yaml')
  const text = readFileSync(join(folder, 'network.yaml'), 'utf8')
  const load = (yaml: string) => {
    cpSync(folder, at, { recursive: true })
    writeFileSync(networkFile, yaml)
    return loadDeclaration({ networkFile })
  }
  const declared = load(text).then(({ network }) => indexNetwork(network))
  const told = async (kind: DriftView['kind'], system: string, name: string, by = 'monitor') =>
    suggestion(await declared, { kind, system, name, by })

  it('is a declaration once a person completed it, and none before', async () => {
    assert.equal(
      await told('flow', 'core-banking', 'listHolds'),
      'flows:\n  # in place of monitor-to-core-banking\n' +
        '  - { from: monitor, to: core-banking, operations: [listTransactions, getAccount, listHolds], purpose: monitoring }\n',
    )
    const flow = await told('flow', 'messages', 'sendMessage')
    const line = flow?.split('\n')[1] ?? ''
    const flowing = text.replace('\nflows:\n', `\nflows:\n${line}\n`)
    await assert.rejects(load(flowing), { code: 'SP_NETWORK_INVALID' })
    const { network } = await load(flowing.replace('TODO', 'monitoring'))
    assert.ok(
      network.flows.some(
        ({ from, operations }) => from === 'monitor' && operations[0] === 'sendMessage',
      ),
    )

    const field = await told('field', 'core-banking', 'accounts.nickname')
    const member = field?.split('\n')[3] ?? ''
    const place =
      '  accounts:\n    description: Accounts and their standing.\n    system: core-banking\n    owner: core-banking\n    fields:\n'
    const with_ = await load(text.replace(place, `${place}${member}\n`))
    const added = indexNetwork(with_.network).findField('accounts', 'nickname')
    assert.equal(added?.class, 'restricted')

    const agent = await told('caller', '', 'spiffe://meridian.example/agent/ghost')
    const body = agent?.split('\n').slice(1).join('\n') ?? ''
    const open = text.replace('\nagents:\n', `\nagents:\n${body}`)
    await assert.rejects(load(open), { code: /^SP_NETWORK_/ })
    const done = open.replace('segment: TODO', 'segment: raw').replaceAll('TODO', 'payments')
    assert.ok((await load(done)).network.agents.some(({ name }) => name === 'ghost'))
  })

  it('is nothing where nothing could be declared, or a hostile name would be more than a name', async () => {
    assert.equal(await told('caller', '', 'SP_TLS_HANDSHAKE'), null)
    assert.equal(await told('operation', 'core-banking', '*'), null)
    assert.equal(await told('operation', 'nowhere', 'GET /x'), null)
    assert.equal(await told('field', 'core-banking', 'accounts.{}'), null)
    assert.equal(await told('field', 'core-banking', 'accounts.x: { class: public }\n    y'), null)
    assert.equal(await told('flow', 'core-banking', 'x], purpose: y }\n  - {'), null)
    assert.equal(await told('destination', '', 'evil.example\nagents:'), null)
    assert.match(
      String(await told('destination', '', 'api.vendor.example:443')),
      /"https:\/\/api\.vendor\.example"/,
    )
    assert.match(String(await told('field', 'core-banking', 'accounts.on')), /"on": /)
    assert.match(
      String(await told('operation', 'case-store', 'tool close_case')),
      /close_case: \{ kind: write/,
    )
  })
})
