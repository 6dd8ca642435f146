import { sql } from 'kysely'
import { SallyportError } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import type { Barrier } from '@sallyport/seal'
import type { Store, Tx } from '../store/store.ts'

/** What is known of a secret without its value. Times are milliseconds since the epoch. */
export interface SecretView {
  readonly path: string
  /** The version that readers get; 0 where there is none yet. */
  readonly current: number
  readonly newest: number
  readonly at: number
  /** When the current version was written; null where there is none, or it is gone. */
  readonly writtenAt: number | null
}

export interface SecretVersion {
  readonly version: number
  readonly createdAt: number
  readonly createdBy: string
  readonly state: 'there' | 'deleted' | 'destroyed'
}

export interface SecretValue {
  readonly value: Buffer
  readonly version: number
  readonly createdAt: number
  readonly keyId: string | null
}

const SEGMENT = /^(?!\.{1,2}$)[A-Za-z0-9._-]{1,64}$/
const MAX_SEGMENTS = 8
const MAX_VALUE = 65_536
const MAX_LISTED = 1000

/**
 * Refuses whatever is not a path, letter by letter: nothing is decoded, trimmed or folded, so no two texts name one secret.
 *
 * @throws SallyportError `SP_SECRET_PATH`
 */
export function checkPath(path: string): string {
  const segments = path.split('/')
  if (segments.length <= MAX_SEGMENTS && segments.every((one) => SEGMENT.test(one))) return path
  throw new SallyportError('SP_SECRET_PATH', 'this is no path of a secret', {
    fix: `write up to ${MAX_SEGMENTS} segments of letters, digits, \`.\`, \`_\` and \`-\`, between single slashes`,
  })
}

/** A value as JSON carries it: as text where it is one. */
export function shownValue({ value, version, createdAt }: SecretValue): {
  readonly value: string
  readonly encoding: 'utf8' | 'base64'
  readonly version: number
  readonly createdAt: number
} {
  const text = value.toString('utf8')
  return Buffer.from(text).equals(value)
    ? { value: text, encoding: 'utf8', version, createdAt }
    : { value: value.toString('base64'), encoding: 'base64', version, createdAt }
}

/** @throws SallyportError `SP_SECRET_VALUE` where it is not written as `encoding` says */
export function valueFrom(text: string, encoding: JsonValue | undefined): Buffer {
  if (encoding !== 'base64') return Buffer.from(text)
  const value = Buffer.from(text, 'base64')
  if (value.toString('base64') === text) return value
  throw new SallyportError('SP_SECRET_VALUE', 'the value is not base64')
}

/** Versioned secrets, each value sealed for its path and version. Who may do what is decided before. */
export class SecretStore {
  readonly #store: Store
  readonly #clock: Clock
  readonly #barrier: () => Barrier

  constructor(deps: {
    readonly store: Store
    readonly clock: Clock
    readonly barrier: () => Barrier
  }) {
    this.#store = deps.store
    this.#clock = deps.clock
    this.#barrier = deps.barrier
  }

