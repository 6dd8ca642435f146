import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Declaration, System } from '@sallyport/network'
import { declarationDigest } from '@sallyport/wire'
import { until } from '../packages/gateway/test/support/world.ts'
import { openedSqlWorld } from './support/sql/opened.ts'
import { bind, execute, FLUSH, parse, Raw, SYNC } from './support/sql/raw.ts'
import { SCHEMA } from './support/sql/schema.ts'

/** Milliseconds that the gateway's clock is ahead. */
let offset = 0
const CLOSING = Math.floor(Date.now() / 1000) + 180

/** What the rows that a caller has depend on, besides who it is. */
const ROWS = [
  `forbid(principal, action == Action::"row.read", resource) when { context.risk >= 60 };`,
  `forbid(principal, action == Action::"row.read", resource)
when { context.risk >= 40 && context.risk < 60 && resource has id && resource.id > 5 };`,
  `forbid(principal, action == Action::"row.read", resource)
when { context.session.labels.contains("money") && resource has id && resource.id > 10 };`,
  // Names the second, and keeps nothing back.
  `forbid(principal, action == Action::"row.read", resource)
when { resource has id && resource.id > context.time.epoch };`,
  `forbid(principal, action == Action::"row.read", resource) when { context.time.epoch > ${CLOSING} };`,
].map((source, i) => {
  const id = `lasting-${i}`
  return { id, file: 'rows.cedar', line: 1, source: `@id("${id}")\n${source}` }
})
const FORBIDS = {
  ...{ id: 'none-of-the-worst', file: 'all.cedar', line: 1 },
  source: `@id("none-of-the-worst")
forbid(principal, action == Action::"ledger.read_accounts", resource) when { context.risk >= 90 };`,
}

type Change = (system: System) => System

const changed = (declaration: Declaration, change: Change): Declaration => ({
  ...declaration,
  network: { ...declaration.network, systems: declaration.network.systems.map(change) },
})

const world = await openedSqlWorld(
  SCHEMA,
  (declaration) => ({
    ...changed(declaration, (system) => ({
      ...system,
      ...(system.postgres && {
        postgres: {
          ...system.postgres,
          tables: system.postgres.tables.map((table) =>
            table.rows ? { ...table, rows: [...table.rows, ...ROWS] } : table,
          ),
        },
      }),
    })),
    policies: [...declaration.policies, FORBIDS],
  }),
  {
    settings: { streamRecheckMs: 0 },
    clock: { now: () => Date.now() + offset, monotonic: () => performance.now() },
  },
)

async function inForce(): Promise<void> {
  const { plane, gateway } = world
  const { n } = plane.bundle().bundle.revision
  await until(() => gateway.stats().revision?.n === n)
}

let serial = 0
let current: Parameters<typeof world.plane.publish>[0] = {}

async function suspected(instance: string, score: number): Promise<void> {
  const { plane } = world
  const subject = `spiffe://sql.example/agent/analyst/${instance}`
  plane.risk = { ...plane.risk, [subject]: { score, at: Date.now() + offset } }
  plane.publish({ ...current, issuedAt: Date.now() + offset })
  await inForce()
}

/** Has another declaration come into force; there is no way back to an earlier one. */
async function declared(declaration: Declaration): Promise<void> {
  const { plane } = world
  const digest = declarationDigest(declaration)
  const statement = { kind: 'declaration', digest, epoch: 1, serial: ++serial } as const
  current = {
    ...{ declaration, declarationDigest: digest, declarationSerial: serial },
    declarationSignatures: [plane.operator.sign(statement)],
  }
  plane.publish(current)
  await inForce()
}

