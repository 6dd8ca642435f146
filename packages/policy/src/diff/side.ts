import { canonicalJson, sha256Hex } from '@sallyport/base'
import { loadPolicySet } from '@sallyport/cedar'
import type { EntityUid, Expr, PolicyAst, ScopeAst } from '@sallyport/cedar'
import { createDecider, parseObligation, policiesByCaller, readInput } from '@sallyport/decide'
import type { Decider, FieldTreatment, Outcome } from '@sallyport/decide'
import { deriveEntities, deriveSchema, instanceEntity } from '@sallyport/network'
import type { DataSet, Declaration, Field, Operation, PolicySource } from '@sallyport/network'
import { Entities, Evaluator } from './evaluate.ts'
import { accepts } from './input.ts'
import type { FreeRequest, Request } from './request.ts'
import type { Term } from './terms.ts'
import type { Sym } from './values.ts'

/** Most revealing first. */
export const TREATMENTS: readonly FieldTreatment[] = ['whole', 'tokenise', 'mask', 'drop']

/** Conditions that stand for themselves because they could not be encoded, and why. */
export type Unknowns = Set<string>

/** For every request of a type: whether the call is allowed, and how far its fields are. */
export interface Encoded {
  readonly allowed: Term
  /** By `DATASET.FIELD`: whether it leaves at least as openly as whole, tokenised, masked. */
  readonly fields: ReadonlyMap<string, readonly [Term, Term, Term]>
}

/** One of the two declarations: decided by as a gateway does, and encoded. */
export class Side {
  readonly declaration: Declaration
  readonly decider: Decider
  readonly policies: readonly PolicyAst[]
  /** What decides calls of other trust domains' agents: compared as text. */
  readonly foreign: readonly PolicySource[]
  /** Of all that a condition reads beside the request. */
  readonly #stateDigest: string

  private constructor(
    declaration: Declaration,
    decider: Decider,
    policies: readonly PolicyAst[],
    foreign: readonly PolicySource[],
    stateDigest: string,
  ) {
    this.declaration = declaration
    this.decider = decider
    this.policies = policies
    this.foreign = foreign
    this.#stateDigest = stateDigest
  }

  /** @throws SallyportError `SP_CEDAR_*` for policies that do not fit the network */
  static async open(declaration: Declaration): Promise<Side> {
    const { network } = declaration
    const decider = await createDecider({ declaration })
    const schema = deriveSchema(network)
    const { own, foreign = [] } = await policiesByCaller(declaration)
    const set = await loadPolicySet({ policies: own, schema })
    const { timeZone = '' } = network.settings
    const digest = sha256Hex(canonicalJson([deriveEntities(network), timeZone]))
    return new Side(declaration, decider, set.policies(), foreign, digest)
  }

  /** As a gateway answers: the input is read first, then the call is decided. */
  decide({ call, session }: Request): Outcome | undefined {
    const operation = this.decider.index.findOperation(call.system, call.operation)
    if (!operation) return undefined
    try {
      const input = readInput(operation.input, call.input)
      return this.decider.decide({ ...call, input }, session)
    } catch {
      return undefined
    }
  }

  /** Policies that can bear on calls of an operation or on the fields of its answer. */
  relevant(system: string, operation: string): PolicyAst[] {
    const entities = new Entities(deriveEntities(this.declaration.network))
    const actions = [`${system}.${operation}`, 'field.read', 'field.mask', 'field.tokenise']
    return this.policies.filter(({ action }) =>
      actions.some((id) => inScope(entities, action, { type: 'Action', id })),
    )
  }

