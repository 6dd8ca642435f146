import {
  EntityStore,
  loadPolicySet,
  loadSchema,
  renderAst,
  residualPolicies,
} from '@sallyport/cedar'
import type {
  CedarJson,
  EntityUid,
  Expr,
  PartialRequest,
  PolicySet,
  ResidualPolicy,
  SchemaTypes,
  UnknownEntity,
} from '@sallyport/cedar'
import { parseObligation, policiesByCaller } from '@sallyport/decide'
import type { FieldTreatment } from '@sallyport/decide'
import { deriveEntities, deriveSchema, indexNetwork, instanceEntity } from '@sallyport/network'
import type { Agent, Declaration, NetworkIndex, Operation } from '@sallyport/network'
import { words } from './words.ts'
import type { CallAnswer, Clause, FieldAnswer, Judgement, OperationAnswer } from './types.ts'

/** As `decide` asks for at most. */
const MAX_APPROVALS = 3

const NO_EVIDENCE = { approvals: 0, approvers: [] }

/** As `decide` tries them, best first. */
export const FIELD_ACTIONS: readonly (readonly [action: string, treatment: FieldTreatment])[] = [
  ['field.read', 'whole'],
  ['field.mask', 'mask'],
  ['field.tokenise', 'tokenise'],
]

const NEVER: Judgement = { verdict: 'never', ways: [], stops: [] }

/** Which obligations deny, beside those that nobody understands. */
interface Duties {
  /** All: on fields none is understood. */
  readonly field?: boolean
  /** Those about a field that leaves whole or not at all. */
  readonly owing?: string | undefined
}

type Facts = Readonly<Record<string, CedarJson>>

/**
 * Answers what a declaration allows without a call to decide: whatever is unknown of a call stays unknown. INVARIANT: what an
 * answer says holds for each call that it is about, of any instance, at any time, with any input.
 */
export class Analyst {
  readonly index: NetworkIndex
  readonly policies: PolicySet
  readonly #types: SchemaTypes
  readonly #store: EntityStore

  private constructor(
    index: NetworkIndex,
    policies: PolicySet,
    types: SchemaTypes,
    store: EntityStore,
  ) {
    this.index = index
    this.policies = policies
    this.#types = types
    this.#store = store
  }

  /** @throws SallyportError `SP_CEDAR_*` for policies that do not fit the network */
  static async of(declaration: Declaration): Promise<Analyst> {
    const { network } = declaration
    // Questions are about our own agents.
    const { own: policies } = await policiesByCaller(declaration)
    const schema = deriveSchema(network)
    return new Analyst(
      indexNetwork(network),
      await loadPolicySet({ policies, schema }),
      (await loadSchema(schema)).types(),
      EntityStore.from(deriveEntities(network)),
    )
  }

  /**
   * @param facts what is known of the context beside the purpose
   */
  call(agent: Agent, system: string, operation: string, facts: Facts = {}): CallAnswer {
    const name = `${system}.${operation}`
    const flow = this.index.findFlow(agent.name, system, operation)
    const about = { agent: agent.name, operation: name }
    if (flow === undefined) {
      const plain: Judgement = { ...NEVER, why: { kind: 'no-flow', policies: [] } }
      return { ...about, answer: 'never', plain }
    }
    const described = this.index.findOperation(system, operation)
    const judge = (evidence: Facts): Judgement => {
      const known = { purpose: flow.purpose, ...facts, ...evidence }
      const field = described && this.#whole(described)
      const action = { type: 'Action', id: name }
      const resource = { type: 'System', id: system }
      const judged = this.#judge(agent, action, resource, known, { owing: field })
      return field === undefined ? judged : this.#ofBytes(agent, judged, name, field, known)
    }
    const plain = judge({ evidence: NO_EVIDENCE })
    const approved = judge({})
    const differs = JSON.stringify(plain) !== JSON.stringify(approved)
    const answer =
      plain.verdict === 'never'
        ? approved.verdict === 'never'
          ? 'never'
          : 'approval'
        : plain.verdict
    const fewest = answer === 'approval' ? fewestApprovals(judge) : undefined
    return {
      ...about,
      purpose: flow.purpose,
      answer,
      ...(fewest === undefined ? {} : { approvals: fewest }),
      plain,
      ...(differs ? { approved } : {}),
    }
  }

