import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import { readPublicJwk } from '../src/jwk.ts'
import type { JsonObject } from '../src/jwk.ts'
import { readJws } from '../src/jws.ts'

// Test vectors of C2SP/wycheproof (Apache-2.0), read in place.
const dir = join(
  import.meta.dirname,
  '../../..',
  process.env['SALLYPORT_DATA'] ?? '../shared/data',
  'wycheproof',
)
const skip = existsSync(dir) ? false : 'the wycheproof vectors are not on this machine'

interface Vector {
  readonly tcId: number
  readonly comment: string
  readonly jws: string
  readonly result: 'valid' | 'invalid'
}
interface Group {
  readonly comment: string
  readonly public?: JsonObject & { readonly keys?: readonly JsonObject[] }
  readonly private?: JsonObject & { readonly keys?: readonly JsonObject[] }
  readonly tests: readonly Vector[]
}
const groups = (name: string): readonly Group[] =>
  // The files' own schema.
  (JSON.parse(readFileSync(join(dir, name), 'utf8')) as { testGroups: readonly Group[] }).testGroups

/** As a bundle's key would be used: with its `alg`, and not at all where it is for something else. */
function opens(jws: string, jwk: JsonObject): boolean {
  const { alg, use, key_ops: operations } = jwk
  if (use !== undefined && use !== 'sig') return false
  if (Array.isArray(operations) && !operations.includes('verify')) return false
  try {
    const publicKey = readPublicJwk(jwk)
    if (typeof publicKey === 'string') return false
    readJws(jws).verify(typeof alg === 'string' ? { publicKey, alg } : { publicKey })
    return true
  } catch {
    return false
  }
}

/** What is refused here though the vector calls it valid, and why. */
const STRICTER: ReadonlyMap<number, string> = new Map([
  [346, 'the header says PS384, the key PS256'],
  [347, 'the header says ES512, the key `ES521`'],
  [350, 'the header says PS384, the key PS256'],
  [351, 'the header says ES512, the key `ES521`'],
])
/** What is accepted here though the vector calls it invalid, and why. */
const LAXER: ReadonlyMap<number, string> = new Map([
  // RSA keys come here only in bundles that a declared foreign domain signed for; we make none.
  [7, 'an RSA key of a flawed generator (ROCA), which only a test of its primes would show'],
])

describe('wycheproof JSON web signatures', { skip }, () => {
  const count = { valid: 0, invalid: 0 }
  const all = skip === false ? groups('json_web_signature_test.json') : []
  for (const { comment, public: jwk, tests } of all) {
    // Without a public key they are for HS*, which has no place in a JWT-SVID: see below.
    if (!jwk) continue
    it(`${comment}: ${tests.length} vectors from ${tests[0]?.tcId}`, () => {
      for (const { tcId, jws, result, comment: what } of tests) {
        count[result]++
        const expected = result === 'valid' ? !STRICTER.has(tcId) : LAXER.has(tcId)
        assert.equal(opens(jws, jwk), expected, `${tcId} ${what}`)
      }
    })
  }

  it('refuses every HS* vector, whatever its key', () => {
    let refused = 0
    for (const { public: jwk, private: secret, tests } of all) {
      if (jwk || !secret) continue
      for (const { jws } of tests) {
        assert.throws(() => readJws(jws), { code: 'SP_JWT_SVID_MALFORMED' })
        refused++
      }
    }
    assert.ok(refused > 20, String(refused))
  })

  it('read enough of both kinds', () => {
    assert.ok(count.valid > 30 && count.invalid > 200, JSON.stringify(count))
  })
})

describe('wycheproof JSON web keys', { skip }, () => {
  for (const group of skip === false ? groups('json_web_key_test.json') : []) {
    const keys = group.public?.keys ?? (group.public ? [group.public] : [])
    if (keys.length === 0) continue
    it(`${group.comment}: ${group.tests.length} vectors from ${group.tests[0]?.tcId}`, () => {
      for (const { tcId, jws, result, comment: what } of group.tests) {
        const accepted = keys.some((jwk) => opens(jws, jwk))
        const expected = result === 'valid' ? !STRICTER.has(tcId) : LAXER.has(tcId)
        assert.equal(accepted, expected, `${tcId} ${what}`)
      }
    })
  }
})
