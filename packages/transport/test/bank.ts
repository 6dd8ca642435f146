/** A trust domain with an honest issuer and, beside it, what tests need to be dishonest. */
import { generateKeyPairSync } from 'node:crypto'

import { createIssuer, createRoot } from '@sallyport/spiffe'
import type { RootMaterial } from '@sallyport/spiffe'

import { IdentityHolder } from '../src/index.ts'
import type { IdentityMaterial } from '../src/index.ts'
import { forge } from '../../spiffe/test/forge.ts'
import type { Forged, Recipe } from '../../spiffe/test/forge.ts'

const TRUST_DOMAIN = 'bank.test'
export const root: RootMaterial = createRoot({ trustDomain: TRUST_DOMAIN, ttlSeconds: 86_400 })
const issuer = createIssuer({ certificatePem: root.certificatePem, privateKey: root.privateKeyPem })

export function identityOf(path: string, ttlSeconds = 600): IdentityMaterial {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const issued = issuer.issue({
    spiffeId: `spiffe://${TRUST_DOMAIN}${path}`,
    publicKeySpki: publicKey.export({ format: 'der', type: 'spki' }),
    ttlSeconds,
  })
  return {
    chainPem: issued.chainPem,
    keyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    rootsPem: root.certificatePem,
    trustDomain: TRUST_DOMAIN,
    notAfter: issued.notAfter,
  }
}

export const holderOf = (path: string, ttlSeconds?: number): IdentityHolder =>
  new IdentityHolder(identityOf(path, ttlSeconds))

/** A forged certificate in the hands of an otherwise honest holder that trusts `roots`. */
export function holderOfForged(leaf: Forged, roots: string): IdentityHolder {
  return new IdentityHolder({
    chainPem: leaf.pem,
    keyPem: leaf.keyPem,
    rootsPem: roots,
    trustDomain: TRUST_DOMAIN,
    notAfter: Date.now() + 600_000,
  })
}

export const forgedHolder = (signer: Forged, recipe: Recipe = {}): IdentityHolder =>
  holderOfForged(forge({ signer, ...recipe }), signer.pem)
