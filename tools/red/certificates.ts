import type { Break, RedRow } from './types.ts'

const PROFILE = 'packages/spiffe/src/profile.ts'
const VERIFY = 'packages/spiffe/src/verify.ts'
const CERTIFICATE = 'packages/spiffe/src/certificate.ts'
const ID = 'packages/spiffe/src/id.ts'
const TRANSPORT = 'packages/transport/test/transport.test.ts'

/** One certificate that must authenticate nobody: judged alone, as a client's and as a server's. */
function everywhere(id: string, bad: string, broken: Break): readonly RedRow[] {
  const roles = 'packages/transport/test/roles.test.ts'
  const row = { ...broken, threat: `a certificate with ${bad}` }
  return [
    {
      ...row,
      id: `1.${id}`,
      test: 'packages/spiffe/test/verify.test.ts',
      name: `refuses ${bad}`,
    },
    { ...row, id: `1.${id}.client`, test: roles, name: `refuses a client with ${bad}` },
    { ...row, id: `1.${id}.server`, test: roles, name: `refuses a server with ${bad}` },
  ]
}

const rule = (from: string): Break => ({ file: PROFILE, from, to: '' })

/** Rows 1 and 2: what Node's TLS does not do, and trust domains. */
export const CERTIFICATES: readonly RedRow[] = [
  ...everywhere(
    'two-uris',
    'two URI names',
    rule(`  if (second !== undefined) throw breaks('more than one URI alternative name')`),
  ),
  ...everywhere(
    'ca',
    'CA:TRUE',
    rule(
      `if (certificate.basicConstraints?.value.ca) throw breaks('a CA certificate authenticates nobody')`,
    ),
  ),
  ...everywhere(
    'key-cert-sign',
    'keyCertSign',
    rule(`if (usage.value.has(KEY_USAGE.keyCertSign)) throw breaks('keyCertSign on a leaf')`),
  ),
  ...everywhere(
    'crl-sign',
    'cRLSign',
    rule(`if (usage.value.has(KEY_USAGE.crlSign)) throw breaks('cRLSign on a leaf')`),
  ),
  ...everywhere('no-key-usage', 'no key usage', {
    file: PROFILE,
    from: `  const usage = certificate.keyUsage
  if (!usage) throw breaks('key usage is absent')`,
    to: `  const usage = certificate.keyUsage ?? { critical: true, value: new Set([KEY_USAGE.digitalSignature]) }`,
  }),
  ...everywhere(
    'no-path',
    'no SPIFFE path',
    rule(`if (id.path === '') throw breaks('the SPIFFE id has no path')`),
  ),
  ...everywhere('https', 'an https URI', {
    file: PROFILE,
    from: `  const id = parseSpiffeId(uri)
  if (id.path === '')`,
    to: `  const id = parseSpiffeId(uri.replace('https:', 'spiffe:'))
  if (id.path === '')`,
  }),
  ...everywhere('no-uri', 'no URI at all', {
    file: PROFILE,
    from: `  const [uri, second] = uris(certificate)
  if (uri === undefined) throw breaks('no URI alternative name')`,
    to: `  const [uri = 'spiffe://bank.test/agent/monitor/1', second] = uris(certificate)`,
  }),
  ...everywhere('dots', '/../ in the path', {
    file: ID,
    from: `segment === '.' || segment === '..'`,
    to: `segment === '.'`,
  }),
  ...everywhere('foreign', 'a foreign trust domain', {
    file: VERIFY,
    from: `const bundle = bundles.get(id.trustDomain)
  if (!bundle || bundle.trustDomain !== id.trustDomain) {`,
    to: `const bundle = bundles.get(id.trustDomain) ?? [...bundles.values()][0]
  if (!bundle) {`,
  }),
  {
    id: '1.pieces',
    threat: 'a second URI put together from pieces, as OpenSSL reads it',
    file: CERTIFICATE,
    from: `  if (!GENERAL_NAME_TAGS.has(tag)) throw malformed('a general name of an unknown kind')
`,
    to: '',
    test: 'packages/spiffe/test/verify.test.ts',
    name: 'refuses names put together from pieces, …',
  },
  {
    id: '1.resumption',
    threat: 'resumption, so that an expired SVID lives on',
    file: 'packages/transport/src/profile.ts',
    from: `    secureOptions: constants.SSL_OP_NO_TICKET,`,
    to: `    secureOptions: constants.SSL_OP_NO_QUERY_MTU,`,
    and: [
      {
        file: 'packages/transport/src/peer.ts',
        from: `if (socket.isSessionReused()) {`,
        to: `if (socket.isSessionReused() && now < 0) {`,
      },
    ],
    test: TRANSPORT,
    name: 'resumes no session',
  },
  {
    id: '1.alpn',
    threat: 'a client that offers no application protocol',
    file: 'packages/transport/src/server.ts',
    from: `if (!socket.alpnProtocol && !options.alpnImplied) {`,
    to: `if (!socket.alpnProtocol && options.alpnImplied) {`,
    test: TRANSPORT,
    name: 'refuses a client that offers no protocol, or only others',
  },
  {
    id: '1.expiry',
    threat: 'an SVID that expires on an open socket',
    file: 'packages/transport/src/peer.ts',
    from: `if (!(now <= peer.notAfter)) {`,
    to: `if (!(now <= peer.notAfter) && now < 0) {`,
    test: TRANSPORT,
    name: 'is judged again on every request',
  },
  ...(['client', 'server'] as const).map((role): RedRow => ({
    id: `2.claims.${role}`,
    threat: 'a leaf valid only under domain A’s root that claims domain B, in this TLS role',
    file: VERIFY,
    from: `signedByRoot(bundle, certificate, candidate),`,
    to: `signedByRoot(bundle, certificate, candidate) || candidate.raw.length > 0,`,
    // OpenSSL refuses it too, by the roots of the one domain that it is given.
    and: [
      {
        file: 'packages/transport/src/server.ts',
        from: `peer.id.trustDomain === own.trustDomain && !socket.authorized`,
        to: `peer.id.trustDomain !== own.trustDomain && !socket.authorized`,
      },
      {
        file: 'packages/transport/src/client.ts',
        from: `rejectUnauthorized: true,`,
        to: `rejectUnauthorized: false,`,
      },
    ],
    test: 'packages/transport/test/roles.test.ts',
    name: `refuses a ${role} with a leaf of another domain's root that claims this one`,
  })),
  {
    id: '2.both-bundles',
    threat: 'the same where both bundles are known: a pooled one would vouch for all',
    file: VERIFY,
    from: `      const root = bundle.authorities.find((candidate) =>`,
    to: `      const root = [...pool].flatMap((one) => one.authorities).find((candidate) =>`,
    and: [
      {
        file: VERIFY,
        from: `  const anchored = endAtRoot(path, bundle)`,
        to: `  const anchored = endAtRoot(path, bundle, bundles.values())`,
      },
      {
        file: VERIFY,
        from: `function endAtRoot(path: readonly Certificate[], bundle: TrustBundle): Certificate[] {`,
        to: `function endAtRoot(path: readonly Certificate[], bundle: TrustBundle, pool: Iterable<TrustBundle>): Certificate[] {`,
      },
    ],
    test: 'packages/spiffe/test/verify.test.ts',
    name: 'refuses what a root signs for a domain whose own bundle did not',
  },
  {
    id: '2.misfiled',
    threat: 'a bundle filed under a trust domain that is not its own',
    file: VERIFY,
    from: `if (!bundle || bundle.trustDomain !== id.trustDomain) {`,
    to: `if (!bundle) {`,
    test: 'packages/spiffe/test/verify.test.ts',
    name: 'refuses a bundle filed under a domain that is not its own',
  },
  {
    id: '2.jwt',
    threat: 'a JWT-SVID of domain B under any bundle but its own',
    file: 'packages/spiffe/src/jwt.ts',
    from: `  if (!bundle || bundle.trustDomain !== id.trustDomain) {`,
    to: `  if (!bundle) {`,
    test: 'packages/spiffe/test/jwt.test.ts',
    name: 'refuses a token of domain B under any bundle but B’s own',
  },
]
