import { randomBytes } from 'node:crypto'
import { canonicalJson, parseJson, sha256Hex, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Database, DatabaseAccount, Network } from '@sallyport/network'
import { issueClientCertificate, kindOf, parseSpiffeId, publicKeyFromCsr } from '@sallyport/spiffe'
import type { ClientAuthority, VerifiedSvid } from '@sallyport/spiffe'
import type { Recorder } from './custody.ts'
import type { SecretStore } from './kv.ts'
import type { LeaseRow, Leases } from './leases.ts'
import { accountsLike, closeAccount, createAccount, setLogin } from './postgres/account.ts'
import type { Login } from './postgres/account.ts'
import { compareGrants, notAsked } from './postgres/compare.ts'
import type { GrantComparison } from './postgres/compare.ts'
import { asAdmin } from './postgres/connect.ts'
import type { Target } from './postgres/connect.ts'
import { scramVerifier } from './postgres/scram.ts'

/** What an instance signs in with. Times are milliseconds since the epoch. */
export interface SignIn {
  readonly lease: string
  readonly user: string
  readonly host: string
  readonly port: number
  readonly database: string
  /** PEM of the CA of the server’s certificate, and the name in it. */
  readonly tls: { readonly ca: string; readonly serverName: string } | null
  /** Good until `signInUntil`, for new sessions. */
  readonly password: string | null
  /** PEM, for the key of the request; good until `signInUntil`. */
  readonly certificate: string | null
  readonly signInUntil: number
  readonly expiresAt: number
  readonly maxExpiresAt: number
}

export interface DatabaseDeps {
  readonly clock: Clock
  readonly network: () => Network
  readonly secrets: SecretStore
  readonly leases: Leases
  readonly authority: () => Promise<ClientAuthority>
  readonly record: Recorder
  /** What the names of all our roles begin with, in any database. */
  readonly prefix: string
  readonly onError: (error: unknown) => void
}

/** How long a password, once copied, is good for whoever has it. */
const SIGN_IN_SECONDS = 60
/** How long what stands for several leases lives, at most. */
export const SCOPE_SECONDS = 3600

/** Accounts in databases: made for one instance, by the declaration, for the life of a lease. */
export class DatabaseAccounts {
  readonly #deps: DatabaseDeps

  constructor(deps: DatabaseDeps) {
    this.#deps = deps
  }

