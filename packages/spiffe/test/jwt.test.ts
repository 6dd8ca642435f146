import assert from 'node:assert/strict'
import { constants, createHmac, createPublicKey, generateKeyPairSync, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { describe, it } from 'node:test'

import { SallyportError } from '@sallyport/base'
import fc from 'fast-check'
import { exportJWK, jwtVerify } from 'jose'

import {
  createJwtAuthority,
  createRoot,
  issueJwtSvid,
  TrustBundle,
  verifyJwtSvid,
} from '../src/index.ts'
import { readJws } from '../src/jws.ts'

const now = Math.floor(Date.now() / 1000) * 1000
const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve })
const rsa = (modulusLength: number) => generateKeyPairSync('rsa', { modulusLength })

const softwareSigner = (privateKey: KeyObject) => ({
  publicKey: createPublicKey(privateKey),
  sign: (data: Uint8Array) => sign('sha256', data, privateKey),
})

const own = ec('P-256')
const authority = createJwtAuthority('bank.test', softwareSigner(own.privateKey))
const rootOf = (trustDomain: string) =>
  createRoot({ trustDomain, ttlSeconds: 86_400 }).certificatePem
const bankRoot = rootOf('bank.test')
const bundles = new Map([
  ['bank.test', TrustBundle.fromPem('bank.test', bankRoot, [authority])] as const,
])
const sub = 'spiffe://bank.test/agent/monitor/1'
const audience = 'spiffe://bank.test/service/cases'
const claims = { sub, aud: [audience], exp: now / 1000 + 300, iat: now / 1000 }

const base64 = (value: unknown): string =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

