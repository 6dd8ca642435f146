import type { RedRow } from './types.ts'

const PASSKEY = {
  file: 'packages/wire/src/passkey.ts',
  test: 'packages/wire/test/passkey.test.ts',
}
const ASKING = 'packages/control/src/domain/asking.ts'
const APPROVALS = 'packages/control/test/approvals.test.ts'
const REAL = 'packages/control/test/real-passkeys.test.ts'
const PERSON = 'packages/control/test/oauth-person.test.ts'
const RECOVERY = 'packages/control/test/recovery.test.ts'
const FEDERATION = 'packages/control/test/federation.test.ts'
const GLASS = 'packages/control/test/break-glass.test.ts'
const CEREMONY = 'packages/control/src/operator/ceremony.ts'

/** Rows 9 to 11: signing in to MCP, approvals, one-time codes, names. */
export const PEOPLE: readonly RedRow[] = [
  {
    id: '9.passthrough',
    threat: 'MCP: the caller’s token goes on to the upstream',
    file: 'packages/gateway/src/upstream/exchange.ts',
    from: `        if (header !== undefined) request.headers[header] = secret`,
    to: `        if (header !== undefined) request.headers[header] = secret
        request.headers['authorization'] = 'Bearer of the caller'`,
    test: 'packages/gateway/test/tokens.test.ts',
    name: 'a call on behalf of a person: policy, record and service learn for whom, the upstream never sees the token',
  },
  {
    id: '9.iss',
    threat: 'MCP: `iss` missing in the answer of the authorisation endpoint',
    file: 'packages/oauth/src/server.ts',
    from: `      if (path === PATH.authorization) delete inner.headers.cookie`,
    to: `      if (path === PATH.authorization) delete inner.headers.cookie
      const set = response.setHeader.bind(response)
      response.setHeader = (name, value) =>
        set(name, name.toLowerCase() === 'location' ? String(value).replace(/&iss=[^&]*/, '') : value)`,
    test: PERSON,
    name: 'the issuer is in every answer, and another one is noticed',
  },
  {
    id: '9.consent-reuse',
    threat: 'MCP: consent that was given for one client and request is used for another',
    file: 'packages/control/src/domain/signers.ts',
    from: `if (canonicalJson(given) !== canonicalJson(expected) || signature.operator !== operator) {`,
    to: `if (signature.operator !== operator) {`,
    and: [
      {
        file: 'packages/control/src/domain/signers.ts',
        from: `  verifyPasskey(expected, signature, set, { requireUv: true })`,
        to: `  verifyPasskey(given, signature, set, { requireUv: true })`,
      },
    ],
    test: PERSON,
    name: 'consent is for one client and one request: it is never used again',
  },
  {
    id: '9.rebinding',
    threat: 'MCP: DNS rebinding at the issuer',
    file: 'packages/control/src/operator/guard.ts',
    from: `if (hosts.length !== 1 || hosts[0] !== new URL(origin).host || !near) {`,
    to: `if (hosts.length !== 1 || !near) {`,
    test: PERSON,
    name: 'the issuer answers to its own address only',
  },
  {
    id: '9.transport',
    threat: 'MCP: a transport session shared across subjects',
    file: 'packages/gateway/src/adapters/mcp-sessions.ts',
    from: `    if (session.subject !== subject) return undefined
`,
    to: '',
    test: 'packages/gateway/test/tokens.test.ts',
    name: 'a session is for one subject: no other call is served in it',
  },
  {
    id: '9.ssrf',
    threat: 'MCP: SSRF through client ids, where a server would fetch a client’s metadata',
    file: 'packages/oauth/src/clients.ts',
    from: `  const agent = agentOf(clientId, trustDomain)
  if (!agent || !standing(clientId)) return undefined`,
    to: `  if (clientId.startsWith('http')) await fetch(clientId).catch(() => undefined)
  const agent = agentOf(clientId, trustDomain)
  if (!agent || !standing(clientId)) return undefined`,
    test: PERSON,
    name: 'a client id that is an address of somebody’s is no client, and nothing is fetched',
  },
  {
    id: '9.redirect',
    threat: 'redirects that are not exact',
    file: 'packages/oauth/src/clients.ts',
    from: `const REDIRECTS = ['http://127.0.0.1/callback', 'http://[::1]/callback']`,
    to: `const REDIRECTS = ['http://127.0.0.1/callback', 'http://127.0.0.1/other', 'http://[::1]/callback']`,
    test: PERSON,
    name: 'redirects are exact, on the client’s own machine at any port; PKCE is S256 and required',
    says: 'http://127.0.0.1:9/other',
  },
  {
    id: '9.pkce',
    threat: 'PKCE missing',
    file: 'packages/oauth/src/configuration.ts',
    from: `    pkce: { required: () => true },`,
    to: `    pkce: { required: () => false },`,
    test: PERSON,
    name: 'redirects are exact, on the client’s own machine at any port; PKCE is S256 and required',
  },
  {
    id: '10.replay-use',
    threat: 'an approval used twice',
    file: ASKING,
    from: `          .where('status', '=', 'approved')
          .where('expires_at', '>', clock.now())`,
    to: `          .where('status', 'in', ['approved', 'used'])
          .where('expires_at', '>', clock.now())`,
    test: APPROVALS,
    name: 'an approved call is used once, whoever asks at the same time',
  },
  {
    id: '10.replay-signature',
    threat: 'a signature for one approval shown for another',
    file: 'packages/control/src/domain/signers.ts',
    from: `if (canonicalJson(given) !== canonicalJson(expected) || signature.operator !== operator) {`,
    to: `if (signature.operator !== operator) {`,
    and: [
      {
        file: 'packages/control/src/domain/signers.ts',
        from: `  verifyPasskey(expected, signature, set, { requireUv: true })`,
        to: `  verifyPasskey(given, signature, set, { requireUv: true })`,
      },
    ],
    test: APPROVALS,
    name: 'a signature is not replayed for another approval, nor twice for one',
  },
  {
    id: '10.edited',
    threat: 'payee, amount, currency or a payee of a batch edited after it was signed',
    file: PASSKEY.file,
    from: `  if (data['challenge'] !== challenge.toString('base64url')) {`,
    to: `  if (challenge.length === 0) {`,
    test: PASSKEY.test,
    name: 'any altered member of an approval voids the signature',
  },
  {
    id: '10.edited-control',
    threat: 'the same at the control plane',
    file: 'packages/control/src/domain/signers.ts',
    from: `if (canonicalJson(given) !== canonicalJson(expected) || signature.operator !== operator) {`,
    to: `if (signature.operator !== operator) {`,
    and: [
      {
        file: 'packages/control/src/domain/signers.ts',
        from: `  verifyPasskey(expected, signature, set, { requireUv: true })`,
        to: `  verifyPasskey(given, signature, set, { requireUv: true })`,
      },
    ],
    test: APPROVALS,
    name: 'an altered statement is refused, whichever member was altered',
  },
  {
    id: '10.self',
    threat: 'self-approval: by the owner of the agent, or who enrolled it',
    file: ASKING,
    from: `if (owner === operator || enrolled?.enrolled_by === operator) {`,
    to: `if (owner === operator && enrolled?.enrolled_by === operator) {`,
    test: APPROVALS,
    name: 'nobody approves for an agent that they own or enrolled',
  },
  {
    id: '10.self-gateway',
    threat: 'self-approval that the control plane lets through',
    file: 'packages/gateway/src/calls/approvals.ts',
    from: `const approvers = signers.filter((signer) => signer !== owner)`,
    to: `const approvers = signers.filter((signer) => signer !== '' || owner === '')`,
    test: 'packages/gateway/test/approvals.test.ts',
    name: 'does not count the owner of the agent, …',
  },
  {
    id: '10.expired',
    threat: 'an expired approval',
    file: ASKING,
    from: `status: OPEN.includes(row.status) && row.expires_at <= now ? 'expired' : row.status,`,
    to: `status: row.status,`,
    and: [
      {
        file: ASKING,
        from: `          .where('status', '=', 'approved')
          .where('expires_at', '>', clock.now())`,
        to: `          .where('status', '=', 'approved')`,
      },
    ],
    test: APPROVALS,
    name: 'what has expired is neither decided nor used',
  },
  {
    ...PASSKEY,
    id: '10.origin',
    threat: 'a signature on another origin',
    from: `  if (data['origin'] !== origin) {`,
    to: `  if (origin === '') {`,
    name: 'refused: a signature on another origin',
  },
  {
    id: '10.origin-browser',
    threat: 'the same, by a real browser on a page of another origin',
    file: PASSKEY.file,
    from: `  if (data['origin'] !== origin) {`,
    to: `  if (origin === '') {`,
    test: REAL,
    name: 'a page of another origin on this machine gets a signature, which is good for nothing',
  },
  {
    ...PASSKEY,
    id: '10.rp-id',
    threat: 'a signature for another RP id',
    from: `if (!timingSafeEqual(bytes.subarray(0, 32), hash('sha256', rpId, 'buffer'))) {`,
    to: `if (rpId === '') {`,
    name: 'refused: a signature for another RP',
  },
  {
    ...PASSKEY,
    id: '10.uv',
    threat: 'a signature without user verification',
    from: `if (requireUv && (flags & USER_VERIFIED) === 0) {`,
    to: `if (!requireUv && (flags & USER_VERIFIED) === 0) {`,
    name: 'refused: a signature without user verification',
  },
  {
    id: '10.uv-browser',
    threat: 'no user verification, from Chromium’s authenticator: an approval',
    file: PASSKEY.file,
    from: `if (requireUv && (flags & USER_VERIFIED) === 0) {`,
    to: `if (!requireUv && (flags & USER_VERIFIED) === 0) {`,
    test: REAL,
    name: 'an approval takes the real thing: none of these is one, and the next is',
    says: 'no user verification',
  },
  {
    id: '10.bogus-browser',
    threat: 'a bogus signature from Chromium’s authenticator: an approval',
    file: PASSKEY.file,
    from: `    !signatureHolds(readCoseKey(decoded(pinned.publicKey)), signed, decoded(signature.signature))`,
    to: `    !signatureHolds(readCoseKey(decoded(pinned.publicKey)), signed, decoded(signature.signature)) && signed.length === 0`,
    test: REAL,
    name: 'an approval takes the real thing: none of these is one, and the next is',
    says: 'a bogus signature',
  },
  {
    id: '10.uv-sign-in',
    threat: 'no user verification, from Chromium’s authenticator: a sign-in',
    file: CEREMONY,
    from: `      requireUserVerification: true,
      credential: {`,
    to: `      requireUserVerification: false,
      credential: {`,
    test: REAL,
    name: 'a browser signs in with its passkey; not with a bogus signature, nor without verification or presence',
    says: 'no user verification',
  },
  {
    id: '10.other-call',
    threat: 'approving A while executing B',
    file: 'packages/wire/src/quorum.ts',
    from: `canonicalJson(covered) === canonicalJson(expected)`,
    to: `canonicalJson(covered) !== canonicalJson(expected.approvalId)`,
    test: 'packages/gateway/test/approvals.test.ts',
    name: 'covers exactly what was signed',
  },
  {
    id: '10.vote-by-break-glass',
    threat: 'a vote in a quorum by break-glass',
    file: 'packages/control/src/domain/signers.ts',
    from: `  if (!hasRole(set, operator, roles)) {`,
    to: `  if (!hasRole(set, operator, [...roles, 'viewer'])) {`,
    test: GLASS,
    name: 'it gives nobody a signature: …',
  },
  {
    id: '10.review-oneself',
    threat: 'a review of one’s own break-glass',
    file: 'packages/control/src/domain/emergencies.ts',
    from: `    if (row.operator === by) {`,
    to: `    if (by === '') {`,
    test: GLASS,
    name: 'declared roles for minutes, …',
    says: 'SP_BREAK_GLASS_SELF',
  },
  {
    id: '11.totp-reuse',
    threat: 'TOTP reuse, spaces included',
    file: 'packages/control/src/domain/recoveries.ts',
    from: `          .where('last_step', '<', step)
`,
    to: '',
    test: RECOVERY,
    name: 'a code is good once: …',
  },
  {
    id: '11.totp-alone',
    threat: 'TOTP without a second operator’s word',
    file: 'packages/control/src/domain/recoveries.ts',
    from: `        if (!confirmed || age >= windowMs() || age < -60_000) return undefined`,
    to: `        if (age < -60_000) return undefined`,
    and: [
      {
        file: 'packages/control/src/domain/recoveries.ts',
        from: `        return { by: confirmed.confirmed_by }`,
        to: `        return { by: confirmed?.confirmed_by ?? 'nobody' }`,
      },
    ],
    test: RECOVERY,
    name: 'a right code alone opens nothing; …',
  },
  {
    id: '11.names',
    threat: 'case and space variants of an operator',
    file: 'packages/control/src/domain/recoveries.ts',
    from: 'if (!network().operators.some(({ name }) => name === operator)) {',
    to: 'if (!network().operators.some(({ name }) => name === operator.trim().toLowerCase())) {',
    test: RECOVERY,
    name: 'nobody confirms their own, …',
    says: 'Olga',
  },
  {
    id: '11.groups',
    threat: 'case and space variants of a privileged group',
    file: 'packages/control/src/domain/session-rules.ts',
    from: `Object.hasOwn(map, group) ? (map[group] ?? []) : [],`,
    to: `map[group.trim().toLowerCase()] ?? [],`,
    and: [
      {
        file: 'packages/control/src/operator/oidc.ts',
        from: `named.filter((group) => Object.hasOwn(map, group))`,
        to: `named.filter((group) => Object.hasOwn(map, group.trim().toLowerCase()))`,
      },
    ],
    test: FEDERATION,
    name: 'names are compared letter by letter: no variant of a privileged one is it',
  },
  {
    id: '11.templated',
    threat: 'wildcards, `/` or commas in what becomes a SPIFFE id',
    file: 'packages/spiffe/src/id.ts',
    from: `    if (segment.includes('/')) throw refuse('a name has a slash in it')
`,
    to: '',
    test: 'packages/spiffe/test/id.test.ts',
    name: 'refuses names that would change the shape of the id',
  },
  {
    id: '11.wildcards',
    threat: 'wildcards and commas in what becomes a SPIFFE id',
    file: 'packages/spiffe/src/id.ts',
    from: 'const SEGMENT = /^[A-Za-z0-9._-]+$/',
    to: 'const SEGMENT = /^[A-Za-z0-9._*,-]+$/',
    test: 'packages/spiffe/test/id.test.ts',
    name: 'refuses names that would change the shape of the id',
  },
]
