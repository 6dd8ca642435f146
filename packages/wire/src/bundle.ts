import { createPublicKey, sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { canonicalJson, sha256Hex, SallyportError } from '@sallyport/base'
import { fromBase64url } from './base64url.ts'
import { signedBundleShape } from './bundle-shape.ts'
import { demand } from './shape.ts'
import type { Bundle, OperatorSet, Revision, SignedBundle, TrustPins } from './types.ts'

/** Negative where `a` is older than `b`: epoch first, then n. */
export function compareRevision(a: Revision, b: Revision): number {
  return a.epoch - b.epoch || a.n - b.n
}

/** SHA-256 hex of the canonical declaration: what operators sign and records name. */
export function declarationDigest(declaration: unknown): string {
  return sha256Hex(canonicalJson(declaration))
}

/** Signs with Ed25519 (RFC 8032) over the bundle's canonical JSON, with a key of this process or one that is kept elsewhere. */
export function signBundle<D>(
  bundle: Bundle<D>,
  bundleKey: KeyObject | { sign(data: Uint8Array): Buffer },
): SignedBundle<D> {
  const message = Buffer.from(canonicalJson(bundle))
  const signature = 'sign' in bundleKey ? bundleKey.sign(message) : sign(null, message, bundleKey)
  return { bundle, signature: signature.toString('base64url') }
}

/**
 * Signature, format, trust domain and declared digest only: whether it may take effect is `acceptBundle`'s to say.
 *
 * @throws SallyportError `SP_BUNDLE_FORMAT`, `SP_BUNDLE_SIGNATURE`, `SP_BUNDLE_DOMAIN`, `SP_BUNDLE_DIGEST`
 */
export function verifyBundle<D>(signed: SignedBundle<D>, pins: TrustPins): Bundle<D> {
  demand(signedBundleShape, signed, 'SP_BUNDLE_FORMAT', 'the bundle is malformed')
  const { bundle, signature } = signed
  if (!signedWith(pins.bundleKey, canonicalJson(bundle), signature)) {
    throw new SallyportError('SP_BUNDLE_SIGNATURE', 'the bundle is not signed with the pinned key')
  }
  if (bundle.trustDomain !== pins.trustDomain) {
    throw new SallyportError('SP_BUNDLE_DOMAIN', 'the bundle is for another trust domain')
  }
  const { shadow } = bundle
  if (
    declarationDigest(bundle.declaration) !== bundle.declarationDigest ||
    (shadow && declarationDigest(shadow.declaration) !== shadow.digest)
  ) {
    throw new SallyportError(
      'SP_BUNDLE_DIGEST',
      'the bundle names a digest its declaration has not',
    )
  }
  return bundle
}

/** The genesis key's signature (Ed25519, base64url) that makes operator set version 1 valid. */
export function signOperatorSet(set: OperatorSet, genesisKey: KeyObject): string {
  return sign(null, Buffer.from(genesisMessage(set)), genesisKey).toString('base64url')
}

/** Whether `signature` is the pinned genesis key's over this set. */
export function genesisSigned(
  set: OperatorSet,
  signature: string,
  pins: Pick<TrustPins, 'genesisKey'>,
): boolean {
  return signedWith(pins.genesisKey, genesisMessage(set), signature)
}

function genesisMessage(set: OperatorSet): string {
  return canonicalJson({ kind: 'operators', set })
}

function signedWith(spki: string, message: string, signature: string): boolean {
  const bytes = fromBase64url(signature)
  if (bytes?.length !== 64) return false
  const key = createPublicKey({ key: Buffer.from(spki, 'base64url'), format: 'der', type: 'spki' })
  // A pin of another kind would change what the signature means.
  if (key.asymmetricKeyType !== 'ed25519') return false
  return verify(null, Buffer.from(message), key, bytes)
}
