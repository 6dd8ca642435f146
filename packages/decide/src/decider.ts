import { canonicalJson, errorCode, sha256Hex } from '@sallyport/base'
import { EntityStore, loadPolicySet } from '@sallyport/cedar'
import type {
  CedarDecision,
  DecisionRequest,
  EntityUid,
  PolicyCover,
  PolicyPoints,
  PolicySet,
  PreparedContext,
} from '@sallyport/cedar'
import { deriveEntities, deriveSchema, indexNetwork, instanceEntity } from '@sallyport/network'
import type { Declaration, Flow, NetworkIndex, Operation } from '@sallyport/network'
import { policiesByCaller } from './callers.ts'
import { callContext, clockOf, fieldContext, sharedContext } from './context.ts'
import type { ContextFacts, KeptContext, SharedContext } from './context.ts'
import { explainOutcome } from './explain.ts'
import { FederatedDecider } from './federated.ts'
import { FIELD_ACTIONS, Fields, isBytes, passesWhole } from './fields.ts'
import type { Ask, FieldsSummary } from './fields.ts'
import { codeOf, needsOf } from './needs.ts'
import { parseObligation } from './obligations.ts'
import { StateDigests } from './state-digest.ts'
import type {
  Call,
  Decider,
  DecisionCode,
  Need,
  Outcome,
  OutcomeExplanation,
  SessionState,
} from './types.ts'

/** Live instances whose entities are kept at once. */
const MAX_STORES = 4096

/**
 * Derives schema and entities from a declaration and loads its policies.
 *
 * @throws SallyportError `SP_CEDAR_*` for policies that do not fit the network, `SP_NETWORK_RULE` for a time zone that
 *   this platform does not know
 */
export async function createDecider(input: { declaration: Declaration }): Promise<Decider> {
  const { network } = input.declaration
  const entities = deriveEntities(network)
  const { own, foreign } = await policiesByCaller(input.declaration)
  const shared = {
    digest: sha256Hex(canonicalJson(input.declaration)),
    index: indexNetwork(network),
    store: EntityStore.from(entities),
    entitiesDigest: sha256Hex(canonicalJson(entities)),
  }
  const side = async (
    principal: DeciderParts['principal'],
    sources: Declaration['policies'],
  ): Promise<NetworkDecider> => {
    const schema = deriveSchema(network, principal)
    const policies = await loadPolicySet({ policies: sources, schema })
    return new NetworkDecider({
      ...shared,
      principal,
      policies,
      obligations: obligationsOf(policies, sources),
      // Agents of other trust domains hold none.
      readsMandates:
        principal === 'Instance' && sources.some(({ source }) => source.includes('mandate')),
    })
  }
  const ours = await side('Instance', own)
  return foreign ? new FederatedDecider(ours, await side('ForeignInstance', foreign)) : ours
}

interface DeciderParts {
  readonly digest: string
  readonly index: NetworkIndex
  /** The Cedar type of whoever calls. */
  readonly principal: 'Instance' | 'ForeignInstance'
  readonly policies: PolicySet
  readonly obligations: ReadonlyMap<string, string>
  readonly store: EntityStore
  readonly entitiesDigest: string
  readonly readsMandates: boolean
}

function obligationsOf(
  policies: PolicySet,
  all: Declaration['policies'],
): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  for (const { id } of all) {
    const annotations = policies.annotations(id)
    const text = Object.hasOwn(annotations, 'obligation') ? annotations['obligation'] : undefined
    if (text !== undefined) found.set(id, text)
  }
  return found
}

/** What every decision about one call shares. */
interface Subject {
  readonly principal: EntityUid
  readonly store: EntityStore
  readonly facts: ContextFacts
  readonly shared: SharedContext
  readonly operation: Operation
  readonly names: OperationNames
}

/** The entities that calls of one operation name. */
interface OperationNames {
  readonly action: EntityUid
  readonly resource: EntityUid
}

/** What decisions about one instance begin with. Entities and contexts are kept, never decisions. */
interface KnownCaller {
  readonly agent: string
  readonly principal: EntityUid
  /** The resident entities and the instance. */
  readonly store: EntityStore
  readonly kept: KeptContext
}

type Verdict =
  | { readonly allow: true; readonly cedar: CedarDecision; readonly obligations: readonly string[] }
  | { readonly allow: false; readonly cedar: CedarDecision; readonly code: DecisionCode }

class NetworkDecider implements Decider {
  readonly digest: string
  readonly index: NetworkIndex
  readonly #principal: DeciderParts['principal']
  readonly #policies: PolicySet
  readonly #store: EntityStore
  readonly #fields: Fields
  /** What policies oblige to, by id: few do. */
  readonly #obligations: ReadonlyMap<string, string>
  readonly #clock: ContextFacts['clock']
  /** Whether any policy might; where none does, nobody is asked for one. */
  readonly #readsMandates: boolean
  readonly #known = new Map<string, KnownCaller>()
  readonly #names = new WeakMap<Operation, OperationNames>()
  readonly #digests: StateDigests

