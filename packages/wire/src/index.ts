export type {
  ApprovalRecord,
  ApprovalStatement,
  AuditRecord,
  BackchannelStatement,
  Bundle,
  BundleState,
  CallToken,
  ConsentStatement,
  DeclarationStatement,
  DecisionRecord,
  EventRecord,
  FeedItem,
  LabelRecord,
  MandateFacts,
  OnBehalfOf,
  OperatorKey,
  OperatorLink,
  OperatorSet,
  OutcomeRecord,
  PasskeySignature,
  Quarantine,
  Revision,
  ReviewStatement,
  RevokedMandate,
  RiskEntry,
  RootList,
  RootProof,
  RootsSeen,
  RootStatement,
  RootTrust,
  SealedValue,
  Signed,
  ShadowDeclaration,
  ShadowOutcome,
  SignedBundle,
  Statement,
  TokenKey,
  TokenTrust,
  TrustPins,
} from './types.ts'
export { isCardSigned } from './card-signature.ts'
export { acceptBundle } from './accept.ts'
export {
  compareRevision,
  declarationDigest,
  signBundle,
  signOperatorSet,
  verifyBundle,
} from './bundle.ts'
export { assertPasskeyKey } from './cose.ts'
export { areDistinct } from './operators.ts'
export {
  issueCallToken,
  requestHash,
  requestHashOf,
  signedCallToken,
  unsignedCallToken,
  verifyCallToken,
} from './call-token.ts'
export { possessionText } from './possession.ts'
export { verifyPasskey } from './passkey.ts'
export { verifyApprovals, verifyQuorum } from './quorum.ts'
export type { ApprovedCall } from './quorum.ts'
export { decodeRecord, encodeRecord } from './record.ts'
export { acceptRoots, rootFingerprint, rootProof, trustedRoots } from './roots.ts'
export { statementChallenge } from './statement.ts'
export { coverOf } from './mandate/cover.ts'
export type { HopUse, MandatedCall } from './mandate/cover.ts'
export { MANDATE_DETAIL_TYPE, mandateDetail, mandateOfDetail } from './mandate/rar.ts'
export type { MandateDetail } from './mandate/rar.ts'
export {
  MANDATE_ID,
  MAX_MANDATE_MS,
  MAX_MANDATE_TOKEN,
  readMandateStatement,
} from './mandate/shape.ts'
export { mandateId, mandateToken, readMandateToken, signAgentMandate } from './mandate/sign.ts'
export type {
  AgentMandate,
  AmountCeiling,
  ArgumentConstraint,
  MandateGrant,
  MandateStatement,
  OperatorMandate,
  SignedMandate,
  VerifiedMandate,
} from './mandate/types.ts'
export { holdsMandate, verifyMandate } from './mandate/verify.ts'
export type { MandateRules, MandateSigner } from './mandate/verify.ts'
