import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { closeCedar, EntityStore, loadPolicySet } from '@sallyport/cedar'
import type { CedarJson, PolicySet } from '@sallyport/cedar'
import {
  DATA_CLASSES,
  deriveEntities,
  deriveSchema,
  instanceEntity,
  localClock,
} from '@sallyport/network'
import type { DataClass, DataSet, Declaration, Network, Operation } from '@sallyport/network'
import { createDecider } from '../src/index.ts'
import type { Call, FieldTreatment, Outcome, SessionState } from '../src/index.ts'
import { network } from './fixture.ts'

after(closeCedar)

/** `FIELD_TRIALS=1000` takes more declarations, each with its own calls. */
const TRIALS = Number(process.env['FIELD_TRIALS'] ?? 20)
const CALLS = 120

/** mulberry32: the same trials in every run. */
class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * end)
  }

  of<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)]
    assert.ok(item !== undefined)
    return item
  }

  some<T>(items: readonly T[]): T[] {
    return items.filter(() => this.below(2) === 0)
  }

  chance(percent: number): boolean {
    return this.below(100) < percent
  }
}

const TAGS = ['zeta', 'pii', 'account', 'untrusted']
const SETS = ['alpha', 'beta', 'gamma']
// Names that an object has without having them.
const FIELDS = ['constructor', 'toString', 'id', 'class', 'amount', 'next', 'valueOf', 'tags']
const ZONE = 'Pacific/Apia'

function randomDataSet(random: Random, name: string): DataSet {
  const fields = FIELDS.filter(() => random.chance(55)).map((field) => ({
    name: field,
    class: random.of(DATA_CLASSES),
    tags: random.some(TAGS),
    mask: 'full' as const,
    // To itself and to each other, too.
    ...(random.chance(35) ? { dataset: random.of(SETS) } : {}),
  }))
  return { name, description: '-', system: 'core', owner: 'it', fields }
}

function randomNetwork(random: Random): Network {
  const [system] = network.systems
  assert.ok(system)
  const [list] = system.operations
  assert.ok(list)
  const operations = ['list', 'hold'].map((name): Operation => {
    const paths = ['$', 'a', 'b[]', 'c.d'].filter(() => random.chance(50))
    const returns = paths.map((path) => [path, random.of([...SETS, 'public'])])
    return { ...list, name, returns: Object.fromEntries(returns) }
  })
  return {
    ...network,
    systems: [{ ...system, operations }],
    datasets: SETS.map((name) => randomDataSet(random, name)),
    flows: [
      { id: 'f1', from: 'analyst', to: 'core', operations: ['list'], purpose: 'aml' },
      { id: 'f2', from: 'flagger', to: 'core', operations: ['hold', 'list'], purpose: 'kyc' },
    ],
    settings: { ...network.settings, ...(random.chance(40) ? { timeZone: ZONE } : {}) },
  }
}

const instanceOf = (agent: string, n: number): string => `spiffe://bank.test/agent/${agent}/${n}`

class Texts {
  readonly #random: Random
  readonly #fields: readonly string[]
  readonly #local: boolean

