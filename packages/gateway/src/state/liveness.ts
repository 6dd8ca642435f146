import type { VerifiedSvid } from '@sallyport/spiffe'

/**
 * The certificates that instances have presented. A stream outlives the one it was opened with; its instance is alive
 * as long as it has shown, on any connection, another that has neither ended nor been revoked.
 */
export class Liveness {
  /** Instance → serial → notAfter. */
  readonly #presented = new Map<string, Map<string, number>>()

  saw(svid: VerifiedSvid, now: number): void {
    let own = this.#presented.get(svid.id.uri)
    if (!own) this.#presented.set(svid.id.uri, (own = new Map()))
    for (const [serial, notAfter] of own) if (notAfter < now) own.delete(serial)
    own.set(svid.serial, svid.notAfter)
  }

  isLive(instance: string, now: number, isRevoked: (serial: string) => boolean): boolean {
    for (const [serial, notAfter] of this.#presented.get(instance) ?? []) {
      if (now <= notAfter && !isRevoked(serial)) return true
    }
    return false
  }

  /** Whether the instance has presented a certificate that lasts longer than this one. */
  hasNewer(svid: VerifiedSvid): boolean {
    const own = this.#presented.get(svid.id.uri)
    // Most have but the one.
    if (own === undefined || (own.size === 1 && own.has(svid.serial))) return false
    for (const notAfter of own.values()) if (notAfter > svid.notAfter) return true
    return false
  }

  /** Forgets instances whose certificates have all ended. */
  prune(now: number): void {
    for (const [instance, own] of this.#presented) {
      if ([...own.values()].every((notAfter) => notAfter < now)) this.#presented.delete(instance)
    }
  }
}
