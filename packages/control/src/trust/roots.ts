import { parseJson, SallyportError } from '@sallyport/base'
import { acceptRoots, trustedRoots } from '@sallyport/wire'
import type { RootProof, TrustPins } from '@sallyport/wire'

/** One root of the trust domain as this data directory keeps it, the one that `init` made among them. */
export interface KeptRoot {
  /** DER, base64url. */
  readonly certificate: string
  /** Name of its key, where it is known here. */
  readonly key?: string
  /** Milliseconds since the epoch. */
  readonly preparedAt: number
  readonly trustedAt: number
  readonly activatedAt?: number
  readonly retiredAt?: number
}

/**
 * `trust/roots.json`: which roots there are beside the first, since there was one. A copy of what the database says: a database that was
 * restored learns from it what came after its backup.
 */
export interface KeptRoots {
  readonly format: 'sallyport-roots/1'
  /** PEM of what `init` made: what bundles are verified by begins with it. */
  readonly genesis: string
  readonly roots: readonly KeptRoot[]
  /** What makes the others believable. */
  readonly proof: RootProof
}

export const ROOTS_FORMAT = 'sallyport-roots/1'

/**
 * Reads it back and verifies the signatures in it.
 *
 * @param pins of the network; their roots may be later ones
 * @throws SallyportError `SP_TRUST_DAMAGED`
 */
export function readRoots(text: string, pins: TrustPins): KeptRoots {
  try {
    const value = parseJson(text)
    const known = value !== null && typeof value === 'object' && 'format' in value
    if (!known || value['format'] !== ROOTS_FORMAT) throw new Error('it is of another format')
    // Written whole by this product, in one step; what others must believe in it is verified below.
    const kept = value as unknown as KeptRoots
    acceptRoots(undefined, kept.proof, { ...pins, roots: kept.genesis })
    return kept
  } catch (cause) {
    throw new SallyportError('SP_TRUST_DAMAGED', 'the trust root is damaged', {
      detail: `roots.json: ${cause instanceof Error ? cause.message : String(cause)}`,
      fix: 'restore the folder `trust` from a backup',
      cause,
    })
  }
}

/** PEM of the roots that are trusted by it. */
export function trustedIn({ genesis, proof }: Pick<KeptRoots, 'genesis' | 'proof'>): string {
  const { added = [], retired = [] } = proof.roots ?? {}
  const seen = { added: added.map(({ statement }) => statement.certificate), retired }
  return trustedRoots(seen, { roots: genesis })
}
