import { createPrivateKey } from 'node:crypto'

import { systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { certificatesFromPem } from '@sallyport/spiffe'

import type { Identity } from '../identity.ts'
import { unusable } from '../unusable.ts'
import { RefusedError } from '../refused.ts'
import { denied } from './grpc.ts'
import { Bundles } from './bundles.ts'
import type { Ask } from './bundles.ts'

/** Everything that a caller is given of X.509: always whole, never a difference. */
export interface X509State {
  readonly spiffeId: string
  readonly trustDomain: string
  /** DER, leaf first. */
  readonly chain: readonly Buffer[]
  /** PKCS#8, DER. */
  readonly key: Buffer
  /** DER. */
  readonly roots: readonly Buffer[]
}

/** Where a caller's identity comes from. */
export interface WorkloadSource {
  /** @throws SallyportError `SP_WORKLOAD_DENIED` where there is none, or none any more */
  x509(): X509State
  /** Calls `listener` after every change, and where the identity is withdrawn; returns what ends that. */
  onChange(listener: () => void): () => void
  /** What others' SVIDs are verified with. */
  readonly bundles: Bundles
  /**
   * A JWT-SVID of the caller's own id.
   *
   * @throws SallyportError `SP_WORKLOAD_DENIED`, and what the control plane says of it
   */
  jwtSvid(audience: readonly string[]): Promise<string>
}

const CUT: ReadonlySet<string> = new Set(['SP_QUARANTINED', 'SP_SVID_REVOKED'])

type IdentityParts = Pick<Identity, 'ask' | 'holder' | 'spiffeId'>

/** The source that an enrolled identity is. */
export class IdentitySource implements WorkloadSource {
  readonly bundles: Bundles
  readonly #identity: IdentityParts
  readonly #clock: Clock
  readonly #listeners = new Set<() => void>()
  #withdrawn: string | undefined
  #read: { readonly of: object; readonly state: X509State } | undefined

  constructor(identity: IdentityParts, clock: Clock = systemClock) {
    this.#identity = identity
    this.#clock = clock
    const { trustDomain } = identity.holder.current()
    this.bundles = new Bundles(trustDomain, (...call) => this.#ask(...call), clock)
    identity.holder.onChange(() => {
      this.#tell()
    })
  }

  x509(): X509State {
    if (this.#withdrawn !== undefined) throw denied(this.#withdrawn)
    const material = this.#identity.holder.current()
    if (!(this.#clock.now() <= material.notAfter)) throw denied('its SVID has expired')
    if (this.#read?.of !== material) {
      const state = {
        spiffeId: this.#identity.spiffeId,
        trustDomain: material.trustDomain,
        chain: certificatesFromPem(material.chainPem),
        key: createPrivateKey(material.keyPem).export({ format: 'der', type: 'pkcs8' }),
        roots: certificatesFromPem(material.rootsPem),
      }
      this.#read = { of: material, state }
    }
    return this.#read.state
  }

  async jwtSvid(audience: readonly string[]): Promise<string> {
    this.x509()
    const { spiffeId, token } = await this.#ask('POST', '/v1/jwt-svid', { audience })
    if (spiffeId !== this.#identity.spiffeId || typeof token !== 'string') {
      throw unusable('a token for another id')
    }
    // Withdrawn while it was asked for.
    this.x509()
    return token
  }

  /** Where it is not, only a new enrolment can help. */
  usable(): boolean {
    const { notAfter } = this.#identity.holder.current()
    return this.#withdrawn === undefined && this.#clock.now() <= notAfter
  }

  /** Nothing is handed out from now on, and whoever waits for the next change is told so. */
  withdraw(reason: string): void {
    this.#withdrawn ??= reason
    this.#read = undefined
    this.#tell()
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** A caller that is cut off hears so from the control plane first, and hands out nothing from then on. */
  async #ask(...call: Parameters<Ask>): ReturnType<Ask> {
    try {
      return await this.#identity.ask(...call)
    } catch (error) {
      if (error instanceof RefusedError && CUT.has(error.code)) this.withdraw(error.code)
      throw error
    }
  }

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }
}
