import { hash, randomBytes } from 'node:crypto'
import { SallyportError, sha256Hex } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import {
  generateAuthenticationOptions,
  generateRegistrationOptions,
  verifyAuthenticationResponse,
  verifyRegistrationResponse,
} from '@simplewebauthn/server'
import type {
  PublicKeyCredentialCreationOptionsJSON,
  PublicKeyCredentialRequestOptionsJSON,
} from '@simplewebauthn/server'
import { statementChallenge } from '@sallyport/wire'
import type { OperatorKey, PasskeySignature, Statement } from '@sallyport/wire'
import type { Operators, RegistrationView } from '../domain/operators.ts'
import { any, openObject, text } from './schema.ts'
import type { ObjectSchema } from './schema.ts'

/** What gateways can verify: ES256, EdDSA, RS256 (IANA COSE algorithms). */
const ALGORITHMS = [-7, -8, -257]
const ENCODED = '^[A-Za-z0-9_\\-]+$'

/** `AuthenticationResponseJSON` of WebAuthn Level 3; browsers add members. */
export const assertionSchema: ObjectSchema = openObject({
  id: text(1024, ENCODED),
  type: { type: 'string', maxLength: 10, enum: ['public-key'] },
  response: openObject({
    authenticatorData: text(8192, ENCODED),
    clientDataJSON: text(16_384, ENCODED),
    signature: text(4096, ENCODED),
  }),
})

/** `RegistrationResponseJSON` of WebAuthn Level 3. */
export const attestationSchema: ObjectSchema = openObject({
  id: text(1024, ENCODED),
  type: { type: 'string', maxLength: 10, enum: ['public-key'] },
  response: openObject({
    attestationObject: text(32_768, ENCODED),
    clientDataJSON: text(16_384, ENCODED),
    'transports?': any('hints, not kept'),
  }),
})

interface Assertion {
  readonly id: string
  readonly response: {
    readonly authenticatorData: string
    readonly clientDataJSON: string
    readonly signature: string
  }
}

/** Creation options bound to a one-time link; the challenge is kept for that link alone. */
export async function registrationOptions(
  operators: Operators,
  link: string,
  view: RegistrationView,
): Promise<PublicKeyCredentialCreationOptionsJSON> {
  const options = await generateRegistrationOptions({
    rpName: 'Sallyport',
    rpID: operators.rpId(),
    userName: view.operator,
    userDisplayName: view.displayName,
    userID: Uint8Array.from(hash('sha256', `sallyport ${view.operator}`, 'buffer')),
    challenge: Uint8Array.from(randomBytes(32)),
    attestationType: 'none',
    excludeCredentials: view.credentialIds.map((id) => ({ id })),
    authenticatorSelection: {
      residentKey: 'required',
      requireResidentKey: true,
      userVerification: 'required',
    },
    supportedAlgorithmIDs: ALGORITHMS,
  })
  await operators.keepChallenge(options.challenge, purposeOf(link))
  return options
}

/** Verifies a registration (WebAuthn Level 3, section 7.1). @throws SallyportError `SP_API_LOGIN` */
export async function verifyRegistration(
  operators: Operators,
  link: string,
  response: JsonValue,
): Promise<{ credentialId: string; publicKey: string }> {
  // `attestationSchema` has checked the members that are read.
  const given = response as unknown as Parameters<typeof verifyRegistrationResponse>[0]['response']
  const verified = await attempt(() =>
    verifyRegistrationResponse({
      response: given,
      expectedChallenge: (challenge) => operators.takeChallenge(challenge, purposeOf(link)),
      expectedOrigin: operators.origin(),
      expectedRPID: operators.rpId(),
      requireUserPresence: true,
      requireUserVerification: true,
      supportedAlgorithmIDs: ALGORITHMS,
    }),
  )
  if (!verified.verified) throw refused()
  const { id, publicKey } = verified.registrationInfo.credential
  return { credentialId: id, publicKey: Buffer.from(publicKey).toString('base64url') }
}

/** Request options for signing in with any passkey of this console. */
export async function loginOptions(
  operators: Operators,
): Promise<PublicKeyCredentialRequestOptionsJSON> {
  const options = await generateAuthenticationOptions({
    rpID: operators.rpId(),
    userVerification: 'required',
    challenge: Uint8Array.from(randomBytes(32)),
  })
  await operators.keepChallenge(options.challenge, 'login')
  return options
}