  constructor(parts: DeciderParts) {
    this.digest = parts.digest
    this.index = parts.index
    this.#principal = parts.principal
    this.#policies = parts.policies
    this.#store = parts.store
    this.#digests = new StateDigests(parts.entitiesDigest)
    this.#readsMandates = parts.readsMandates
    this.#clock = clockOf(parts.index.network.settings.timeZone)
    this.#fields = new Fields(parts.index.network, parts.policies, parts.store)
    this.#obligations = parts.obligations
  }

  decide(call: Call, session: SessionState): Outcome {
    try {
      return this.#decide(call, session)
    } catch (error) {
      return failed(error)
    }
  }

  explain(call: Call, session: SessionState): OutcomeExplanation {
    const outcome = this.decide(call, session)
    const nothing = { decision: NOTHING, policies: [] }
    if (outcome.code === 'SP_NO_FLOW') return explainOutcome(call, outcome, nothing)
    try {
      const flow = this.index.findFlow(call.agent, call.system, call.operation)
      const operation = this.index.findOperation(call.system, call.operation)
      if (operation === undefined) return explainOutcome(call, outcome, nothing)
      const subject = this.#subject(call, session, flow?.purpose ?? '', operation)
      const context = callContext(subject.shared, call, operation)
      const cedar = this.#policies.explain(callRequest(subject, context), subject.store)
      return explainOutcome(call, outcome, cedar)
    } catch {
      return explainOutcome(call, outcome, nothing)
    }
  }

  points(): readonly PolicyPoints[] {
    return this.#policies.points()
  }

  cover(call: Call, session: SessionState): readonly (readonly PolicyCover[])[] {
    const operation = this.index.findOperation(call.system, call.operation)
    const flow = this.index.findFlow(call.agent, call.system, call.operation)
    if (operation === undefined || flow === undefined) return []
    const subject = this.#subject(call, session, flow.purpose, operation)
    const { principal, store, shared, names } = subject
    const covers = [
      this.#policies.cover(callRequest(subject, callContext(shared, call, operation)), store),
    ]
    const context = fieldContext(shared, names.action.id)
    for (const [dataset, fields] of Object.entries(this.#decide(call, session).projection)) {
      for (const field of Object.keys(fields)) {
        const resource = { type: 'Field', id: `${dataset}.${field}` }
        // As far as the treatments are tried: what is allowed in one form is not asked about in another.
        FIELD_ACTIONS.some(([action]) => {
          const request = { principal, action, resource, context }
          covers.push(this.#policies.cover(request, store))
          return this.#grants(this.#policies.decide(request, store))
        })
      }
    }
    return covers
  }

  stateDigest(call: Call, session: SessionState): string {
    return this.#digests.of(call, session)
  }

  #decide(call: Call, session: SessionState): Outcome {
    const { index } = this
    const operation = index.findOperation(call.system, call.operation)
    const flow = index.findFlow(call.agent, call.system, call.operation)
    if (operation === undefined || flow === undefined) return denied('SP_NO_FLOW', NOTHING)
    const subject = this.#subject(call, session, flow.purpose, operation)
    const verdict = this.#judge(subject, callContext(subject.shared, call, operation))
    if (!verdict.allow) return this.#denied(subject, verdict.code, verdict.cedar)
    const { projection, labels, maxClass } = this.#project(subject, verdict.obligations)
    if (!passesWhole(operation, projection)) {
      return this.#denied(subject, 'SP_DENIED_PARTIAL', verdict.cedar)
    }
    const { reasons, errors } = verdict.cedar
    return {
      decision: 'allow',
      code: 'SP_ALLOWED',
      reasons,
      errors,
      needs: [],
      projection,
      limits: index.limitsFor(call.agent, call.system, call.operation),
      labels,
      maxClass,
    }
  }

  #denied(subject: Subject, code: DecisionCode, cedar: CedarDecision): Outcome {
    const needs = this.#needs(subject, code)
    if (needs.length === 0) return denied(code, cedar)
    // What permitted a call whose answer may not leave is no reason against it.
    const against = code === 'SP_DENIED_PARTIAL' ? NOTHING : cedar
    return { ...denied(codeOf(needs), against), decision: 'needs', needs }
  }

