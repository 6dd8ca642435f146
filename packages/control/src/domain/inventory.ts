import { sql } from 'kysely'
import { DATA_CLASSES } from '@sallyport/network'
import type { DataClass, NetworkIndex } from '@sallyport/network'
import type { AuditRecord, EventRecord } from '@sallyport/wire'
import type { Store, Tx } from '../store/store.ts'
import type { Publisher } from './publisher.ts'
import { suggestion } from './suggestions.ts'
import { storable } from './text.ts'

const KINDS = ['caller', 'operation', 'field', 'destination', 'flow'] as const
type DriftKind = (typeof KINDS)[number]

/** Something that was asked for and is declared nowhere. */
export interface DriftView {
  readonly kind: DriftKind
  /** The declared system that it was asked of; empty where there is none. */
  readonly system: string
  /** `{}` stands for what may be a value, `*` for more names than are kept. */
  readonly name: string
  /** An agent, or the address that it came from; `*` for more than are kept. */
  readonly by: string
  readonly calls: number
  /** Milliseconds since the epoch, as is `last`. */
  readonly first: number
  readonly last: number
  /** YAML for `network.yaml`, to be completed, reviewed and signed as any other change; null where nothing could be declared. */
  readonly suggestion: string | null
}

/** Something that is declared, who answers for it, and when it was last used. */
interface UseView {
  readonly kind: 'agent' | 'service' | 'system' | 'operation' | 'dataset'
  readonly name: string
  readonly owner: string
  /** The highest class among the fields of a data set. */
  readonly class?: DataClass
  readonly calls: number
  /** Milliseconds since the epoch; null where it was never used. */
  readonly last: number | null
}

export interface Inventory {
  declared(): Promise<readonly UseView[]>
  /** Newest first. What has been declared meanwhile is left out. */
  drift(): Promise<readonly DriftView[]>
}

/** Names of one kind that one asker may have, and askers of one kind. */
const MAX_NAMES = 50
const MAX_ASKERS = 200
const MAX_NAME = 256
const MAX_CALLS = Number.MAX_SAFE_INTEGER
const OTHERS = '*'

/** @see Inventory */
export function createInventory(deps: {
  readonly store: Store
  readonly publisher: Publisher
}): Inventory {
  const { store, publisher } = deps
  return {
    declared: () =>
      store.run(async (db) =>
        declared(publisher.index(), await db.selectFrom('inventory_uses').selectAll().execute()),
      ),
    drift: () =>
      store.run(async (db) => {
        const index = publisher.index()
        const rows = await db
          .selectFrom('drift')
          .selectAll()
          .orderBy('last_at', 'desc')
          .orderBy('name')
          .limit(2000)
          .execute()
        return rows.flatMap((row): DriftView[] => {
          const { kind, system, name, asked_by: by, calls, first_at: first, last_at: last } = row
          if (!isKind(kind) || isDeclared(index, kind, system, name, by)) return []
          const view = { kind, system, name, by }
          return [{ ...view, calls, first, last, suggestion: suggestion(index, view) }]
        })
      }),
  }
}

const isKind = (text: unknown): text is DriftKind => KINDS.some((kind) => kind === text)

