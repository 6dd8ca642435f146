import { useResource } from '../api/resource.ts'
import type { Resource } from '../api/resource.ts'
import type { MandateView } from '../api/mandate-types.ts'
import type { Quarantine } from '../api/types.ts'
import { useReread } from './reread.ts'

/** Calls take uses without an event of their own: what is left is read again this often. */
const EVERY_MS = 10_000

/** What the control plane lists at most. */
export const LISTED = 500

/** The mandates that the control plane holds, newest first, read again while they are looked at. */
export function useMandates(): Resource<readonly MandateView[]> {
  useReread('/mandates', EVERY_MS)
  return useResource<readonly MandateView[]>('/mandates')
}

/** Whether an instance is cut off, itself or with the whole of its agent. */
export function useCut(): (spiffeId: string) => boolean {
  const { data } = useResource<readonly Quarantine[]>('/quarantine')
  const subjects = new Set(data?.map(({ subject }) => subject))
  // `spiffe://TD/agent/NAME/INSTANCE` without its last segment is the whole of its agent.
  return (spiffeId) =>
    subjects.has(spiffeId) || subjects.has(spiffeId.split('/').slice(0, 5).join('/'))
}
