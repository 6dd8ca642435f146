export { openKeyring, readKeyring } from './keyring.ts'
export type { Keyring, KeyringOptions, KeyringReader, Sealed } from './keyring.ts'
export { createBarrier, openBarrier } from './barrier/barrier.ts'
export { fileStorage } from './barrier/file.ts'
export type {
  Barrier,
  BarrierOptions,
  BarrierState,
  BarrierStatus,
  BarrierStorage,
  KeyTerm,
  Protection,
  Unsealer,
} from './barrier/types.ts'
