import { SallyportError } from '@sallyport/base'
import { answer, answerAt, sorted } from './answer.ts'
import { policyAst } from './policy-ast.ts'
import type { PolicyAst } from './ast.ts'
import { boundAll, parseAndCheck } from './check.ts'
import type { Clauses } from './clauses.ts'
import type { Env } from './operators.ts'
import { contextFromJson, refOf, unreadable } from './data.ts'
import type { EntityRecord, EntityStore } from './entities.ts'
import { coveragePoints, coverPolicies } from './coverage.ts'
import type { LiftedSource, ScopeEst } from './est.ts'
import { explainPolicies } from './explain.ts'
import { parsePolicies } from './parser.ts'
import type { ParseAnswer } from './parser.ts'
import { compilePolicy, estOf } from './policy.ts'
import type { CompiledPolicy, ParsedPolicy } from './policy.ts'
import { Pool } from './pool.ts'
import type { PreparedContext } from './prepare.ts'
import { PlanParts, ResourcePlan } from './resource-plan.ts'
import { PolicyIndex } from './policy-index.ts'
import type {
  CedarDecision,
  CedarExplanation,
  EntityUid,
  PolicyCover,
  PolicyPoints,
  Request,
} from './types.ts'
import { SliceMemo } from './slice-memo.ts'
import { Slicer } from './slicer.ts'
import { RecordValue } from './value.ts'

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
  /**
   * For how many (principal, action, resource) the set remembers which policies can apply, at most (16,384 where
   * unsaid; 0 turns it off). What they decide is never remembered.
   */
  readonly sliceMemo?: number
}

const SLICE_MEMO = 16_384

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
  /**
   * Prepares one action on certain resources, to be decided for many principals and contexts. What a plan is made of stays with
   * the set: plan declared actions, not those that a caller names.
   *
   * @param resources records of the store that decisions will be given, or of one that it extends
   */
  plan(action: EntityUid, resources: readonly EntityRecord[], entities: EntityStore): ResourcePlan
  /** The same decision with the trace of every policy that bears on it. */
  explain(request: DecisionRequest, entities: EntityStore): CedarExplanation
  /** Every policy as an AST, in order, links of templates with their slots filled. Made when first asked for. */
  policies(): readonly PolicyAst[]
  /** What a thorough test of each policy sees come out both ways. */
  points(): readonly PolicyPoints[]
  /** What each policy whose scope admits the request came to, point by point, as far as Cedar evaluates it. */
  cover(request: DecisionRequest, entities: EntityStore): readonly PolicyCover[]
}

/**
 * Parses, validates and compiles policies.
 *
 * @throws SallyportError `SP_CEDAR_SYNTAX`, `SP_CEDAR_INVALID` (does not fit the schema), `SP_CEDAR_LIMIT`,
 *   `SP_CEDAR_UNSUPPORTED`, `SP_CEDAR_PARSER`
 */
export async function loadPolicySet(input: PolicyInput): Promise<PolicySet> {
  const slicer = new Slicer()
  const lifted = await boundAll(input, slicer)
  const checked = await parseAndCheck(input)
  const first = checked.diagnostics.find(({ severity }) => severity === 'error')
  if (first !== undefined) {
    const which = first.policyId === undefined ? 'the schema' : `policy \`${first.policyId}\``
    throw new SallyportError(
      input.schema === undefined ? 'SP_CEDAR_SYNTAX' : 'SP_CEDAR_INVALID',
      `${which}: ${first.message}`,
      first.help === undefined ? {} : { fix: first.help },
    )
  }
  const { policies, templates = [], links = [] } = input
  const parsed = await compilable(policies, lifted, checked.policies, false)
  const byTemplate = new Map(
    (await compilable(templates, lifted.slice(policies.length), checked.templates, true)).map(
      (template) => [template.id, template],
    ),
  )
  const linked = links.map((link) => fillSlots(link, byTemplate.get(link.templateId)))
  return compileAll([...parsed, ...linked], input.sliceMemo ?? SLICE_MEMO, slicer)
}

/** In slices: the thread that compiles is the one that goes on deciding by the policies of before. */
async function compileAll(
  parsed: readonly ParsedPolicy[],
  sliceMemo: number,
  slicer: Slicer,
): Promise<PolicySet> {
  const pool = new Pool()
  const index = new PolicyIndex(parsed.length)
  const byId = new Map<string, CompiledPolicy>()
  for (const [order, one] of parsed.entries()) {
    if (slicer.over) await slicer.rest()
    const policy = compilePolicy(one, order, pool)
    byId.set(one.id, policy)
    index.add(policy)
  }
  return new Policies(byId, index, pool.clauses, sliceMemo)
}

