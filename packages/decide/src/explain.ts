import type { CedarExplanation, ClauseTrace, PolicyTrace } from '@sallyport/cedar'
import type { Call, Outcome, OutcomeExplanation } from './types.ts'

/** Near misses turned into remedies: the closest are the useful ones. */
const MAX_REMEDIES = 3

/** Says in words what decided a call and what would have to change. For operators: it names thresholds. */
export function explainOutcome(
  call: Call,
  outcome: Outcome,
  cedar: CedarExplanation,
): OutcomeExplanation {
  return {
    outcome,
    summary: summary(call, outcome),
    remedies: remedies(call, outcome, cedar),
    cedar,
  }
}

const list = (ids: readonly string[]): string => ids.map((id) => `\`${id}\``).join(', ')

function summary(call: Call, outcome: Outcome): string {
  const what = `\`${call.agent}\` calling \`${call.system}.${call.operation}\``
  switch (outcome.code) {
    case 'SP_ALLOWED':
      return `${what} is permitted by ${list(outcome.reasons)}`
    case 'SP_NO_FLOW':
      return `${what} is denied: the network declares no flow for it`
    case 'SP_DENIED_FORBIDDEN':
      return `${what} is denied: forbidden by ${list(outcome.reasons)}`
    case 'SP_DENIED_NOT_PERMITTED':
      return `${what} is denied: no policy permits it`
    case 'SP_DENIED_PARTIAL':
      return `${what} is denied: its answer is bytes, and policies do not let all of it leave whole`
    case 'SP_DENIED_POLICY_ERROR': {
      const failed = outcome.errors.filter(({ policyId }) => policyId !== '')
      return failed.length > 0
        ? `${what} is denied: ${list(failed.map(({ policyId }) => policyId))} could not be evaluated`
        : `${what} is denied: the call could not be put to the policies`
    }
    default: {
      const cause =
        outcome.reasons.length > 0 ? `forbidden by ${list(outcome.reasons)}` : 'not permitted'
      return `${what} needs ${evidence(outcome)}: without it, it is ${cause}`
    }
  }
}

const evidence = ({ needs }: Outcome): string =>
  needs
    .map(({ kind, count }) => (kind === 'mandate' ? 'a mandate' : approvals(count)))
    .join(' and ')

const approvals = (count: number): string =>
  count === 1 ? 'an approval' : `${count} approvals by different operators`

function remedies(call: Call, outcome: Outcome, cedar: CedarExplanation): string[] {
  switch (outcome.code) {
    case 'SP_ALLOWED':
      return []
    case 'SP_NO_FLOW':
      return [
        `declare a flow from \`${call.agent}\` to \`${call.system}\` with operation \`${call.operation}\` in network.yaml`,
      ]
    case 'SP_DENIED_POLICY_ERROR':
      return outcome.errors.map(({ policyId, message }) =>
        policyId === '' ? message : `mend policy \`${policyId}\`: ${message}`,
      )
    case 'SP_DENIED_FORBIDDEN':
      return forbidding(outcome, cedar)
    case 'SP_DENIED_NOT_PERMITTED':
      return nearMisses(call, cedar)
    case 'SP_DENIED_PARTIAL':
      return [
        `permit \`field.read\` on the field that \`${call.system}.${call.operation}\` returns, and oblige nobody to mask, tokenise or drop it`,
      ]
    default:
      return outcome.needs.map(({ kind, count }) =>
        kind === 'mandate'
          ? 'have the task delegated by a mandate that covers exactly this call'
          : `obtain ${approvals(count)} of exactly this call`,
      )
  }
}

function forbidding(outcome: Outcome, cedar: CedarExplanation): string[] {
  return cedar.policies
    .filter(({ policyId }) => outcome.reasons.includes(policyId))
    .map(({ policyId, conditions }) =>
      conditions.length === 0
        ? `policy \`${policyId}\` forbids every such call: narrow its scope, or do not make the call`
        : `policy \`${policyId}\` stops forbidding when one of these no longer holds: ${conditions.map(clause).join('; ')}`,
    )
}

function nearMisses(call: Call, cedar: CedarExplanation): string[] {
  // A permit for another action or another agent is no miss of this one.
  const near = cedar.policies.filter(
    ({ effect, outcome, scope }) =>
      effect === 'permit' && outcome === 'unsatisfied' && scope.every((c) => c.result === 'true'),
  )
  if (near.length === 0) {
    return [
      `no permit covers \`${call.agent}\` and \`${call.system}.${call.operation}\`: add one if the call is meant to be made`,
    ]
  }
  return near.slice(0, MAX_REMEDIES).map(nearMiss)
}

function nearMiss({ policyId, conditions }: PolicyTrace): string {
  const failing = conditions.filter(({ result }) => result !== 'true')
  return `policy \`${policyId}\` would permit it if: ${failing.map(clause).join('; ')}`
}

function clause({ text, values, error }: ClauseTrace): string {
  const read = Object.entries(values).map(([path, value]) => `${path} is ${value}`)
  const notes = error === undefined ? read : [...read, error]
  return notes.length === 0 ? text : `${text} (${notes.join(', ')})`
}
