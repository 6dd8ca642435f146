export { parseCheckpoint } from './checkpoint.ts'
export type { Checkpoint } from './checkpoint.ts'
export { openLog } from './log.ts'
export type { InclusionProof, Log, LogOptions, Recovery } from './log.ts'
export {
  consistencyProof,
  inclusionProof,
  leafHash,
  rootOf,
  verifyConsistency,
  verifyInclusion,
} from './merkle.ts'
export { verifyLog } from './verify.ts'
export type { Problem, Verification, VerifyOptions } from './verify.ts'
export type { Storage, StorageFile } from './storage.ts'
