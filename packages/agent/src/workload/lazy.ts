import { systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'

import type { Identity } from '../identity.ts'
import { RefusedError } from '../refused.ts'
import { denied } from './grpc.ts'
import { IdentitySource } from './source.ts'
import type { WorkloadSource } from './source.ts'

const REST_MS = 1000

/** An identity that is enrolled when somebody first asks for it, and again where it cannot be used any more. */
export interface LazyWorkload {
  /** @throws SallyportError `SP_WORKLOAD_DENIED` after `withdraw`; what `begin` throws, and the next call tries again */
  source(): Promise<WorkloadSource>
  /** The identity behind it. @throws as `source` */
  identity(): Promise<Identity>
  /** Nothing is handed out from now on, and streams end. */
  withdraw(reason: string): void
}

/**
 * @param begin enrols, and tells `onRotationError` of every renewal that failed
 */
export function lazyWorkload(
  begin: (onRotationError: (error: unknown) => void) => Promise<Identity>,
  clock: Clock = systemClock,
): LazyWorkload {
  let current: { readonly identity: Identity; readonly source: IdentitySource } | undefined
  let pending: Promise<IdentitySource> | undefined
  let withdrawn: string | undefined
  let failed: { readonly error: unknown; readonly at: number } | undefined

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
    source,
    async identity() {
      await source()
      // What was just asked for is there, unless it was withdrawn meanwhile.
      if (!current || withdrawn !== undefined) throw denied(withdrawn ?? 'it was withdrawn')
      return current.identity
    },
    withdraw(reason) {
      withdrawn ??= reason
      current?.source.withdraw(reason)
      current?.identity.stop()
    },
  }

  async function source(): Promise<WorkloadSource> {
    if (withdrawn !== undefined) throw denied(withdrawn)
    if (current?.source.usable() === true) return current.source
    current?.identity.stop()
    // However often a program asks, the control plane is asked no more than once a second.
    if (failed && clock.monotonic() - failed.at < REST_MS) throw failed.error
    pending ??= enrol().finally(() => {
      pending = undefined
    })
    try {
      return await pending
    } catch (error) {
      failed = { error, at: clock.monotonic() }
      throw error
    }
  }
}
