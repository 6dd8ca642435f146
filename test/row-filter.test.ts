import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { after, before, describe, test } from 'node:test'
import pg from 'pg'
import { SallyportError } from '@sallyport/base'
import { closeCedar, EntityStore, loadPolicySet, rowFilter } from '@sallyport/cedar'
import type { PolicySet, RowFilter, RowMap } from '@sallyport/cedar'
import { startEmbeddedPostgres } from '@sallyport/control'
import type { EmbeddedPostgres } from '@sallyport/control'
import { createDecider, createRowFilters } from '@sallyport/decide'
import type { Call, RowSource } from '@sallyport/decide'
import { loadDeclaration } from '@sallyport/network'
import { CONTEXT, DDL, ENTITIES, makeRow, Policies, Random, ROW } from './support/rowTrials.ts'
import type { TrialRow } from './support/rowTrials.ts'

/** `ROW_TRIALS=5000 ROW_SEED=7` runs more, elsewhere. */
const TRIALS = Number(process.env['ROW_TRIALS'] ?? 600)
const SEED = Number(process.env['ROW_SEED'] ?? 20_261_125)
const ROWS = 150

let database: EmbeddedPostgres
let client: pg.Client
let dir: string
let rows: readonly { readonly row: TrialRow; readonly store: EntityStore }[]
const resident = EntityStore.from(ENTITIES)
const principal = { type: 'User', id: 'ann' }
const action = { type: 'Action', id: 'read' }

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'row-filter-'))
  database = await startEmbeddedPostgres({ dir })
  client = new pg.Client({ connectionString: database.url })
  await client.connect()
  await client.query(DDL)
  const random = new Random(SEED)
  rows = Array.from({ length: ROWS }, (_, key) => {
    const row = makeRow(random, key)
    return { row, store: resident.with(row.entities) }
  })
  for (const { row } of rows) {
    const places = row.values.map((_, i) => `$${i + 1}`)
    await client.query(`INSERT INTO docs VALUES (${places.join(', ')})`, [...row.values])
  }
})
after(async () => {
  await closeCedar()
  await client?.end()
  await database?.stop()
  rmSync(dir, { recursive: true, force: true })
})

const load = (sources: readonly string[]): Promise<PolicySet> =>
  loadPolicySet({ policies: sources.map((source, i) => ({ id: `p${i}`, source })) })

const filterOf = (policies: PolicySet, row: RowMap = ROW): RowFilter =>
  rowFilter({ policies, entities: resident, principal, action, context: CONTEXT, row })

async function selected(filter: RowFilter): Promise<number[]> {
  const text = `SELECT key FROM docs WHERE ${filter.text} ORDER BY key`
  const answer = await client.query<{ key: number }>(text, [...filter.values])
  return answer.rows.map(({ key }) => key)
}

/** The rows that `decide` would let through one by one: allowed, and no forbid failed. */
function decided(policies: PolicySet): number[] {
  return rows.flatMap(({ row, store }) => {
    const resource = row.entities[0]?.uid
    assert.ok(resource)
    const answer = policies.decide({ principal, action, resource, context: CONTEXT }, store)
    const strict = answer.errors.every(({ policyId }) => policies.effect(policyId) === 'permit')
    return answer.decision === 'allow' && strict ? [Number(row.values[0])] : []
  })
}

describe('row filters', () => {
  test(`return exactly the rows that policy allows, for ${TRIALS} random policy sets`, async () => {
    const tally = { some: 0, all: 0, none: 0, refused: 0, rows: 0, left: 0 }
    const refusals = new Map<string, number>()
    for (let seed = SEED; seed < SEED + TRIALS; seed++) {
      const random = new Random(seed)
      const generator = new Policies(random)
      const sources = Array.from({ length: 1 + random.below(3) }, () => generator.policy())
      const policies = await load(sources)
      let filter: RowFilter
      try {
        filter = filterOf(policies)
      } catch (error) {
        assert.ok(error instanceof SallyportError, String(error))
        assert.equal(error.code, 'SP_CEDAR_FILTER_UNSUPPORTED', error.message)
        const why = error.detail ?? ''
        refusals.set(why, (refusals.get(why) ?? 0) + 1)
        tally.refused++
        continue
      }
      tally[filter.kind]++
      const expected = decided(policies)
      const about = `seed ${seed}:\n${sources.join('\n')}\n${filter.text}\n${JSON.stringify(filter.values)}`
      let actual: number[]
      try {
        actual = await selected(filter)
      } catch (error) {
        throw new Error(about, { cause: error })
      }
      assert.deepEqual(actual, expected, about)
      tally.rows += expected.length
      if (expected.length > 0 && expected.length < ROWS) tally.left++
    }
    if (process.env['ROW_VERBOSE'] !== undefined) console.error(tally, refusals)
    // Filters that all refuse, or never tell rows apart, would prove nothing.
    assert.ok(tally.refused < TRIALS / 4, JSON.stringify([tally, [...refusals]]))
    assert.ok(tally.left > TRIALS / 8, JSON.stringify(tally))
  })
})

