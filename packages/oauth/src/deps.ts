import type { KeyObject } from 'node:crypto'
import type { Clock } from '@sallyport/base'
import type { NetworkIndex } from '@sallyport/network'
import type { TokenTrust } from '@sallyport/wire'
import type { Artefacts } from './artefacts.ts'
import type { BackchannelQuestions } from './backchannel.ts'
import type { Grants } from './grants.ts'
import type { RevokedToken } from './inspect.ts'

export interface AuthorisationServerDeps {
  /** An origin, exactly as tokens have it in `iss`: it does not change while tokens live. */
  readonly issuer: string
  readonly trustDomain: string
  readonly clock: Clock
  readonly network: () => NetworkIndex
  readonly artefacts: Artefacts
  readonly grants: Grants
  /** Where agents ask people out of band. */
  readonly questions: BackchannelQuestions
  /** Signs access tokens (P-256); its public half must be in `trust` before the first one is issued. */
  readonly signing: { readonly kid: string; readonly privateKey: KeyObject }
  readonly trust: () => TokenTrust | undefined
  /** Whether an agent's SPIFFE id or an `operator:NAME` is declared and not cut off. */
  readonly standing: (subject: string) => boolean
  /** Whether a certificate is revoked. */
  readonly revokedSerial: (serial: string) => boolean
  /** SPKI DER of the certificates that an instance has and may use. */
  readonly keysOf: (spiffeId: string) => Promise<readonly Buffer[]>
  /** Makes a token count no more, wherever it is presented; resolves when that is published. */
  readonly revoke: (token: RevokedToken) => Promise<void>
  readonly onError: (error: unknown) => void
}
