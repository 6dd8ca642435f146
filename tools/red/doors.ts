import type { RedRow } from './types.ts'

const DATABASE = 'packages/agent/src/launcher/database.ts'
const SEVERAL = 'test/postgresql-several.test.ts'
const LAUNCHED = 'test/launched-postgres.test.ts'
const GLASS = 'packages/control/test/break-glass.test.ts'
const POP = 'packages/control/src/attest/x509pop.ts'
const ATTESTED = {
  file: POP,
  test: 'packages/control/test/attestation.test.ts',
  name: 'refused: critical extensions that are not understood, …',
}

/** Threats that the list has no number for: how programs come in, and what enrols them. */
export const DOORS: readonly RedRow[] = [
  {
    id: 'trace.outside',
    threat: 'a system outside learns by a trace which calls belong together',
    file: 'packages/gateway/src/upstream/exchange.ts',
    from: `trace !== undefined && system.upstream.kind === 'service'`,
    to: `trace !== undefined`,
    test: 'packages/gateway/test/trace.test.ts',
    name: 'tell systems outside of no trace',
  },
  {
    id: 'trace.sticks',
    threat: 'a call is recorded in the trace of another on the same connection',
    file: 'packages/gateway/src/serve/requests.ts',
    from: `caller = { ...caller, trace }`,
    to: `callers.set(req.socket, (caller = { ...caller, trace }))`,
    test: 'packages/gateway/test/trace.test.ts',
    name: 'have none where their caller names none, though it named one before',
  },
  {
    id: 'launch.impostor',
    threat: 'a peer that is no gateway is handed what a launched program says to its database',
    file: DATABASE,
    from: `id.trustDomain === trustDomain && kindOf(id)?.kind === 'gateway'`,
    to: `id.trustDomain === trustDomain && kindOf(id) !== undefined`,
    test: LAUNCHED,
    name: 'what is no gateway of the trust domain is told nothing, and the program is told why',
  },
  {
    id: 'launch.cut',
    threat: 'a launched program that is cut off keeps its session with a database',
    file: DATABASE,
    from: `for (const socket of open) cutSocket(socket)`,
    to: `for (const socket of open) void socket`,
    and: [
      {
        file: 'packages/agent/src/launcher/launch.ts',
        from: `    for (const relay of relays) relay.cut()
`,
        to: `    for (const relay of relays.slice(0, 2)) relay.cut()
`,
      },
    ],
    test: LAUNCHED,
    name: 'a program inside reads a declared database by PGHOST and PGUSER, until it is cut',
  },
  {
    id: 'launch.mode',
    threat: 'a socket for databases that others on the machine may open',
    file: 'packages/agent/src/private-socket.ts',
    from: `  chmodSync(path, 0o600)`,
    to: `  chmodSync(path, 0o666)`,
    test: LAUNCHED,
    name: 'a program inside reads a declared database by PGHOST and PGUSER, until it is cut',
  },
  {
    ...ATTESTED,
    id: 'pop.critical',
    threat: 'x509pop: a critical extension that is not understood, of the machine or its CA',
    from: `    if (unknown.size > 0) {`,
    to: `    if (unknown.size > 99) {`,
    says: 'of the machine',
  },
  {
    ...ATTESTED,
    id: 'pop.critical-ca',
    threat: 'x509pop: the same, of its CA alone',
    from: `for (const critical of [leaf?.critical, ca?.critical]) {`,
    to: `for (const critical of [leaf?.critical]) {`,
    says: 'of a CA',
  },
  {
    ...ATTESTED,
    id: 'pop.constraints',
    threat: 'x509pop: a CA with name constraints, which nobody judges',
    from: `if (ca?.present.has(NAME_CONSTRAINTS)) {`,
    to: `if (ca?.present.has('')) {`,
    and: [
      { file: POP, from: `'2.5.29.35', '2.5.29.37'`, to: `'2.5.29.35', '2.5.29.37', '2.5.29.30'` },
    ],
    says: 'name constraints',
  },
  {
    ...ATTESTED,
    id: 'pop.key-usage',
    threat: 'x509pop: a key that is not for signatures',
    from: `if (leaf?.keyUsage && !leaf.keyUsage.has(DIGITAL_SIGNATURE)) {`,
    to: `if (leaf?.keyUsage?.has(-1)) {`,
    says: 'not for signatures',
  },
  {
    id: 'glass.review-acts',
    threat: 'a review of a break-glass that does not cover what was done',
    file: 'packages/control/src/domain/emergencies.ts',
    from: `acts: sha256Hex(canonicalJson(done.map(({ at, method, path }) => [at, method, path]))),`,
    to: `acts: sha256Hex(canonicalJson(done.length)),`,
    test: GLASS,
    name: 'a review is the reviewer’s signature over all that was done, …',
  },
  {
    id: 'glass.review-unverified',
    threat: 'a review of a break-glass without user verification, or with another’s passkey',
    file: 'packages/control/src/domain/signers.ts',
    from: `  verifyPasskey(expected, signature, set, { requireUv: true })`,
    to: `  if (set.version < 0) verifyPasskey(expected, signature, set, { requireUv: true })`,
    test: GLASS,
    name: 'a review is the reviewer’s signature over all that was done, …',
  },
  {
    id: 'enroll.other',
    threat: 'an enrolment by proof that leaves another agent’s key than the one that was asked for',
    file: 'packages/cli/src/attest.ts',
    from: `exec(spiffeId)?.[1] !== name) {`,
    to: `exec(spiffeId)?.[1] === '') {`,
    test: 'test/attested-enrolment.test.ts',
    name: '`agent enroll --attest` enrols by a machine’s key or the Workload API, …',
  },
  {
    id: 'doctor.key',
    threat: 'a key of another certificate, told as something else',
    file: 'packages/transport/src/diagnose.ts',
    from: `  return certificate.checkPrivateKey(key)
`,
    to: `  return certificate.checkPrivateKey(key) || key.type === 'private'
`,
    test: 'packages/transport/test/diagnose.test.ts',
    name: 'tells a key of another certificate, and files that are neither',
  },
  {
    id: 'doctor.socket',
    threat: 'a socket that this user may not open, told as something else',
    file: 'packages/transport/src/diagnose.ts',
    from: '    EACCES: `this user may not open',
    to: '    EXCUSE: `this user may not open',
    test: 'packages/transport/test/diagnose.test.ts',
    name: 'tells a socket that is missing, left over, no socket, or of somebody else',
  },
  {
    id: 'sql.several',
    threat:
      'a statement runs though the first of its decisions does not hold by the time of the last',
    file: 'packages/gateway/src/sql/together.ts',
    from: '    still.demand(grant, own, tagsOf(enforced, others))\n',
    to: '',
    test: SEVERAL,
    name: 'a statement of several is stopped, while its last is recorded, by what forbids the first of them',
  },
  {
    id: 'sql.together',
    threat: 'a join shows at once what two statements would not show one after the other',
    file: 'packages/gateway/src/sql/together.ts',
    from: 'own, tagsOf(enforced, others))',
    to: 'own, [])',
    test: SEVERAL,
    name: 'one statement shows no more than two: tables that forbid each other are not joined, in whatever order',
  },
  {
    id: 'sql.form',
    threat: 'a row leaves in the form of another one, though policies oblige to less',
    file: 'packages/gateway/src/calls/still.ts',
    from: `if (same !== grant.upstream) throw`,
    to: `if (same === undefined) throw`,
    test: SEVERAL,
    name: 'rows of one statement are returned as each of them was recorded, or not written',
  },
  {
    id: 'sql.later',
    threat: 'a write that was described in time is executed long after its decision',
    file: 'packages/gateway/src/sql/run.ts',
    from: `if (!this.#sent) this.#authorised?.demandStill()`,
    to: `if (!this.#sent) void 0`,
    test: SEVERAL,
    name: 'what was described and is executed later is looked at again',
  },
]
