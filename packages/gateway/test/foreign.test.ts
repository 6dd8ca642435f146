import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, it } from 'node:test'
import type { Declaration, ForeignAgent } from '@sallyport/network'
import type { IdentityMaterial } from '@sallyport/transport'
import { Partner } from './support/partner.ts'
import { startWorld, TestAgent, until } from './support/world.ts'
import type { Reply, World } from './support/world.ts'

const PARTNER = 'partner.example'
const OTHER = 'other.example'
const A = '/bank/v1/accounts/A'
const ID = `spiffe://${PARTNER}/agent/teller/p1`
const HANG_MS = 60_000
const PAY = { path: '/bank/v1/accounts/A/transfers', body: { to: 'bob', amount: 10 } }

const foreignAgent = (
  name: string,
  path: string,
  over: Partial<ForeignAgent> = {},
): ForeignAgent => ({
  name: `${name}@${PARTNER}`,
  trustDomain: PARTNER,
  path,
  description: '',
  owner: 'partners',
  purpose: 'settlement',
  until: '2999-12-31',
  ...over,
})
// The name and the path of one of our own agents, which may do much more.
const TELLER = foreignAgent('teller', '/agent/teller/*')

const policy = (id: string, source: string) => ({
  id,
  source: `@id("${id}")\n${source}`,
  file: 'policies/partners.cedar',
  line: 1,
})
const PARTNERS = [
  policy(
    'partner-reads',
    `permit (principal in ForeignAgent::"teller@${PARTNER}", action == Action::"bank.getAccount", resource)
when { principal.foreign.owner == "partners" && principal.foreign.trustDomain == "${PARTNER}" };`,
  ),
  policy(
    'partner-fields',
    `permit (principal in ForeignDomain::"${PARTNER}", action == Action::"field.read", resource == Field::"accounts.status");`,
  ),
  policy(
    'partner-ended',
    `permit (principal in ForeignAgent::"ended@${PARTNER}", action == Action::"bank.getAccount", resource);`,
  ),
]

let partner: Partner
let other: Partner
let world: World
const agents: TestAgent[] = []

function federated(declaration: Declaration): Declaration {
  const { network, policies } = declaration
  const flow = (from: string, operations: string[]) => ({
    id: `${from.replace(/[@.]/g, '-')}-to-bank`,
    from,
    to: 'bank',
    operations,
    purpose: 'settlement',
  })
  return {
    network: {
      ...network,
      federation: [
        partner.declared([
          TELLER,
          foreignAgent('ended', '/agent/ended/*', { until: '2020-02-29' }),
        ]),
        other.declared([{ ...foreignAgent('x', '/x'), name: `x@${OTHER}`, trustDomain: OTHER }]),
      ],
      flows: [
        ...network.flows,
        // The operations that our teller has, and one that nobody permits to partners.
        flow(TELLER.name, ['getAccount', 'transfer']),
        flow(`ended@${PARTNER}`, ['getAccount']),
      ],
    },
    policies: [...policies, ...PARTNERS],
  }
}

const ours = (): { rootsPem: string; trustDomain: string } => ({
  rootsPem: world.plane.pins.roots,
  trustDomain: world.plane.trustDomain,
})
function agentWith(material: IdentityMaterial): TestAgent {
  const agent = new TestAgent(world, material, 1)
  agents.push(agent)
  return agent
}
const caller = (uri = ID): TestAgent => agentWith(partner.caller(uri, ours()))

const events = (event: string) =>
  world.plane
    .records()
    .flatMap((record) => (record.kind === 'event' && record.event === event ? [record] : []))
