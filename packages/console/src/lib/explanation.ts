import type { ClauseTrace, Explanation, PolicyTrace } from '../api/types.ts'

/**
 * What a gateway said of a refusal, as far as it said it. Policies that were asked leave a trace clause by clause; a call
 * that policy allowed and something else stopped (a limit, a quarantine, a stale plane) has a sentence only; a long
 * explanation does not travel at all.
 *
 * @param value `explanation` of `GET /api/decisions/{id}`
 */
export function readExplanation(value: unknown): Explanation {
  return {
    summary: text(member(value, 'summary')),
    detail: text(member(value, 'detail')),
    remedies: list(member(value, 'remedies')).map(text).filter(Boolean),
    policies: list(member(member(value, 'cedar'), 'policies')).map(policy),
  }
}

function policy(value: unknown): PolicyTrace {
  const outcome = member(value, 'outcome')
  return {
    policyId: text(member(value, 'policyId')),
    effect: member(value, 'effect') === 'forbid' ? 'forbid' : 'permit',
    outcome: outcome === 'satisfied' || outcome === 'unsatisfied' ? outcome : 'error',
    scope: list(member(value, 'scope')).map(clause),
    conditions: list(member(value, 'conditions')).map(clause),
    annotations: texts(member(value, 'annotations')),
  }
}

function clause(value: unknown): ClauseTrace {
  const result = member(value, 'result')
  const error = text(member(value, 'error'))
  return {
    text: text(member(value, 'text')),
    result: result === 'true' || result === 'false' ? result : 'error',
    values: texts(member(value, 'values')),
    ...(error !== '' && { error }),
  }
}

function member(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? Reflect.get(value, name)
    : undefined
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function texts(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null) return {}
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, text(each)]))
}
