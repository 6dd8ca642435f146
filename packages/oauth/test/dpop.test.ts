import assert from 'node:assert/strict'
import { generateKeyPairSync, hash, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { SignJWT } from 'jose'
import { DpopGuard } from '../src/dpop.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const { kty, crv, x, y } = publicKey.export({ format: 'jwk' })
const target = { method: 'GET', url: 'https://gateway.bank.test/core/x', token: 'the-token' }
const NOW = 1_800_000_000_000

const proofFor = (nonce: string, jti: string = randomUUID()): Promise<string> =>
  new SignJWT({
    jti,
    nonce,
    htm: target.method,
    htu: target.url,
    ath: hash('sha256', target.token, 'base64url'),
  })
    .setProtectedHeader({ alg: 'ES256', typ: 'dpop+jwt', jwk: { kty, crv, x, y } as never })
    .setIssuedAt(NOW / 1000)
    .sign(privateKey)

test('one who shows proofs without end takes no room from others, and a proof is good once', async () => {
  const guard = new DpopGuard(16)
  const show = async (caller: string, now = NOW, jti?: string): Promise<string> =>
    guard.verify(await proofFor(guard.nonce(now), jti), { ...target, caller }, now)
  for (let i = 0; i < 4; i++) await show('hostile')
  await assert.rejects(show('hostile'), { code: 'SP_DPOP_PROOF', detail: /too many/ })
  for (let i = 0; i < 4; i++) await show('honest')
  // The same proof again, by whomever.
  await show('other', NOW, 'once')
  await assert.rejects(show('other', NOW, 'once'), { detail: /used before/ })
  await assert.rejects(show('honest', NOW, 'once'), { detail: /used before/ })
  // Once they are too old to count, they take no room.
  const later = NOW + 180_000
  for (let i = 0; i < 4; i++) await show('hostile', later)
  await assert.rejects(show('hostile', later), { detail: /too many/ })
})
