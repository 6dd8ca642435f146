import { newId, SallyportError } from '@sallyport/base'
import { errorCode } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { secretRuleFor } from '@sallyport/network'
import type { Network, RotationRule } from '@sallyport/network'
import type { Selectable } from 'kysely'
import type { Database } from '../../store/schema.ts'
import type { Store, Tx } from '../../store/store.ts'
import type { Recorder } from '../custody.ts'
import type { SecretStore } from '../kv.ts'
import { tick } from '../leases.ts'
import { rotatorFor } from './rotator.ts'
import type { Rotator } from './rotator.ts'

type Row = Selectable<Database['rotations']>

export interface RotationView {
  readonly id: string
  readonly path: string
  readonly step: Row['step']
  readonly reason: string
  readonly by: string
  readonly oldVersion: number
  readonly newVersion: number | null
  readonly startedAt: number
  readonly graceUntil: number | null
  readonly endedAt: number | null
  /** What stands in the way, or what a person has to do. */
  readonly error: string | null
}

export interface RotationDeps {
  readonly store: Store
  readonly clock: Clock
  readonly network: () => Network
  readonly secrets: SecretStore
  readonly record: Recorder
  /** Seconds that a gateway may go on with the credential it has. */
  readonly cacheSeconds: number
  readonly onError: (error: unknown) => void
}

/** How long a new key may take to become good. */
const VERIFY_MS = 15 * 60_000
const MAX_LISTED = 200
/** Of an exposed key, only what gateways need to switch. */
const EXPOSED = /\bexpos/i

/**
 * Replaces keys of upstreams without a failed call: a new key is made and tried, readers are switched to it, and only after a grace
 * in which both are good is the old one ended. Each step is written down when it is done, so that a crash repeats at most one.
 */
export class Rotations {
  readonly #deps: RotationDeps
  #sweeping: Promise<void> | undefined

  constructor(deps: RotationDeps) {
    this.#deps = deps
  }

  /**
   * Begins to replace a key. @param value one that a person has made, where the provider gives keys to people only
   *
   * @throws SallyportError `SP_ROTATION_UNDECLARED`, `SP_ROTATION_RUNNING`, `SP_ROTATION_VALUE`, `SP_SECRET_UNKNOWN`
   */
  async start(input: {
    readonly path: string
    readonly reason: string
    readonly by: string
    readonly value?: string
  }): Promise<RotationView> {
    const { path, reason, by, value } = input
    const { clock, record, secrets, store } = this.#deps
    const rotator = this.#rotator(this.#rule(path))
    if (!rotator.create && value === undefined) {
      throw new SallyportError('SP_ROTATION_VALUE', 'this provider gives keys to people only', {
        fix: 'make a new key there, and give it to the rotation as its value',
      })
    }
    const old = await secrets.get(path)
    await record('rotation-started', by, { path, reason })
    const given: Row = {
      id: newId('rot', clock.now()),
      path,
      step: 'create',
      reason,
      by,
      old_version: old.version,
      old_key_id: old.keyId,
      new_version: null,
      new_key_id: null,
      started_at: clock.now(),
      grace_until: null,
      ended_at: null,
      error: null,
    }
    // Stored first: the rotation goes on from what is written down, and so never without its value.
    const row =
      value === undefined ? given : { ...given, ...(await this.#stage(given, value, null)) }
    const inserted = await store.run((db) =>
      db
        .insertInto('rotations')
        .values(row)
        .onConflict((conflict) => conflict.doNothing())
        .returning('id')
        .executeTakeFirst(),
    )
    if (!inserted) {
      throw new SallyportError('SP_ROTATION_RUNNING', 'this key is being replaced already')
    }
    return viewOf(row)
  }

  async list(): Promise<readonly RotationView[]> {
    const rows = await this.#deps.store.run((db) =>
      db
        .selectFrom('rotations')
        .selectAll()
        .orderBy('started_at', 'desc')
        .limit(MAX_LISTED)
        .execute(),
    )
    return rows.map(viewOf)
  }

  /** Begins what is due by its age, where the provider lets it be done without people. */
  async schedule(): Promise<void> {
    const { clock, network, onError, secrets } = this.#deps
    for (const { path, rotation } of network().secrets ?? []) {
      if (!rotation || !this.#rotator(rotation).create) continue
      try {
        const { createdAt } = await secrets.get(path)
        if (clock.now() - createdAt < rotation.everySeconds * 1000) continue
        await this.start({ path, reason: 'scheduled', by: 'control' })
      } catch (error) {
        // What was never written cannot be replaced; what is being replaced need not be begun.
        const code = errorCode(error)
        if (code !== 'SP_SECRET_UNKNOWN' && code !== 'SP_ROTATION_RUNNING') onError(error)
      }
    }
  }

  /** Takes every rotation as far as it goes now. */
  sweep(): Promise<void> {
    this.#sweeping ??= this.#sweepOnce().finally(() => {
      this.#sweeping = undefined
    })
    return this.#sweeping
  }