  /**
   * Writes a new version.
   *
   * @param input.cas the current version that the writer has seen, 0 for none
   * @param input.staged whether readers go on getting the present version until `promote`
   * @param input.keep versions kept; the values of older ones are destroyed
   * @returns the version
   * @throws SallyportError `SP_SECRET_CONFLICT`, `SP_SECRET_VALUE`, and the barrier's
   */
  async put(input: {
    readonly path: string
    readonly value: Buffer
    readonly by: string
    readonly cas?: number
    readonly staged?: boolean
    readonly keyId?: string
    readonly keep: number
  }): Promise<number> {
    const path = checkPath(input.path)
    const { value } = input
    if (value.length === 0 || value.length > MAX_VALUE) {
      throw new SallyportError('SP_SECRET_VALUE', `a secret has 1 to ${MAX_VALUE} bytes`)
    }
    return this.#store.transaction(async (tx) => {
      const now = this.#clock.now()
      await tx
        .insertInto('secrets')
        .values({ path, current: 0, newest: 0, at: now })
        .onConflict((conflict) => conflict.doNothing())
        .execute()
      const row = await locked(tx, path)
      if (input.cas !== undefined && input.cas !== row.current) {
        throw new SallyportError('SP_SECRET_CONFLICT', 'somebody else has written meanwhile', {
          detail: `the current version is ${row.current}`,
          fix: 'read it again, then write with the version you have seen',
        })
      }
      const version = row.newest + 1
      const sealed = await this.#barrier().encrypt(`secret/${path}`, version, value)
      await tx
        .insertInto('secret_versions')
        .values({
          path,
          version,
          value: sealed,
          key_id: input.keyId ?? null,
          created_at: now,
          created_by: input.by,
          deleted_at: null,
          destroyed_at: null,
        })
        .execute()
      const current = input.staged === true ? row.current : version
      await tx
        .updateTable('secrets')
        .set({ newest: version, current, at: now })
        .where('path', '=', path)
        .execute()
      await tx
        .updateTable('secret_versions')
        .set({ value: null, destroyed_at: now })
        .where('path', '=', path)
        .where('version', '<=', version - input.keep)
        .where('version', '!=', current)
        .where('destroyed_at', 'is', null)
        .execute()
      return version
    })
  }

  /** Gives readers a version that was staged. @throws SallyportError `SP_SECRET_UNKNOWN` */
  async promote(path: string, version: number): Promise<void> {
    await this.#store.transaction(async (tx) => {
      await locked(tx, path)
      await there(tx, path, version)
      await tx
        .updateTable('secrets')
        .set({ current: version, at: this.#clock.now() })
        .where('path', '=', path)
        .execute()
    })
  }

  /**
   * @param version default: the current one
   * @throws SallyportError `SP_SECRET_UNKNOWN`, and the barrier's
   */
  async get(path: string, version?: number): Promise<SecretValue> {
    checkPath(path)
    const row = await this.#store.run(async (db) => {
      const wanted =
        version ??
        (
          await db
            .selectFrom('secrets')
            .select('current')
            .where('path', '=', path)
            .executeTakeFirst()
        )?.current
      return wanted === undefined ? undefined : there(db as Tx, path, wanted)
    })
    if (!row?.value) throw unknown()
    const value = await this.#barrier().decrypt(`secret/${path}`, row.version, row.value)
    return { value, version: row.version, createdAt: row.created_at, keyId: row.key_id }
  }

  /** Of the paths given, or all, in order; without any value. */
  async list(prefix = ''): Promise<readonly SecretView[]> {
    return this.#store.run((db) =>
      db
        .selectFrom('secrets as s')
        .leftJoin('secret_versions as v', (join) =>
          join.onRef('v.path', '=', 's.path').onRef('v.version', '=', 's.current'),
        )
        .select(['s.path', 's.current', 's.newest', 's.at', 'v.created_at as writtenAt'])
        .where(sql<boolean>`starts_with(s.path, ${prefix})`)
        .orderBy('s.path')
        .limit(MAX_LISTED)
        .execute(),
    )
  }

  /** Newest first. @throws SallyportError `SP_SECRET_UNKNOWN` */
  async versions(path: string): Promise<readonly SecretVersion[]> {
    checkPath(path)
    const rows = await this.#store.run((db) =>
      db
        .selectFrom('secret_versions')
        .select(['version', 'created_at', 'created_by', 'deleted_at', 'destroyed_at'])
        .where('path', '=', path)
        .orderBy('version', 'desc')
        .execute(),
    )
    if (rows.length === 0) throw unknown()
    return rows.map((row) => ({
      version: row.version,
      createdAt: row.created_at,
      createdBy: row.created_by,
      state:
        row.destroyed_at !== null ? 'destroyed' : row.deleted_at !== null ? 'deleted' : 'there',
    }))
  }

  /** Takes versions away from readers, gives deleted ones back, or destroys their values for good. */
  async mark(
    path: string,
    versions: readonly number[],
    what: 'delete' | 'undelete' | 'destroy',
  ): Promise<void> {
    checkPath(path)
    await this.#store.transaction(async (tx) => {
      await locked(tx, path)
      const now = this.#clock.now()
      const change = {
        delete: { deleted_at: now },
        undelete: { deleted_at: null },
        destroy: { value: null, destroyed_at: now },
      }[what]
      const changed = await tx
        .updateTable('secret_versions')
        .set(change)
        .where('path', '=', path)
        .where('version', 'in', [0, ...versions])
        .where('destroyed_at', 'is', null)
        .returning('version')
        .execute()
      if (changed.length < new Set(versions).size) throw unknown()
    })
  }
}

async function locked(
  tx: Tx,
  path: string,
): Promise<{ readonly current: number; readonly newest: number }> {
  const row = await tx
    .selectFrom('secrets')
    .selectAll()
    .where('path', '=', path)
    .forUpdate()
    .executeTakeFirst()
  if (!row) throw unknown()
  return row
}

async function there(tx: Tx, path: string, version: number) {
  const row = await tx
    .selectFrom('secret_versions')
    .selectAll()
    .where('path', '=', path)
    .where('version', '=', version)
    .where('deleted_at', 'is', null)
    .where('destroyed_at', 'is', null)
    .executeTakeFirst()
  if (!row) throw unknown()
  return row
}

function unknown(): SallyportError {
  return new SallyportError('SP_SECRET_UNKNOWN', 'there is no such secret, or no such version')
}
