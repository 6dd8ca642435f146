import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SallyportError, systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { csrFor } from '@sallyport/spiffe'
import type { Identity } from './identity.ts'
import { isObject, RefusedError } from './refused.ts'
import type { JsonObject } from './refused.ts'

/** What `pg.Client` takes, for one new connection. */
export interface PostgresOptions {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password?: string
  readonly ssl:
    | false
    | {
        readonly ca: string
        readonly servername: string
        readonly rejectUnauthorized: true
        readonly minVersion: 'TLSv1.2'
        readonly cert?: string
        readonly key?: string
      }
}

export interface DatabaseOptions {
  readonly identity: Pick<Identity, 'ask'>
  /** Its name in the declaration. */
  readonly database: string
  /** Where it is reached, if not where the declaration says: a relay, or a folder with a Unix socket. TLS goes through. */
  readonly through?: { readonly host: string; readonly port: number }
  /** Told of each renewal that failed and will be tried again. */
  readonly onError?: (error: unknown) => void
  readonly clock?: Clock
}

/** An account of this instance in a database, kept fresh. */
export interface DatabaseAccess {
  /** The role of now. It changes when a lease has been renewed as often as it may be. */
  readonly user: string
  /**
   * For a connection that is opened now: certificates and passwords are good for minutes.
   *
   * @throws RefusedError, SallyportError why there is nothing good any more
   */
  options(): PostgresOptions
  /** `pg.Client`, such that each new one has the options of its moment: `new pg.Pool({ Client: access.client(pg.Client) })`. */
  client<T extends object>(base: new (config: PostgresOptions) => T): new () => T
  /** Gives the account back, which ends its connections. */
  close(): Promise<void>
}

const FIRST_RETRY_MS = 250
const MAX_RETRY_MS = 10_000
/** Longest delay a Node timer takes. */
const MAX_DELAY_MS = 2_147_483_647

interface SignIn {
  readonly lease: string
  readonly options: PostgresOptions
  /** Milliseconds since the epoch: for new connections. */
  readonly signInUntil: number
  /** And for those that are open. */
  readonly expiresAt: number
  readonly maxExpiresAt: number
}

/**
 * Opens an account of this instance in a declared PostgreSQL, with a certificate for a key that never leaves the process (or a password of
 * a minute, where the declaration says so), and renews it from half of its life on, each time with another key.
 *
 * @throws RefusedError `SP_DATABASE_*`, `SP_LEASE_*`, `SP_QUARANTINED`; SallyportError as `Identity.ask`, `SP_RESPONSE_INVALID`
 */
export async function openDatabase(options: DatabaseOptions): Promise<DatabaseAccess> {
  const access = new LeasedAccess(options)
  await access.open()
  return access
}

class LeasedAccess implements DatabaseAccess {
  readonly #options: DatabaseOptions
  readonly #clock: Clock
  #held: SignIn | undefined
  /** Why what is held is not good any more. */
  #fault: unknown
  #timer: NodeJS.Timeout | undefined
  #turn: Promise<void> = Promise.resolve()
  #failures = 0
  #closed = false

  constructor(options: DatabaseOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
  }

  get user(): string {
    return this.options().user
  }

