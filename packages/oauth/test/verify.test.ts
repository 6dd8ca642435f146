import assert from 'node:assert/strict'
import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import type { TokenTrust } from '@sallyport/wire'
import { SignJWT } from 'jose'
import { TokenVerifier } from '../src/verify.ts'

const INSTANCE = 'spiffe://bank.test/agent/reader/1'
const AUDIENCE = 'https://gateway.bank.test/ledger'

function issuer(): {
  readonly trust: TokenTrust
  readonly token: (jti: string) => Promise<string>
} {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const key = publicKey.export({ format: 'der', type: 'spki' }).toString('base64url')
  const iss = 'https://console.bank.test'
  return {
    trust: {
      issuer: iss,
      keys: [{ kid: 'k', key, notAfter: Date.now() + 3_600_000 }],
      revoked: [],
    },
    token: (jti) => {
      const iat = Math.floor(Date.now() / 1000)
      return new SignJWT({
        ...{ iss, sub: INSTANCE, aud: AUDIENCE, client_id: INSTANCE, iat, exp: iat + 60, jti },
        scope: 'read',
        cnf: { spiffe_id: INSTANCE },
      })
        .setProtectedHeader({ alg: 'ES256', typ: 'at+jwt', kid: 'k' })
        .sign(privateKey)
    },
  }
}

test('a token that is being verified while a newer bundle comes counts by what that bundle says', async () => {
  const { trust, token } = issuer()
  const whileThis = async (
    next: TokenTrust | undefined,
    jti: string = randomUUID(),
  ): Promise<unknown> => {
    const verifier = new TokenVerifier()
    verifier.trust(trust)
    const text = await token(jti)
    const verifying = verifier.verify(text, AUDIENCE, Date.now())
    verifier.trust(next)
    return (await verifying).jti
  }
  const other = [{ jti: randomUUID(), exp: Math.floor(Date.now() / 1000) + 60 }]
  assert.equal(await whileThis({ ...trust }, 'one'), 'one', 'the same keys in another bundle')
  assert.equal(await whileThis({ ...trust, revoked: other }, 'two'), 'two')
  const exp = Math.floor(Date.now() / 1000) + 60
  await assert.rejects(whileThis({ ...trust, revoked: [{ jti: 'three', exp }] }, 'three'), {
    code: 'SP_ACCESS_TOKEN_REVOKED',
  })
  for (const next of [undefined, issuer().trust, { ...trust, issuer: 'https://other.test' }]) {
    await assert.rejects(whileThis(next), { code: 'SP_ACCESS_TOKEN_INVALID' })
  }
})
