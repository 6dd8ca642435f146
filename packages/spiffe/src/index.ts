export { TrustBundle, certificatesFromPem } from './bundle.ts'
export { createClientAuthority, issueClientCertificate } from './client.ts'
export type { ClientAuthority } from './client.ts'
export { csrFor, publicKeyFromCsr } from './csr.ts'
export { readBundleDocument, writeBundleDocument } from './document.ts'
export type { BundleDocument } from './document.ts'
export { extensionsOf } from './extensions.ts'
export { agentId, controlId, gatewayId, kindOf, parseSpiffeId, serviceId } from './id.ts'
export type { SpiffeId, SpiffeKind } from './id.ts'
export { createIssuer, createRoot, permitsAuthorities, signAuthority, signRoot } from './issue.ts'
export type {
  CertificateSigner,
  IssuedSvid,
  Issuer,
  LeafRequest,
  RootMaterial,
  RootRequest,
} from './issue.ts'
export type { PublicJwk } from './jwk.ts'
export { readJwkSet } from './jwk-set.ts'
export { readJws } from './jws.ts'
export { createJwtAuthority, issueJwtSvid, verifyJwtSvid } from './jwt.ts'
export type {
  IssuedJwtSvid,
  JwtAuthority,
  JwtSigner,
  JwtSvidRequest,
  VerifiedJwtSvid,
} from './jwt.ts'
export { verifySvid } from './verify.ts'
export type { VerifiedSvid } from './verify.ts'