  /** As `call`, with the fields of the answer. */
  operation(agent: Agent, system: string, operation: string): OperationAnswer {
    const call = this.call(agent, system, operation)
    if (call.answer === 'never') return { ...call, fields: [], obligations: [] }
    const returns = this.index.findOperation(system, operation)?.returns ?? {}
    const fields: FieldAnswer[] = []
    const seen = new Set<string>()
    const given = stopsOf(call)
    const waiting = Object.values(returns)
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      const dataset = this.index.findDataset(name)
      if (dataset === undefined || seen.has(name)) continue
      seen.add(name)
      for (const field of dataset.fields) {
        const answer = this.#field(agent, call, `${name}.${field.name}`, given)
        fields.push(answer)
        const [first] = answer.treatments
        if (field.dataset !== undefined && first?.treatment === 'whole') waiting.push(field.dataset)
      }
    }
    const ways = [...call.plain.ways, ...(call.approved?.ways ?? [])]
    const obligations = ways.flatMap(({ policy }) => {
      const { obligation } = this.policies.annotations(policy)
      return obligation === undefined ? [] : [obligation]
    })
    return { ...call, fields, obligations: [...new Set(obligations)] }
  }

  /** Of answers that are bytes: the field that all of one is, empty where nobody says; undefined where nothing has to leave whole. */
  #whole({ binding, returns }: Operation): string | undefined {
    if (binding.kind !== 'http' || binding.bytes === undefined || returns['$'] === 'public') {
      return undefined
    }
    const { $: dataset = '' } = returns
    const [field] = this.index.findDataset(dataset)?.fields ?? []
    return field === undefined ? '' : `${dataset}.${field.name}`
  }

  /** As `decide` has it: where all of an answer may not leave whole, the call is denied. */
  #ofBytes(
    agent: Agent,
    call: Judgement,
    operation: string,
    field: string,
    { purpose = '', ...known }: Facts,
  ): Judgement {
    if (call.verdict === 'never') return call
    if (field === '') return { ...NEVER, why: { kind: 'no-permit', policies: [] } }
    const facts = { purpose, operation, ...known }
    const action = { type: 'Action', id: 'field.read' }
    const resource = { type: 'Field', id: field }
    const read = this.#judge(agent, action, resource, facts, { field: true })
    return read.verdict === 'always' ? call : read.verdict === 'never' ? read : both(call, read)
  }

  /** @param given conditions that do not hold: the call was allowed */
  #field(agent: Agent, call: CallAnswer, field: string, given: ReadonlySet<string>): FieldAnswer {
    const treatments: { treatment: FieldTreatment; judgement: Judgement }[] = []
    for (const [action, treatment] of FIELD_ACTIONS) {
      const resource = { type: 'Field', id: field }
      const facts = { purpose: call.purpose ?? '', operation: call.operation }
      const whole = this.#judge(agent, { type: 'Action', id: action }, resource, facts, {
        field: true,
      })
      const judgement = withoutStops(whole, given)
      if (judgement.verdict === 'never') continue
      treatments.push({ treatment, judgement })
      if (judgement.verdict === 'always') return { field, treatments }
    }
    const otherwise: Judgement = { verdict: 'always', ways: [], stops: [] }
    return { field, treatments: [...treatments, { treatment: 'drop', judgement: otherwise }] }
  }

  #judge(
    agent: Agent,
    action: EntityUid,
    resource: EntityUid,
    known: Facts,
    duties: Duties,
  ): Judgement {
    const unknown = this.#types.action(action)?.context
    const request: PartialRequest = {
      principal: this.#anyInstance(agent),
      action,
      resource,
      context: { known, ...(unknown === undefined ? {} : { unknown }) },
    }
    const residuals = residualPolicies(this.policies, request, this.#store)
    return judgement(residuals, (id) => this.#isVeto(id, duties))
  }

  /** A permit with an obligation that is not understood, or cannot be met, denies where it is satisfied. */
  #isVeto(id: string, { field = false, owing }: Duties): boolean {
    const { obligation } = this.policies.annotations(id)
    if (obligation === undefined) return false
    const owed = parseObligation(obligation)
    return field || owed === undefined || owed.some(([about]) => about === owing)
  }

  #anyInstance(agent: Agent): UnknownEntity {
    const { network } = this.index
    const prefix = `spiffe://${network.trustDomain}/agent/${agent.name}/`
    const any = instanceEntity(network, agent.name, `${prefix}any`)
    const ancestors = any.parents.flatMap((parent) => [
      parent,
      ...(this.#store.get(parent)?.ancestors ?? []),
    ])
    return {
      unknown: true,
      type: any.uid.type,
      attributes: any.attrs,
      ancestors,
      mayBe: (id) => id.startsWith(prefix),
    }
  }
}

