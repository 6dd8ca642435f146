import { createMongoAbility, subject } from '@casl/ability'
import { EntityStore, loadPolicySet, prepareContext } from '@sallyport/cedar'
import type { EntityJson, Request } from '@sallyport/cedar'
import { newEnforcer, newModelFromString } from 'casbin'
import { statefulOracle } from '../../packages/cedar/test/oracle.ts'
import { bounded, median, stated } from '../row.ts'
import type { Row } from '../row.ts'
import { uid } from './sparse.ts'

const RULES = 1000
const REQUESTS = 400
const RUNS = 5

/** One of the rules: a team may do one action in one zone, up to an amount, at a low risk, on what one owner has. */
interface Rule {
  readonly team: string
  readonly action: string
  readonly zone: string
  readonly most: number
  readonly owner: string
}

interface Ask {
  readonly agent: string
  readonly team: string
  readonly action: string
  readonly system: string
  readonly zone: string
  readonly owner: string
  readonly amount: number
  readonly risk: number
}

interface Engine {
  readonly name: string
  readonly decide: (request: number) => boolean
  /** Requests timed in one run: some engines need milliseconds for one. */
  readonly timed: number
  readonly asked?: number
}

/**
 * The same 1,000 rules of roles and attributes in four engines, each set up once, as its manual says, and asked the same
 * requests; all must give the same answer to every one. Ratios are of processor time, which other processes on the machine cannot
 * inflate on one side only.
 */
export async function rivals(): Promise<Row[]> {
  const rules = makeRules()
  const asks = makeAsks(rules)
  const ours = await sallyport(rules, asks)
  const others = [
    cedarWasm(rules, asks),
    casl(rules, asks),
    caslByUser(rules, asks),
    await casbin(rules, asks),
  ]
  requireAgreement([ours, ...others], asks)
  const engines = [ours, ...others].map((engine) => ({ engine, times: [] as number[] }))
  // In turn, so that whatever changes on the machine in the meantime meets all of them; the first warms up.
  for (let run = 0; run <= RUNS; run++) {
    for (const { engine, times } of engines) {
      const us = processorUs(engine)
      if (run > 0) times.push(us)
    }
  }
  const [own, ...rest] = engines.map(({ engine, times }) => ({ ...engine, us: median(times) }))
  const base = own?.us ?? Number.NaN
  return [
    stated('four engines on the same 1,000 rules agree on', asks.length, 'requests'),
    stated('@sallyport/cedar, processor time of a decision', base, 'µs'),
    ...rest.flatMap(({ name, us, asked }) => [
      stated(`${name}, processor time of a decision`, us, 'µs'),
      asked === undefined
        ? stated('the same against @sallyport/cedar', us / base, '×')
        : bounded('the same against @sallyport/cedar', us / base, '×', '>=', asked),
    ]),
  ]
}

function makeRules(): Rule[] {
  return Array.from({ length: RULES }, (_, i) => ({
    team: `t${i}`,
    action: `op${i % 40}`,
    zone: `z${i % 10}`,
    most: 100_000 + i,
    owner: `o${i % 7}`,
  }))
}

/** One for each rule it takes, half of which it lets pass; the others miss one condition each, in turn. */
function makeAsks(rules: readonly Rule[]): Ask[] {
  return Array.from({ length: REQUESTS }, (_, i) => {
    const at = (i * 7919) % RULES
    const { team = '', action = '', zone = '', most = 0, owner = '' } = rules[at] ?? {}
    const miss = i % 2 === 0 ? -1 : (i >> 1) % 4
    return {
      agent: `a${i}`,
      team,
      action: miss === 0 ? `op${(at + 1) % 40}` : action,
      system: `s${i}`,
      zone,
      owner: miss === 1 ? 'nobody' : owner,
      amount: miss === 2 ? most + 1 : most,
      risk: miss === 3 ? 70 : 10,
    }
  })
}

function cedarPolicies(rules: readonly Rule[]): { id: string; source: string }[] {
  return rules.map(({ team, action, zone, most, owner }, i) => ({
    id: `p${i}`,
    source: `permit(principal in Team::"${team}", action == Action::"${action}", resource in Zone::"${zone}")
when { context.input.amount <= ${most} && context.risk < 70 && resource.owner == "${owner}" };`,
  }))
}

function cedarEntities({ agent, team, system, zone, owner }: Ask): EntityJson[] {
  return [
    { uid: uid('Agent', agent), attrs: {}, parents: [uid('Team', team)] },
    { uid: uid('System', system), attrs: { owner }, parents: [uid('Zone', zone)] },
  ]
}

function cedarRequest({ agent, action, system, amount, risk }: Ask): Request {
  return {
    principal: uid('Agent', agent),
    action: uid('Action', action),
    resource: uid('System', system),
    context: { input: { amount }, risk },
  }
}