  #subject(
    call: Call,
    session: SessionState,
    purpose: Flow['purpose'],
    operation: Operation,
  ): Subject {
    const approvers = call.evidence.approvals
    const facts = { call, session, purpose, approvers, clock: this.#clock }
    const { principal, store, kept } = this.#caller(call.agent, call.instance)
    return {
      principal,
      store,
      facts,
      shared: sharedContext(facts, kept),
      operation,
      names: this.#namesOf(call, operation),
    }
  }

  #namesOf({ system }: Call, operation: Operation): OperationNames {
    let names = this.#names.get(operation)
    if (names === undefined) {
      names = {
        action: { type: 'Action', id: `${system}.${operation.name}` },
        resource: { type: 'System', id: system },
      }
      this.#names.set(operation, names)
    }
    return names
  }

  #caller(agent: string, instance: string): KnownCaller {
    let known = this.#known.get(instance)
    if (known?.agent === agent) return known
    const store = this.#store.with([instanceEntity(this.index.network, agent, instance)])
    if (this.#known.size >= MAX_STORES) this.#known.clear()
    const principal = { type: this.#principal, id: instance }
    known = { agent, principal, store, kept: { last: undefined } }
    this.#known.set(instance, known)
    return known
  }

  /** Cedar's answer, made strict: an erroring forbid and an obligation nobody understands deny. */
  #judge(subject: Subject, context: PreparedContext): Verdict {
    const cedar = this.#policies.decide(callRequest(subject, context), subject.store)
    if (cedar.decision === 'deny') {
      const code: DecisionCode =
        cedar.reasons.length > 0
          ? 'SP_DENIED_FORBIDDEN'
          : cedar.errors.length > 0
            ? 'SP_DENIED_POLICY_ERROR'
            : 'SP_DENIED_NOT_PERMITTED'
      return { allow: false, cedar, code }
    }
    if (this.#forbidFailed(cedar)) return { allow: false, cedar, code: 'SP_DENIED_POLICY_ERROR' }
    if (!this.#obliges(cedar)) return { allow: true, cedar, obligations: NO_OBLIGATIONS }
    const obligations = cedar.reasons.flatMap((id) => this.#obligations.get(id) ?? [])
    const unknown = cedar.reasons.find((id) => {
      const text = this.#obligations.get(id)
      return text !== undefined && parseObligation(text) === undefined
    })
    if (unknown !== undefined) {
      const message = 'its obligation is not one that this enforcement point can meet'
      const errors = [...cedar.errors, { policyId: unknown, message }]
      return { allow: false, cedar: { ...cedar, errors }, code: 'SP_DENIED_POLICY_ERROR' }
    }
    return { allow: true, cedar, obligations }
  }

  #forbidFailed(cedar: CedarDecision): boolean {
    return cedar.errors.some(({ policyId }) => this.#policies.effect(policyId) !== 'permit')
  }

  #obliges({ reasons }: CedarDecision): boolean {
    return this.#obligations.size > 0 && reasons.some((id) => this.#obligations.has(id))
  }

  /** The least evidence under which this very call would be allowed, without any policy failing. */
  #needs(subject: Subject, code: DecisionCode): readonly Need[] {
    const { facts } = subject
    const { call, approvers } = facts
    const given = { approvers, mandate: call.mandate, readsMandates: this.#readsMandates }
    return needsOf(code, given, (presented, mandate) =>
      this.#wouldAllow(
        mandate === undefined || mandate === call.mandate
          ? subject
          : { ...subject, facts: { ...facts, call: { ...call, mandate } } },
        presented,
      ),
    )
  }

  #wouldAllow(subject: Subject, approvers: readonly string[]): boolean {
    const facts = { ...subject.facts, approvers }
    const shared = sharedContext(facts)
    const { operation } = subject
    const verdict = this.#judge(subject, callContext(shared, facts.call, operation))
    if (!verdict.allow || verdict.cedar.errors.length > 0) return false
    if (!isBytes(operation)) return true
    const { projection } = this.#project({ ...subject, facts, shared }, verdict.obligations)
    return passesWhole(operation, projection)
  }

  #project(subject: Subject, obligations: readonly string[]): FieldsSummary {
    const { principal, store, shared, names, operation } = subject
    const owed =
      obligations.length === 0 ? [] : obligations.flatMap((text) => parseObligation(text) ?? [])
    const context = fieldContext(shared, names.action.id)
    const ask: Ask = {
      begin: (plan) => plan.decider(principal, context, store),
      grants: (answer) => this.#grants(answer),
    }
    return this.#fields.project(operation.returns, ask, owed)
  }

  #grants(answer: CedarDecision): boolean {
    if (answer.decision === 'deny' || this.#forbidFailed(answer)) return false
    // Obligations are owed on calls; on a field none is understood.
    return !this.#obliges(answer)
  }
}

const NO_OBLIGATIONS: readonly string[] = Object.freeze([])

/** Its lists are part of outcomes, and so of one after another. */
const NOTHING: CedarDecision = Object.freeze({
  decision: 'deny',
  reasons: Object.freeze([]),
  errors: Object.freeze([]),
})

function callRequest({ principal, names }: Subject, context: PreparedContext): DecisionRequest {
  const { action, resource } = names
  return { principal, action, resource, context }
}

function denied(code: DecisionCode, { reasons, errors }: CedarDecision): Outcome {
  return {
    decision: 'deny',
    code,
    reasons,
    errors,
    needs: [],
    projection: {},
    limits: [],
    labels: [],
    maxClass: 'public',
  }
}

/** Something that is no policy's doing: the call could not even be put to them. */
function failed(error: unknown): Outcome {
  const message = error instanceof Error ? error.message : String(error)
  return denied('SP_DENIED_POLICY_ERROR', {
    ...NOTHING,
    errors: [{ policyId: '', message: `${errorCode(error)}: ${message}` }],
  })
}
