export type {
  ApprovalRecord,
  ApprovalStatement,
  AuditRecord,
  Bundle,
  BundleState,
  CallToken,
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
  RiskEntry,
  SealedValue,
  Signed,
  ShadowDeclaration,
  ShadowOutcome,
  SignedBundle,
  Statement,
  TrustPins,
} from './types.ts'
export { acceptBundle } from './accept.ts'
export {
  compareRevision,
  declarationDigest,
  signBundle,
  signOperatorSet,
  verifyBundle,
} from './bundle.ts'
export { assertPasskeyKey } from './cose.ts'
export { issueCallToken, requestHash, verifyCallToken } from './call-token.ts'
export { verifyPasskey } from './passkey.ts'
export { verifyApprovals, verifyQuorum } from './quorum.ts'
export type { ApprovedCall } from './quorum.ts'
export { decodeRecord, encodeRecord } from './record.ts'
export { statementChallenge } from './statement.ts'
