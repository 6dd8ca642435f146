/** Just enough of a WebAuthn relying party for a fixture: challenge, origin, flags and signature are verified for real. */
import { createHash, createPublicKey, randomBytes, verify } from 'node:crypto'
import type { AuthenticationResponseJSON, RegistrationResponseJSON } from '@simplewebauthn/browser'

interface Key {
  readonly operator: string
  readonly spki: Buffer
}

/** Sorted-key JSON, written apart from the console's own so that a fault in one shows. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  )
}

export class Passkeys {
  readonly keys: Map<string, Key> = new Map()
  readonly #open = new Set<string>()
  readonly #origin: () => string

  constructor(origin: () => string) {
    this.#origin = origin
  }

  challenge(statement?: unknown): string {
    const value =
      statement === undefined
        ? randomBytes(32).toString('base64url')
        : createHash('sha256').update(canonical(statement)).digest('base64url')
    this.#open.add(value)
    return value
  }

  creation(operator: string): unknown {
    return {
      rp: { id: 'localhost', name: 'Sallyport' },
      user: {
        id: Buffer.from(operator).toString('base64url'),
        name: operator,
        displayName: operator,
      },
      challenge: this.challenge(),
      pubKeyCredParams: [{ type: 'public-key', alg: -7 }],
      authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
      attestation: 'none',
    }
  }

  request(statement?: unknown): unknown {
    return { rpId: 'localhost', challenge: this.challenge(statement), userVerification: 'required' }
  }

  register(operator: string, response: RegistrationResponseJSON): boolean {
    const client = this.#client(response.response.clientDataJSON, 'webauthn.create')
    const key = response.response.publicKey
    if (!client || key === undefined) return false
    this.keys.set(response.id, { operator, spki: Buffer.from(key, 'base64url') })
    return true
  }

  /** The operator whose key signed the challenge, or undefined. */
  authenticate(response: AuthenticationResponseJSON, statement?: unknown): string | undefined {
    const key = this.keys.get(response.id)
    const challenge = this.#client(response.response.clientDataJSON, 'webauthn.get')
    if (!key || challenge === undefined) return undefined
    if (
      statement !== undefined &&
      challenge !== createHash('sha256').update(canonical(statement)).digest('base64url')
    ) {
      return undefined
    }
    const data = Buffer.from(response.response.authenticatorData, 'base64url')
    // User present and user verified (WebAuthn section 6.1).
    if (((data[32] ?? 0) & 0b101) !== 0b101) return undefined
    const signed = Buffer.concat([
      data,
      createHash('sha256')
        .update(Buffer.from(response.response.clientDataJSON, 'base64url'))
        .digest(),
    ])
    const good = verify(
      'sha256',
      signed,
      createPublicKey({ key: key.spki, format: 'der', type: 'spki' }),
      Buffer.from(response.response.signature, 'base64url'),
    )
    return good ? key.operator : undefined
  }

  #client(encoded: string, type: string): string | undefined {
    const parsed: unknown = JSON.parse(Buffer.from(encoded, 'base64url').toString('utf8'))
    if (typeof parsed !== 'object' || parsed === null) return undefined
    const challenge: unknown = Reflect.get(parsed, 'challenge')
    return Reflect.get(parsed, 'type') === type &&
      Reflect.get(parsed, 'origin') === this.#origin() &&
      typeof challenge === 'string' &&
      this.#open.delete(challenge)
      ? challenge
      : undefined
  }
}