/** What the parser answered; asked again, with stand-ins, only where a policy has integers that it would corrupt. */
async function compilable(
  texts: readonly PolicyText[],
  lifted: readonly LiftedSource[],
  answers: readonly ParseAnswer[],
  asTemplates: boolean,
): Promise<ParsedPolicy[]> {
  const large = lifted.slice(0, texts.length).filter(({ integers }) => integers.size > 0)
  const again = await parsePolicies(
    large.map(({ source }) => source),
    asTemplates,
  )
  const byLifted = new Map(large.map((each, i) => [each, again[i]]))
  return texts.map(({ id }, i) => {
    const each = lifted[i]
    const answer = each !== undefined && byLifted.has(each) ? byLifted.get(each) : answers[i]
    if (answer?.type !== 'success' || each === undefined) {
      throw new SallyportError('SP_CEDAR_SYNTAX', `policy \`${id}\` cannot be read`)
    }
    return { id, json: answer.json, integers: each.integers }
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
  const est = estOf(template)
  const principal = fill(est.principal, link.principal)
  const resource = fill(est.resource, link.resource)
  return { ...template, id: link.id, filled: { principal, resource } }
}

class Policies implements PolicySet {
  readonly size: number
  readonly #policies: readonly CompiledPolicy[]
  readonly #byId: ReadonlyMap<string, CompiledPolicy>
  readonly #index: PolicyIndex
  readonly #clauses: Clauses
  readonly #memo: SliceMemo
  readonly #parts: PlanParts
  #asts: readonly PolicyAst[] | undefined

  /** @param byId in the order of the policies */
  constructor(
    byId: ReadonlyMap<string, CompiledPolicy>,
    index: PolicyIndex,
    clauses: Clauses,
    sliceMemo: number,
  ) {
    this.size = byId.size
    this.#policies = [...byId.values()]
    this.#byId = byId
    this.#index = index
    this.#clauses = clauses
    this.#memo = new SliceMemo(sliceMemo)
    this.#parts = new PlanParts(this.#policies, clauses)
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

  plan(action: EntityUid, resources: readonly EntityRecord[], entities: EntityStore): ResourcePlan {
    return new ResourcePlan(this.#parts, action, resources, entities)
  }

  explain(request: DecisionRequest, entities: EntityStore): CedarExplanation {
    const env = environment(request, entities)
    return explainPolicies(this.#policies, this.#decide(env), env)
  }

  policies(): readonly PolicyAst[] {
    return (this.#asts ??= this.#policies.map(policyAst))
  }

  points(): readonly PolicyPoints[] {
    return coveragePoints(this.#policies)
  }

  cover(request: DecisionRequest, entities: EntityStore): readonly PolicyCover[] {
    return coverPolicies(this.#policies, environment(request, entities))
  }

  #decide(env: Env): CedarDecision {
    const [index, memo] = [this.#index, this.#memo]
    if (!memo.on) return answer(index.candidates(env), this.#clauses, env)
    const principal = index.key(env.principal, env.principalRecord)
    const action = index.key(env.action, env.actionRecord)
    const resource = index.key(env.resource, env.resourceRecord)
    const at = memo.find(principal, action, resource)
    if (at >= 0) return answerAt(memo, at, this.#clauses, env)
    const found = sorted(index.candidates(env))
    memo.put(principal, action, resource, found)
    return answer(found, this.#clauses, env)
  }
}

function environment(request: DecisionRequest, store: EntityStore): Env {
  try {
    return read(request, store)
  } catch (error) {
    throw error instanceof SallyportError ? error : unreadable(error)
  }
}

function read(request: DecisionRequest, store: EntityStore): Env {
  const { principal, action, resource, context } = request
  const principalRecord = store.findAs(0, principal)
  const actionRecord = store.findAs(1, action)
  const resourceRecord = store.findAs(2, resource)
  return {
    // What a store holds has been looked at already.
    principal: principalRecord === undefined ? refOf(principal) : principalRecord.uid,
    action: actionRecord === undefined ? refOf(action) : actionRecord.uid,
    resource: resourceRecord === undefined ? refOf(resource) : resourceRecord.uid,
    context: context instanceof RecordValue ? context : contextFromJson(context),
    principalRecord,
    actionRecord,
    resourceRecord,
    store,
  }
}