  options(): PostgresOptions {
    if (this.#closed) throw new SallyportError('SP_CLIENT_CLOSED', 'the account was given back')
    const held = this.#held
    // Written so that an end that is no number has passed.
    if (held && this.#clock.now() < held.signInUntil) return held.options
    throw (
      this.#fault ??
      new SallyportError('SP_LEASE_UNKNOWN', 'the account could not be renewed in time', {
        fix: 'see whether the control plane is in reach',
      })
    )
  }

  client<T extends object>(base: new (config: PostgresOptions) => T): new () => T {
    const options = (): PostgresOptions => this.options()
    // Whatever a pool hands to it, a connection is opened with what is good now.
    const made: object = new Proxy(base, {
      construct: (target, _given, made_) => Reflect.construct(target, [options()], made_) as T,
    })
    // A proxy of a class constructs what the class does; `construct` above takes no argument into account.
    return made as new () => T
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#turn
    const held = this.#held
    this.#held = undefined
    if (held) await this.#options.identity.ask('POST', `/v1/leases/${held.lease}/end`, {})
  }

  async open(): Promise<void> {
    const key = newKey()
    const path = `/v1/databases/${encodeURIComponent(this.#options.database)}/account`
    const answer = await this.#options.identity.ask('POST', path, { csr: csrFor(key) })
    this.#take(answer, key)
  }

  #take(answer: JsonObject, key: KeyObject): void {
    this.#held = readSignIn(answer, key, this.#options.through)
    this.#fault = undefined
    this.#failures = 0
    const now = this.#clock.now()
    const { signInUntil, expiresAt } = this.#held
    this.#after((Math.min(signInUntil, expiresAt) - now) / 2)
  }

  #after(delay: number): void {
    if (this.#closed) return
    clearTimeout(this.#timer)
    const wait = Math.min(Math.max(delay, FIRST_RETRY_MS), MAX_DELAY_MS)
    this.#timer = setTimeout(() => {
      this.#turn = this.#refresh()
    }, wait).unref()
  }

  /** Never rejects. */
  async #refresh(): Promise<void> {
    try {
      await this.#renew()
    } catch (error) {
      // What the control plane refuses it will refuse again, and what is held is not good any more; all else may be on the way.
      if (error instanceof RefusedError && error.status < 500 && error.status !== 429) {
        this.#fault = error
        this.#held = undefined
      }
      this.#options.onError?.(error)
      this.#after(Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#failures++))
    }
  }

  async #renew(): Promise<void> {
    const { identity } = this.#options
    const held = this.#held
    const key = newKey()
    // The last part of a lease that cannot be lengthened: another account, while connections of this one go on to its end.
    const left = held ? held.maxExpiresAt - this.#clock.now() : 0
    const usual = held ? held.expiresAt - this.#clock.now() : 0
    if (!held || left <= usual) {
      await this.open()
      return
    }
    try {
      await identity.ask('POST', `/v1/leases/${held.lease}/renew`, {})
      const csr = csrFor(key)
      this.#take(await identity.ask('POST', `/v1/leases/${held.lease}/sign-in`, { csr }), key)
    } catch (error) {
      if (!(error instanceof RefusedError) || error.code !== 'SP_LEASE_UNKNOWN') throw error
      // Ended by somebody: a new one says whether this instance may still have any.
      this.#held = undefined
      await this.open()
    }
  }
}

const newKey = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey

function readSignIn(
  answer: JsonObject,
  key: KeyObject,
  through: DatabaseOptions['through'],
): SignIn {
  const text = (name: string): string => {
    const value = answer[name]
    if (typeof value === 'string' && value !== '') return value
    throw invalid(name)
  }
  const number = (name: string): number => {
    const value = answer[name]
    if (typeof value === 'number' && Number.isFinite(value)) return value
    throw invalid(name)
  }
  const { tls = null, certificate = null, password = null } = answer
  const own =
    typeof certificate === 'string'
      ? { cert: certificate, key: key.export({ format: 'pem', type: 'pkcs8' }).toString() }
      : {}
  if (typeof certificate === 'string' && !isObject(tls)) throw invalid('tls')
  const { ca, serverName } = isObject(tls) ? tls : {}
  if (isObject(tls) && (typeof ca !== 'string' || typeof serverName !== 'string')) {
    throw invalid('tls')
  }
  return {
    lease: text('lease'),
    signInUntil: number('signInUntil'),
    expiresAt: number('expiresAt'),
    maxExpiresAt: number('maxExpiresAt'),
    options: {
      ...(through ?? { host: text('host'), port: number('port') }),
      database: text('database'),
      user: text('user'),
      ...(typeof password === 'string' ? { password } : {}),
      ssl:
        typeof ca === 'string' && typeof serverName === 'string'
          ? {
              ca,
              servername: serverName,
              rejectUnauthorized: true,
              minVersion: 'TLSv1.2',
              ...own,
            }
          : false,
    },
  }
}

function invalid(name: string): SallyportError {
  return new SallyportError('SP_RESPONSE_INVALID', 'the control plane gave no usable account', {
    detail: name,
  })
}
