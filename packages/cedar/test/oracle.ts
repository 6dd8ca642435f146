import assert from 'node:assert/strict'
import * as wasm from '@cedar-policy/cedar-wasm/nodejs'
import { EntityStore, loadPolicySet } from '../src/index.ts'
import type { EntityJson, EntityUid, Request } from '../src/index.ts'
import type { Trial } from './generate.ts'

interface Difference {
  readonly state: number
  readonly request: number
  readonly ours: string
  readonly theirs: string
}

export interface TrialResult {
  readonly differences: readonly Difference[]
  /** Requests decided by both, each in each state of the entities. */
  readonly decided: number
  readonly allowed: number
  /** Denied by a forbid. */
  readonly forbidden: number
  /** Decisions in which at least one policy failed. */
  readonly failing: number
}

/**
 * Decides every request of a trial by this package and by cedar-wasm, again after each change of the entities, and at
 * last against the stores of before: what a set remembers of one store must not show in another.
 *
 * @param whole whether stores changed bit by bit are compared with ones built at once, and traces with decisions
 */
export async function compare(trial: Trial, whole = true): Promise<TrialResult> {
  const set = await loadPolicySet(trial.input)
  const oracle = prepareOracle(trial.input)
  const differences: Difference[] = []
  let [decided, allowed, forbidden, failing] = [0, 0, 0, 0]
  const states: { store: EntityStore; expected: readonly string[] }[] = []
  for (const { store, entities } of statesOf(trial)) {
    if (whole) requireSame(store, entities)
    const theirs = exact(entities)
    states.push({ store, expected: trial.requests.map((r) => textOf(oracle(r, theirs))) })
  }
  // The second round finds what the first remembered, the states in the opposite order.
  const rounds = [...states.entries(), ...[...states.entries()].toReversed()]
  for (const [round, [at, { store, expected }]] of rounds.entries()) {
    for (const [i, request] of trial.requests.entries()) {
      const mine = set.decide(request, store)
      const { decision, reasons } = mine
      const ours = textOf({
        decision,
        reasons,
        errors: mine.errors.map(({ policyId }) => policyId),
      })
      const theirs = expected[i] ?? ''
      if (ours !== theirs) differences.push({ state: at, request: i, ours, theirs })
      if (round >= states.length) continue
      decided++
      if (decision === 'allow') allowed++
      else if (reasons.length > 0) forbidden++
      if (mine.errors.length > 0) failing++
      if (whole) checkTraces(set.explain(request, store), mine)
    }
  }
  return { differences, decided, allowed, forbidden, failing }
}

interface Answer {
  readonly decision: string
  readonly reasons: readonly string[]
  readonly errors: readonly string[]
}

export const textOf = ({ decision, reasons, errors }: Answer): string =>
  JSON.stringify([decision, reasons.toSorted(), errors.toSorted()])

const key = ({ type, id }: EntityUid): string => JSON.stringify([type, id])

/** The entities at the start and after each change, once as a list and once as a store changed bit by bit. */
function* statesOf(trial: Trial): Generator<{ store: EntityStore; entities: EntityJson[] }> {
  let store = EntityStore.from(trial.entities)
  let entities = [...trial.entities]
  yield { store, entities }
  for (const change of trial.changes) {
    const touched = new Set([...change.put.map(({ uid }) => uid), ...change.remove].map(key))
    // Only new entities: the other way of adding them is tried as well.
    const isNew = change.put.every(({ uid }) => store.get(uid) === undefined)
    store = isNew && change.remove.length === 0 ? store.with(change.put) : store.update(change)
    entities = [...entities.filter(({ uid }) => !touched.has(key(uid))), ...change.put]
    yield { store, entities }
  }
}