function declared(
  { network }: NetworkIndex,
  rows: readonly { kind: string; name: string; asked_by: string; calls: number; last_at: number }[],
): UseView[] {
  const uses = (holds: (row: (typeof rows)[number]) => boolean) => {
    let calls = 0
    let last: number | null = null
    for (const row of rows) {
      if (!holds(row)) continue
      calls += row.calls
      last = Math.max(last ?? 0, row.last_at)
    }
    return { calls, last }
  }
  const operation = (name: string) => uses((row) => row.kind === 'operation' && row.name === name)
  const services = network.services.map(({ name, owner }) => {
    const behind = network.systems.filter(
      ({ upstream }) => upstream.kind === 'service' && upstream.service === name,
    )
    const used = uses(
      (row) =>
        row.kind === 'operation' && behind.some((system) => row.name.startsWith(`${system.name}.`)),
    )
    return { kind: 'service' as const, name, owner, ...used }
  })
  return [
    ...network.agents.map(({ name, owner }) => ({
      ...{ kind: 'agent' as const, name, owner },
      ...uses((row) => row.kind === 'operation' && row.asked_by === name),
    })),
    ...services,
    ...network.systems.flatMap(({ name, owner, operations }) => [
      {
        ...{ kind: 'system' as const, name, owner },
        ...uses((row) => row.kind === 'operation' && row.name.startsWith(`${name}.`)),
      },
      ...operations.map((one) => ({
        ...{ kind: 'operation' as const, name: `${name}.${one.name}`, owner },
        ...operation(`${name}.${one.name}`),
      })),
    ]),
    ...network.datasets.map(({ name, owner, fields }) => {
      const ranks = fields.map((field) => DATA_CLASSES.indexOf(field.class))
      return {
        ...{ kind: 'dataset' as const, name, owner },
        class: DATA_CLASSES[Math.max(0, ...ranks)] ?? 'restricted',
        ...uses((row) => row.kind === 'dataset' && row.name === name),
      }
    }),
  ]
}

/** Whether it came to be declared since it was counted. */
function isDeclared(
  index: NetworkIndex,
  kind: DriftKind,
  system: string,
  name: string,
  by: string,
): boolean {
  switch (kind) {
    case 'caller': {
      const prefix = `spiffe://${index.network.trustDomain}/agent/`
      return name.startsWith(prefix) && index.findAgent(name.slice(prefix.length)) !== undefined
    }
    case 'destination':
      return index.findSystem(name) !== undefined
    case 'flow':
      return index.findFlow(by, system, name) !== undefined
    case 'field': {
      const dot = name.lastIndexOf('.')
      return index.findField(name.slice(0, dot), name.slice(dot + 1)) !== undefined
    }
    case 'operation':
      return (index.findSystem(system)?.operations ?? []).some(({ binding }) =>
        binding.kind === 'http'
          ? `${binding.method} ${binding.path.replaceAll(/\{[^}]*\}/g, '{}')}` === name
          : binding.kind === 'mcp' && `tool ${binding.tool}` === name,
      )
  }
}

interface Counted {
  readonly kind: DriftKind
  readonly system: string
  readonly name: string
  readonly by: string
  readonly calls: number
  readonly first: number
  readonly last: number
}

/**
 * Counts what a batch of a gateway's log says of the inventory, within the transaction that takes it in: once, however often it
 * is sent.
 *
 * @param now milliseconds since the epoch: nothing was seen after it
 */
export async function countInventory(
  tx: Tx,
  records: readonly AuditRecord[],
  now: number,
): Promise<void> {
  const drift = new Map<string, Counted>()
  const uses = new Map<
    string,
    { kind: string; name: string; by: string; calls: number; at: number }
  >()
  const used = (kind: string, name: string, by: string, at: number): void => {
    const key = JSON.stringify([kind, name, by])
    const before = uses.get(key)
    uses.set(key, {
      ...{ kind, name: clip(name), by: clip(by) },
      calls: (before?.calls ?? 0) + 1,
      at: Math.min(now, Math.max(before?.at ?? 0, at)),
    })
  }
  for (const record of records) {
    if (record.kind === 'event' && record.event === 'drift-seen') add(drift, read(record, now))
    else if (record.kind === 'outcome') {
      for (const name of Object.keys(record.released)) used('dataset', name, '', record.at)
    } else if (record.kind === 'decision') {
      const { agent, system, operation, decision, code } = record
      const at = Math.min(record.at, now)
      if (decision === 'allow') used('operation', `${system}.${operation}`, agent, at)
      else if (code === 'SP_NO_FLOW') {
        const name = clip(operation)
        const flow = { kind: 'flow', system: clip(system), name, by: clip(agent) } as const
        add(drift, { ...flow, calls: 1, first: at, last: at })
      }
    }
  }
  // In one order everywhere, so that two gateways' batches cannot wait for each other.
  for (const [, row] of [...drift].toSorted(([a], [b]) => (a < b ? -1 : 1))) await keep(tx, row)
  const values = [...uses].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row)
  if (values.length === 0) return
  await tx
    .insertInto('inventory_uses')
    .values(
      values.map(({ kind, name, by, calls, at }) => ({
        ...{ kind, name, asked_by: by, calls, last_at: at },
      })),
    )
    .onConflict((conflict) =>
      conflict.columns(['kind', 'name', 'asked_by']).doUpdateSet({
        calls: sql`least(inventory_uses.calls::numeric + excluded.calls, ${MAX_CALLS})`,
        last_at: sql`greatest(inventory_uses.last_at, excluded.last_at)`,
      }),
    )
    .execute()
}

