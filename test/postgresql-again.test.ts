import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { Limits } from '../packages/gateway/src/calls/limits.ts'
import { until } from '../packages/gateway/test/support/world.ts'
import { SCHEMA } from './support/sql/schema.ts'
import { startSqlWorld } from './support/sql/world.ts'

const CAUTION = {
  ...{ id: 'none-for-the-risky', file: 'rows.cedar', line: 1 },
  source: `@id("none-for-the-risky")
forbid(principal, action == Action::"row.read", resource) when { context.risk >= 60 };`,
}
const LIMIT = {
  ...{ id: 'reads', description: 'Reads of accounts.', agents: ['analyst'] },
  ...{ operations: ['ledger.read_accounts'], windowSeconds: 60, maxCalls: 1000 },
}

test('rows are those of the decision that is recorded, where a statement is decided again', async () => {
  const world = await startSqlWorld(SCHEMA, (declaration) => {
    const { network } = declaration
    return {
      ...declaration,
      network: {
        ...network,
        systems: network.systems.map((system) => {
          if (!system.postgres) return system
          const tables = system.postgres.tables.map((table) =>
            table.rows ? { ...table, rows: [...table.rows, CAUTION] } : table,
          )
          return { ...system, postgres: { ...system.postgres, tables } }
        }),
        limits: [LIMIT],
      },
    }
  })
  try {
    const analyst = world.client('analyst')
    await analyst.connect()
    const count = async (): Promise<unknown> => {
      const { rows } = await analyst.query<{ count: string }>('SELECT count(*) FROM accounts')
      return rows[0]?.count
    }
    assert.equal(await count(), '20')
    // oxlint-disable-next-line typescript/unbound-method -- it is called as a method of what it was called on
    const { reserve } = Limits.prototype
    const watched = mock.method(
      Limits.prototype,
      'reserve',
      async function (this: Limits, ...asked: Parameters<typeof reserve>) {
        const reserved = await reserve.apply(this, asked)
        // While it is counted, the caller has come under suspicion.
        const risk = { score: 90, at: Date.now() }
        world.plane.risk = { 'spiffe://sql.example/agent/analyst/i1': risk }
        world.plane.publish()
        const { n } = world.plane.bundle().bundle.revision
        await until(() => world.gateway.stats().revision?.n === n)
        return reserved
      },
    )
    try {
      assert.equal(await count(), '0')
    } finally {
      watched.mock.restore()
    }
  } finally {
    await world.close()
  }
})