/** A store changed bit by bit holds what one built at once does. */
function requireSame(store: EntityStore, entities: readonly EntityJson[]): void {
  const texts = (of: EntityStore): string[] =>
    [...of.records()]
      .map(({ uid, ancestors, parents, attrs, tags }) =>
        JSON.stringify([
          key(uid),
          ancestors.map(key).sort(),
          parents,
          [...attrs.keys()],
          tags.size,
        ]),
      )
      .sort()
  assert.deepEqual(texts(store), texts(EntityStore.from(entities)))
  assert.equal(store.size, entities.length)
}

/** An explanation must tell the story of the decision it explains. */
function checkTraces(
  explanation: ReturnType<Awaited<ReturnType<typeof loadPolicySet>>['explain']>,
  decision: ReturnType<Awaited<ReturnType<typeof loadPolicySet>>['decide']>,
): void {
  for (const { policyId, outcome, scope, conditions } of explanation.policies) {
    const results = [...scope, ...conditions].map(({ result }) => result)
    const expected = decision.reasons.includes(policyId)
      ? results.every((result) => result === 'true')
      : decision.errors.some((error) => error.policyId === policyId)
        ? results.includes('error')
        : outcome === 'satisfied' || results.some((result) => result !== 'true')
    if (!expected)
      throw new Error(`the trace of ${policyId} contradicts the decision: ${results.join()}`)
  }
}

/** `JSON.rawJSON` of V8, which the types of TypeScript's library do not have yet. */
const { rawJSON } = JSON as unknown as { rawJSON(this: void, text: string): unknown }

/**
 * The same data with integers that no double holds written out: the binding passes data as JSON text, in which they are
 * exact, and throws on a bigint.
 */
export function exact<T>(data: T): T {
  const convert = (value: unknown): unknown => {
    if (typeof value === 'bigint') return rawJSON(String(value))
    if (Array.isArray(value)) return value.map(convert)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(
      Object.entries(value).map(([name, member]) => [name, convert(member)]),
    )
  }
  // Of the same shape but for integers, which the binding only writes out.
  return convert(data) as T
}

/**
 * cedar-wasm's fastest way: policies parsed once, requests decided one by one.
 *
 * @throws Error for policies or a request that it refuses; an error of WebAssembly after which it is not to be trusted
 */
export function prepareOracle({
  policies,
  templates = [],
  links = [],
}: Trial['input']): (request: Request, entities: readonly EntityJson[]) => Answer {
  const parsed = wasm.preparsePolicySet('trial', {
    staticPolicies: Object.fromEntries(policies.map(({ id, source }) => [id, source])),
    templates: Object.fromEntries(templates.map(({ id, source }) => [id, source])),
    templateLinks: links.map(({ id, templateId, principal, resource }) => ({
      templateId,
      newId: id,
      values: {
        ...(principal ? { '?principal': principal } : {}),
        ...(resource ? { '?resource': resource } : {}),
      },
    })),
  })
  if (parsed.type === 'failure') throw new Error(`the oracle refused: ${parsed.errors[0]?.message}`)
  return (request, entities) => {
    const { principal, action, resource } = request
    const answer = wasm.statefulIsAuthorized({
      principal,
      action,
      resource,
      // The two packages name the same JSON forms with types of their own.
      context: exact(request.context) as unknown as wasm.Context,
      entities: entities as unknown as wasm.Entities,
      preparsedPolicySetId: 'trial',
    })
    if (answer.type === 'failure') {
      throw new Error(`the oracle refused: ${answer.errors[0]?.message}`)
    }
    const { decision, diagnostics } = answer.response
    return {
      decision,
      reasons: diagnostics.reason,
      errors: diagnostics.errors.map(({ policyId }) => policyId),
    }
  }
}

/** As `prepareOracle`, for policies alone and the decision alone. */
export function statefulOracle(
  policies: readonly { readonly id: string; readonly source: string }[],
): (request: Request, entities: readonly EntityJson[]) => string {
  const oracle = prepareOracle({ policies })
  return (request, entities) => oracle(request, entities).decision
}
