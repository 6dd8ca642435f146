import { fdatasyncSync, openSync, writeSync, closeSync } from 'node:fs'
import { join } from 'node:path'
import type pg from 'pg'
import { SCHEMA } from '../../test/support/sql/schema.ts'
import { startSqlWorld } from '../../test/support/sql/world.ts'
import { bounded, median, stated } from '../row.ts'
import type { Row } from '../row.ts'

const ROUNDS = 2000
/** Until the compilers of all sides have seen enough. */
const WARM_ROUNDS = 1000
const ROWS = 50_000
const MORE = `INSERT INTO accounts SELECT i, 'DE' || i, 'Owner ' || i, i, 'north', date '2020-01-01', true
  FROM generate_series(1000, ${1000 + ROWS}) AS i;`
const ONE = 'SELECT id, balance FROM accounts WHERE id = $1'
/** What the analyst may see, asked for by the owner of everything: masked by the database, tokens left out. */
const ALL = 'SELECT id, owner, balance, opened FROM accounts'
const TOKENS = 'SELECT id, iban, balance, opened FROM accounts'

/** PostgreSQL through the gateway and past it, in turns: same database, same client, same statement. */
export async function sql(): Promise<readonly Row[]> {
  const world = await startSqlWorld(SCHEMA + MORE, withRoom, {
    settings: { maxCallsPerSecond: 100_000, maxCallBurst: 100_000 },
  })
  try {
    const [through, direct] = [world.client('analyst'), world.direct()]
    await Promise.all([through.connect(), direct.connect()])
    const times = { through: [] as number[], direct: [] as number[], sync: [] as number[] }
    const file = openSync(join(world.dir, 'sync'), 'w')
    for (let i = 0; i < ROUNDS; i++) {
      const values = [1000 + i]
      times.through.push(await timed(() => through.query(ONE, values)))
      times.direct.push(await timed(() => direct.query(ONE, values)))
      times.sync.push(await timed(() => synced(file)))
    }
    closeSync(file)
    const [p50, base, sync] = [times.through, times.direct, times.sync].map((all) =>
      median(all.slice(WARM_ROUNDS)),
    )
    const added = (p50 ?? 0) - (base ?? 0)
    return [
      stated('select by key, direct, p50', base ?? 0, 'ms'),
      stated('fdatasync, p50', sync ?? 0, 'ms'),
      bounded(
        'select by key, added by the gateway, synced, p50',
        added,
        'ms',
        '<=',
        (sync ?? 0) + 0.5,
      ),
      ...(await streamed(through, direct)),
    ]
  } finally {
    await world.close()
  }
}

async function streamed(through: pg.Client, direct: pg.Client): Promise<Row[]> {
  const rate = async (client: pg.Client, text: string): Promise<number> => {
    let best = 0
    for (let i = 0; i < 5; i++) {
      let rows = 0
      const ms = await timed(async () => (rows = (await client.query(text)).rows.length))
      best = Math.max(best, rows / (ms / 1000))
    }
    return best
  }
  return [
    stated('rows direct', await rate(direct, ALL), '/s'),
    stated('rows through the gateway, one column masked', await rate(through, ALL), '/s'),
    stated('rows through the gateway, one column as tokens', await rate(through, TOKENS), '/s'),
  ]
}

const withRoom: NonNullable<Parameters<typeof startSqlWorld>[1]> = (declaration) => ({
  ...declaration,
  network: {
    ...declaration.network,
    systems: declaration.network.systems.map((system) => ({
      ...system,
      ...(system.postgres && {
        postgres: {
          ...system.postgres,
          tables: system.postgres.tables.map((table) => ({ ...table, maxRows: 2 * ROWS })),
        },
      }),
    })),
  },
})

async function timed(act: () => unknown): Promise<number> {
  const start = performance.now()
  await act()
  return performance.now() - start
}

function synced(file: number): void {
  writeSync(file, 'x'.repeat(1000))
  fdatasyncSync(file)
}
