import { createPrivateKey, X509Certificate } from 'node:crypto'

import { SallyportError } from '@sallyport/base'
import { TrustBundle } from '@sallyport/spiffe'

/** What is needed to verify peers of one trust domain. */
export interface TrustAnchors {
  readonly rootsPem: string
  readonly trustDomain: string
}

/** An SVID with its key, and the roots that its peers are verified against. */
export interface IdentityMaterial extends TrustAnchors {
  /** Leaf first. */
  readonly chainPem: string
  readonly keyPem: string
  /** Milliseconds since the epoch. */
  readonly notAfter: number
}

/**
 * Holds the identity of a process. Key, certificate and roots change together or not at all, so that no handshake
 * ever sees a key beside another key's certificate.
 */
export class IdentityHolder {
  #current: IdentityMaterial
  readonly #listeners = new Set<(next: IdentityMaterial) => void>()

  /** @throws SallyportError `SP_IDENTITY_MISMATCH`, `SP_BUNDLE_INVALID` and what the profile says of a root */
  constructor(initial: IdentityMaterial) {
    check(initial)
    this.#current = initial
  }

  current(): IdentityMaterial {
    return this.#current
  }

  /**
   * Swaps the identity for every later handshake. A broken one is refused and the old one stays.
   *
   * @throws SallyportError as the constructor
   */
  replace(next: IdentityMaterial): void {
    check(next)
    this.#current = next
    for (const listener of this.#listeners) listener(next)
  }

  /** Calls `listener` after every swap; returns what ends that. */
  onChange(listener: (next: IdentityMaterial) => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }
}

function check(material: IdentityMaterial): void {
  bundlesOf(material)
  let fits: boolean
  try {
    fits = new X509Certificate(material.chainPem).checkPrivateKey(createPrivateKey(material.keyPem))
  } catch (cause) {
    throw mismatch('the certificate or the key cannot be read', cause)
  }
  if (!fits) throw mismatch('the key does not belong to the certificate')
}

function mismatch(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_IDENTITY_MISMATCH', 'the identity cannot be used', {
    detail,
    fix: 'enrol again, so that key and certificate are made together',
    cause,
  })
}

const parsed = new WeakMap<TrustAnchors, ReadonlyMap<string, TrustBundle>>()

/** The one bundle that the anchors stand for, read once. */
export function bundlesOf(anchors: TrustAnchors): ReadonlyMap<string, TrustBundle> {
  const known = parsed.get(anchors)
  if (known) return known
  const bundle = TrustBundle.fromPem(anchors.trustDomain, anchors.rootsPem)
  const bundles = new Map([[anchors.trustDomain, bundle]])
  parsed.set(anchors, bundles)
  return bundles
}
