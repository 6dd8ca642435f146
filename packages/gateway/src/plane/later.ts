import { errorCode } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import type { PlaneClient } from './client.ts'

/** What a control plane offers that has forgotten something; anything else that is refused is no sign of that. */
const FORGOTTEN: ReadonlySet<string> = new Set([
  'SP_BUNDLE_OLDER',
  'SP_BUNDLE_FORKED',
  'SP_BUNDLE_OPERATORS',
  'SP_BUNDLE_RELEASE',
  'SP_BUNDLE_ROOTS',
  'SP_BUNDLE_UNREVOKED',
])

/** It is shown again from time to time: the control plane may be another one by then. */
const AGAIN_MS = 15_000

/**
 * Shows a control plane that offers less than it once signed the newest bundle that this gateway accepted
 * (`POST /v1/later`).
 *
 * @returns what is told of each refused bundle
 */
export function laterShown(
  client: PlaneClient,
  clock: Clock,
  onFailure: (code: string) => void,
): (code: string, newest: JsonValue | undefined) => void {
  let last = Number.NEGATIVE_INFINITY
  return (code, newest) => {
    if (newest === undefined || !FORGOTTEN.has(code)) return
    if (clock.monotonic() - last < AGAIN_MS) return
    last = clock.monotonic()
    client.request({ method: 'POST', path: '/v1/later', body: newest }).catch((error: unknown) => {
      last = Number.NEGATIVE_INFINITY
      onFailure(errorCode(error))
    })
  }
}