/** By operators that no policy names: a policy that asks for a certain person is met by that person only. */
function fewestApprovals(judge: (evidence: Facts) => Judgement): number | undefined {
  const approvers: string[] = []
  while (approvers.length < MAX_APPROVALS) {
    approvers.push(`?${approvers.length + 1}`)
    const evidence = { approvals: approvers.length, approvers: [...approvers] }
    if (judge({ evidence }).verdict !== 'never') return approvers.length
  }
  return undefined
}

/** Both have to hold. */
function both(call: Judgement, read: Judgement): Judgement {
  const ways = call.ways.flatMap((one) =>
    read.ways.map((other): Clause => ({
      policy: one.policy,
      cedar: [one.cedar, other.cedar]
        .filter((cedar) => cedar !== 'true')
        .map((cedar, _, { length }) => (length > 1 ? `(${cedar})` : cedar))
        .join(' && '),
      words: [...one.words, ...other.words],
    })),
  )
  return {
    verdict: 'if',
    ways: ways.map((way) => (way.cedar === '' ? { ...way, cedar: 'true' } : way)),
    stops: [...call.stops, ...read.stops],
  }
}

/** Conditions under which no call is allowed, with approvals or without. They read what fields' policies read too. */
function stopsOf({ plain, approved }: CallAnswer): ReadonlySet<string> {
  const stops = new Set(plain.stops.map(({ cedar }) => cedar))
  if (approved === undefined) return stops
  const both = approved.stops.filter(({ cedar }) => plain.verdict === 'never' || stops.has(cedar))
  return new Set(both.map(({ cedar }) => cedar))
}

function withoutStops(judged: Judgement, given: ReadonlySet<string>): Judgement {
  const stops = judged.stops.filter(({ cedar }) => !given.has(cedar))
  if (judged.verdict !== 'if' || stops.length === judged.stops.length) return judged
  const certain = stops.length === 0 && judged.ways.some(({ cedar }) => cedar === 'true')
  return { ...judged, verdict: certain ? 'always' : 'if', stops }
}

/** Whether a condition is false or fails, whatever is unknown. */
function isNeverTrue(expr: Expr | undefined): boolean {
  if (expr?.kind === 'bool') return !expr.value
  if (expr?.kind !== 'binary' || expr.operator !== '&&') return false
  return isNeverTrue(expr.left) || isNeverTrue(expr.right)
}

function judgement(
  residuals: readonly ResidualPolicy[],
  isVeto: (id: string) => boolean,
): Judgement {
  const of = (each: ResidualPolicy): boolean => each.policy.effect === 'permit'
  const permits = residuals.filter(
    (each) => of(each) && each.outcome !== 'error' && !isNeverTrue(each.condition),
  )
  const forbids = residuals.filter((each) => !of(each))
  const vetoes = permits.filter(({ policy }) => isVeto(policy.id))
  const failing = forbids.filter(({ outcome }) => outcome === 'error')
  const holding = [...forbids, ...vetoes].filter(({ outcome }) => outcome === 'satisfied')
  const ids = (of: readonly ResidualPolicy[]): string[] => of.map(({ policy }) => policy.id)
  if (holding.length > 0) {
    return { ...NEVER, why: { kind: 'forbidden', policies: ids(holding) } }
  }
  if (failing.length > 0) return { ...NEVER, why: { kind: 'error', policies: ids(failing) } }
  if (permits.length === 0) {
    const broken = residuals.filter((each) => of(each) && each.outcome === 'error')
    return {
      ...NEVER,
      why:
        broken.length > 0
          ? { kind: 'error', policies: ids(broken) }
          : { kind: 'no-permit', policies: [] },
    }
  }
  const stops = [...forbids, ...vetoes].map(clause)
  const satisfied = permits.filter(({ outcome }) => outcome === 'satisfied')
  // What is permitted anyway needs no other permit, unless that one brings a duty with it.
  const bearing = permits.filter((each) => {
    return satisfied.length === 0 || each.outcome === 'satisfied' || hasDuty(each)
  })
  const ways = bearing.map(clause)
  return { verdict: satisfied.length > 0 && stops.length === 0 ? 'always' : 'if', ways, stops }
}

const hasDuty = ({ policy }: ResidualPolicy): boolean =>
  policy.annotations['obligation'] !== undefined

function clause({ policy, condition }: ResidualPolicy): Clause {
  return condition === undefined
    ? { policy: policy.id, cedar: 'true', words: [] }
    : { policy: policy.id, cedar: renderAst(condition), words: words(condition) }
}