/** The handshake is refused, and the log says why. */
async function refused(agent: TestAgent, why: RegExp): Promise<void> {
  const before = events('handshake-refused').length
  await assert.rejects(agent.ask({ path: A }))
  await until(() => events('handshake-refused').length > before)
  const last = events('handshake-refused').at(-1)
  assert.match(`${last?.code} ${String(last?.facts['reason'])}`, why)
}
/** Until the gateway has fetched, and lets one in that it may let in. */
async function letIn(uri?: string): Promise<TestAgent> {
  const hung = performance.now() + HANG_MS
  for (;;) {
    const agent = caller(uri)
    const answer = await agent.ask({ path: A }).catch(() => undefined)
    if (answer?.status === 200) return agent
    assert.ok(performance.now() < hung, `never let in: ${answer?.status}`)
    await agent.pool.destroy()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
const end = async (): Promise<void> => {
  await Promise.all(agents.splice(0).map(({ pool }) => pool.destroy()))
  await world.close()
  await partner.close()
  await other.close()
}
const begin = async (): Promise<void> => {
  partner = new Partner(PARTNER)
  other = new Partner(OTHER)
  await partner.listen()
  await other.listen()
  world = await startWorld({}, () => undefined, federated)
}

describe('agents of another trust domain', () => {
  before(begin)
  after(end)

  it('call what a flow and a policy of their own let them, and are named in the record', async () => {
    const agent = await letIn()
    const answer: Reply = await agent.ask({ path: A })
    assert.deepEqual(answer.body, { account: { status: 'open' } })
    await until(() => world.plane.records().some((r) => r.kind === 'decision' && r.instance === ID))
    const record = world.plane
      .records()
      .find((r) => r.kind === 'decision' && r.instance === ID && r.decision === 'allow')
    assert.ok(record?.kind === 'decision')
    assert.equal(record.agent, TELLER.name)
    assert.deepEqual(record.reasons, ['partner-reads'])
    assert.equal(world.bank.seen.at(-1)?.headers['sallyport-call-token'] === undefined, false)
  })

  it('have no right of our agent of the same path, nor of any policy that names nobody', async () => {
    const own = world.agent('teller', 'p1')
    assert.equal((await own.ask(PAY)).status, 200)
    const agent = await letIn()
    const answer = await agent.ask(PAY)
    assert.deepEqual([answer.status, answer.body['code']], [403, 'SP_DENIED_NOT_PERMITTED'])
    // Our teller has a flow to it; they have none.
    const note = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'read_note' } }
    const desk = await agent.ask({ path: '/desk/mcp', body: note })
    assert.equal(desk.body['result'], undefined)
    const seen = (await own.ask({ path: A })).body['account']
    assert.notDeepEqual(seen, { status: 'open' })
  })

  it('are refused where they are not declared, or no longer', async () => {
    await letIn()
    await refused(caller(`spiffe://${PARTNER}/agent/auditor/p1`), /SP_FOREIGN_AGENT/)
    await refused(caller(`spiffe://${PARTNER}/agent/teller`), /SP_FOREIGN_AGENT/)
    await refused(caller(`spiffe://${PARTNER}/agent/teller/p1/x`), /SP_FOREIGN_AGENT/)
    await refused(caller(`spiffe://${PARTNER}/agent/ended/p1`), /SP_FOREIGN_ENDED/)
    const third = new Partner('third.example')
    await refused(
      agentWith(third.caller('spiffe://third.example/agent/teller/p1', ours())),
      /SP_SVID_FOREIGN/,
    )
  })

  it('are vouched for by their own roots, which vouch for nobody else', async () => {
    await letIn()
    const forged = (uri: string): TestAgent => agentWith(partner.caller(uri, ours()))
    // Our own agent, a gateway of ours, and an agent of a third domain, all signed by the partner.
    await refused(forged('spiffe://test.example/agent/teller/p1'), /SP_SVID_UNTRUSTED/)
    await refused(forged('spiffe://test.example/gateway/gw1'), /SP_SVID_UNTRUSTED/)
    await refused(forged(`spiffe://${OTHER}/x`), /SP_SVID_UNTRUSTED/)
    // The partner's agent, signed by the third domain.
    await refused(agentWith(other.caller(ID, ours())), /SP_SVID_UNTRUSTED/)
  })

  it('bring neither tokens nor mandates', async () => {
    const agent = await letIn()
    const mandate = `mdt_${'a'.repeat(43)}`
    const ask = async (headers: Record<string, string>) =>
      (await agent.ask({ path: A, headers })).body['code']
    assert.equal(await ask({ 'sallyport-mandate': mandate }), 'SP_FOREIGN_EVIDENCE')
    assert.equal(await ask({ authorization: 'Bearer x' }), 'SP_FOREIGN_EVIDENCE')
    assert.equal(await ask({}), undefined)
  })
})