/**
 * Verifies a sign-in (WebAuthn Level 3, section 7.2) against the operator set in force.
 *
 * @returns the operator whose passkey it is, and which
 * @throws SallyportError `SP_API_LOGIN`
 */
export async function verifyLogin(
  operators: Operators,
  response: JsonValue,
): Promise<{ operator: string; credentialId: string }> {
  const keys = operators.set()?.keys ?? []
  const { operator, credentialId } = await verifyAssertion(operators, keys, 'login', response)
  return { operator, credentialId }
}

async function verifyAssertion(
  operators: Operators,
  keys: readonly OperatorKey[],
  purpose: string,
  response: JsonValue,
): Promise<OperatorKey> {
  // `assertionSchema` has checked the members that are read.
  const given = response as unknown as Parameters<
    typeof verifyAuthenticationResponse
  >[0]['response']
  const key = keys.find(({ credentialId }) => credentialId === given.id)
  if (!key) throw refused()
  const { verified } = await attempt(() =>
    verifyAuthenticationResponse({
      response: given,
      expectedChallenge: (challenge) => operators.takeChallenge(challenge, purpose),
      expectedOrigin: operators.origin(),
      expectedRPID: operators.rpId(),
      requireUserVerification: true,
      credential: {
        id: key.credentialId,
        publicKey: Uint8Array.from(Buffer.from(key.publicKey, 'base64url')),
        // Synced passkeys do not count; see wire's verifyPasskey.
        counter: 0,
      },
    }),
  )
  if (!verified) throw refused()
  return key
}

/**
 * Request options for showing, with one's own passkey and user verification, that it is oneself who does one certain thing.
 *
 * @param purpose what, e.g. `recovery:olga`: the answer is good for nothing else
 */
export async function presenceOptions(
  operators: Operators,
  operator: string,
  purpose: string,
): Promise<PublicKeyCredentialRequestOptionsJSON> {
  const options = await generateAuthenticationOptions({
    rpID: operators.rpId(),
    userVerification: 'required',
    challenge: Uint8Array.from(randomBytes(32)),
    allowCredentials: keysOf(operators, operator).map(({ credentialId }) => ({ id: credentialId })),
  })
  await operators.keepChallenge(options.challenge, `${operator} ${purpose}`)
  return options
}

/** @throws SallyportError `SP_API_LOGIN` */
export async function verifyPresence(
  operators: Operators,
  operator: string,
  purpose: string,
  response: JsonValue,
): Promise<void> {
  const own = keysOf(operators, operator)
  await verifyAssertion(operators, own, `${operator} ${purpose}`, response)
}

const keysOf = (operators: Operators, operator: string): readonly OperatorKey[] =>
  (operators.set()?.keys ?? []).filter((key) => key.operator === operator)

/** Request options for signing one statement with one's own passkeys: the statement is the challenge. */
export async function signingOptions<S extends Statement>(
  operators: Operators,
  operator: string,
  statement: S,
): Promise<{ statement: S; options: PublicKeyCredentialRequestOptionsJSON }> {
  const own = keysOf(operators, operator)
  const options = await generateAuthenticationOptions({
    rpID: operators.rpId(),
    userVerification: 'required',
    challenge: Uint8Array.from(statementChallenge(statement)),
    allowCredentials: own.map(({ credentialId }) => ({ id: credentialId })),
  })
  return { statement, options }
}

/** The browser's answer to `signingOptions` as planes pass it on; it is verified where the statement is decided. */
export function passkeySignature(
  operator: string,
  response: JsonValue | undefined,
): PasskeySignature {
  // `assertionSchema` has checked the members that are read.
  const { id, response: given } = response as unknown as Assertion
  const { authenticatorData, clientDataJSON, signature } = given
  return { operator, credentialId: id, authenticatorData, clientDataJSON, signature }
}

const purposeOf = (link: string): string => `register:${sha256Hex(link)}`

/** The library throws plain errors that say too much to a stranger: they become the cause of ours. */
async function attempt<T>(verify: () => Promise<T>): Promise<T> {
  try {
    return await verify()
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause
    throw refused(cause)
  }
}

function refused(cause?: unknown): SallyportError {
  return new SallyportError('SP_API_LOGIN', 'the passkey was not accepted', {
    cause,
    ...(cause instanceof Error ? { detail: cause.message } : {}),
  })
}
