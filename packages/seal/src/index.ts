export { openKeyring } from './keyring.ts'
export type { Keyring, KeyringOptions, Sealed } from './keyring.ts'
