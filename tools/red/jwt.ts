import type { RedRow } from './types.ts'

const JWS = { file: 'packages/spiffe/src/jws.ts', test: 'packages/spiffe/test/jwt.test.ts' }
const TOKENS = 'packages/oauth/src/verify.ts'
const GATEWAY = 'packages/gateway/test/tokens.test.ts'
const BAD = {
  file: TOKENS,
  test: GATEWAY,
  name: 'a bad token refuses the call, and is never taken for none',
}

/** Row 4: JSON web tokens, JWT-SVIDs and access tokens. */
export const JWTS: readonly RedRow[] = [
  {
    ...JWS,
    id: '4.none',
    threat: 'JWT: alg none',
    from: `    verify(key) {`,
    to: `    verify(key) {
      if (alg.toLowerCase() === 'none') return`,
    and: [
      {
        file: JWS.file,
        from: `  ['RS256', {`,
        to: `  ['none', { hash: 'sha256', keyType: 'ec' }],
  ['RS256', {`,
      },
    ],
    name: 'refuses alg none, with and without a signature',
  },
  {
    ...JWS,
    id: '4.hs',
    threat: 'JWT: HS256 keyed with the public key',
    from: `    verify(key) {`,
    to: `    verify(key) {
      const secret = key.publicKey.export({ format: 'pem', type: 'spki' })
      const mac = createHmac('sha256', secret).update(\`\${protectedPart}.\${payloadPart}\`).digest()
      if (alg === 'HS256' && mac.equals(signature)) return`,
    and: [
      {
        file: JWS.file,
        from: `  ['RS256', {`,
        to: `  ['HS256', { hash: 'sha256', keyType: 'ec' }],
  ['RS256', {`,
      },
      {
        file: JWS.file,
        from: `import { constants, verify } from 'node:crypto'`,
        to: `import { constants, createHmac, verify } from 'node:crypto'`,
      },
    ],
    name: 'refuses HS* keyed with the public key, in every form of it',
  },
  {
    ...JWS,
    id: '4.mismatch',
    threat: 'JWT: algorithm and key do not fit',
    from: `  if (key.alg !== undefined && key.alg !== alg) return false
  if (publicKey.asymmetricKeyType !== keyType) return false
  if (curve !== undefined) {
    const { name, bytes } = CURVES[curve] ?? { name: '', bytes: 0 }
    if (publicKey.asymmetricKeyDetails?.namedCurve !== name) return false
    if (signature.length !== 2 * bytes) return false
`,
    to: `  if (publicKey.asymmetricKeyType !== keyType) return false
  if (curve !== undefined) {
`,
    name: 'accepts each algorithm with the key that fits, and refuses it with any other',
  },
  {
    ...JWS,
    id: '4.other-algorithms',
    threat: 'JWT: EdDSA and other algorithms',
    from: `  ['RS256', {`,
    to: `  ['ES256K', { hash: 'sha256', keyType: 'ec' }],
  ['EdDSA', { hash: 'sha256', keyType: 'ec' }],
  ['RS256', {`,
    name: 'refuses EdDSA and every other algorithm outside the standard',
  },
  {
    ...JWS,
    id: '4.crit',
    threat: 'JWT: unknown `crit`',
    from: `  if ('crit' in header) throw malformedToken('a critical header that is not understood')
`,
    to: '',
    name: 'refuses every critical header, known or not',
  },
  {
    ...JWS,
    id: '4.typ',
    threat: 'JWT: wrong `typ`',
    from: `if (typ !== undefined && typ !== 'JWT' && typ !== 'JOSE') {`,
    to: `if (typ === null) {`,
    name: 'refuses a wrong typ',
  },
  {
    ...JWS,
    id: '4.json',
    threat: 'JWT: JSON serialisation',
    from: `  const match = COMPACT.exec(token)`,
    to: `  const parts = token.startsWith('{"protected"') ? Object.values(JSON.parse(token)) : undefined
  const match = COMPACT.exec(parts ? parts.join('.') : token)`,
    name: 'refuses the JSON serialisations, flattened and general, and five parts',
  },
  {
    ...BAD,
    id: '4.access-typ',
    threat: 'an access token of another `typ` at the gateway',
    from: `          typ: TOKEN_TYPE,
`,
    to: '',
    says: 'another type',
  },
  {
    ...BAD,
    id: '4.access-issuer',
    threat: 'an access token of another issuer at the gateway',
    from: `          issuer: trust.issuer,
`,
    to: '',
    says: 'another issuer',
  },
  {
    ...BAD,
    id: '4.access-life',
    threat: 'an access token with a long life at the gateway',
    file: 'packages/oauth/src/claims.ts',
    from: `if (exp <= iat || exp - iat > MAX_LIFETIME) throw bad('it lives too long')`,
    to: '',
    says: 'a long life',
  },
  {
    ...BAD,
    id: '4.access-binding',
    threat: 'an access token bound in a way that is not understood',
    file: 'packages/oauth/src/claims.ts',
    from: `if (unknown !== undefined) throw bad('it is bound in an unknown way')`,
    to: '',
    says: 'an unknown binding',
  },
]