describe('another trust domain', () => {
  beforeEach(begin)
  afterEach(end)

  it('is cut off in one act, with its open connections, and so is one of its agents', async () => {
    const agent = await letIn()
    const second = await letIn(`spiffe://${PARTNER}/agent/teller/p2`)
    world.plane.quarantine(ID)
    await until(() => events('quarantine-applied').length === 1)
    assert.equal(events('quarantine-applied').at(-1)?.facts['sockets'], 1)
    await assert.rejects(agent.ask({ path: A }))
    await refused(caller(), /SP_QUARANTINED/)
    assert.equal((await second.ask({ path: A })).status, 200)
    world.plane.quarantine(`spiffe://${PARTNER}`)
    await until(() => events('quarantine-applied').length === 2)
    await assert.rejects(second.ask({ path: A }))
    await refused(caller(`spiffe://${PARTNER}/agent/teller/p3`), /SP_QUARANTINED/)
    assert.equal((await world.agent('reader').ask({ path: A })).status, 200)
  })

  it('rotates its roots without a lost call; what an old root signed ends with that root', async () => {
    const agent = await letIn()
    const old = partner.addRoot()
    // The new root is known before anything under the old one stops.
    const fresh = await letIn(`spiffe://${PARTNER}/agent/teller/p2`)
    assert.equal((await agent.ask({ path: A })).status, 200)
    partner.rotateServer()
    partner.publish(partner.root)
    await until(() => events('foreign-bundle-changed').some(({ facts }) => facts['gone'] === 1))
    // One under the new root was never cut.
    assert.equal((await fresh.ask({ path: A })).status, 200)
    assert.equal(
      events('foreign-bundle-changed').find(({ facts }) => facts['gone'] === 1)?.facts['sockets'],
      1,
    )
    await refused(agentWith(partner.caller(ID, ours(), { signer: old })), /SP_SVID_UNTRUSTED/)
    await assert.rejects(agent.ask({ path: A }))
  })

  it('is refused once its bundle is too old, however well signed its agents are', async () => {
    const agent = await letIn()
    partner.down = true
    let answer = await agent.ask({ path: A })
    assert.equal(answer.status, 200)
    const hung = performance.now() + HANG_MS
    while (answer.status === 200 && performance.now() < hung) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      answer = await agent.ask({ path: A })
    }
    assert.deepEqual([answer.status, answer.body['code']], [503, 'SP_FOREIGN_STALE'])
    await refused(caller(), /SP_FOREIGN_STALE/)
    // The other domain and our own agents do not suffer.
    assert.equal((await world.agent('reader').ask({ path: A })).status, 200)
    partner.down = false
    await letIn()
  })

  it('cannot be given another root by a control plane alone, nor an agent', async () => {
    await letIn()
    const thief = new Partner(PARTNER)
    await thief.listen()
    const { network, policies } = world.plane.declaration
    const [mine, ...others] = network.federation ?? []
    assert.ok(mine)
    const swapped = [
      { ...mine, bundle: thief.document(), url: thief.declared([]).url },
      { ...mine, agents: [...(mine.agents ?? []), foreignAgent('auditor', '/agent/auditor/*')] },
    ]
    for (const one of swapped) {
      const before = events('bundle-refused').length
      const declaration = { network: { ...network, federation: [one, ...others] }, policies }
      world.plane.publish({ declaration })
      await until(() => events('bundle-refused').length > before)
      assert.equal(events('bundle-refused').at(-1)?.code, 'SP_BUNDLE_UNSIGNED')
      // What was refused was not forgotten: the good one comes next.
      world.plane.publish()
    }
    await refused(agentWith(thief.caller(ID, ours())), /SP_SVID_UNTRUSTED/)
    await refused(caller(`spiffe://${PARTNER}/agent/auditor/p1`), /SP_FOREIGN_AGENT/)
    await letIn()
    await thief.close()
  })
})
