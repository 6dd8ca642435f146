import { SallyportError } from '@sallyport/base'
import { boundAll, checkPolicies } from './check.ts'
import type { Env } from './operators.ts'
import { recordFromJson, refOf } from './data.ts'
import type { EntityStore } from './entities.ts'
import { liftIntegers } from './est.ts'
import type { PolicyEst, ScopeEst } from './est.ts'
import { explainPolicies } from './explain.ts'
import type { Token } from './lex.ts'
import { parsePolicies } from './parser.ts'
import { compilePolicy } from './policy.ts'
import type { CompiledPolicy } from './policy.ts'
import { PolicyIndex } from './policy-index.ts'
import type { CedarDecision, CedarExplanation, EntityUid, Request } from './types.ts'
import { EvaluationError, RecordValue } from './value.ts'

interface PolicyText {
  readonly id: string
  readonly source: string
}

/** A policy made by filling the slots of a template. */
export interface TemplateLink {
  readonly id: string
  readonly templateId: string
  /** Exactly the slots that the template has. */
  readonly principal?: EntityUid
  readonly resource?: EntityUid
}

export interface PolicyInput {
  readonly policies: readonly PolicyText[]
  readonly templates?: readonly PolicyText[]
  readonly links?: readonly TemplateLink[]
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
  const { policies, templates = [], links = [] } = input
  const parsed = await parseTexts(policies, tokens, false)
  const byTemplate = new Map(
    (await parseTexts(templates, tokens.slice(policies.length), true)).map((t) => [t.id, t]),
  )
  const linked = links.map((link) => fillSlots(link, byTemplate.get(link.templateId)))
  return new Policies(
    [...parsed, ...linked].map(({ id, est, integers }, order) =>
      compilePolicy(id, order, est, integers),
    ),
  )
}

interface ParsedPolicy {
  readonly id: string
  readonly est: PolicyEst
  readonly integers: ReadonlyMap<number, bigint>
}

async function parseTexts(
  texts: readonly PolicyText[],
  tokens: readonly Token[][],
  asTemplates: boolean,
): Promise<ParsedPolicy[]> {
  const lifted = texts.map(({ source }, i) => liftIntegers(source, tokens[i] ?? []))
  const answers = await parsePolicies(
    lifted.map(({ source }) => source),
    asTemplates,
  )
  return texts.map(({ id }, i) => {
    const answer = answers[i]
    const integers = lifted[i]?.integers
    if (answer?.type !== 'success' || !integers) {
      throw new SallyportError('SP_CEDAR_SYNTAX', `policy \`${id}\` cannot be read`)
    }
    // The binding's PolicyJson is the same format in looser types; the compiler refuses what it does not know.
    return { id, est: answer.json as unknown as PolicyEst, integers }
  })
}

function fillSlots(link: TemplateLink, template: ParsedPolicy | undefined): ParsedPolicy {
  const wrong = (what: string): SallyportError =>
    new SallyportError('SP_CEDAR_INVALID', `the template link \`${link.id}\` ${what}`)
  if (!template) throw wrong('names no template')
  const fill = (scope: ScopeEst, entity: EntityUid | undefined): ScopeEst => {
    const { slot, ...rest } = scope
    if ((slot ?? scope.in?.slot) === undefined) {
      if (entity) throw wrong('fills a slot that the template does not have')
      return scope
    }
    if (!entity) throw wrong('leaves a slot empty')
    return slot === undefined ? { ...rest, in: { entity } } : { ...rest, entity }
  }
  const { est } = template
  const principal = fill(est.principal, link.principal)
  const resource = fill(est.resource, link.resource)
  return { ...template, id: link.id, est: { ...est, principal, resource } }
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
    let failed: Failure[] | undefined
    for (const policy of this.#index.candidates(env)) {
      try {
        if (policy.holds(env)) (policy.effect === 'permit' ? permits : forbids).push(policy)
      } catch (error) {
        if (!(error instanceof EvaluationError)) throw error
        failed ??= []
        failed.push({ policy, message: error.message })
      }
    }
    const allow = forbids.length === 0 && permits.length > 0
    return {
      decision: allow ? 'allow' : 'deny',
      reasons: idsInOrder(allow ? permits : forbids),
      errors: failed === undefined ? NO_ERRORS : inOrder(failed),
    }
  }
}

interface Failure {
  readonly policy: CompiledPolicy
  readonly message: string
}

const NO_ERRORS: CedarDecision['errors'] = Object.freeze([])
const NO_REASONS: CedarDecision['reasons'] = Object.freeze([])

function idsInOrder(policies: CompiledPolicy[]): readonly string[] {
  const [only] = policies
  if (only === undefined) return NO_REASONS
  return policies.length === 1 ? [only.id] : policies.sort(byOrder).map(({ id }) => id)
}

function inOrder(failed: Failure[]): CedarDecision['errors'] {
  return failed
    .sort((a, b) => byOrder(a.policy, b.policy))
    .map(({ policy, message }) => ({ policyId: policy.id, message }))
}

const byOrder = (a: CompiledPolicy, b: CompiledPolicy): number => a.order - b.order

function environment(request: DecisionRequest, store: EntityStore): Env {
  const { context } = request
  return {
    principal: refOf(request.principal),
    action: refOf(request.action),
    resource: refOf(request.resource),
    context: context instanceof RecordValue ? context : recordFromJson(context),
    store,
  }
}
