import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

/** What a test bends to make an answer that must be refused. */
export interface Bend {
  readonly rpId?: string
  readonly origin?: string
  readonly challenge?: string
  readonly flags?: number
  /** A COSE key to register in place of the real one. */
  readonly publicKey?: Buffer
}

export interface CreationOptions {
  readonly challenge: string
  readonly rp: { readonly id?: string }
  readonly user: { readonly id: string }
}

export interface RequestOptions {
  readonly challenge: string
  readonly rpId?: string
  readonly allowCredentials?: readonly { readonly id: string }[]
}

/** A software passkey (P-256) for tests: 'none' attestation, discoverable, user verified. */
export class SoftAuthenticator {
  readonly origin: string
  readonly credentialId: string = randomBytes(16).toString('base64url')
  readonly #privateKey: KeyObject
  readonly #publicKey: Buffer
  #rpId = 'localhost'

  constructor(origin: string) {
    this.origin = origin
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
    this.#privateKey = privateKey
    // {1: 2 (EC2), 3: -7 (ES256), -1: 1 (P-256), -2: x, -3: y}
    this.#publicKey = Buffer.concat([
      Buffer.from('a5010203262001215820', 'hex'),
      Buffer.from(x, 'base64url'),
      Buffer.from('225820', 'hex'),
      Buffer.from(y, 'base64url'),
    ])
  }

  /** `RegistrationResponseJSON` */
  create(options: CreationOptions, bend: Bend = {}): Record<string, unknown> {
    this.#rpId = bend.rpId ?? options.rp.id ?? 'localhost'
    const id = Buffer.from(this.credentialId, 'base64url')
    const attested = Buffer.concat([
      Buffer.alloc(16),
      Buffer.from([0, id.length]),
      id,
      bend.publicKey ?? this.#publicKey,
    ])
    const authData = Buffer.concat([this.#head(this.#rpId, bend.flags ?? 0x45), attested])
    // {"fmt": "none", "attStmt": {}, "authData": bytes}
    const attestationObject = Buffer.concat([
      Buffer.from('a363666d74646e6f6e656761747453746d74a068617574684461746158', 'hex'),
      Buffer.from([authData.length]),
      authData,
    ])
    return this.#answer({
      clientDataJSON: this.#clientData('webauthn.create', options.challenge, bend).toString(
        'base64url',
      ),
      attestationObject: attestationObject.toString('base64url'),
      transports: ['internal'],
    })
  }

  /** `AuthenticationResponseJSON` */
  get(options: RequestOptions, bend: Bend = {}): Record<string, unknown> {
    const authenticatorData = this.#head(
      bend.rpId ?? options.rpId ?? this.#rpId,
      bend.flags ?? 0x05,
    )
    const clientData = this.#clientData('webauthn.get', options.challenge, bend)
    const signed = Buffer.concat([authenticatorData, sha256(clientData)])
    return this.#answer({
      clientDataJSON: clientData.toString('base64url'),
      authenticatorData: authenticatorData.toString('base64url'),
      signature: sign('sha256', signed, this.#privateKey).toString('base64url'),
    })
  }

  #head(rpId: string, flags: number): Buffer {
    return Buffer.concat([sha256(Buffer.from(rpId)), Buffer.from([flags, 0, 0, 0, 0])])
  }

  #clientData(type: string, challenge: string, bend: Bend): Buffer {
    return Buffer.from(
      JSON.stringify({
        type,
        challenge: bend.challenge ?? challenge,
        origin: bend.origin ?? this.origin,
        crossOrigin: false,
      }),
    )
  }

  #answer(response: Record<string, unknown>): Record<string, unknown> {
    return {
      id: this.credentialId,
      rawId: this.credentialId,
      type: 'public-key',
      authenticatorAttachment: 'platform',
      clientExtensionResults: {},
      response,
    }
  }
}

function sha256(data: Buffer): Buffer {
  return createHash('sha256').update(data).digest()
}
