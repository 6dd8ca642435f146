import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import {
  createJwtAuthority,
  createRoot,
  readBundleDocument,
  TrustBundle,
  writeBundleDocument,
} from '../src/index.ts'

const root = createRoot({ trustDomain: 'bank.test', ttlSeconds: 86_400 })
const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const authority = createJwtAuthority('bank.test', { publicKey, sign: () => Buffer.alloc(0) })
const bundle = TrustBundle.fromPem('bank.test', root.certificatePem, [authority])

type Key = Record<string, unknown>
/** The written document, taken apart. */
const parts = (): { keys: [Key, Key]; spiffe_sequence: number; spiffe_refresh_hint: number } =>
  // What is written below by the function under test.
  JSON.parse(writeBundleDocument({ bundle, sequence: 7, refreshHintSeconds: 300 })) as ReturnType<
    typeof parts
  >
const read = (document: unknown, trustDomain = 'bank.test') =>
  readBundleDocument(
    trustDomain,
    typeof document === 'string' ? document : JSON.stringify(document),
  )

describe('bundle documents', () => {
  it('are read as they were written', () => {
    const text = writeBundleDocument({ bundle, sequence: 7, refreshHintSeconds: 300 })
    const back = readBundleDocument('bank.test', text)
    assert.equal(back.sequence, 7)
    assert.equal(back.refreshHintSeconds, 300)
    assert.deepEqual(back.bundle.authorities, bundle.authorities)
    assert.deepEqual([...back.bundle.jwtKeys.keys()], [authority.kid])
    assert.ok(back.bundle.jwtKeys.get(authority.kid)?.publicKey.equals(publicKey))
    assert.equal(writeBundleDocument(back), text)
  })

  it('have the members that the standard asks for', () => {
    const { keys, ...rest } = parts()
    assert.deepEqual(rest, { spiffe_sequence: 7, spiffe_refresh_hint: 300 })
    const [x509, jwt] = keys
    assert.deepEqual(Object.keys(x509).toSorted(), ['crv', 'kty', 'use', 'x', 'x5c', 'y'])
    assert.equal(x509['use'], 'x509-svid')
    assert.deepEqual(jwt, { use: 'jwt-svid', kid: authority.kid, ...authority.publicJwk })
  })

  it('ignore keys of an unknown kind or use, and certificates that are not there', () => {
    const { keys } = parts()
    const [x509, jwt] = keys
    const back = read({
      keys: [
        { ...x509, use: 'wit-svid' },
        { ...jwt, use: undefined },
        { ...jwt, kty: 'OKP' },
        { kty: 'oct', use: 'jwt-svid', kid: 'a', k: 'AAAA' },
        { use: 'jwt-svid' },
        { ...x509, x5c: [] },
        { ...x509, x5c: undefined },
      ],
      more: 1,
    })
    assert.equal(back.bundle.authorities.length + back.bundle.jwtKeys.size, 0)
    assert.equal(back.sequence, undefined)
    assert.equal(read({ keys }).bundle.authorities.length, 1)
  })

  it('trust nothing where there are no keys', () => {
    const { bundle: empty } = read({ keys: [] })
    assert.equal(empty.trustDomain, 'bank.test')
    assert.equal(empty.authorities.length + empty.jwtKeys.size, 0)
  })

  it('are refused whole for anything else that is wrong', () => {
    const { keys } = parts()
    const [x509, jwt] = keys
    assert.ok(read({ keys }))
    const other = createRoot({ trustDomain: 'evil.test', ttlSeconds: 60 }).certificatePem
    const body = other.split('\n').slice(1, -2).join('')
    const cases: readonly [string, unknown, string?][] = [
      ['no JSON', 'nonsense'],
      ['a list', '[]'],
      ['no keys', {}],
      ['keys that are no list', { keys: {} }],
      ['a member twice', `{"keys":[],"keys":[]}`],
      ['a key that is no object', { keys: ['x'] }],
      ['no kid', { keys: [x509, { ...jwt, kid: undefined }] }],
      ['an empty kid', { keys: [x509, { ...jwt, kid: '' }] }],
      ['one kid twice', { keys: [jwt, jwt] }],
      ['a private key', { keys: [{ ...jwt, d: 'AAAA' }] }],
      ['a point off its curve', { keys: [{ ...jwt, y: jwt['x'] }] }],
      [
        'a key that is not its certificate’s',
        { keys: [{ ...jwt, use: 'x509-svid', x5c: x509['x5c'] }] },
      ],
      ['a certificate that is not base64', { keys: [{ ...x509, x5c: ['%%%'] }] }],
      ['a certificate cut short', { keys: [{ ...x509, x5c: ['MIIB'] }] }, 'SP_SVID_MALFORMED'],
      ['a certificate of another domain', { keys: [{ ...x509, x5c: [body] }] }],
      ['a sequence that is no number', { keys, spiffe_sequence: '7' }],
      ['a sequence with a fraction', { keys, spiffe_sequence: 1.5 }],
      ['a sequence too large to hold', `{"keys":[],"spiffe_sequence":9007199254740993}`],
      ['a negative hint', { keys, spiffe_refresh_hint: -1 }],
      ['too many keys', { keys: Array.from({ length: 257 }, () => ({ kty: 'x' })) }],
      ['too much', { keys, pad: 'x'.repeat(1_048_576) }],
    ]
    for (const [name, document, code = 'SP_BUNDLE_DOCUMENT'] of cases) {
      assert.throws(() => read(document), { code }, name)
    }
    assert.throws(() => read({ keys }, 'evil.test'), { code: 'SP_SVID_PROFILE' })
    assert.throws(() => read({ keys }, 'Bank.test'), { code: 'SP_SPIFFE_ID' })
  })
})

