import type { RedRow } from './types.ts'

const ATTEST = 'packages/agent/test/attest.test.ts'
const MATCH = 'packages/agent/src/workload/match.ts'
const CALLER = 'packages/agent/src/workload/caller.ts'
const LEASES = {
  file: 'packages/control/src/secrets/leases.ts',
  test: 'packages/control/test/leases.test.ts',
  name: 'MUST-reject 12: a lease of another instance is none; …',
}
const SQL = {
  file: 'packages/control/src/secrets/postgres/sql.ts',
  test: 'packages/control/test/accounts.test.ts',
  name: 'MUST-reject 12: names that would end a statement are names, …',
}
const SECRETS = 'packages/control/test/secrets.test.ts'
const BARRIER = 'packages/seal/src/barrier/barrier.ts'
const SEALED = 'packages/seal/test/barrier.test.ts'

/** Row 3, and rows 11 to 14: processes, paths of secrets, leases, the log, the barrier, the authority. */
export const SECRETS_ROWS: readonly RedRow[] = [
  {
    id: '3.pid-reuse',
    threat: 'PID reuse between connect and attest',
    file: CALLER,
    from: `    if (startOf(this.pid) !== this.#started) throw gone(this.pid)
    if (this.#pidfd !== undefined && this.#kernel.ended(this.#pidfd)) throw gone(this.pid)
`,
    to: '',
    test: ATTEST,
    name: 'is not the program that got its number afterwards',
  },
  {
    id: '3.exec',
    threat: 'a process that becomes another program after it was attested',
    file: CALLER,
    from: `if (now.dev !== this.#executable.dev || now.ino !== this.#executable.ino) {`,
    to: `if (now.dev !== this.#executable.dev) {`,
    test: ATTEST,
    name: 'is not what it was once it runs another program, or none',
  },
  {
    id: '3.names-itself',
    threat: 'an executable that names itself, by a bind mount of its own',
    file: MATCH,
    from: `if (unix.path !== undefined && !isAt(executable, unix.path)) {`,
    to: 'if (unix.path !== undefined && readlinkSync(`/proc/${caller.pid}/exe`) !== unix.path) {',
    and: [
      {
        file: MATCH,
        from: `import { statSync } from 'node:fs'`,
        to: `import { readlinkSync, statSync } from 'node:fs'`,
      },
    ],
    test: ATTEST,
    name: 'cannot name its file itself, …',
  },
  {
    id: '3.changeable',
    threat: 'an executable that its user can change',
    file: MATCH,
    from: `  if (executable.openToOthers) return 'its executable can be changed by others than its owner'
`,
    to: '',
    test: ATTEST,
    name: 'proves nothing by a file that it can change',
  },
  {
    id: '3.several',
    threat: 'a process that could be two agents',
    file: MATCH,
    from: "  if (others.length > 0) throw denied(`${who} could be ${matching.join(' or ')}`)\n",
    to: '',
    test: ATTEST,
    name: 'is nobody where it could be several, …',
  },
  {
    id: '11.dots',
    threat: '`.` and `..` in the path of a secret',
    file: 'packages/control/src/secrets/kv.ts',
    from: String.raw`const SEGMENT = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$/`,
    to: String.raw`const SEGMENT = /^[A-Za-z0-9._-]{1,64}$/`,
    test: SECRETS,
    name: 'MUST-reject 11: paths are compared letter by letter, …',
  },
  {
    id: '11.list',
    threat: 'LIST that bypasses a deny',
    file: 'packages/control/src/secrets/vault.ts',
    from: `    return all.filter(({ path }) => mayRead(network, path, reader))`,
    to: `    return all.filter(({ path }) => prefix !== '' || mayRead(network, path, reader))`,
    test: SECRETS,
    name: 'MUST-reject 11: a listing shows what its reader may read, …',
  },
  {
    ...LEASES,
    id: '12.lease',
    threat: 'a lease of another instance: renewed, signed in with',
    from: `if (!row || row.holder !== holder || row.state !== 'active' || row.expires_at <= now) {`,
    to: `if (!row || row.state !== 'active' || row.expires_at <= now) {`,
  },
  {
    ...LEASES,
    id: '12.lease-end',
    threat: 'a lease of another instance: ended',
    from: `if (!row || (holder !== undefined && row.holder !== holder)) throw unknown()`,
    to: `if (!row) throw unknown()`,
  },
  {
    id: '12.renewal',
    threat: 'a renewal with a certificate that was renewed before, by another key',
    file: 'packages/control/src/domain/renewals.ts',
    from: `if (next?.key_digest !== sha256Hex(key)) return 'superseded'`,
    to: `if (next === undefined || key.length === 0) return 'superseded'`,
    test: 'packages/control/test/plane-identity.test.ts',
    name: 'renewal follows one lineage; the same request again has the same answer',
  },
  {
    ...SQL,
    id: '12.sql',
    threat: 'SQL in names of roles, tables, columns and values',
    from: `  const { rows } = await client.query<{ text: string | null }>(
    'SELECT format($1, VARIADIC $2::text[]) AS text',
    [template, values],
  )`,
    to: `  let at = 0
  const rows = [
    {
      text: template.replaceAll(/%([IL%])/g, (_, kind) =>
        kind === '%' ? '%' : kind === 'I' ? \`"\${values[at++]}"\` : \`'\${values[at++]}'\`,
      ),
    },
  ]`,
  },
  {
    ...SQL,
    id: '12.sql-revoke',
    threat: 'SQL in the name of a role that is revoked',
    file: 'packages/control/src/secrets/postgres/account.ts',
    from: `    await statement(client, 'DROP OWNED BY %I', role)`,
    to: '    await client.query(`DROP OWNED BY "${role}"`)',
  },
  {
    id: '13.plain',
    threat: 'a secret in plain text in the audit log',
    file: 'packages/control/src/secrets/vault.ts',
    from: `await this.#record('secret-read', nameOf(reader), { path, version: found.version })`,
    to: `await this.#record('secret-read', nameOf(reader), { path, value: found.value.toString() })`,
    test: SECRETS,
    name: 'MUST-reject 13: a value is in no record, row, event, file or error',
  },
  {
    id: '13.unrecorded',
    threat: 'a secret that is read while the audit log cannot record it',
    file: 'packages/control/src/secrets/vault.ts',
    from: `    await this.#record('secret-read', nameOf(reader), { path, version: found.version })`,
    to: `    void this.#record('secret-read', nameOf(reader), { path, version: found.version }).catch(() => undefined)`,
    test: SECRETS,
    name: 'nothing is read or written while it cannot be recorded',
  },
  {
    id: '13.sink',
    threat: 'an audit sink that can be set through the API',
    file: 'packages/control/src/operator/routes/reads.ts',
    from: `  return [
    {
      method: 'GET',
      path: '/api/network',`,
    to: `  return [
    {
      method: 'POST',
      path: '/api/audit/sink',
      summary: 'Sets where records go',
      access: { role: 'admin', act: 'narrow' },
      body: object({ url: text(256) }),
      answer: object({}),
      handle: () => Promise.resolve({}),
    },
    {
      method: 'GET',
      path: '/api/network',`,
    test: 'packages/control/test/operator-openapi.test.ts',
    name: 'MUST-reject 13: where the audit log goes is for nobody to set through the API',
  },
  {
    id: '13.csr',
    threat: 'names in a certificate request beyond the role',
    file: 'packages/control/src/domain/identities.ts',
    from: `        enrol(tx, { ...deps, secrets }, token, key),`,
    to: `        enrol(
          tx,
          {
            ...deps,
            secrets,
            issuer: {
              ready: () => deps.issuer.ready(),
              issue: (request) => {
                const der = Buffer.from(csr.split('\\n').slice(1, -2).join(''), 'base64')
                const [asked] = /spiffe:[a-z./0-9-]+/.exec(der.toString('latin1')) ?? []
                return deps.issuer.issue({ ...request, spiffeId: asked ?? request.spiffeId })
              },
            },
          },
          token,
          key,
        ),`,
    test: 'packages/control/test/plane-identity.test.ts',
    name: 'MUST-reject 13: what a request asks for beside its key is not in the certificate',
  },
  {
    id: '14.path',
    threat: 'AES-GCM: a ciphertext in the place of another path’s',
    file: 'packages/control/src/secrets/kv.ts',
    from: 'await this.#barrier().encrypt(`secret/${path}`, version, value)',
    to: `await this.#barrier().encrypt('secret', 0, value)`,
    and: [
      {
        file: 'packages/control/src/secrets/kv.ts',
        from: 'await this.#barrier().decrypt(`secret/${path}`, row.version, row.value)',
        to: `await this.#barrier().decrypt('secret', 0, row.value)`,
      },
    ],
    test: SECRETS,
    name: 'MUST-reject 14: a ciphertext in another’s place does not open',
  },
  {
    id: '14.barrier',
    threat: 'AES-GCM: the same below, where path and version are bound',
    file: BARRIER,
    from: `JSON.stringify(['sallyport-barrier/1 value', id, term, version, path])`,
    to: `JSON.stringify(['sallyport-barrier/1 value', id, term])`,
    test: SEALED,
    name: 'MUST-reject 14: a ciphertext swapped between paths, …',
  },
  {
    id: '14.nonce-cap',
    threat: 'AES-GCM: more uses of a key than random nonces allow',
    file: BARRIER,
    from: `spent + this.#leaseUses <= this.#maxUses ? document`,
    to: `spent + this.#leaseUses <= this.#maxUses * 9 ? document`,
    test: SEALED,
    name: 'the nonce cap: …',
  },
  {
    id: '14.crash',
    threat: 'a crash in the middle of CA rotation',
    file: 'packages/control/src/authority/authority.ts',
    from: `    writeDurably(this.#options.folder, STATE, JSON.stringify(next))
    this.#all = next
    await this.#sweep()`,
    to: `    this.#all = next
    await this.#sweep()
    writeDurably(this.#options.folder, STATE, JSON.stringify(next))`,
    test: 'packages/control/test/authority.test.ts',
    name: 'leaves an authority that issues, rotates on, and holds no key too many',
  },
  {
    id: '14.crash-root',
    threat: 'a crash in the middle of a change of the trust root',
    file: 'packages/control/src/authority/authority.ts',
    from: `    writeDurably(this.#options.folder, STATE, JSON.stringify(next))
    this.#all = next
    await this.#sweep()`,
    to: `    this.#all = next
    await this.#sweep()
    writeDurably(this.#options.folder, STATE, JSON.stringify(next))`,
    test: 'packages/control/test/authority.test.ts',
    name: 'in a change of the root leaves one that issues below either, …',
  },
]