  encode(request: FreeRequest, unknowns: Unknowns): Encoded {
    const { agent, system, operation: name, instance } = request.type
    const { terms: t } = request
    const { index } = this.decider
    const flow = index.findFlow(agent, system, name)
    const operation = index.findOperation(system, name)
    const nothing = { allowed: t.false, fields: new Map() }
    if (!flow || !operation) return nothing
    let entities: Entities
    try {
      const { network } = index
      const caller = instanceEntity(network, agent, instance)
      entities = new Entities([...deriveEntities(network), caller])
    } catch {
      // An instance of another trust domain, which no decision knows.
      return nothing
    }
    const encoder = new Encoder(this, request, entities, flow.purpose, this.#stateDigest, unknowns)
    return encoder.call(operation)
  }
}

function inScope(entities: Entities, scope: ScopeAst, uid: EntityUid): boolean {
  switch (scope.kind) {
    case 'all':
      return true
    case 'is':
      return uid.type === scope.type
    case 'eq':
      return uid.type === scope.entity.type && uid.id === scope.entity.id
    case 'in':
      if (scope.type !== undefined && scope.type !== uid.type) return false
      return scope.entities.some((entity) => entities.isIn(uid, entity))
  }
}

interface Satisfied {
  readonly policy: PolicyAst
  readonly holds: Term
}

class Encoder {
  readonly #side: Side
  readonly #request: FreeRequest
  readonly #entities: Entities
  readonly #purpose: string
  readonly #state: string
  readonly #unknowns: Unknowns

  constructor(
    side: Side,
    request: FreeRequest,
    entities: Entities,
    purpose: string,
    stateDigest: string,
    unknowns: Unknowns,
  ) {
    this.#side = side
    this.#request = request
    this.#entities = entities
    this.#purpose = purpose
    this.#state = stateDigest
    this.#unknowns = unknowns
  }

  get #timeZone(): string | undefined {
    return this.#side.declaration.network.settings.timeZone
  }

  call(operation: Operation): Encoded {
    const { terms: t, type, input, leftOut } = this.#request
    const action = { type: 'Action', id: `${type.system}.${type.operation}` }
    const resource = { type: 'System', id: type.system }
    const context = this.#request.callContext(this.#purpose, this.#timeZone)
    const { allowed, permits } = this.#judge(action, resource, context)
    // Obligations that no enforcement point can meet deny.
    const owed = permits.map(({ policy, holds }) => {
      const text = policy.annotations['obligation']
      return { holds, parts: text === undefined ? [] : parseObligation(text) }
    })
    const met = owed.map(({ holds, parts }) => (parts === undefined ? t.not(holds) : t.true))
    const taken = accepts(t, operation.input, input, leftOut)
    const fields = this.#fields(
      operation,
      owed.flatMap(({ holds, parts = [] }) =>
        parts.map(([field, treatment]) => ({ holds, field, treatment })),
      ),
    )
    return { allowed: t.and(allowed, ...met, taken, this.#whole(operation, fields)), fields }
  }

  /** `decide`'s rule for answers that are bytes: all of one leaves whole, or the call is denied. */
  #whole({ binding, returns }: Operation, fields: Encoded['fields']): Term {
    const { terms: t } = this.#request
    if (binding.kind !== 'http' || binding.bytes === undefined) return t.true
    const { $: target, ...parts } = returns
    if (target === undefined || Object.keys(parts).length > 0) return t.false
    if (target === 'public') return t.true
    const own = [...fields].filter(([name]) => name.startsWith(`${target}.`))
    return own.length === 0 ? t.false : t.and(...own.map(([, [whole]]) => whole))
  }

