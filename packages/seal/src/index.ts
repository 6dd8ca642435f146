export { openKeyring, readKeyring } from './keyring.ts'
export type { Keyring, KeyringOptions, KeyringReader, Sealed } from './keyring.ts'
