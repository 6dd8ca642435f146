/**
 * Who turned a call down. Only what flows or policy forbid says something of its caller: a limit stops calls that policy
 * would have let through, and a failure of the network stops anyone's.
 */
export type RefusedBy = 'policy' | 'limit' | 'network'

const BY_LIMIT: ReadonlySet<string> = new Set(['SP_LIMIT_REACHED', 'SP_APPROVAL_FLOOD'])
const BY_NETWORK: ReadonlySet<string> = new Set([
  'SP_APPROVAL_UNAVAILABLE',
  'SP_AUDIT_UNAVAILABLE',
  'SP_DECLARATION_CHANGED',
  'SP_GATEWAY_NOT_READY',
  'SP_LIMIT_UNAVAILABLE',
  'SP_STALE',
])

/**
 * Reads a refusal's code. A code that is not known here counts against the caller, so that a new one opens no hole.
 *
 * @param declared whether a flow leads the agent to the operation: where none does, nothing excuses the attempt, e.g. one
 *   made while the gateway was cut off, which is refused as stale before its flow is looked at
 */
export function refusedBy(code: string, declared: boolean): RefusedBy {
  if (!declared) return 'policy'
  if (BY_LIMIT.has(code)) return 'limit'
  return BY_NETWORK.has(code) ? 'network' : 'policy'
}