  /** `decide`'s rule: a permit holds, no forbid holds, and no forbid fails. */
  #judge(
    action: EntityUid,
    resource: EntityUid,
    context: Sym,
  ): { allowed: Term; permits: Satisfied[] } {
    const { terms: t, type } = this.#request
    const principal = { type: 'Instance', id: type.instance }
    const evaluator = new Evaluator(t, {
      ...{ principal, action, resource, context },
      entities: this.#entities,
      unknown: (expr, why) => this.#unknown(expr, why, action, resource),
    })
    const permits: Satisfied[] = []
    const against: Term[] = []
    for (const policy of this.#side.policies) {
      const applies =
        inScope(this.#entities, policy.principal, principal) &&
        inScope(this.#entities, policy.action, action) &&
        inScope(this.#entities, policy.resource, resource)
      if (!applies) continue
      const { error, value } =
        policy.condition === undefined
          ? { error: t.false, value: t.true }
          : evaluator.condition(policy.condition)
      if (policy.effect === 'forbid') against.push(t.or(error, value))
      else permits.push({ policy, holds: t.and(t.not(error), value) })
    }
    const permitted = t.or(...permits.map(({ holds }) => holds))
    return { allowed: t.and(permitted, t.not(t.or(...against))), permits }
  }

  #fields(
    operation: Operation,
    owed: readonly { holds: Term; field: string; treatment: FieldTreatment }[],
  ): Map<string, readonly [Term, Term, Term]> {
    const { terms: t } = this.#request
    const context = this.#request.fieldContext(this.#purpose, this.#timeZone)
    const sets = this.#reachable(operation)
    const own = new Map<string, readonly [Term, Term, Term]>()
    for (const { name: dataset, fields } of sets) {
      for (const field of fields) {
        const name = `${dataset}.${field.name}`
        const open = this.#treatment(name, context)
        // What is owed caps the openness where the policy that owes it holds.
        const capped = open.map((term, level) =>
          t.and(
            term,
            ...owed
              .filter(({ field: about, treatment }) => {
                return about === name && TREATMENTS.indexOf(treatment) > level
              })
              .map(({ holds }) => t.not(holds)),
          ),
        )
        const [whole = t.false, token = t.false, mask = t.false] = capped
        own.set(name, [whole, token, mask])
      }
    }
    // A data set is reached by what the operation returns, or through a field of it that leaves whole.
    let reached = new Map(
      Object.values(operation.returns).map((name): [string, Term] => [name, t.true]),
    )
    for (let round = 0; round < sets.length; round++) {
      const next = new Map(reached)
      for (const { name, fields } of sets) {
        for (const field of fields) {
          if (field.dataset === undefined) continue
          const [whole = t.false] = own.get(`${name}.${field.name}`) ?? []
          const through = t.and(reached.get(name) ?? t.false, whole)
          next.set(field.dataset, t.or(next.get(field.dataset) ?? t.false, through))
        }
      }
      reached = next
    }
    const fields = new Map<string, readonly [Term, Term, Term]>()
    for (const [name, [whole, token, mask]] of own) {
      const by = reached.get(name.slice(0, name.indexOf('.'))) ?? t.false
      fields.set(name, [t.and(by, whole), t.and(by, token), t.and(by, mask)])
    }
    return fields
  }

  /** Data sets that an operation can return in the end. */
  #reachable({ returns }: Operation): DataSet[] {
    const { index } = this.#side.decider
    const found = new Map<string, DataSet>()
    const waiting = Object.values(returns)
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      const dataset = index.findDataset(name)
      if (!dataset || found.has(name)) continue
      found.set(name, dataset)
      waiting.push(...dataset.fields.flatMap((field: Field) => field.dataset ?? []))
    }
    return [...found.values()]
  }

  /** The first of read, mask and tokenise that is allowed: as levels of openness. */
  #treatment(field: string, context: Sym): [Term, Term, Term] {
    const { terms: t } = this.#request
    const resource = { type: 'Field', id: field }
    const [read, mask, token] = ['read', 'mask', 'tokenise'].map((treatment) => {
      const action = { type: 'Action', id: `field.${treatment}` }
      const { allowed, permits } = this.#judge(action, resource, context)
      // Obligations are owed on calls; on a field none is understood.
      const owing = permits.filter(({ policy }) => Object.hasOwn(policy.annotations, 'obligation'))
      return t.and(allowed, ...owing.map(({ holds }) => t.not(holds)))
    })
    const whole = read ?? t.false
    const masked = t.and(t.not(whole), mask ?? t.false)
    const tokens = t.and(t.not(whole), t.not(masked), token ?? t.false)
    return [whole, t.or(whole, tokens), t.or(whole, tokens, masked)]
  }

  /** The same condition over the same facts is the same unknown on both sides. */
  #unknown(
    expr: Expr,
    why: string,
    action: EntityUid,
    resource: EntityUid,
  ): { error: Term; value: Term } {
    const { terms: t } = this.#request
    this.#unknowns.add(why)
    const text = JSON.stringify(
      [expr, action.id, resource.id, this.#purpose, this.#state],
      (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value),
    )
    const name = sha256Hex(text).slice(0, 32)
    return {
      error: t.variable(`error-${name}`, 'Bool'),
      value: t.variable(`value-${name}`, 'Bool'),
    }
  }
}