/** Asks for rows three at a time, as an instance of its own, and goes on to ask after something happened. */
async function asked(
  instance: string,
  happens: () => Promise<unknown>,
  sql = 'SELECT id, owner FROM accounts ORDER BY id',
): Promise<readonly string[]> {
  await suspected(instance, 0)
  const raw = await Raw.open(world, 'analyst', true, instance)
  try {
    raw.send(parse(sql), bind([], [], 'p'), execute('p', 3), FLUSH)
    assert.deepEqual(await raw.until('s'), ['1', '2', 'D', 'D', 'D', 's'])
    await happens()
    raw.send(execute('p', 3), SYNC)
    const came = (await raw.until('Z')).slice(0, -1)
    return raw.errors.length === 0 ? came : raw.errors.map(codeOf)
  } finally {
    raw.socket.destroy()
  }
}

const codeOf = (message: string): string => /\((SP_\w+)\)$/.exec(message)?.[1] ?? message

const GOES_ON = ['D', 'D', 'D', 's']
const DENIED = ['SP_DENIED_FORBIDDEN']
const SEEN_OTHERWISE = ['SP_DECLARATION_CHANGED']

function lastOutcome(): string | undefined {
  const record = world.plane.records().findLast(({ kind }) => kind === 'outcome')
  return record?.kind === 'outcome' ? record.result : undefined
}

test('an answer goes on, though the clock that its condition on rows names moves on', async () => {
  const second = Math.floor(Date.now() / 1000)
  const waited = (): Promise<void> => until(() => Math.floor(Date.now() / 1000) > second + 1)
  assert.deepEqual(await asked('calm', waited), GOES_ON)
})

const SCORES: readonly (readonly [what: string, score: number, told: readonly string[]])[] = [
  ['is not allowed it any more', 95, DENIED],
  ['has none of its rows any more', 75, SEEN_OTHERWISE],
  ['has fewer of its rows by now', 45, SEEN_OTHERWISE],
]
for (const [what, score, told] of SCORES) {
  test(`an answer is broken off where its caller ${what}`, async () => {
    const instance = `risk-${score}`
    assert.deepEqual(await asked(instance, () => suspected(instance, score)), told)
    await until(() => lastOutcome() === 'cut')
  })
}

test(
  'an answer is broken off by labels that another session of its caller brings, and not by its own',
  { timeout: 20_000 },
  async () => {
    const other = async (): Promise<void> => {
      const reader = await Raw.open(world, 'analyst', true, 'labels')
      reader.send(parse('SELECT amount FROM payments LIMIT 1'), bind(), execute(), SYNC)
      assert.deepEqual(await reader.until('Z'), ['1', '2', 'D', 'C', 'ZI'])
      reader.socket.destroy()
    }
    assert.deepEqual(await asked('labels', other), SEEN_OTHERWISE)
    const nothing = (): Promise<void> => Promise.resolve()
    const own = 'SELECT id, balance FROM accounts ORDER BY id'
    assert.deepEqual(await asked('own', nothing, own), GOES_ON)
  },
)

test('an answer is broken off where the hour has come at which its rows are nobody’s', async () => {
  const later = async (): Promise<void> => {
    offset = 200_000
    // Neither is what it knows of it older by that.
    await suspected('late', 0)
  }
  try {
    assert.deepEqual(await asked('late', later), SEEN_OTHERWISE)
  } finally {
    offset = 0
  }
})

test('an answer goes on by another declaration where its table is the same, and is broken off where it is not', async () => {
  const { declaration } = world.plane
  const { datasets } = declaration.network
  const said = changed(declaration, (system) => ({ ...system, description: 'Said otherwise.' }))
  assert.deepEqual(await asked('said', () => declared(said)), GOES_ON)
  // A name is masked as before, and by another mask.
  const masked = datasets.map((dataset) => ({
    ...dataset,
    fields: dataset.fields.map((field) =>
      field.mask === 'first1' ? { ...field, mask: 'full' as const } : field,
    ),
  }))
  const otherMask = { ...declaration, network: { ...declaration.network, datasets: masked } }
  assert.deepEqual(await asked('masked', () => declared(otherMask)), SEEN_OTHERWISE)
  const elsewhere = changed(otherMask, (system) => ({ ...system, onBehalfOf: 'person' }))
  assert.deepEqual(await asked('led', () => declared(elsewhere)), SEEN_OTHERWISE)
})
