import { createPublicKey, generateKeyPairSync, hash, randomBytes, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { encodeCbor } from './cbor.ts'

/** The members of WebAuthn creation options that matter here, in their JSON form (WebAuthn L3, 5.1). */
interface CreationOptions {
  readonly rp: { readonly id?: string }
  readonly challenge: string
}

/** The members of WebAuthn request options that matter here. */
interface RequestOptions {
  readonly rpId?: string
  readonly challenge: string
}

interface Credential {
  readonly id: string
  readonly rawId: string
  readonly type: 'public-key'
  readonly authenticatorAttachment: 'platform'
  readonly clientExtensionResults: Record<string, never>
  readonly response: Readonly<Record<string, string | readonly string[]>>
}

const UP = 0x01
const UV = 0x04
const AT = 0x40

/**
 * A WebAuthn authenticator in software, with one P-256 passkey and attestation `none`. It says "user present, user
 * verified" without any user: it plays the operator in headless runs and tests, whose reports say so, and belongs in
 * no product.
 */
export class SoftwareAuthenticator {
  readonly #origin: string
  readonly #privateKey: KeyObject
  readonly #credentialId = randomBytes(16)
  #counter = 0

  /** @param origin what a browser would put into the client data, e.g. `http://localhost:7443` */
  constructor(origin: string) {
    this.#origin = origin
    this.#privateKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  }

  /** Answers `navigator.credentials.create` (WebAuthn L3, 6.3.2). */
  create(options: CreationOptions): Credential {
    const jwk = createPublicKey(this.#privateKey).export({ format: 'jwk' })
    const coordinate = (value: string | undefined): Buffer => Buffer.from(value ?? '', 'base64url')
    // COSE_Key (RFC 9053): EC2, ES256, P-256.
    const publicKey = encodeCbor(
      new Map<number, number | Uint8Array>([
        [1, 2],
        [3, -7],
        [-1, 1],
        [-2, coordinate(jwk.x)],
        [-3, coordinate(jwk.y)],
      ]),
    )
    const length = Buffer.alloc(2)
    length.writeUInt16BE(this.#credentialId.length)
    const authenticatorData = Buffer.concat([
      this.#data(options.rp.id ?? this.#host(), UP | UV | AT),
      Buffer.alloc(16),
      length,
      this.#credentialId,
      publicKey,
    ])
    const attestation = encodeCbor(
      new Map<string, string | Uint8Array | ReadonlyMap<string, string>>([
        ['fmt', 'none'],
        ['attStmt', new Map<string, string>()],
        ['authData', authenticatorData],
      ]),
    )
    return this.#credential({
      clientDataJSON: this.#clientData('webauthn.create', options.challenge).toString('base64url'),
      attestationObject: attestation.toString('base64url'),
      transports: ['internal'],
    })
  }

  /** Answers `navigator.credentials.get` (WebAuthn L3, 6.3.3). */
  get(options: RequestOptions): Credential {
    const authenticatorData = this.#data(options.rpId ?? this.#host(), UP | UV)
    const clientData = this.#clientData('webauthn.get', options.challenge)
    const signed = Buffer.concat([authenticatorData, hash('sha256', clientData, 'buffer')])
    return this.#credential({
      authenticatorData: authenticatorData.toString('base64url'),
      clientDataJSON: clientData.toString('base64url'),
      signature: sign('sha256', signed, this.#privateKey).toString('base64url'),
    })
  }

  #host(): string {
    return new URL(this.#origin).hostname
  }

  #data(rpId: string, flags: number): Buffer {
    const tail = Buffer.alloc(5)
    tail.writeUInt8(flags)
    tail.writeUInt32BE(++this.#counter, 1)
    return Buffer.concat([hash('sha256', rpId, 'buffer'), tail])
  }

  #clientData(type: string, challenge: string): Buffer {
    return Buffer.from(
      JSON.stringify({ type, challenge, origin: this.#origin, crossOrigin: false }),
    )
  }

  #credential(response: Credential['response']): Credential {
    const id = this.#credentialId.toString('base64url')
    return {
      id,
      rawId: id,
      type: 'public-key',
      authenticatorAttachment: 'platform',
      clientExtensionResults: {},
      response,
    }
  }
}