describe('row filters, one by one', () => {
  const permit = (condition: string): string =>
    `permit(principal, action, resource) when { ${condition} };`

  test('a forbid that fails denies its row, a permit that fails permits none', async () => {
    const policies = await load([
      permit('true'),
      'forbid(principal, action, resource) when { resource.n > 100 };',
    ])
    const kept = await selected(filterOf(policies))
    assert.deepEqual(kept, decided(policies))
    const absent = rows.flatMap(({ row }, key) => (row.values[3] === null ? [key] : []))
    assert.ok(absent.length > 5 && absent.every((key) => !kept.includes(key)))
    // The control: asking first whether it is there keeps those rows.
    const careful = await load([
      permit('true'),
      'forbid(principal, action, resource) when { resource has n && resource.n > 100 };',
    ])
    const more = await selected(filterOf(careful))
    assert.ok(absent.every((key) => more.includes(key)))
  })

  test('nothing permits: no row; everything does: every row', async () => {
    const none = filterOf(await load(['forbid(principal, action, resource);']))
    assert.deepEqual([none.kind, none.text, none.values], ['none', 'FALSE', []])
    const all = filterOf(await load([permit('context.n == 7')]))
    assert.deepEqual([all.kind, all.text], ['all', '("docs"."id" IS NOT NULL)'])
  })

  test('values never become text, and names are quoted', async () => {
    const hostile = `'; DROP TABLE docs; --`
    const policies = await load([permit(`resource.s == "${hostile}"`)])
    const filter = filterOf(policies)
    assert.ok(!filter.text.includes('DROP'))
    assert.deepEqual(filter.values, [hostile])
    assert.ok((await selected(filter)).length > 0)
    const name = 'a" $1 --'
    const odd = filterOf(await load([permit('resource.s == "x"')]), {
      table: name,
      type: 'Doc',
      id: 'id',
      attributes: { s: { kind: 'string', column: `c"; DROP TABLE docs; --` } },
    })
    await client.query(`CREATE TABLE "a"" $1 --" (id text, "c""; DROP TABLE docs; --" text)`)
    await client.query(`INSERT INTO "a"" $1 --" VALUES ('1', 'x'), ('2', 'y'), (NULL, 'x')`)
    const answer = await client.query(`SELECT id FROM "a"" $1 --" WHERE ${odd.text}`, [
      ...odd.values,
    ])
    assert.deepEqual(answer.rows, [{ id: '1' }])
    for (const table of ['', '_sp1']) {
      assert.throws(() => filterOf(policies, { ...ROW, table }), {
        code: 'SP_CEDAR_FILTER_UNSUPPORTED',
      })
    }
    assert.throws(
      () => filterOf({ ...({} as PolicySet), policies: () => [] }, { ...ROW, id: 'x\0' }),
      { code: 'SP_CEDAR_FILTER_UNSUPPORTED' },
    )
  })

  test('patterns mean what they mean in Cedar, whatever means something to LIKE', async () => {
    const counts: number[] = []
    for (const pattern of [
      'a%b',
      'a_b',
      'a\\*b',
      'a*b',
      '!%*',
      '*!%',
      '%',
      '_',
      '\\\\',
      'a',
      '*',
    ]) {
      const policies = await load([permit(`resource.s like "${pattern}"`)])
      const kept = await selected(filterOf(policies))
      assert.deepEqual(kept, decided(policies), pattern)
      counts.push(kept.length)
    }
    assert.ok(counts.filter((count) => count > 0).length > 6, String(counts))
  })

  test('is the same text each time, whatever was filtered before', async () => {
    const policies = await load([
      permit(
        'resource.n + resource.i > 3 && resource.n * (resource.i + 1) < 9 && resource.i - 1 < 5',
      ),
    ])
    const { text } = filterOf(policies)
    assert.match(text, /AS _sp1\b.*AS _sp2\b/)
    // eslint-disable-next-line no-control-regex -- what must not be left in it
    assert.doesNotMatch(text, /\u0000/)
    assert.equal(filterOf(policies).text, text)
    assert.deepEqual(await selected(filterOf(policies)), decided(policies))
  })

  test('numbers its parameters from where it is told', async () => {
    const policies = await load([permit('resource.n == 7 && resource.s like "a*"')])
    const filter = rowFilter({
      policies,
      entities: resident,
      principal,
      action,
      context: CONTEXT,
      row: ROW,
      firstParameter: 3,
    })
    assert.match(filter.text, /\$3/)
    const answer = await client.query<{ key: number }>(
      `SELECT key FROM docs WHERE key >= $1 AND key <= $2 AND ${filter.text}`,
      [0, ROWS, ...filter.values],
    )
    assert.deepEqual(
      answer.rows.map(({ key }) => key),
      decided(policies),
    )
  })

  test('what a column holds and Cedar has no value for is a failed evaluation', async () => {
    await client.query(
      `CREATE TABLE odd (id text, d numeric, t timestamptz, ss text[], tags jsonb, n bigint)`,
    )
    const rowMap: RowMap = {
      table: 'odd',
      type: 'Doc',
      id: 'id',
      tags: 'tags',
      attributes: {
        d: { kind: 'decimal', column: 'd' },
        t: { kind: 'datetime', column: 't' },
        ss: { kind: 'set', of: 'string', column: 'ss' },
        n: { kind: 'long', column: 'n' },
      },
    }
    await client.query(`INSERT INTO odd VALUES
      ('five digits', 1.00001, null, null, null, null), ('nan', 'NaN', null, null, null, null),
      ('large', 922337203685477.5808, null, null, null, null), ('decimal', 1.00010, null, null, null, null),
      ('micro', null, '2024-01-01 00:00:00.000001Z', null, null, null), ('never', null, 'infinity', null, null, null),
      ('time', null, '2024-01-01 00:00:00.001Z', null, null, null),
      ('hole', null, null, '{a,NULL}', null, null), ('square', null, null, '{{a},{b}}', null, null),
      ('set', null, null, '{a,a}', null, null), ('array', null, null, null, '["k"]', null),
      ('number', null, null, null, '{"k": 1}', null), ('tag', null, null, null, '{"k": "a"}', null),
      ('long', null, null, null, null, 9223372036854775807)`)
    const ids = async (condition: string): Promise<string[]> => {
      const { text, values } = filterOf(await load([permit(condition)]), rowMap)
      const answer = await client.query<{ id: string }>(`SELECT id FROM odd WHERE ${text}`, [
        ...values,
      ])
      return answer.rows.map(({ id }) => id).sort()
    }
    assert.deepEqual(await ids('resource.d == resource.d'), ['decimal'])
    assert.deepEqual(await ids('resource.t == resource.t'), ['time'])
    assert.deepEqual(await ids('resource.ss.contains("a")'), ['set'])
    assert.deepEqual(await ids('resource.ss == ["a"]'), ['set'])
    assert.deepEqual(await ids('resource.getTag("k") == "a"'), ['tag'])
    assert.deepEqual(await ids('resource.hasTag("k")'), ['number', 'tag'])
    assert.deepEqual(await ids('resource.n + 1 > 0 || true'), [])
    assert.deepEqual(await ids('resource.n - 1 > 0'), ['long'])
    assert.deepEqual(await ids('resource.n * resource.n * resource.n > 0'), [])
  })

  test('refuses what SQL cannot say, and nothing less', async () => {
    const refused: [condition: string, detail: RegExp][] = [
      ['resource.unknown == 1', /attribute `unknown`/],
      ['ip(resource.s).isLoopback()', /`ip`/],
      ['datetime(resource.s) < datetime("2024-01-01")', /`datetime`/],
      ['resource.r == {x: 1}', /record/],
      ['[resource.n] == [1]', /set with columns/],
      ['resource.s == "a\\0b"', /U\+0000/],
      ['resource.e in resource.gs', /two columns/],
      ['principal in Doc::"d1" || Doc::"d1".b', /which is a row/],
      ['resource.f.x == 1', /entity of type `Folder`/],
    ]
    for (const [condition, detail] of refused) {
      const policies = await load([permit(condition)])
      assert.throws(
        () => filterOf(policies),
        (error) => {
          assert.ok(error instanceof SallyportError, condition)
          assert.equal(error.code, 'SP_CEDAR_FILTER_UNSUPPORTED')
          assert.match(error.detail ?? '', detail, condition)
          return true
        },
      )
      // A policy that does not bear on the request is no reason to refuse.
      const other = await load([
        `permit(principal, action == Action::"x", resource) when { ${condition} };`,
      ])
      assert.equal(filterOf(other).kind, 'none')
    }
    const policies = await load([permit('true')])
    const rowsInStore = resident.with([{ uid: { type: 'Doc', id: 'd1' }, attrs: {}, parents: [] }])
    assert.throws(
      () =>
        rowFilter({ policies, entities: rowsInStore, principal, action, context: {}, row: ROW }),
      { code: 'SP_CEDAR_FILTER_UNSUPPORTED' },
    )
  })

  test('a permit with a duty that nobody can meet denies where it is satisfied', async () => {
    const policies = await load([permit('true'), permit('resource.b')])
    const filter = rowFilter({
      policies,
      entities: resident,
      principal,
      action,
      context: CONTEXT,
      row: ROW,
      vetoes: (id) => id === 'p1',
    })
    const kept = await selected(filter)
    const wanted = rows.flatMap(({ row }, key) => (row.values[2] === true ? [] : [key]))
    assert.deepEqual(kept, wanted)
  })
})

