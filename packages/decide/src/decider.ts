import { canonicalJson, errorCode, sha256Hex } from '@sallyport/base'
import { EntityStore, loadPolicySet } from '@sallyport/cedar'
import type { CedarDecision, EntityUid, PolicySet, PreparedContext } from '@sallyport/cedar'
import { deriveEntities, deriveSchema, indexNetwork, instanceEntity } from '@sallyport/network'
import type { Declaration, Flow, NetworkIndex, Operation } from '@sallyport/network'
import { callContext, fieldContext } from './context.ts'
import type { ContextFacts } from './context.ts'
import { explainOutcome } from './explain.ts'
import { projectFields, stricter } from './fields.ts'
import type { FieldsSummary } from './fields.ts'
import { parseObligation } from './obligations.ts'
import type {
  Call,
  DecisionCode,
  FieldTreatment,
  Need,
  Outcome,
  OutcomeExplanation,
  SessionState,
} from './types.ts'

/** Approvals that a *needs* may ask for at most. */
const MAX_APPROVALS = 3

/** Live instances whose entities are kept at once. */
const MAX_STORES = 4096

/** A declaration, ready to decide calls. Immutable: a new declaration makes a new one. */
export interface Decider {
  /** SHA-256 hex of the canonical declaration. */
  readonly digest: string
  /** Lookups in the network decided by. */
  readonly index: NetworkIndex
  /** Never throws: whatever goes wrong denies. */
  decide(call: Call, session: SessionState): Outcome
  /** The same outcome with its full why, for operators only. Never throws. */
  explain(call: Call, session: SessionState): OutcomeExplanation
  /** SHA-256 hex of everything beside the call that its decision read: entities, labels, risk. */
  stateDigest(call: Call, session: SessionState): string
}

/**
 * Derives schema and entities from a declaration and loads its policies.
 *
 * @throws SallyportError `SP_CEDAR_*` for policies that do not fit the network
 */
export async function createDecider(input: { declaration: Declaration }): Promise<Decider> {
  const { network, policies: sources } = input.declaration
  const entities = deriveEntities(network)
  const policies = await loadPolicySet({ policies: sources, schema: deriveSchema(network) })
  return new NetworkDecider({
    digest: sha256Hex(canonicalJson(input.declaration)),
    index: indexNetwork(network),
    policies,
    store: EntityStore.from(entities),
    entitiesDigest: sha256Hex(canonicalJson(entities)),
  })
}

interface DeciderParts {
  readonly digest: string
  readonly index: NetworkIndex
  readonly policies: PolicySet
  readonly store: EntityStore
  readonly entitiesDigest: string
}

/** What every decision about one call shares. */
interface Subject {
  readonly principal: EntityUid
  readonly store: EntityStore
  readonly facts: ContextFacts
}

type Verdict =
  | { readonly allow: true; readonly cedar: CedarDecision; readonly obligations: readonly string[] }
  | { readonly allow: false; readonly cedar: CedarDecision; readonly code: DecisionCode }

class NetworkDecider implements Decider {
  readonly digest: string
  readonly index: NetworkIndex
  readonly #policies: PolicySet
  readonly #store: EntityStore
  readonly #entitiesDigest: string
  readonly #stores = new Map<string, EntityStore>()

