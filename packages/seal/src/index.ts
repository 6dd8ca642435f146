export { openKeyring, readKeyring } from './keyring.ts'
export type { Keyring, KeyringOptions, KeyringReader, Sealed } from './keyring.ts'
export { createBarrier, openBarrier } from './barrier/barrier.ts'
export { barrierRevision } from './barrier/document.ts'
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
export { fileUnsealer, makeFileUnsealer } from './keys/file-unsealer.ts'
export { pinSource } from './keys/pin.ts'
export { sealedKeys } from './keys/sealed.ts'
export { softwareKeys } from './keys/software.ts'
export type { KeyAlgorithm, KeyInfo, KeyProvider, Signer } from './keys/types.ts'
export { openTokenKeys } from './pkcs11/provider.ts'
export type { TokenKeys, TokenKeysOptions } from './pkcs11/provider.ts'