/** All entities in one store, contexts converted beforehand, as the gateway does for the parts that calls share. */
async function sallyport(rules: readonly Rule[], asks: readonly Ask[]): Promise<Engine> {
  const set = await loadPolicySet({ policies: cedarPolicies(rules) })
  const store = EntityStore.from(asks.flatMap(cedarEntities))
  const requests = asks.map((ask) => {
    const request = cedarRequest(ask)
    return { ...request, context: prepareContext(request.context) }
  })
  return {
    name: '@sallyport/cedar',
    decide: (i) => {
      const request = requests[i]
      return request !== undefined && set.decide(request, store).decision === 'allow'
    },
    timed: 400_000,
  }
}

/** Policies parsed beforehand; each request brings only the two entities that it needs. */
function cedarWasm(rules: readonly Rule[], asks: readonly Ask[]): Engine {
  const oracle = statefulOracle(cedarPolicies(rules))
  const requests = asks.map((ask) => ({ request: cedarRequest(ask), needed: cedarEntities(ask) }))
  return {
    name: 'cedar-wasm, stateful',
    decide: (i) => {
      const ask = requests[i]
      return ask !== undefined && oracle(ask.request, ask.needed) === 'allow'
    },
    timed: 40,
    asked: 3000,
  }
}

const caslRule = ({ action, zone, most, owner }: Rule) => ({
  action,
  subject: 'System',
  conditions: { zone, owner, amount: { $lte: most }, risk: { $lt: 70 } },
})

const caslSubject = ({ team, zone, owner, amount, risk }: Ask) =>
  subject('System', { team, zone, owner, amount, risk })

/** One ability of all rules, the team one more condition. CASL files rules by subject type and action: 25 are left to try. */
function casl(rules: readonly Rule[], asks: readonly Ask[]): Engine {
  const ability = createMongoAbility(
    rules.map((rule) => {
      const { conditions, ...rest } = caslRule(rule)
      return { ...rest, conditions: { team: rule.team, ...conditions } }
    }),
  )
  const requests = asks.map((ask) => ({ action: ask.action, of: caslSubject(ask) }))
  return {
    name: 'CASL, one ability of all rules',
    decide: (i) => {
      const ask = requests[i]
      return ask !== undefined && ability.can(ask.action, ask.of)
    },
    timed: 40_000,
    asked: 10,
  }
}

/** An ability for each agent, of the one rule of its team: the least that CASL can be asked to do, made before it is asked. */
function caslByUser(rules: readonly Rule[], asks: readonly Ask[]): Engine {
  const byTeam = new Map(rules.map((rule) => [rule.team, rule]))
  const requests = asks.map((ask) => {
    const rule = byTeam.get(ask.team)
    const ability = createMongoAbility(rule === undefined ? [] : [caslRule(rule)])
    return { ability, action: ask.action, of: caslSubject(ask) }
  })
  return {
    name: 'CASL, an ability for each agent, of its own rules only',
    decide: (i) => {
      const ask = requests[i]
      return ask !== undefined && ask.ability.can(ask.action, ask.of)
    },
    timed: 200_000,
  }
}

/** Roles by casbin's role manager; the comparison that rules out most comes first. */
async function casbin(rules: readonly Rule[], asks: readonly Ask[]): Promise<Engine> {
  const enforcer = await newEnforcer(
    newModelFromString(`
[request_definition]
r = sub, obj, act, env
[policy_definition]
p = sub, obj, act, most, owner
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.act == p.act && r.obj.zone == p.obj && r.obj.owner == p.owner && r.env.risk < 70 && r.env.amount <= p.most && g(r.sub, p.sub)
`),
  )
  await enforcer.addPolicies(
    rules.map(({ team, zone, action, most, owner }) => [team, zone, action, String(most), owner]),
  )
  await enforcer.addGroupingPolicies(asks.map(({ agent, team }) => [agent, team]))
  const requests = asks.map(({ agent, zone, owner, action, amount, risk }) => ({
    agent,
    of: { zone, owner },
    action,
    env: { amount, risk },
  }))
  return {
    name: 'casbin',
    decide: (i) => {
      const ask = requests[i]
      return ask !== undefined && enforcer.enforceSync(ask.agent, ask.of, ask.action, ask.env)
    },
    timed: 60,
    asked: 4000,
  }
}

function requireAgreement(engines: readonly Engine[], asks: readonly Ask[]): void {
  for (const [i, ask] of asks.entries()) {
    // Every second request misses a condition.
    const expected = i % 2 === 0
    for (const { name, decide } of engines) {
      if (decide(i) !== expected) throw new Error(`${name} disagrees on ${JSON.stringify(ask)}`)
    }
  }
}

function processorUs({ decide, timed }: Engine): number {
  const before = process.threadCpuUsage()
  for (let n = 0; n < timed; n++) decide(n % REQUESTS)
  const { user, system } = process.threadCpuUsage(before)
  return (user + system) / timed
}