  /**
   * Makes an account for this instance.
   *
   * @param input.csr PEM of a request whose key the certificate is for, where the database knows clients by certificates
   * @throws SallyportError `SP_DATABASE_*`, `SP_LEASE_*`, `SP_SECRET_UNKNOWN` where the administrator’s password is not stored
   */
  async open(
    caller: VerifiedSvid,
    input: {
      readonly database: string
      readonly csr?: string
      readonly ttlSeconds?: number
      readonly parent?: string
    },
  ): Promise<SignIn> {
    const { database, account } = this.#declared(caller, input.database)
    const key = await keyOf(database, input.csr)
    const role = `${this.#deps.prefix}${randomBytes(10).toString('hex')}`
    const target = targetOf(database)
    const ttlSeconds = Math.min(input.ttlSeconds ?? account.ttlSeconds, account.ttlSeconds)
    const row = await this.#deps.leases.begin({
      ...(input.parent === undefined ? {} : { parent: input.parent }),
      kind: 'database',
      holder: caller.id.uri,
      serial: caller.serial,
      resource: database.name,
      account: role,
      target: canonicalJson(target),
      terms: termsOf(database, account),
      ttlSeconds,
      maxTtlSeconds: account.maxTtlSeconds,
    })
    try {
      const { login, ...signIn } = await this.#signIn(row, database, key)
      const comment = `sallyport lease ${row.id} of ${row.holder}`
      await this.#asAdmin(target, (client) =>
        createAccount(client, { role, database: target.database, account, login, comment }),
      )
      // Nobody signs in under an account that no record speaks of.
      await this.#deps.record('account-opened', row.holder, {
        lease: row.id,
        database: database.name,
        account: role,
        expiresAt: row.expires_at,
      })
      if (!(await this.#deps.leases.activate(row.id))) {
        throw new SallyportError('SP_LEASE_UNKNOWN', 'the lease was ended while it was made')
      }
      return signIn
    } catch (error) {
      await this.#abandon(row)
      throw error
    }
  }

  /**
   * Lengthens a lease by what its kind is given at a time.
   *
   * @throws SallyportError `SP_LEASE_UNKNOWN`, `SP_DATABASE_UNDECLARED`
   */
  async renew(caller: VerifiedSvid, lease: string): Promise<LeaseRow> {
    const row = await this.#deps.leases.held(lease, caller.id.uri)
    const ttlSeconds =
      row.kind === 'scope' ? SCOPE_SECONDS : this.#declared(caller, row.resource).account.ttlSeconds
    const by = { holder: caller.id.uri, serial: caller.serial }
    const renewed = await this.#deps.leases.renew(lease, by, ttlSeconds)
    await this.#deps.record('lease-renewed', row.holder, { lease, expiresAt: renewed.expires_at })
    return renewed
  }

  /**
   * New credentials for the account of a lease: a password or certificate for further sessions.
   *
   * @throws SallyportError `SP_LEASE_UNKNOWN`, `SP_DATABASE_*`
   */
  async signIn(caller: VerifiedSvid, lease: string, csr?: string): Promise<SignIn> {
    const row = await this.#deps.leases.held(lease, caller.id.uri)
    const { database } = this.#declared(caller, row.resource)
    const key = await keyOf(database, csr)
    const { login, ...signIn } = await this.#signIn(row, database, key)
    await this.#deps.record('account-sign-in', row.holder, { lease, database: database.name })
    if (login.kind === 'password') {
      await this.#asAdmin(targetFrom(row), (client) => setLogin(client, row.account ?? '', login))
    }
    return signIn
  }

  /** Ends the account of a lease. @throws SallyportError where it is not certain that it has ended */
  async release(row: LeaseRow): Promise<void> {
    if (row.kind !== 'database' || row.account === null) return
    const { account } = row
    await this.#asAdmin(targetFrom(row), (client) => closeAccount(client, account))
  }

  /** Why a lease should end though it has not run out: what it was made by is no longer declared. */
  judge(row: LeaseRow): string | undefined {
    if (row.kind !== 'database') return undefined
    const found = find(this.#deps.network(), agentOf(row.holder), row.resource)
    return found && termsOf(found.database, found.account) === row.terms
      ? undefined
      : 'the declaration changed'
  }

  /** Ends roles that bear our prefix and that no lease speaks of: what a crash or a restored backup left. */
  async reconcile(): Promise<void> {
    const { prefix, leases, network } = this.#deps
    for (const database of network().databases ?? []) {
      try {
        await this.#asAdmin(targetOf(database), async (client) => {
          // Roles first: a lease is written down before its role is made.
          const roles = await accountsLike(client, prefix)
          const known = await leases.accounts()
          for (const role of roles.filter((one) => !known.has(one))) {
            await closeAccount(client, role)
            await this.#deps.record('account-orphaned', role, { database: database.name })
          }
        })
      } catch (error) {
        this.#deps.onError(error)
      }
    }
  }

  /** What the roles of each database can really do, against what the declaration gives them. */
  async compare(): Promise<readonly GrantComparison[]> {
    const { network, leases } = this.#deps
    const held = await leases.list()
    const found: GrantComparison[] = []
    for (const database of network().databases ?? []) {
      try {
        const rows = await this.#asAdmin(targetOf(database), (client) =>
          compareGrants(client, network(), database, held),
        )
        found.push(...rows)
      } catch (error) {
        found.push(notAsked(database.name, error))
      }
    }
    return found
  }

  #declared(
    caller: VerifiedSvid,
    name: string,
  ): { readonly database: Database; readonly account: DatabaseAccount } {
    const found = find(this.#deps.network(), agentOf(caller.id.uri), name)
    if (found) return found
    throw new SallyportError('SP_DATABASE_UNDECLARED', 'there is no such database for this agent', {
      fix: 'declare an account for it under `databases` in network.yaml',
    })
  }

  async #signIn(
    row: LeaseRow,
    database: Database,
    key: Buffer | undefined,
  ): Promise<SignIn & { readonly login: Login }> {
    const now = this.#deps.clock.now()
    const user = row.account ?? ''
    const common = {
      lease: row.id,
      user,
      host: database.host,
      port: database.port,
      database: database.database,
      tls: database.tls ?? null,
      expiresAt: row.expires_at,
      maxExpiresAt: row.max_expires_at,
    }
    if (key) {
      const { svidTtlSeconds } = this.#deps.network().settings
      const { certificatePem, notAfter } = issueClientCertificate(await this.#deps.authority(), {
        commonName: user,
        publicKeySpki: key,
        now,
        // How long it lives was counted on the database's clock, how long it is good is counted on ours.
        notAfter: now + Math.min(svidTtlSeconds * 1000, row.expires_at - row.issued_at),
      })
      const login = { kind: 'certificate' } as const
      return {
        ...common,
        password: null,
        certificate: certificatePem,
        signInUntil: notAfter,
        login,
      }
    }
    const password = randomBytes(32).toString('hex')
    const verifier = scramVerifier(password)
    const login = { kind: 'password', verifier, seconds: SIGN_IN_SECONDS } as const
    const signInUntil = now + SIGN_IN_SECONDS * 1000
    return { ...common, password, certificate: null, signInUntil, login }
  }

  async #abandon(row: LeaseRow): Promise<void> {
    try {
      await this.#deps.leases.end(row.id, 'not made')
      // The lease may have been ended before the role was there: then this is its end.
      await this.release(row)
    } catch (error) {
      // It is swept.
      this.#deps.onError(error)
    }
  }

  async #asAdmin<T>(target: Target, act: Parameters<typeof asAdmin<T>>[2]): Promise<T> {
    const { value } = await this.#deps.secrets.get(target.admin.secret)
    return asAdmin(target, value.toString('utf8'), act)
  }
}

function find(
  network: Network,
  agent: string | undefined,
  name: string,
): { readonly database: Database; readonly account: DatabaseAccount } | undefined {
  const database = (network.databases ?? []).find((one) => one.name === name)
  const account = database?.accounts.find((one) => one.agent === agent)
  return database && account ? { database, account } : undefined
}

/** NAME of an agent's instance; undefined for anybody else. */
function agentOf(spiffeId: string): string | undefined {
  const kind = kindOf(parseSpiffeId(spiffeId))
  return kind?.kind === 'agent' ? kind.name : undefined
}

function targetOf({ name, host, port, database, tls, admin }: Database): Target {
  return { name, host, port, database, admin, ...(tls ? { tls } : {}) }
}

function targetFrom(row: LeaseRow): Target {
  // Canonical text that `open` wrote.
  return parseJson(row.target ?? 'null') as unknown as Target
}

const termsOf = (database: Database, account: DatabaseAccount): string =>
  sha256Hex(canonicalJson([targetOf(database), database.login, account]))

async function keyOf(database: Database, csr: string | undefined): Promise<Buffer | undefined> {
  if (database.login === 'password') return undefined
  if (csr !== undefined) return publicKeyFromCsr(csr)
  throw new SallyportError('SP_DATABASE_CSR', 'this database knows clients by certificates', {
    fix: 'send a certificate request (`csr`) for a P-256 key of your own',
  })
}
