import assert from 'node:assert/strict'
import * as wasm from '@cedar-policy/cedar-wasm/nodejs'
import { EntityStore, loadPolicySet } from '../src/index.ts'
import type { EntityJson, EntityUid, Request } from '../src/index.ts'
import type { Trial } from './generate.ts'

interface Difference {
  readonly request: number
  readonly ours: string
  readonly theirs: string
}

interface TrialResult {
  readonly differences: readonly Difference[]
  readonly allowed: number
  readonly errors: number
}

/**
 * Decides every request of a trial by this package and by cedar-wasm, again after each change of the entities, and at
 * last against the stores of before: what a set remembers of one store must not show in another.
 */
export async function compare(trial: Trial): Promise<TrialResult> {
  const set = await loadPolicySet(trial.input)
  const differences: Difference[] = []
  let allowed = 0
  let errors = 0
  const states: { store: EntityStore; expected: string[] }[] = []
  for (const { store, entities } of statesOf(trial)) {
    requireSame(store, entities)
    states.push({ store, expected: trial.requests.map((r) => askOracle(trial, entities, r)) })
  }
  // The second round finds what the first remembered, the states in the opposite order.
  for (const [round, state] of [...states, ...states.toReversed()].entries()) {
    for (const [i, request] of trial.requests.entries()) {
      const mine = set.decide(request, state.store)
      const ours = answerText(
        mine.decision,
        mine.reasons,
        mine.errors.map(({ policyId }) => policyId),
      )
      const theirs = state.expected[i] ?? ''
      if (ours !== theirs) differences.push({ request: i, ours, theirs })
      if (round > 0) continue
      if (mine.decision === 'allow') allowed++
      errors += mine.errors.length
      checkTraces(set.explain(request, state.store), mine)
    }
  }
  return { differences, allowed, errors }
}

const answerText = (decision: string, reasons: readonly string[], errors: readonly string[]) =>
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

function askOracle(trial: Trial, entities: readonly EntityJson[], request: Request): string {
  const { policies, templates = [], links = [] } = trial.input
  const answer = wasm.isAuthorized({
    // The two packages name the same JSON forms with types of their own.
    ...(request as unknown as Pick<
      wasm.AuthorizationCall,
      'principal' | 'action' | 'resource' | 'context'
    >),
    entities: entities as unknown as wasm.Entities,
    policies: {
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
    },
  })
  if (answer.type === 'failure') throw new Error(`the oracle refused: ${answer.errors[0]?.message}`)
  const { decision, diagnostics } = answer.response
  return answerText(
    decision,
    diagnostics.reason,
    diagnostics.errors.map(({ policyId }) => policyId),
  )
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

/** cedar-wasm's fastest way: policies parsed once, requests decided one by one. */
export function statefulOracle(
  policies: readonly { readonly id: string; readonly source: string }[],
): (request: Request, entities: readonly EntityJson[]) => string {
  wasm.preparsePolicySet('bench', {
    staticPolicies: Object.fromEntries(policies.map(({ id, source }) => [id, source])),
  })
  return (request, entities) => {
    const answer = wasm.statefulIsAuthorized({
      // The same JSON forms under types of their own.
      ...(request as unknown as Pick<
        wasm.StatefulAuthorizationCall,
        'principal' | 'action' | 'resource' | 'context'
      >),
      preparsedPolicySetId: 'bench',
      entities: entities as unknown as wasm.Entities,
    })
    return answer.type === 'success' ? answer.response.decision : answer.type
  }
}
