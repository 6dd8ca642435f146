import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { statementChallenge } from '../../src/index.ts'
import type { OperatorKey, OperatorSet, PasskeySignature, Statement } from '../../src/index.ts'

export const RP_ID = 'localhost'
export const ORIGIN = 'http://localhost:4000'

export type Algorithm = 'ES256' | 'EdDSA' | 'RS256'

/** What a test bends to make a signature that must be refused. */
export interface Bend {
  readonly rpId?: string
  readonly origin?: string
  readonly type?: string
  readonly flags?: number
  readonly clientData?: Readonly<Record<string, unknown>>
  readonly rawClientData?: string
  readonly challenge?: Buffer
  readonly extra?: Buffer
}

/** A software passkey of a test operator. */
export class TestPasskey {
  readonly operator: string
  readonly credentialId: string
  readonly algorithm: Algorithm
  readonly #privateKey: KeyObject
  readonly #publicKey: KeyObject

  constructor(operator: string, algorithm: Algorithm = 'ES256', credential: string = operator) {
    this.operator = operator
    this.algorithm = algorithm
    this.credentialId = Buffer.from(`cred-${credential}`).toString('base64url')
    const pair =
      algorithm === 'ES256'
        ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
        : algorithm === 'EdDSA'
          ? generateKeyPairSync('ed25519')
          : generateKeyPairSync('rsa', { modulusLength: 2048 })
    this.#privateKey = pair.privateKey
    this.#publicKey = pair.publicKey
  }

  key(roles: readonly string[]): OperatorKey {
    return {
      operator: this.operator,
      credentialId: this.credentialId,
      publicKey: coseKey(this.#publicKey).toString('base64url'),
      roles,
    }
  }

  sign(statement: Statement, bend: Bend = {}): PasskeySignature {
    const challenge = bend.challenge ?? statementChallenge(statement)
    const clientData = Buffer.from(
      bend.rawClientData ??
        JSON.stringify({
          type: bend.type ?? 'webauthn.get',
          challenge: challenge.toString('base64url'),
          origin: bend.origin ?? ORIGIN,
          crossOrigin: false,
          ...bend.clientData,
        }),
    )
    const authenticatorData = Buffer.concat([
      sha256(bend.rpId ?? RP_ID),
      Buffer.from([bend.flags ?? 0x05, 0, 0, 0, 0]),
      bend.extra ?? Buffer.alloc(0),
    ])
    const signed = Buffer.concat([authenticatorData, sha256(clientData)])
    const signature = sign(this.algorithm === 'EdDSA' ? null : 'sha256', signed, this.#privateKey)
    return {
      operator: this.operator,
      credentialId: this.credentialId,
      authenticatorData: authenticatorData.toString('base64url'),
      clientDataJSON: clientData.toString('base64url'),
      signature: signature.toString('base64url'),
    }
  }
}

export function operatorSet(
  version: number,
  quorum: number,
  ...keys: readonly OperatorKey[]
): OperatorSet {
  return { version, rpId: RP_ID, origin: ORIGIN, quorum, keys }
}

function sha256(data: string | Buffer): Buffer {
  return createHash('sha256').update(data).digest()
}

/** Written apart from the product's reader: bytes by hand. */
export function coseKey(key: KeyObject): Buffer {
  const jwk = key.export({ format: 'jwk' })
  const bytes = (text: string | undefined): Buffer =>
    byteString(Buffer.from(text ?? '', 'base64url'))
  if (jwk.kty === 'EC') {
    return Buffer.concat([
      Buffer.from([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21]),
      bytes(jwk.x),
      Buffer.from([0x22]),
      bytes(jwk.y),
    ])
  }
  if (jwk.kty === 'OKP') {
    const head = Buffer.from([0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21])
    return Buffer.concat([head, bytes(jwk.x)])
  }
  const head = Buffer.from([0xa4, 0x01, 0x03, 0x03, 0x39, 0x01, 0x00, 0x20])
  return Buffer.concat([head, bytes(jwk.n), Buffer.from([0x21]), bytes(jwk.e)])
}

function byteString(bytes: Buffer): Buffer {
  const head =
    bytes.length < 24
      ? [0x40 + bytes.length]
      : bytes.length < 256
        ? [0x58, bytes.length]
        : [0x59, bytes.length >> 8, bytes.length & 255]
  return Buffer.concat([Buffer.from(head), bytes])
}