  constructor(parts: DeciderParts) {
    this.digest = parts.digest
    this.index = parts.index
    this.#policies = parts.policies
    this.#store = parts.store
    this.#entitiesDigest = parts.entitiesDigest
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
      const subject = this.#subject(call, session, flow?.purpose ?? '')
      const cedar = this.#policies.explain(
        callRequest(subject, callContext(subject.facts)),
        subject.store,
      )
      return explainOutcome(call, outcome, cedar)
    } catch {
      return explainOutcome(call, outcome, nothing)
    }
  }

  stateDigest(call: Call, session: SessionState): string {
    const { instance, agent } = call
    const labels = [...new Set(session.labels)].sort()
    const state = { entities: this.#entitiesDigest, instance, agent, labels, risk: session.risk }
    return sha256Hex(canonicalJson(state))
  }

  #decide(call: Call, session: SessionState): Outcome {
    const { index } = this
    const operation = index.findOperation(call.system, call.operation)
    const flow = index.findFlow(call.agent, call.system, call.operation)
    if (operation === undefined || flow === undefined) return denied('SP_NO_FLOW', NOTHING)
    const subject = this.#subject(call, session, flow.purpose)
    const verdict = this.#judge(subject, callContext(subject.facts))
    if (!verdict.allow) {
      const needs = this.#needs(subject, verdict.code)
      return needs.length > 0
        ? { ...denied('SP_NEEDS_APPROVAL', verdict.cedar), decision: 'needs', needs }
        : denied(verdict.code, verdict.cedar)
    }
    const { projection, labels, maxClass } = this.#project(subject, operation, verdict.obligations)
    return {
      ...denied('SP_ALLOWED', verdict.cedar),
      decision: 'allow',
      projection,
      limits: index.limitsFor(call.agent, call.system, call.operation),
      labels,
      maxClass,
    }
  }

  #subject(call: Call, session: SessionState, purpose: Flow['purpose']): Subject {
    return {
      principal: { type: 'Instance', id: call.instance },
      store: this.#storeWith(call.agent, call.instance),
      facts: { call, session, purpose, approvers: call.evidence.approvals },
    }
  }

  /** The resident entities and the calling instance. Entities are kept, never decisions. */
  #storeWith(agent: string, instance: string): EntityStore {
    const key = `${agent} ${instance}`
    let store = this.#stores.get(key)
    if (store === undefined) {
      store = this.#store.with([instanceEntity(this.index.network, agent, instance)])
      if (this.#stores.size >= MAX_STORES) this.#stores.clear()
      this.#stores.set(key, store)
    }
    return store
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
    const obligations = cedar.reasons.flatMap(
      (id) => this.#policies.annotations(id)['obligation'] ?? [],
    )
    const unknown = cedar.reasons.find((id) => {
      const text = this.#policies.annotations(id)['obligation']
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

  /** The smallest number of approvals under which this very call would be allowed, without any policy failing. */
  #needs(subject: Subject, code: DecisionCode): Need[] {
    if (code !== 'SP_DENIED_FORBIDDEN' && code !== 'SP_DENIED_NOT_PERMITTED') return []
    const approvers = new Set(subject.facts.approvers)
    while (approvers.size < MAX_APPROVALS) {
      // No operator can have such a name: a policy that asks for a certain person is not met by it.
      approvers.add(`?${approvers.size + 1}`)
      const facts = { ...subject.facts, approvers: [...approvers] }
      const verdict = this.#judge(subject, callContext(facts))
      if (verdict.allow && verdict.cedar.errors.length === 0) {
        return [{ kind: 'approval', count: approvers.size }]
      }
    }
    return []
  }

  #project(subject: Subject, operation: Operation, obligations: readonly string[]): FieldsSummary {
    const owed = obligations.flatMap((text) => parseObligation(text) ?? [])
    const context = fieldContext(subject.facts)
    return projectFields(this.index, operation.returns, (dataset, field) => {
      const name = `${dataset}.${field.name}`
      return owed
        .filter(([about]) => about === name)
        .reduce<FieldTreatment>(
          (treatment, [, least]) => stricter(treatment, least),
          this.#treatment(subject, name, context),
        )
    })
  }

  #treatment(subject: Subject, field: string, context: PreparedContext): FieldTreatment {
    for (const [action, treatment] of TREATMENTS) {
      const { principal, store } = subject
      const request = { principal, action, resource: { type: 'Field', id: field }, context }
      const answer = this.#policies.decide(request, store)
      if (answer.decision === 'deny' || this.#forbidFailed(answer)) continue
      // Obligations are owed on calls; on a field none is understood.
      const owes = answer.reasons.some((id) =>
        Object.hasOwn(this.#policies.annotations(id), 'obligation'),
      )
      if (!owes) return treatment
    }
    return 'drop'
  }
}

const TREATMENTS: readonly (readonly [EntityUid, FieldTreatment])[] = [
  [{ type: 'Action', id: 'field.read' }, 'whole'],
  [{ type: 'Action', id: 'field.mask' }, 'mask'],
  [{ type: 'Action', id: 'field.tokenise' }, 'tokenise'],
]

const NOTHING: CedarDecision = { decision: 'deny', reasons: [], errors: [] }

function callRequest({ principal, facts }: Subject, context: PreparedContext) {
  const { system, operation } = facts.call
  return {
    principal,
    action: { type: 'Action', id: `${system}.${operation}` },
    resource: { type: 'System', id: system },
    context,
  }
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