  constructor(random: Random, { datasets, settings }: Network) {
    this.#random = random
    this.#fields = datasets.flatMap(({ name, fields }) =>
      fields.map((field) => `Field::"${name}.${field.name}"`),
    )
    this.#local = settings.timeZone !== undefined
  }

  field(): string {
    const random = this.#random
    const principal = random.of([
      'principal',
      'principal',
      'principal is Instance',
      'principal in Agent::"analyst"',
      'principal in Role::"reader"',
      'principal in Segment::"aml"',
      'principal is Instance in Agent::"flagger"',
      `principal == Instance::"${instanceOf('analyst', 1)}"`,
    ])
    const action = random.of([
      'action == Action::"field.read"',
      'action == Action::"field.read"',
      'action == Action::"field.mask"',
      'action == Action::"field.tokenise"',
      'action in [Action::"field.read", Action::"field.tokenise"]',
    ])
    const resource = random.of([
      'resource',
      'resource',
      'resource is Field',
      `resource in DataSet::"${random.of(SETS)}"`,
      `resource is Field in DataSet::"${random.of(SETS)}"`,
      `resource == ${this.#one()}`,
    ])
    const effect = random.chance(35) ? 'forbid' : 'permit'
    const annotation = random.chance(8) ? '@obligation("mask:alpha.id")\n' : ''
    const parts = Array.from({ length: random.below(4) }, () => this.#condition())
    const [first, ...rest] = parts
    const when = first === undefined ? '' : ` when { ${[first, ...rest].join(' && ')} }`
    const unless = random.chance(20) ? ` unless { ${this.#condition()} }` : ''
    return `${annotation}${effect}(${principal}, ${action}, ${resource})${when}${unless};`
  }

  #one(): string {
    return this.#fields.length === 0 ? 'Field::"none.none"' : this.#random.of(this.#fields)
  }

  #condition(depth = 0): string {
    const random = this.#random
    if (depth < 2 && random.chance(15)) {
      return `(${this.#condition(depth + 1)} || ${this.#condition(depth + 1)})`
    }
    const n = random.below(4)
    return random.of([
      `resource.class <= ${n}`,
      `resource.class == ${n}`,
      `resource.tags.contains("${random.of(TAGS)}")`,
      `context.session.labels.contains("${random.of(TAGS)}")`,
      'context.session.labels.containsAny(resource.tags)',
      `resource.name == "${random.of(FIELDS)}"`,
      `resource in DataSet::"${random.of(SETS)}"`,
      `resource == ${this.#one()}`,
      // Of some fields, and at some risks, these fail.
      `resource.class + ${2n ** 63n - 2n} > 0`,
      `context.risk + ${2n ** 63n - 31n} > 0`,
      'resource.class * 40 < context.risk',
      `context.risk < ${random.of([20, 50, 90])}`,
      `context.operation == "core.${random.of(['list', 'hold'])}"`,
      'context.purpose == "aml"',
      'principal.agent.name == "analyst"',
      'principal in Role::"reader"',
      `context.evidence.approvals >= ${n}`,
      'context.evidence.approvers.contains("olga")',
      `context.time.hour < ${random.of([6, 12, 18])}`,
      `context.time.epoch < 1795442701`,
      this.#local ? `context.time.local.hour < ${random.of([6, 12, 18])}` : 'true',
      this.#local ? 'context.time.local.date == "2026-11-24"' : 'false',
      'context has source && context.source.isInRange(ip("10.0.0.0/8"))',
      'context has source && context.source.isIpv6()',
    ])
  }
}

function randomDeclaration(random: Random): Declaration {
  const net = randomNetwork(random)
  const texts = new Texts(random, net)
  const owed = (): string =>
    random.chance(30)
      ? `@obligation("${random.of(['mask', 'drop', 'tokenise'])}:${random.of(SETS)}.${random.of(FIELDS)}; mask:beta.id")\n`
      : ''
  const policies = [
    `${owed()}permit(principal, action == Action::"core.list", resource);`,
    `${owed()}permit(principal in Agent::"flagger", action in Action::"read", resource) when { context.risk < 90 };`,
    'permit(principal, action == Action::"field.read", resource) when { resource.class <= 1 };',
    // Where this fails it denies, before what is false of a field is looked at.
    `forbid(principal in ${random.of(['Role::"reader"', 'Agent::"flagger"'])}, action == Action::"field.${random.of(['read', 'mask'])}", resource) when { context.risk + ${2n ** 63n - 31n} < 0 && resource.class == ${random.below(4)} };`,
    ...Array.from({ length: 2 + random.below(9) }, () => texts.field()),
  ]
  return {
    network: net,
    policies: policies.map((source, i) => ({ id: `p${i}`, source, file: 'p.cedar', line: i + 1 })),
  }
}