describe('rows of a declared data set', () => {
  const networkFile = fileURLToPath(new URL('../examples/meridian/network.yaml', import.meta.url))
  const source: RowSource = {
    dataset: 'transactions',
    table: 'payments',
    id: 'id',
    attributes: {
      amount: { kind: 'long', column: 'amount' },
      currency: { kind: 'string', column: 'currency' },
      memo: { kind: 'string', column: 'memo' },
    },
    policies: [
      {
        id: 'rows.monitor',
        file: 'rows.cedar',
        line: 1,
        source: `permit(principal in Agent::"monitor", action == Action::"row.read", resource in DataSet::"transactions");`,
      },
      {
        id: 'rows.analyst',
        file: 'rows.cedar',
        line: 2,
        source: `permit(principal in Agent::"pattern-analyst", action == Action::"row.read", resource in DataSet::"transactions")
          when { resource has currency && resource.currency == "EUR" && context.purpose == "analysis" };`,
      },
      {
        id: 'rows.large',
        file: 'rows.cedar',
        line: 3,
        source: `forbid(principal, action == Action::"row.read", resource)
          unless { resource has amount && resource.amount <= 1000000 };`,
      },
    ],
  }
  const call = (agent: string, operation = 'listTransactions', input = {}): Call => ({
    instance: `spiffe://meridian.example/agent/${agent}/1`,
    agent,
    system: 'core-banking',
    operation,
    input,
    time: Date.now(),
    evidence: { approvals: [] },
  })

  test('are those of allowed calls that a policy about rows permits', async () => {
    const declaration = await loadDeclaration({ networkFile })
    const decider = await createDecider({ declaration })
    const filters = await createRowFilters({ declaration, decider, rows: source })
    await client.query(
      `CREATE TABLE payments (id text, amount bigint, currency text, memo text);
       INSERT INTO payments VALUES ('1', 5, 'EUR', 'a'), ('2', 5, 'USD', 'b'), ('3', 2000000, 'EUR', 'c'),
         ('4', null, 'EUR', 'd'), (null, 5, 'EUR', 'e'), ('6', 7, null, null)`,
    )
    const ids = async (of: Call, risk = 0): Promise<string[]> => {
      const { text, values } = filters.filter(of, { labels: [], risk }, 2)
      const query = `SELECT id FROM payments WHERE amount IS DISTINCT FROM $1 AND ${text} ORDER BY id`
      const answer = await client.query<{ id: string }>(query, [-1, ...values])
      return answer.rows.map(({ id }) => id)
    }
    assert.deepEqual(await ids(call('monitor')), ['1', '2', '6'])
    assert.deepEqual(await ids(call('pattern-analyst')), ['1'])
    // No flow; not allowed at this risk; an operation that returns other data.
    assert.deepEqual(await ids(call('notifier')), [])
    assert.deepEqual(await ids(call('monitor'), 90), [])
    assert.deepEqual(await ids(call('monitor', 'getAccount', { accountId: 'a' })), [])
    assert.equal(filters.filter(call('notifier'), { labels: [], risk: 0 }).text, 'FALSE')
  })

  test('nothing permits what no policy about rows permits, and columns type the policies', async () => {
    const declaration = await loadDeclaration({ networkFile })
    const decider = await createDecider({ declaration })
    const none = await createRowFilters({ declaration, decider, rows: { ...source, policies: [] } })
    assert.equal(none.filter(call('monitor'), { labels: [], risk: 0 }).kind, 'none')
    const [first] = source.policies
    assert.ok(first)
    const wrong = {
      ...first,
      source: first.source.replace(';', ' when { resource.amount == "5" };'),
    }
    await assert.rejects(
      createRowFilters({ declaration, decider, rows: { ...source, policies: [wrong] } }),
      { code: 'SP_CEDAR_INVALID' },
    )
    const attributes = { ...source.attributes, nothing: { kind: 'bool', column: 'x' } } as const
    await assert.rejects(
      createRowFilters({ declaration, decider, rows: { ...source, attributes } }),
      {
        code: 'SP_NETWORK_NO_DATASET',
      },
    )
  })
})
