import { generateKeyPairSync, randomUUID } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import type { TokenTrust } from '@sallyport/wire'
import { calculateJwkThumbprint, exportJWK, SignJWT } from 'jose'

export const ISSUER = 'https://console.test.example'

/** An issuer of tokens with a key of its own, and every freedom to issue bad ones. */
export class TestIssuer {
  readonly kid: string = randomUUID()
  readonly pair: { publicKey: KeyObject; privateKey: KeyObject } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
  })

  trust(over: Partial<TokenTrust> = {}): TokenTrust {
    const key = this.pair.publicKey.export({ format: 'der', type: 'spki' }).toString('base64url')
    const keys = [{ kid: this.kid, key, notAfter: Date.now() + 3_600_000 }]
    return { issuer: ISSUER, keys, revoked: [], ...over }
  }

  /** For the instance to call `bank` for itself, unless bent. */
  token(
    instance: string,
    over: Readonly<Record<string, unknown>> = {},
    header: Readonly<Record<string, unknown>> = {},
  ): Promise<string> {
    const now = Math.floor(Date.now() / 1000)
    const claims = {
      iss: ISSUER,
      sub: instance,
      aud: 'https://gateway.test.example/bank',
      client_id: instance,
      iat: now,
      exp: now + 60,
      jti: randomUUID(),
      scope: 'getAccount watch',
      cnf: { spiffe_id: instance },
      ...over,
    }
    return new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: this.kid, ...header })
      .sign(this.pair.privateKey, { crit: { x: true } })
  }
}

/** A key that proofs of possession are signed with. */
export class ProofKey {
  readonly pair: { publicKey: KeyObject; privateKey: KeyObject } = generateKeyPairSync('ec', {
    namedCurve: 'P-256',
  })

  async thumbprint(): Promise<string> {
    return calculateJwkThumbprint(await exportJWK(this.pair.publicKey))
  }

  async proof(claims: Readonly<Record<string, unknown>>): Promise<string> {
    const jwk = await exportJWK(this.pair.publicKey)
    return new SignJWT({ jti: randomUUID(), iat: Math.floor(Date.now() / 1000), ...claims })
      .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk })
      .sign(this.pair.privateKey)
  }
}
