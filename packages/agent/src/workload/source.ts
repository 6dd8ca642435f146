import { createPrivateKey } from 'node:crypto'

import { systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { certificatesFromPem } from '@sallyport/spiffe'

import type { Identity } from '../identity.ts'
import { denied } from './grpc.ts'

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
}

/** The source that an enrolled identity is. */
export class IdentitySource implements WorkloadSource {
  readonly #identity: Pick<Identity, 'holder' | 'spiffeId'>
  readonly #clock: Clock
  readonly #listeners = new Set<() => void>()
  #withdrawn: string | undefined
  #read: { readonly of: object; readonly state: X509State } | undefined

  constructor(identity: Pick<Identity, 'holder' | 'spiffeId'>, clock: Clock = systemClock) {
    this.#identity = identity
    this.#clock = clock
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

  /** Whether only a new enrolment helps; not so where the identity was withdrawn. */
  expired(): boolean {
    const { notAfter } = this.#identity.holder.current()
    return this.#withdrawn === undefined && !(this.#clock.now() <= notAfter)
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

  #tell(): void {
    for (const listener of this.#listeners) listener()
  }
}