function randomCall(random: Random): { call: Call; session: SessionState } {
  const agent = random.of(['analyst', 'flagger'])
  const source = random.of(['', '10.1.2.3', '::ffff:10.9.9.9', 'fe80::1%eth0', '192.0.2.1'])
  return {
    call: {
      ...{ agent, instance: instanceOf(agent, random.below(3)) },
      ...{ system: 'core', operation: random.of(['list', 'hold']), input: { account: 'a' } },
      // Around a second's, an hour's and a day's end.
      time: 1_795_442_700_000 + random.of([0, 1, 999, 1000, 3_600_000, 36_000_000, 86_400_000]),
      ...(source === '' ? {} : { source }),
      evidence: { approvals: random.of([[], [], ['olga'], ['olga', 'olga', 'ivan']]) },
    },
    session: { labels: random.some(TAGS), risk: random.of([0, 10, 30, 30.5, 60, 95]) },
  }
}

const TREATMENTS: readonly FieldTreatment[] = ['whole', 'tokenise', 'mask', 'drop']

/** What a field or a call comes to, by policies and entities that nothing was decided with before. */
class Naive {
  readonly #declaration: Declaration
  readonly #policies: PolicySet

  constructor(declaration: Declaration, policies: PolicySet) {
    this.#declaration = declaration
    this.#policies = policies
  }

  static async of(declaration: Declaration): Promise<Naive> {
    const { network: net, policies } = declaration
    const schema = deriveSchema(net)
    return new Naive(declaration, await loadPolicySet({ policies, schema, sliceMemo: 0 }))
  }

  /** Undefined where the call is not allowed. */
  decide(
    call: Call,
    session: SessionState,
  ): Pick<Outcome, 'projection' | 'labels' | 'maxClass'> | undefined {
    const { network: net } = this.#declaration
    const flow = net.flows.find(
      ({ from, operations }) => from === call.agent && operations.includes(call.operation),
    )
    const operation = net.systems[0]?.operations.find(({ name }) => name === call.operation)
    if (!flow || !operation) return undefined
    const entities = [...deriveEntities(net), instanceEntity(net, call.agent, call.instance)]
    const store = EntityStore.from(entities)
    const ask = (action: string, type: string, id: string, own: Record<string, CedarJson>) => {
      const answer = this.#policies.decide(
        {
          principal: { type: 'Instance', id: call.instance },
          action: { type: 'Action', id: action },
          resource: { type, id },
          context: { ...contextOf(call, session, flow.purpose, net), ...own },
        },
        store,
      )
      const failed = answer.errors.some(
        ({ policyId }) => this.#policies.effect(policyId) === 'forbid',
      )
      const owed = answer.reasons.flatMap((policy) => {
        const { obligation } = this.#policies.annotations(policy)
        return obligation === undefined ? [] : [obligation]
      })
      return { allowed: answer.decision === 'allow' && !failed, owed }
    }
    const name = `core.${call.operation}`
    const { allowed, owed } = ask(name, 'System', 'core', { input: call.input })
    if (!allowed) return undefined
    const projection: Record<string, Record<string, FieldTreatment>> = {}
    const labels = new Set<string>()
    let maxClass: DataClass = 'public'
    const reach = (dataset: DataSet | undefined): void => {
      if (!dataset || Object.hasOwn(projection, dataset.name)) return
      const treated: Record<string, FieldTreatment> = (projection[dataset.name] = {})
      for (const field of dataset.fields) {
        const id = `${dataset.name}.${field.name}`
        const may = (action: string): boolean => {
          const answer = ask(action, 'Field', id, { operation: name })
          return answer.allowed && answer.owed.length === 0
        }
        let treatment: FieldTreatment = may('field.read')
          ? 'whole'
          : may('field.mask')
            ? 'mask'
            : may('field.tokenise')
              ? 'tokenise'
              : 'drop'
        for (const part of owed.flatMap((text) => text.split('; '))) {
          const [least, about] = part.split(':')
          const strict = TREATMENTS.find((one) => one === least)
          assert.ok(strict)
          if (about === id && TREATMENTS.indexOf(strict) > TREATMENTS.indexOf(treatment)) {
            treatment = strict
          }
        }
        treated[field.name] = treatment
        if (treatment === 'drop') continue
        for (const tag of field.tags) labels.add(tag)
        if (treatment !== 'whole') continue
        if (DATA_CLASSES.indexOf(field.class) > DATA_CLASSES.indexOf(maxClass))
          maxClass = field.class
        reach(net.datasets.find((one) => one.name === field.dataset))
      }
    }
    for (const set of Object.values(operation.returns)) {
      reach(net.datasets.find((one) => one.name === set))
    }
    return { projection, labels: [...labels].sort(), maxClass }
  }
}