  async #sweepOnce(): Promise<void> {
    const open = await this.#deps.store.run((db) =>
      db.selectFrom('rotations').select('id').where('ended_at', 'is', null).execute(),
    )
    for (const { id } of open) {
      // Each step is a transaction of its own.
      while (await this.#step(id));
    }
  }

  /** @returns whether there is another step to take at once */
  async #step(id: string): Promise<boolean> {
    return this.#deps.store.transaction(async (tx) => {
      const row = await tx
        .selectFrom('rotations')
        .selectAll()
        .where('id', '=', id)
        .where('ended_at', 'is', null)
        // Another control plane is at it.
        .forUpdate()
        .skipLocked()
        .executeTakeFirst()
      if (!row) return false
      const change = await this.#next(tx, row).catch((error: unknown): Partial<Row> => {
        this.#deps.onError(error)
        return { error: explained(error) }
      })
      if (Object.keys(change).length === 0) return false
      await tx.updateTable('rotations').set(change).where('id', '=', id).execute()
      return change.step !== undefined && change.ended_at === undefined
    })
  }

  async #next(tx: Tx, row: Row): Promise<Partial<Row>> {
    const { cacheSeconds, clock, record, secrets } = this.#deps
    const rule = this.#rule(row.path)
    const rotator = this.#rotator(rule)
    switch (row.step) {
      case 'create': {
        if (!rotator.create) return this.#failed(row, 'its value was not stored')
        const label = `sallyport-${row.id}`
        // Made just before a crash, and known to nobody.
        for (const lost of (await rotator.find?.(label)) ?? []) await rotator.revoke?.(lost, '')
        const made = await rotator.create(label)
        return this.#stage(row, made.value, made.keyId)
      }
      case 'verify': {
        const { value } = await secrets.get(row.path, row.new_version ?? 0)
        try {
          await rotator.verify(value.toString())
        } catch (error) {
          if (clock.now() - row.started_at < VERIFY_MS) throw error
          if (row.new_key_id !== null) await rotator.revoke?.(row.new_key_id, value.toString())
          return this.#failed(row, 'the new key did not become good')
        }
        return { step: 'switch', error: null }
      }
      case 'switch': {
        await secrets.promote(row.path, row.new_version ?? 0)
        const grace = EXPOSED.test(row.reason) ? 0 : rule.graceSeconds
        const seconds = Math.max(grace, 2 * cacheSeconds)
        await record('rotation-switched', row.by, {
          path: row.path,
          version: row.new_version ?? 0,
        })
        return { step: 'grace', grace_until: (await tick(tx)) + seconds * 1000, error: null }
      }
      case 'grace':
        return (await tick(tx)) >= (row.grace_until ?? 0) ? { step: 'revoke' } : {}
      case 'revoke': {
        const by = await this.#revoke(row, rotator)
        await secrets.mark(row.path, [row.old_version], 'destroy').catch((error: unknown) => {
          if (errorCode(error) !== 'SP_SECRET_UNKNOWN') throw error
        })
        await record('rotation-done', row.by, { path: row.path, revokedBy: by })
        const left =
          by === 'nobody' ? 'the old key has to be revoked by hand at its provider' : null
        return { step: 'done', ended_at: clock.now(), error: left }
      }
      case 'done':
      case 'failed':
        return {}
    }
  }

  async #revoke(row: Row, rotator: Rotator): Promise<'control' | 'nobody'> {
    if (!rotator.revoke) return 'nobody'
    const value = await this.#deps.secrets
      .get(row.path, row.old_version)
      .then((old) => old.value.toString())
      .catch((error: unknown) => {
        if (errorCode(error) === 'SP_SECRET_UNKNOWN') return ''
        throw error
      })
    const id = row.old_key_id ?? (value === '' ? undefined : await rotator.idOf?.(value))
    if (id === undefined) return 'nobody'
    await rotator.revoke(id, value)
    return 'control'
  }

  async #stage(row: Row, value: string, keyId: string | null): Promise<Partial<Row>> {
    const version = await this.#deps.secrets.put({
      path: row.path,
      value: Buffer.from(value),
      by: row.by,
      staged: true,
      keep: secretRuleFor(this.#deps.network(), row.path)?.maxVersions ?? 1,
      ...(keyId === null ? {} : { keyId }),
    })
    return { step: 'verify', new_version: version, new_key_id: keyId, error: null }
  }

  async #failed(row: Row, error: string): Promise<Partial<Row>> {
    await this.#deps.record('rotation-failed', row.by, { path: row.path, error })
    return { step: 'failed', ended_at: this.#deps.clock.now(), error }
  }

  #rule(path: string): RotationRule {
    const rule = secretRuleFor(this.#deps.network(), path)
    if (rule?.rotation && rule.path === path) return rule.rotation
    throw new SallyportError('SP_ROTATION_UNDECLARED', 'no rotation is declared for this path', {
      fix: 'declare `rotation` under the secret in network.yaml',
    })
  }

  #rotator(rule: RotationRule): Rotator {
    return rotatorFor(rule, async () => {
      const { value } = await this.#deps.secrets.get(rule.admin ?? '')
      return value.toString()
    })
  }
}

function explained(error: unknown): string {
  return error instanceof SallyportError
    ? `${error.message}${error.detail === undefined ? '' : `: ${error.detail}`}`.slice(0, 500)
    : 'something went wrong inside the control plane'
}

function viewOf(row: Row): RotationView {
  return {
    id: row.id,
    path: row.path,
    step: row.step,
    reason: row.reason,
    by: row.by,
    oldVersion: row.old_version,
    newVersion: row.new_version,
    startedAt: row.started_at,
    graceUntil: row.grace_until,
    endedAt: row.ended_at,
    error: row.error,
  }
}
