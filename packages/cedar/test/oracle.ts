import * as wasm from '@cedar-policy/cedar-wasm/nodejs'
import { EntityStore, loadPolicySet } from '../src/index.ts'
import type { EntityJson, Request } from '../src/index.ts'
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

/** Decides every request of a trial by this package and by cedar-wasm. */
export async function compare(trial: Trial): Promise<TrialResult> {
  const set = await loadPolicySet(trial.input)
  const store = EntityStore.from(trial.entities)
  const { policies, templates = [], links = [] } = trial.input
  const differences: Difference[] = []
  let allowed = 0
  let errors = 0
  for (const [i, request] of trial.requests.entries()) {
    const answer = wasm.isAuthorized({
      // The two packages name the same JSON forms with types of their own.
      ...(request as unknown as Pick<
        wasm.AuthorizationCall,
        'principal' | 'action' | 'resource' | 'context'
      >),
      entities: trial.entities as unknown as wasm.Entities,
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
    if (answer.type === 'failure')
      throw new Error(`the oracle refused: ${answer.errors[0]?.message}`)
    const { decision, diagnostics } = answer.response
    const theirs = [
      decision,
      diagnostics.reason.toSorted(),
      diagnostics.errors.map(({ policyId }) => policyId).toSorted(),
    ]
    const mine = set.decide(request, store)
    const ours = [
      mine.decision,
      mine.reasons.toSorted(),
      mine.errors.map(({ policyId }) => policyId).toSorted(),
    ]
    if (mine.decision === 'allow') allowed++
    errors += mine.errors.length
    if (JSON.stringify(ours) !== JSON.stringify(theirs)) {
      differences.push({ request: i, ours: JSON.stringify(ours), theirs: JSON.stringify(theirs) })
    }
    checkTraces(set.explain(request, store), mine)
  }
  return { differences, allowed, errors }
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