// Test data of spiffe/go-spiffe (Apache-2.0), read in place.
const dir = join(
  import.meta.dirname,
  '../../..',
  process.env['SALLYPORT_DATA'] ?? '../shared/data',
  'spiffe/bundle',
)
const skip = existsSync(dir) ? false : 'the SPIFFE test data is not on this machine'

describe('go-spiffe bundle documents', { skip }, () => {
  const of = (name: string) =>
    // Their certificates carry the id `spiffe://local`.
    readBundleDocument('local', readFileSync(join(dir, 'spiffebundle/testdata', name)))

  for (const [name, roots, keys] of [
    ['spiffebundle_valid_1.json', 1, 1],
    ['spiffebundle_valid_2.json', 1, 6],
    ['spiffebundle_valid_with_wit.json', 1, 2],
  ] as const) {
    it(`reads ${name}`, () => {
      const { bundle: found } = of(name)
      assert.equal(found.authorities.length, roots)
      assert.equal(found.jwtKeys.size, keys)
    })
  }

  for (const name of ['spiffebundle_missing_kid.json', 'spiffebundle_no_keys.json']) {
    it(`refuses ${name}`, () => {
      assert.throws(() => of(name), { code: 'SP_BUNDLE_DOCUMENT' })
    })
  }

  it('takes the first certificate of spiffebundle_multiple_x509.json, which go-spiffe refuses', () => {
    // X509-SVID, section 6.2: of several values all but the first must be ignored.
    assert.equal(of('spiffebundle_multiple_x509.json').bundle.authorities.length, 1)
  })

  // Plain JWK sets, whose keys have no `use`: as bundle documents they hold nothing to trust.
  for (const [name, good] of [
    ['jwks_valid_1.json', true],
    ['jwks_valid_2.json', true],
    ['jwks_missing_kid.json', false],
  ] as const) {
    it(`${good ? 'reads' : 'refuses'} ${name} once its keys say what they are for`, () => {
      const text = readFileSync(join(dir, 'jwtbundle/testdata', name), 'utf8')
      const plain = readBundleDocument('local', text).bundle
      assert.equal(plain.authorities.length + plain.jwtKeys.size, 0)
      const used = text.replaceAll('"kty"', '"use": "jwt-svid", "kty"')
      if (good) assert.ok(readBundleDocument('local', used).bundle.jwtKeys.size > 0)
      else assert.throws(() => readBundleDocument('local', used), { code: 'SP_BUNDLE_DOCUMENT' })
    })
  }
})