function contextOf(
  { time: ms, source, evidence }: Call,
  { labels, risk }: SessionState,
  purpose: string,
  { settings: { timeZone } }: Network,
): Record<string, CedarJson> {
  const iso = new Date(ms).toISOString()
  const local = timeZone === undefined ? undefined : localClock(timeZone)?.(ms)
  const approvers = [...new Set(evidence.approvals)]
  const plain = source?.replace('::ffff:', '').replace('%eth0', '')
  return {
    time: {
      epoch: Math.floor(ms / 1000),
      hour: Number(iso.slice(11, 13)),
      minute: Number(iso.slice(14, 16)),
      weekday: new Date(ms).getUTCDay() || 7,
      date: iso.slice(0, 10),
      ...(local === undefined ? {} : { local: { ...local } }),
    },
    session: { labels },
    risk: Math.ceil(risk),
    purpose,
    evidence: { approvals: approvers.length, approvers },
    ...(plain === undefined ? {} : { source: { __extn: { fn: 'ip', arg: plain } } }),
  }
}

/** Overwrites all that can be overwritten: what later decisions share must not be among it. */
function spoil(value: unknown): void {
  if (typeof value !== 'object' || value === null) return
  for (const inner of Object.values(value)) spoil(inner)
  if (Array.isArray(value)) Reflect.set(value, value.length, 'spoilt')
  for (const key of Object.keys(value)) Reflect.set(value, key, 'spoilt')
  Reflect.set(value, 'spoilt', 'whole')
}

test('fields are treated as each would be by itself, whatever was decided before', async () => {
  const seen = { allowed: 0, denied: 0, nested: 0, treatments: new Map<FieldTreatment, number>() }
  for (let seed = 0; seed < TRIALS; seed++) {
    const random = new Random(7_000 + seed)
    const declaration = randomDeclaration(random)
    const decider = await createDecider({ declaration })
    const naive = await Naive.of(declaration)
    for (let i = 0; i < CALLS; i++) {
      const { call, session } = randomCall(random)
      const outcome = decider.decide(call, session)
      const about = (): string =>
        `seed ${seed}: ${JSON.stringify([declaration.policies, call, session])}`
      const expected = naive.decide(call, session)
      const { decision, projection, labels, maxClass } = outcome
      if (expected === undefined) {
        seen.denied++
        assert.notEqual(decision, 'allow', about())
        assert.deepEqual([projection, labels, maxClass], [{}, [], 'public'])
      } else {
        seen.allowed++
        assert.equal(decision, 'allow', about())
        assert.deepEqual({ projection, labels, maxClass }, expected, about())
        if (Object.keys(projection).length > 1) seen.nested++
        for (const treatment of Object.values(projection).flatMap((set) => Object.values(set))) {
          seen.treatments.set(treatment, (seen.treatments.get(treatment) ?? 0) + 1)
        }
      }
      const copy = structuredClone(outcome)
      spoil(outcome)
      assert.deepEqual(decider.decide(call, session), copy, `spoilt, ${about()}`)
    }
  }
  // Trials in which everything is dropped would show nothing.
  assert.ok(seen.allowed > 20 * TRIALS && seen.denied > 5 * TRIALS && seen.nested > 10 * TRIALS)
  for (const treatment of TREATMENTS) {
    assert.ok(
      (seen.treatments.get(treatment) ?? 0) > 10 * TRIALS,
      JSON.stringify([...seen.treatments]),
    )
  }
})
