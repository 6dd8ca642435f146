import { TrustBundle } from '@sallyport/spiffe'
import type { TrustAnchors } from '@sallyport/transport'
import { acceptRoots, trustedRoots } from '@sallyport/wire'
import type { RootTrust } from '@sallyport/wire'

import type { JsonObject } from './refused.ts'
import { unusable } from './unusable.ts'

/**
 * The roots that this process verifies its peers against: those it was given by hand, and later ones that a quorum of operators signed.
 * What the control plane says of roots counts for nothing by itself.
 */
export class Roots {
  readonly trustDomain: string
  readonly #given: string
  /** Signs the first set of operators: pinned with the first answer, which came from who the roots given by hand vouch for. */
  #genesisKey: string | undefined
  #enrolled = false
  #trust: RootTrust | undefined
  #pem: string

  constructor(anchors: TrustAnchors) {
    this.trustDomain = anchors.trustDomain
    this.#given = anchors.rootsPem
    this.#pem = anchors.rootsPem
  }

  /** PEM. */
  get pem(): string {
    return this.#pem
  }

  /**
   * Takes what an enrolment or a renewal says of roots, or refuses it and keeps what there is.
   *
   * @returns PEM of the roots that are trusted now
   * @throws SallyportError `SP_BUNDLE_*`
   */
  take(answer: JsonObject): string {
    const { genesisKey, rootProof } = answer
    if (!this.#enrolled && typeof genesisKey === 'string') this.#genesisKey = genesisKey
    this.#enrolled = true
    if (rootProof === undefined) return this.#pem
    // A control plane from before there were successors of the root says neither.
    if (this.#genesisKey === undefined)
      throw unusable('other roots without the key that begins their proof')
    const pins = {
      trustDomain: this.trustDomain,
      genesisKey: this.#genesisKey,
      roots: this.#given,
    }
    const trust = acceptRoots(this.#trust, rootProof, pins)
    const pem = trustedRoots(trust.roots, pins)
    TrustBundle.fromPem(this.trustDomain, pem)
    this.#trust = trust
    this.#pem = pem
    return pem
  }
}
