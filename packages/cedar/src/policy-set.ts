import { SallyportError } from '@sallyport/base'
import { boundAll, checkPolicies } from './check.ts'
import type { Env } from './compile.ts'
import { recordFromJson, refFromJson } from './data.ts'
import type { EntityStore } from './entities.ts'
import { liftIntegers } from './est.ts'
import type { PolicyEst } from './est.ts'
import { explainPolicies } from './explain.ts'
import { parsePolicies } from './parser.ts'
import { compilePolicy } from './policy.ts'
import type { CompiledPolicy } from './policy.ts'
import { PolicyIndex } from './policy-index.ts'
import type { CedarDecision, CedarExplanation, Request } from './types.ts'
import { EvaluationError, RecordValue } from './value.ts'

export interface PolicyInput {
  readonly policies: readonly { readonly id: string; readonly source: string }[]
  /** Cedar schema, human syntax; with it, policies that do not type-check are refused. */
  readonly schema?: string
}

/** A context converted once, for many decisions. */
export type PreparedContext = RecordValue

/** A request, or one whose context `prepareContext` has already converted. */
export type DecisionRequest = Omit<Request, 'context'> & {
  readonly context: Request['context'] | PreparedContext
}

/** Compiled policies, immutable. */
export interface PolicySet {
  readonly size: number
  /** Whether a policy permits or forbids; undefined for an unknown id. */
  effect(id: string): 'permit' | 'forbid' | undefined
  /** Annotations of a policy; empty for an unknown id. */
  annotations(id: string): Readonly<Record<string, string>>
  /**
   * Exactly Cedar's answer.
   *
   * @throws SallyportError `SP_CEDAR_VALUE` for a request that holds no Cedar values
   */
  decide(request: DecisionRequest, entities: EntityStore): CedarDecision
  /** The same decision with the trace of every policy that bears on it. */
  explain(request: DecisionRequest, entities: EntityStore): CedarExplanation
}

/** @throws SallyportError `SP_CEDAR_VALUE` */
export function prepareContext(context: Request['context']): PreparedContext {
  return recordFromJson(context)
}

/**
 * Parses, validates and compiles policies.
 *
 * @throws SallyportError `SP_CEDAR_SYNTAX`, `SP_CEDAR_INVALID` (does not fit the schema), `SP_CEDAR_LIMIT`,
 *   `SP_CEDAR_UNSUPPORTED`, `SP_CEDAR_PARSER`
 */
export async function loadPolicySet(input: PolicyInput): Promise<PolicySet> {
  const tokens = boundAll(input)
  const lifted = input.policies.map(({ source }, i) => liftIntegers(source, tokens[i] ?? []))
  const { ok, diagnostics } = await checkPolicies(input)
  if (!ok) {
    const first = diagnostics.find(({ severity }) => severity === 'error')
    const which = first?.policyId === undefined ? 'the schema' : `policy \`${first.policyId}\``
    throw new SallyportError(
      input.schema === undefined ? 'SP_CEDAR_SYNTAX' : 'SP_CEDAR_INVALID',
      `${which}: ${first?.message ?? 'not valid'}`,
      first?.help === undefined ? {} : { fix: first.help },
    )
  }
  const answers = await parsePolicies(lifted.map(({ source }) => source))
  const policies = answers.map((answer, order) => {
    const id = input.policies[order]?.id ?? ''
    if (answer.type === 'failure') {
      throw new SallyportError('SP_CEDAR_SYNTAX', `policy \`${id}\`: ${answer.errors[0]?.message}`)
    }
    // The binding's PolicyJson is the same format in looser types; the compiler refuses what it does not know.
    const est = answer.json as unknown as PolicyEst
    return compilePolicy(id, order, est, lifted[order]?.integers ?? new Map<number, bigint>())
  })
  return new Policies(policies)
}

class Policies implements PolicySet {
  readonly size: number
  readonly #policies: readonly CompiledPolicy[]
  readonly #byId: ReadonlyMap<string, CompiledPolicy>
  readonly #index: PolicyIndex

  constructor(policies: readonly CompiledPolicy[]) {
    this.size = policies.length
    this.#policies = policies
    this.#byId = new Map(policies.map((policy) => [policy.id, policy]))
    this.#index = new PolicyIndex(policies)
  }

  effect(id: string): 'permit' | 'forbid' | undefined {
    return this.#byId.get(id)?.effect
  }

  annotations(id: string): Readonly<Record<string, string>> {
    return this.#byId.get(id)?.annotations ?? {}
  }

  decide(request: DecisionRequest, entities: EntityStore): CedarDecision {
    return this.#decide(environment(request, entities))
  }

  explain(request: DecisionRequest, entities: EntityStore): CedarExplanation {
    const env = environment(request, entities)
    return explainPolicies(this.#policies, this.#decide(env), env)
  }

  #decide(env: Env): CedarDecision {
    const permits: CompiledPolicy[] = []
    const forbids: CompiledPolicy[] = []
    const failed: { policy: CompiledPolicy; message: string }[] = []
    for (const policy of this.#index.candidates(env)) {
      try {
        if (policy.holds(env)) (policy.effect === 'permit' ? permits : forbids).push(policy)
      } catch (error) {
        if (!(error instanceof EvaluationError)) throw error
        failed.push({ policy, message: error.message })
      }
    }
    const allow = forbids.length === 0 && permits.length > 0
    return {
      decision: allow ? 'allow' : 'deny',
      reasons: (allow ? permits : forbids).sort(byOrder).map(({ id }) => id),
      errors: failed
        .sort((a, b) => byOrder(a.policy, b.policy))
        .map(({ policy, message }) => ({ policyId: policy.id, message })),
    }
  }
}

const byOrder = (a: CompiledPolicy, b: CompiledPolicy): number => a.order - b.order

function environment(request: DecisionRequest, store: EntityStore): Env {
  const { context } = request
  return {
    principal: refFromJson(request.principal),
    action: refFromJson(request.action),
    resource: refFromJson(request.resource),
    context: context instanceof RecordValue ? context : recordFromJson(context),
    store,
  }
}
