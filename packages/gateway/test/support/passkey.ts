import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import { statementChallenge } from '@sallyport/wire'
import type { OperatorKey, OperatorSet, PasskeySignature, Statement } from '@sallyport/wire'

const RP_ID = 'localhost'
const ORIGIN = 'http://localhost:7400'

/** An operator with a software passkey: tests only. */
export class TestOperator {
  readonly name: string
  readonly #pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  readonly #credentialId: string

  constructor(name: string) {
    this.name = name
    this.#credentialId = Buffer.from(`cred-${name}`).toString('base64url')
  }

  key(roles: readonly string[]): OperatorKey {
    const { x = '', y = '' } = this.#pair.publicKey.export({ format: 'jwk' })
    const cose = Buffer.concat([
      Buffer.from([0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 32]),
      Buffer.from(x, 'base64url'),
      Buffer.from([0x22, 0x58, 32]),
      Buffer.from(y, 'base64url'),
    ])
    return {
      operator: this.name,
      credentialId: this.#credentialId,
      publicKey: cose.toString('base64url'),
      roles,
    }
  }

  sign(statement: Statement): PasskeySignature {
    const clientData = Buffer.from(
      JSON.stringify({
        type: 'webauthn.get',
        challenge: statementChallenge(statement).toString('base64url'),
        origin: ORIGIN,
        crossOrigin: false,
      }),
    )
    const authenticatorData = Buffer.concat([sha256(RP_ID), Buffer.from([0x05, 0, 0, 0, 0])])
    const signed = Buffer.concat([authenticatorData, sha256(clientData)])
    return {
      operator: this.name,
      credentialId: this.#credentialId,
      authenticatorData: authenticatorData.toString('base64url'),
      clientDataJSON: clientData.toString('base64url'),
      signature: sign('sha256', signed, this.#pair.privateKey).toString('base64url'),
    }
  }
}

export function setOf(...keys: readonly OperatorKey[]): OperatorSet {
  return { version: 1, rpId: RP_ID, origin: ORIGIN, quorum: 1, keys }
}

const sha256 = (data: string | Buffer): Buffer => createHash('sha256').update(data).digest()
