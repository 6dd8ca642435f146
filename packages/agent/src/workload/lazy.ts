import type { Clock } from '@sallyport/base'

import type { Identity } from '../identity.ts'
import { RefusedError } from '../refused.ts'
import { denied } from './grpc.ts'
import { IdentitySource } from './source.ts'
import type { WorkloadSource } from './source.ts'

/** An identity that is enrolled when somebody first asks for it, and again where it cannot be used any more. */
export interface LazyWorkload {
  /** @throws SallyportError `SP_WORKLOAD_DENIED` after `withdraw`; what `begin` throws, and the next call tries again */
  source(): Promise<WorkloadSource>
  /** Nothing is handed out from now on, and streams end. */
  withdraw(reason: string): void
}

/**
 * @param begin enrols, and tells `onRotationError` of every renewal that failed
 */
export function lazyWorkload(
  begin: (onRotationError: (error: unknown) => void) => Promise<Identity>,
  clock?: Clock,
): LazyWorkload {
  let current: { readonly identity: Identity; readonly source: IdentitySource } | undefined
  let pending: Promise<IdentitySource> | undefined
  let withdrawn: string | undefined

  const enrol = async (): Promise<IdentitySource> => {
    let source: IdentitySource | undefined
    const identity = await begin((error) => {
      // Refused for good: quarantined, revoked, or renewed by somebody else. What fails otherwise is tried again.
      if (error instanceof RefusedError && error.status === 403) source?.withdraw(error.code)
    })
    source = new IdentitySource(identity, clock)
    if (withdrawn !== undefined) source.withdraw(withdrawn)
    current = { identity, source }
    identity.startRotation()
    return source
  }
  return {
    async source() {
      if (withdrawn !== undefined) throw denied(withdrawn)
      if (current?.source.usable() === true) return current.source
      current?.identity.stop()
      pending ??= enrol().finally(() => {
        pending = undefined
      })
      return pending
    },
    withdraw(reason) {
      withdrawn ??= reason
      current?.source.withdraw(reason)
      current?.identity.stop()
    },
  }
}
