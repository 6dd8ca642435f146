import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'

/** Renewals at once, as after trouble; and in the life of one certificate, of which two are needed. */
const BURST = 32
const IN_A_LIFE = 16
const MANY = 1024

/**
 * How often an instance may renew. All its certificates that have not ended stand in the bundle once it is cut off: one that renewed
 * without end could make a bundle that no gateway reads, and so could not be cut off at all.
 *
 * @param svidTtlSeconds of the declaration in force
 * @returns takes note of a renewal of this SPIFFE id @throws SallyportError `SP_RENEW_FLOOD`
 */
export function createRenewalPace(
  clock: Pick<Clock, 'monotonic'>,
  svidTtlSeconds: () => number,
): (spiffeId: string) => void {
  const spent = new Map<string, { level: number; at: number }>()
  const levelOf = ({ level, at }: { level: number; at: number }, now: number): number =>
    Math.max(0, level - ((now - at) / 1000 / svidTtlSeconds()) * IN_A_LIFE)
  return (spiffeId) => {
    const now = clock.monotonic()
    const known = spent.get(spiffeId)
    const level = known ? levelOf(known, now) : 0
    if (level + 1 > BURST) {
      throw new SallyportError('SP_RENEW_FLOOD', 'this instance renews too often', {
        fix: 'renew at half of the certificate’s life',
      })
    }
    if (!known && spent.size >= MANY) {
      for (const [id, one] of spent) if (levelOf(one, now) === 0) spent.delete(id)
    }
    spent.set(spiffeId, { level: level + 1, at: now })
  }
}