/** A token with any header and claims, rightly signed: each text stands as given, all else as JSON. */
function token(header: unknown, payload: unknown, key: KeyObject = own.privateKey): string {
  const data = `${base64(header)}.${base64(payload)}`
  return `${data}.${sign('sha256', Buffer.from(data), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
}
const header = { alg: 'ES256', kid: authority.kid }

const open = (
  text: string,
  against: ReadonlyMap<string, TrustBundle> = bundles,
  to = audience,
  at = now,
) => verifyJwtSvid(text, against, { audience: to, now: at })

function refusal(run: () => unknown): SallyportError {
  try {
    run()
  } catch (error) {
    assert.ok(error instanceof SallyportError, String(error))
    return error
  }
  throw new assert.AssertionError({ message: 'it was accepted' })
}

describe('issueJwtSvid', () => {
  it('issues what the verifier accepts, with the facts it returns', async () => {
    const issued = await issueJwtSvid(authority, { spiffeId: sub, audience: [audience], now })
    const verified = open(issued.token)
    assert.equal(verified.id.uri, sub)
    assert.deepEqual(verified.audience, [audience])
    assert.equal(verified.kid, authority.kid)
    assert.equal(verified.issuedAt, issued.issuedAt)
    assert.equal(verified.expiresAt, issued.expiresAt)
    assert.equal(issued.expiresAt, now + 300_000)
  })

  it('issues what jose accepts, and names its key by the thumbprint', async () => {
    const { token: text } = await issueJwtSvid(authority, { spiffeId: sub, audience: ['a', 'b'] })
    const { payload, protectedHeader } = await jwtVerify(text, own.publicKey, {
      algorithms: ['ES256'],
      audience: 'b',
      subject: sub,
    })
    assert.equal((payload.exp ?? 0) - (payload.iat ?? 0), 300)
    assert.deepEqual(protectedHeader, { alg: 'ES256', kid: authority.kid, typ: 'JWT' })
    assert.deepEqual(authority.publicJwk, await exportJWK(own.publicKey))
  })

  it('takes a signer that answers later, and never hands out what does not verify', async () => {
    const later = createJwtAuthority('bank.test', {
      publicKey: own.publicKey,
      sign: async (data) => sign('sha256', data, own.privateKey),
    })
    const issued = await issueJwtSvid(later, { spiffeId: sub, audience: [audience], now })
    assert.equal(open(issued.token).id.uri, sub)
    const broken = createJwtAuthority('bank.test', {
      publicKey: own.publicKey,
      sign: (data) => sign('sha256', data, ec('P-256').privateKey),
    })
    await assert.rejects(issueJwtSvid(broken, { spiffeId: sub, audience: [audience] }), {
      code: 'SP_ISSUE_REFUSED',
    })
  })

  it('refuses other domains, ids without path, no audience, and a lifetime of nothing', async () => {
    const refused = async (change: object, code = 'SP_ISSUE_REFUSED') => {
      await assert.rejects(
        issueJwtSvid(authority, { spiffeId: sub, audience: [audience], ...change }),
        { code },
        JSON.stringify(change),
      )
    }
    await refused({ spiffeId: 'spiffe://evil.test/agent/a/1' })
    await refused({ spiffeId: 'spiffe://bank.test' })
    await refused({ spiffeId: 'bank.test/a' }, 'SP_SPIFFE_ID')
    await refused({ audience: [] })
    await refused({ audience: [''] })
    await refused({ audience: Array.from({ length: 33 }, (_, i) => `a${i}`) })
    await refused({ ttlSeconds: 0 })
    await refused({ ttlSeconds: Number.NaN })
    assert.throws(() => createJwtAuthority('bank.test', softwareSigner(ec('P-384').privateKey)), {
      code: 'SP_ISSUE_REFUSED',
    })
  })
})

// MUST-reject, row 4: each beside a token that differs in this one thing and is accepted.
describe('verifyJwtSvid', () => {
  it('accepts `typ` absent, JWT and JOSE, one audience as text, and what it does not know', () => {
    for (const typ of [undefined, 'JWT', 'JOSE']) assert.ok(open(token({ ...header, typ }, claims)))
    assert.ok(open(token(header, { ...claims, aud: audience })))
    assert.ok(open(token({ ...header, jku: 'https://evil.test/keys' }, { ...claims, extra: [1] })))
    assert.ok(open(token(header, { ...claims, iat: undefined })))
  })

  it('refuses a wrong typ', () => {
    for (const typ of ['jwt', 'at+jwt', 'dpop+jwt', '', null, 1, ['JWT']]) {
      assert.equal(
        refusal(() => open(token({ ...header, typ }, claims))).code,
        'SP_JWT_SVID_MALFORMED',
        String(typ),
      )
    }
  })

  it('refuses alg none, with and without a signature', () => {
    for (const alg of ['none', 'None', 'NONE', '']) {
      const good = token({ ...header, alg }, claims)
      const bare = good.slice(0, good.lastIndexOf('.') + 1)
      for (const text of [good, bare]) {
        assert.equal(refusal(() => open(text)).code, 'SP_JWT_SVID_MALFORMED', alg)
      }
    }
  })

  it('refuses HS* keyed with the public key, in every form of it', () => {
    const { publicKey } = own
    const forms = [
      publicKey.export({ format: 'pem', type: 'spki' }),
      publicKey.export({ format: 'der', type: 'spki' }),
      JSON.stringify(authority.publicJwk),
    ]
    for (const [alg, hash] of [
      ['HS256', 'sha256'],
      ['HS384', 'sha384'],
      ['HS512', 'sha512'],
    ] as const) {
      for (const secret of forms) {
        const data = `${base64({ ...header, alg })}.${base64(claims)}`
        const mac = createHmac(hash, secret).update(data).digest('base64url')
        assert.equal(refusal(() => open(`${data}.${mac}`)).code, 'SP_JWT_SVID_MALFORMED')
      }
    }
  })

  it('refuses EdDSA and every other algorithm outside the standard', () => {
    const ed = generateKeyPairSync('ed25519').privateKey
    for (const alg of ['EdDSA', 'Ed25519', 'ES256K', 'RS1', 'es256', 256, null, ['ES256']]) {
      const data = `${base64({ ...header, alg })}.${base64(claims)}`
      const text = `${data}.${sign(null, Buffer.from(data), ed).toString('base64url')}`
      assert.equal(refusal(() => open(text)).code, 'SP_JWT_SVID_MALFORMED', String(alg))
    }
  })

  it('accepts each algorithm with the key that fits, and refuses it with any other', () => {
    const keys = {
      'P-256': ec('P-256'),
      'P-384': ec('P-384'),
      'P-521': ec('P-521'),
      RSA: rsa(2048),
    }
    const algorithms = [
      ['ES256', 'P-256', 'sha256'],
      ['ES384', 'P-384', 'sha384'],
      ['ES512', 'P-521', 'sha512'],
      ['RS256', 'RSA', 'sha256'],
      ['RS384', 'RSA', 'sha384'],
      ['RS512', 'RSA', 'sha512'],
      ['PS256', 'RSA', 'sha256'],
      ['PS384', 'RSA', 'sha384'],
      ['PS512', 'RSA', 'sha512'],
    ] as const
    for (const [kid, { publicKey, privateKey }] of Object.entries(keys)) {
      const { crv = '', x = '', y = '', n = '', e = '', kty } = publicKey.export({ format: 'jwk' })
      const publicJwk =
        kty === 'RSA' ? ({ kty, n, e } as const) : ({ kty: 'EC', crv, x, y } as const)
      const trust = new Map([
        ['bank.test', TrustBundle.fromPem('bank.test', bankRoot, [{ kid, publicJwk }])] as const,
      ])
      for (const [alg, fits, hash] of algorithms) {
        const data = `${base64({ alg, kid })}.${base64(claims)}`
        const padding = alg.startsWith('PS')
          ? {
              padding: constants.RSA_PKCS1_PSS_PADDING,
              saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
            }
          : {}
        const how = { key: privateKey, dsaEncoding: 'ieee-p1363', ...padding } as const
        let signature: Buffer
        try {
          signature = sign(hash, Buffer.from(data), how)
        } catch {
          // PSS with a key that has no padding: nothing an attacker could make either.
          signature = Buffer.alloc(64, 1)
        }
        const run = () => open(`${data}.${signature.toString('base64url')}`, trust)
        if (fits === kid) assert.equal(run().id.uri, sub, alg)
        else assert.equal(refusal(run).code, 'SP_JWT_SVID_UNTRUSTED', `${alg} with ${kid}`)
      }
    }
  })

  it('refuses keys that no bundle holds, though they would verify', () => {
    const koblitz = ec('secp256k1')
    const pss = generateKeyPairSync('rsa-pss', { modulusLength: 2048 })
    const data = `${base64({ alg: 'PS256', kid: 'k' })}.${base64(claims)}`
    const padding = constants.RSA_PKCS1_PSS_PADDING
    const saltLength = constants.RSA_PSS_SALTLEN_DIGEST
    const how = { key: pss.privateKey, padding, saltLength }
    const signature = sign('sha256', Buffer.from(data), how).toString('base64url')
    const code = 'SP_JWT_SVID_UNTRUSTED'
    readJws(token(header, claims)).verify({ publicKey: own.publicKey })
    const other = token(header, claims, koblitz.privateKey)
    assert.throws(() => readJws(other).verify({ publicKey: koblitz.publicKey }), { code })
    assert.throws(() => readJws(`${data}.${signature}`).verify({ publicKey: pss.publicKey }), {
      code,
    })
  })

  it('refuses every critical header, known or not', () => {
    for (const crit of [['exp'], ['b64'], [], 'exp', null]) {
      const text = token({ ...header, crit, b64: true, exp: 1 }, claims)
      assert.equal(refusal(() => open(text)).code, 'SP_JWT_SVID_MALFORMED', JSON.stringify(crit))
    }
    assert.ok(open(token({ ...header, b64: true, exp: 1 }, claims)))
  })

  it('refuses the JSON serialisations, flattened and general, and five parts', () => {
    const good = token(header, claims)
    assert.ok(open(good))
    const [first = '', payload = '', signature = ''] = good.split('.')
    for (const text of [
      JSON.stringify({ protected: first, payload, signature }),
      JSON.stringify({ payload, signatures: [{ protected: first, signature }] }),
      `${good}.e30.e30`,
      `${first}..${signature}`,
      `${first}.${payload}`,
      `${good} `,
      `${good}=`,
      `${good}\n`,
      '',
      '..',
    ]) {
      assert.equal(refusal(() => open(text)).code, 'SP_JWT_SVID_MALFORMED', text.slice(0, 20))
    }
  })

  it('refuses a second spelling of the same bytes', () => {
    const good = token(header, claims)
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    // 64 bytes leave four bits over in the last of 86 characters.
    const last = alphabet.indexOf(good.at(-1) ?? '')
    const twin = good.slice(0, -1) + (alphabet[last + 1] ?? '')
    assert.deepEqual(
      Buffer.from(twin.split('.')[2] ?? '', 'base64url'),
      Buffer.from(good.split('.')[2] ?? '', 'base64url'),
    )
    assert.equal(refusal(() => open(twin)).code, 'SP_JWT_SVID_MALFORMED')
  })

  it('refuses a token of domain B under any bundle but B’s own', () => {
    const evil = ec('P-256')
    const evilAuthority = createJwtAuthority('evil.test', softwareSigner(evil.privateKey))
    const both = new Map([
      ...bundles,
      [
        'evil.test',
        TrustBundle.fromPem('evil.test', rootOf('evil.test'), [evilAuthority]),
      ] as const,
    ])
    const evilHeader = { alg: 'ES256', kid: evilAuthority.kid }
    const evilSub = { ...claims, sub: 'spiffe://evil.test/agent/x/1' }
    assert.equal(
      open(token(evilHeader, evilSub, evil.privateKey), both).id.trustDomain,
      'evil.test',
    )
    // B's key for A's name, under B's kid and under A's.
    for (const one of [evilHeader, header]) {
      const text = token(one, claims, evil.privateKey)
      assert.equal(refusal(() => open(text, both)).code, 'SP_JWT_SVID_UNTRUSTED')
    }
    // A's key for B's name.
    assert.equal(refusal(() => open(token(header, evilSub), both)).code, 'SP_JWT_SVID_UNTRUSTED')
    assert.equal(
      refusal(() => open(token(evilHeader, evilSub, evil.privateKey))).code,
      'SP_SVID_FOREIGN',
    )
    const misfiled = new Map([
      ['evil.test', TrustBundle.fromPem('bank.test', bankRoot, [authority])] as const,
    ])
    assert.equal(refusal(() => open(token(header, evilSub), misfiled)).code, 'SP_SVID_FOREIGN')
  })

  it('demands kid, sub, aud and exp, each of its kind', () => {
    const cases: readonly [unknown, unknown, string][] = [
      [{ alg: 'ES256' }, claims, 'SP_JWT_SVID_MALFORMED'],
      [{ ...header, kid: 7 }, claims, 'SP_JWT_SVID_MALFORMED'],
      [{ ...header, kid: 'other' }, claims, 'SP_JWT_SVID_UNTRUSTED'],
      [{ ...header, kid: '__proto__' }, claims, 'SP_JWT_SVID_UNTRUSTED'],
      [header, { ...claims, sub: undefined }, 'SP_JWT_SVID_MALFORMED'],
      [header, { ...claims, sub: 'monitor' }, 'SP_SPIFFE_ID'],
      [header, { ...claims, sub: 'spiffe://bank.test' }, 'SP_JWT_SVID_MALFORMED'],
      [header, { ...claims, sub: [sub] }, 'SP_JWT_SVID_MALFORMED'],
      [header, { ...claims, aud: undefined }, 'SP_JWT_SVID_MALFORMED'],
      [header, { ...claims, aud: [] }, 'SP_JWT_SVID_MALFORMED'],
      [header, { ...claims, aud: [audience, 1] }, 'SP_JWT_SVID_MALFORMED'],
      [header, { ...claims, aud: `${audience}/more` }, 'SP_JWT_SVID_AUDIENCE'],
      [header, { ...claims, aud: [audience.toUpperCase()] }, 'SP_JWT_SVID_AUDIENCE'],
      [header, { ...claims, exp: undefined }, 'SP_JWT_SVID_MALFORMED'],
      [header, { ...claims, exp: String(claims.exp) }, 'SP_JWT_SVID_MALFORMED'],
      [header, { ...claims, exp: 1e300 }, 'SP_JWT_SVID_MALFORMED'],
      [header, { ...claims, exp: -1 }, 'SP_JWT_SVID_MALFORMED'],
      [header, { ...claims, iat: 'now' }, 'SP_JWT_SVID_MALFORMED'],
      [header, '[]', 'SP_JWT_SVID_MALFORMED'],
      [header, `{"sub":"${sub}","sub":"${sub}","aud":"a","exp":1}`, 'SP_JWT_SVID_MALFORMED'],
      ['{"alg":"ES256","alg":"none"}', claims, 'SP_JWT_SVID_MALFORMED'],
      [[header], claims, 'SP_JWT_SVID_MALFORMED'],
    ]
    assert.ok(open(token(header, claims)))
    for (const [one, payload, code] of cases) {
      assert.equal(
        refusal(() => open(token(one, payload))).code,
        code,
        JSON.stringify([one, payload]),
      )
    }
  })

  it('judges expiry to the millisecond, and lets only the start lie a minute ahead', () => {
    const good = token(header, claims)
    assert.ok(open(good, bundles, audience, now + 299_999))
    for (const at of [now + 300_000, Number.NaN, Number.POSITIVE_INFINITY]) {
      const error = refusal(() => open(good, bundles, audience, at))
      assert.equal(error.code, 'SP_JWT_SVID_EXPIRED')
    }
    for (const name of ['iat', 'nbf']) {
      assert.ok(open(token(header, { ...claims, [name]: now / 1000 + 60 })))
      assert.equal(
        refusal(() => open(token(header, { ...claims, [name]: now / 1000 + 61 }))).code,
        'SP_JWT_SVID_NOT_YET_VALID',
      )
    }
  })

  it('looks at bounded sizes only', () => {
    const big = (size: number) => token(header, { ...claims, pad: 'x'.repeat(size) })
    assert.ok(open(big(7000)))
    assert.equal(refusal(() => open(big(8200))).code, 'SP_JWT_SVID_MALFORMED')
    assert.match(refusal(() => open(big(1_000_000))).detail ?? '', /more than 16384 characters/)
    const wide = token({ ...header, pad: 'x'.repeat(2100) }, claims)
    assert.equal(refusal(() => open(wide)).code, 'SP_JWT_SVID_MALFORMED')
    const deep = `{"a":${'['.repeat(1500)}${']'.repeat(1500)}}`
    assert.equal(refusal(() => open(token(header, deep))).code, 'SP_JWT_SVID_MALFORMED')
  })

  it('refuses every change of one character, and survives hostile text with a code of its own', () => {
    const good = token({ ...header, typ: 'JWT' }, claims)
    assert.ok(open(good))
    fc.assert(
      fc.property(
        fc.nat(good.length - 1),
        fc.constantFrom(...'AZaz09-_.=+/ '.split('')),
        (at, other) => {
          if (good[at] === other) return
          const text = good.slice(0, at) + other + good.slice(at + 1)
          assert.match(refusal(() => open(text)).code, /^SP_(JWT_SVID_|SPIFFE_ID|SVID_FOREIGN)/)
        },
      ),
      { numRuns: 600 },
    )
    fc.assert(
      fc.property(fc.string({ maxLength: 300 }), (text) => {
        assert.equal(refusal(() => open(text)).code, 'SP_JWT_SVID_MALFORMED')
      }),
    )
  })

  it('refuses RSA keys that are too small, and keys not in their one form', () => {
    const { n = '', e = '' } = rsa(1024).publicKey.export({ format: 'jwk' })
    const of = (publicJwk: object) =>
      TrustBundle.fromPem('bank.test', bankRoot, [
        // The bad ones are what is tested.
        { kid: 'k', publicJwk: publicJwk as typeof authority.publicJwk },
      ])
    assert.equal(of(authority.publicJwk).jwtKeys.size, 1)
    const { x, y } = { x: '', y: '', ...authority.publicJwk }
    for (const bad of [
      { kty: 'RSA', n, e },
      { kty: 'RSA', n: rsa(2048).publicKey.export({ format: 'jwk' }).n, e: 'AQ' },
      { kty: 'EC', crv: 'P-256', x: `${x}A`, y },
      { kty: 'EC', crv: 'P-256', x, y: x },
      { kty: 'EC', crv: 'P-384', x, y },
      { kty: 'EC', crv: 'P-256', x, y, d: x },
      { kty: 'OKP', crv: 'Ed25519', x },
      { kty: 'oct', k: x },
    ]) {
      assert.throws(() => of(bad), { code: 'SP_BUNDLE_INVALID' }, JSON.stringify(bad))
    }
    assert.ok(createPublicKey({ format: 'jwk', key: authority.publicJwk }))
  })
})
