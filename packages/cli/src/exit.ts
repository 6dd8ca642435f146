import { errorCode } from '@sallyport/base'

/** Exit codes, stable: scripts and CI depend on them. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  config: 3,
  auth: 4,
  denied: 5,
  pending: 6,
  verification: 7,
} as const

const BY_PREFIX: readonly (readonly [string, number])[] = [
  ['SP_NETWORK', EXIT.config],
  ['SP_CEDAR', EXIT.config],
  ['SP_POLICY', EXIT.config],
  ['SP_CONFIG', EXIT.config],
  ['SP_CONSOLE', EXIT.config],
  ['SP_DB', EXIT.config],
  ['SP_TRUST', EXIT.config],
  ['SP_USAGE', EXIT.usage],
  ['SP_AUTH', EXIT.auth],
  ['SP_SESSION', EXIT.auth],
  ['SP_SVID', EXIT.auth],
  ['SP_JOIN', EXIT.auth],
  ['SP_SEAL_SHARES', EXIT.usage],
  ['SP_SEAL_SHARE', EXIT.auth],
  ['SP_HSM_PIN', EXIT.auth],
  ['SP_HSM', EXIT.config],
  ['SP_DENIED', EXIT.denied],
  ['SP_NO_FLOW', EXIT.denied],
  ['SP_FORBIDDEN', EXIT.denied],
  ['SP_SECRET_REFUSED', EXIT.denied],
  ['SP_RESPONDER_UNDECLARED', EXIT.denied],
  ['SP_NEEDS', EXIT.pending],
  ['SP_LOG_TAMPERED', EXIT.verification],
  ['SP_LOG_TRUNCATED', EXIT.verification],
  ['SP_LOG_CHECKPOINT', EXIT.verification],
  ['SP_SEGMENT', EXIT.verification],
]

/** The exit code that an error's stable code stands for. */
export function exitCode(error: unknown): number {
  const code = errorCode(error)
  return BY_PREFIX.find(([prefix]) => code.startsWith(prefix))?.[1] ?? EXIT.failure
}