function add(into: Map<string, Counted>, row: Counted | undefined): void {
  if (!row) return
  const key = JSON.stringify([row.kind, row.system, row.name, row.by])
  const before = into.get(key)
  if (!before) into.set(key, row)
  else {
    into.set(key, {
      ...row,
      calls: Math.min(before.calls + row.calls, MAX_CALLS),
      first: Math.min(before.first, row.first),
      last: Math.max(before.last, row.last),
    })
  }
}

/** What a gateway reported; nothing where it is of another shape. */
function read({ facts }: EventRecord, now: number): Counted | undefined {
  const { kind, system, name, by, calls, first, last } = facts
  if (!isKind(kind) || kind === 'flow') return undefined
  if (typeof system !== 'string' || typeof name !== 'string' || typeof by !== 'string') {
    return undefined
  }
  const [count, from, to] = [calls, first, last].map((value) =>
    Number.isSafeInteger(value) ? Number(value) : -1,
  )
  if (count === undefined || from === undefined || to === undefined) return undefined
  if (count < 1 || from < 0 || to < from) return undefined
  return {
    ...{ kind, system: clip(system), name: clip(name), by: clip(by), calls: count },
    ...{ first: Math.min(from, now), last: Math.min(to, now) },
  }
}

/** Adds to a row that there is, or makes one where there is room; else to the row of all others. */
async function keep(
  tx: Tx,
  { kind, system, name, by, calls, first, last }: Counted,
): Promise<void> {
  const rows = [
    { system, name, by, room: MAX_NAMES },
    { system, name: OTHERS, by, room: MAX_NAMES + 20 },
    { system: '', name: OTHERS, by: OTHERS, room: Number.MAX_SAFE_INTEGER },
  ]
  for (const row of rows) {
    const { numInsertedOrUpdatedRows = 0n } = await tx
      .insertInto('drift')
      .columns(['kind', 'system', 'name', 'asked_by', 'calls', 'first_at', 'last_at'])
      .expression(
        sql`
          SELECT ${kind}::text, ${row.system}::text, ${row.name}::text, ${row.by}::text,
                 ${calls}::bigint, ${first}::bigint, ${last}::bigint
           WHERE EXISTS (SELECT FROM drift WHERE kind = ${kind} AND system = ${row.system}
                            AND name = ${row.name} AND asked_by = ${row.by})
              OR (SELECT count(*) FROM drift
                   WHERE kind = ${kind} AND asked_by = ${row.by}) < ${row.room}
             AND (${row.by} = ${OTHERS}
                  OR EXISTS (SELECT FROM drift WHERE kind = ${kind} AND asked_by = ${row.by})
                  OR (SELECT count(DISTINCT asked_by) FROM drift WHERE kind = ${kind}) < ${MAX_ASKERS})`,
      )
      .onConflict((conflict) =>
        conflict.columns(['kind', 'system', 'name', 'asked_by']).doUpdateSet({
          calls: sql`least(drift.calls::numeric + excluded.calls, ${MAX_CALLS})`,
          first_at: sql`least(drift.first_at, excluded.first_at)`,
          last_at: sql`greatest(drift.last_at, excluded.last_at)`,
        }),
      )
      .executeTakeFirst()
    if (numInsertedOrUpdatedRows > 0n) return
  }
}

const clip = (text: string): string => storable(text.slice(0, MAX_NAME).toWellFormed())
