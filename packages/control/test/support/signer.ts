import { createHash, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { statementChallenge } from '@sallyport/wire'
import type { PasskeySignature, Statement } from '@sallyport/wire'

export const RP_ID = 'localhost'
export const ORIGIN = 'http://localhost:7400'

const sha256 = (data: string | Buffer): Buffer => createHash('sha256').update(data).digest()

/** An operator with a software passkey (P-256), signing statements as an authenticator would. */
export class Signer {
  readonly operator: string
  readonly credentialId: string
  readonly publicKey: string
  readonly #key: KeyObject

  constructor(operator: string) {
    this.operator = operator
    this.credentialId = Buffer.from(`credential of ${operator}`).toString('base64url')
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
    this.#key = privateKey
    // COSE: {1: 2 (EC2), 3: -7 (ES256), -1: 1 (P-256), -2: x, -3: y}
    this.publicKey = Buffer.concat([
      Buffer.from('a5010203262001215820', 'hex'),
      Buffer.from(x, 'base64url'),
      Buffer.from('225820', 'hex'),
      Buffer.from(y, 'base64url'),
    ]).toString('base64url')
  }

  sign(statement: Statement, flags = 0x05): PasskeySignature {
    const clientData = JSON.stringify({
      type: 'webauthn.get',
      challenge: statementChallenge(statement).toString('base64url'),
      origin: ORIGIN,
      crossOrigin: false,
    })
    const authenticatorData = Buffer.concat([sha256(RP_ID), Buffer.from([flags, 0, 0, 0, 0])])
    const signed = Buffer.concat([authenticatorData, sha256(clientData)])
    return {
      operator: this.operator,
      credentialId: this.credentialId,
      authenticatorData: authenticatorData.toString('base64url'),
      clientDataJSON: Buffer.from(clientData).toString('base64url'),
      signature: sign('sha256', signed, this.#key).toString('base64url'),
    }
  }
}
