import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { createDecider, createTableRows } from '@sallyport/decide'
import type { Call, RowFilters, SessionState } from '@sallyport/decide'
import { createTokeniser } from '@sallyport/redact'
import type { NetworkIndex, PostgresSystem } from '@sallyport/network'
import { closeCedar } from '@sallyport/cedar'
import { descriptionOf, parsing } from '../packages/gateway/src/sql/forms.ts'
import { Inputs } from '../packages/gateway/src/sql/inputs.ts'
import { OIDS } from '../packages/gateway/src/sql/parameters.ts'
import { RowConditions } from '../packages/gateway/src/sql/rows.ts'
import { parseStatement } from '../packages/gateway/src/sql/text/parser.ts'
import type { Compiled } from '../packages/gateway/src/sql/text/compile.ts'
import type { TableView } from '../packages/gateway/src/sql/text/facts.ts'
import { KeptTokens } from '../packages/gateway/src/sql/tokens.ts'
import { bind, changedRow, parse, readBind } from '../packages/gateway/src/sql/wire/messages.ts'
import { Written } from '../packages/gateway/src/sql/written.ts'
import { int16, int32, message } from '../packages/gateway/src/sql/wire/frames.ts'
import { sqlDeclaration } from './support/sql/declaration.ts'

let index: NetworkIndex
let postgres: PostgresSystem
let rows: RowFilters
before(async () => {
  const declaration = await sqlDeclaration()
  const decider = await createDecider({ declaration })
  ;({ index } = decider)
  const system = index.findSystem('ledger')?.postgres
  const all = await createTableRows({ declaration, decider, alias: 'sp_row' })
  const filters = all.get('ledger.accounts')
  if (!system || !filters) throw new Error('the declaration of these tests has them')
  postgres = system
  rows = filters
})
after(closeCedar)

interface Asked {
  readonly values?: readonly string[]
  readonly view?: TableView
  readonly way?: string
}

/** Writes statements as one gateway would, one after the other. */
function writer(): (sql: string, asked?: Asked) => Promise<Compiled> {
  const written = new Written()
  return async (sql, { values = [], view, way = '' } = {}) => {
    const statement = await parseStatement(sql)
    if (!statement) throw new Error('a statement')
    return written.of(statement, index, way, {
      system: postgres,
      parameters: { read: (number) => ({ kind: 'text', text: values[number - 1] ?? '' }) },
      tokens: {
        kindOf: (_table, column) => column,
        restored: (_kind, text) => text.replace(/^tok_/, ''),
      },
      view: () => view,
    })
  }
}

const viewOf = (treatment: 'whole' | 'tokenise', filter?: string): TableView => ({
  treatmentOf: () => treatment,
  maskOf: () => 'full',
  filter,
})

test('a statement that is known is judged by the values that come with it', async () => {
  const write = writer()
  const sql = 'SELECT id FROM accounts WHERE branch = $1 AND id IN (SELECT account FROM payments)'
  const [north, south] = [
    await write(sql, { values: ['north'] }),
    await write(sql, { values: ['south'] }),
  ]
  assert.deepEqual(
    [north, south].map(({ facts }) => facts[0]?.where),
    [{ branch: 'north' }, { branch: 'south' }],
  )
  assert.equal(north.sql, south.sql)
})

test('what depends on values in another way is written for each', async () => {
  const write = writer()
  const limited = 'SELECT id FROM accounts LIMIT $1'
  const limits = [await write(limited, { values: ['5'] }), await write(limited, { values: ['7'] })]
  assert.deepEqual(
    limits.map(({ facts }) => facts[0]?.limit),
    [5, 7],
  )
  const view = viewOf('tokenise')
  const byToken = 'SELECT id FROM accounts WHERE iban = $1'
  const tokens = [
    await write(byToken, { view, values: ['tok_DE1'] }),
    await write(byToken, { view, values: ['tok_DE2'] }),
  ]
  assert.match(tokens[0]?.sql ?? '', /'DE1'/)
  assert.match(tokens[1]?.sql ?? '', /'DE2'/)
  assert.doesNotMatch(tokens[1]?.sql ?? '', /DE1/)
  const update = 'UPDATE accounts SET branch = $1 WHERE id = 1'
  const sets = [
    await write(update, { values: ['north'] }),
    await write(update, { values: ['zero'] }),
  ]
  assert.deepEqual(
    sets.map(({ facts }) => facts[0]?.sets),
    [[{ branch: 'north' }], [{ branch: 'zero' }]],
  )
})

test('a statement that is known is written by what is seen of its tables', async () => {
  const write = writer()
  const sql = 'SELECT id FROM accounts'
  const all = await write(sql, { way: 'all', view: viewOf('whole') })
  const some = await write(sql, { way: 'some', view: viewOf('whole', '(branch = 1)') })
  assert.doesNotMatch(all.sql, /branch = 1/)
  assert.match(some.sql, /branch = 1/)
  assert.equal((await write(sql, { way: 'all' })).sql, all.sql)
})

test('an input is of the values of its own statement, whatever of it was read before', async () => {
  const operation = index.findOperation('ledger', 'read_accounts')
  assert.ok(operation)
  const inputs = new Inputs()
  const write = writer()
  const read = async (sql: string, ...values: readonly string[]): Promise<unknown> => {
    const [facts] = (await write(sql, { values })).facts
    assert.ok(facts)
    return inputs.of(operation, facts, undefined)
  }
  const byBranch = 'SELECT id FROM accounts WHERE branch = $1'
  const of = (branch: string): unknown => ({
    ...{ columns: ['branch', 'id'], filters: ['branch'], where: { branch } },
  })
  assert.deepEqual(await read(byBranch, 'north'), of('north'))
  assert.deepEqual(await read(byBranch, 'south'), of('south'))
  assert.deepEqual(await read('SELECT balance FROM accounts'), {
    ...{ columns: ['balance'], filters: [], where: {} },
  })
  await assert.rejects(read(byBranch, 'x'.repeat(100_000)), /SP_INPUT_VALUE|characters/)
  assert.deepEqual(await read(byBranch, 'north'), of('north'))
})

test('a database is asked for, and taken at its word for, this statement with these types', async () => {
  const write = writer()
  const statement = await write('SELECT id FROM accounts WHERE branch = $1', { values: ['north'] })
  const again = await write('SELECT id FROM accounts WHERE branch = $1', { values: ['south'] })
  const asked = (oid: number): Buffer => parse({ name: '', sql: statement.sql, oids: [oid] })
  assert.deepEqual(parsing(statement, [], 1), asked(OIDS.text))
  assert.deepEqual(parsing(again, [OIDS.varchar], 1), asked(OIDS.varchar))
  assert.deepEqual(parsing(again, [OIDS.text], 1), asked(OIDS.text))
  const other = await write('SELECT balance FROM accounts WHERE branch = $1', { values: ['north'] })
  assert.notDeepEqual(parsing(other, [], 1), parsing(statement, [], 1))
  const frameOf = (type: number): { type: string; body: Buffer; raw: Buffer } => {
    const raw = message(
      ...(['T', int16(1), 'id\0', Buffer.alloc(6), int32(type), Buffer.alloc(8)] as const),
    )
    return { type: 'T', body: raw.subarray(5), raw }
  }
  for (const type of [OIDS.int8, OIDS.int8, OIDS.text]) {
    assert.deepEqual(descriptionOf(statement, frameOf(type)).columns, [type])
  }
  const none = message('n')
  const nothing = descriptionOf(statement, { type: 'n', body: none.subarray(5), raw: none })
  assert.deepEqual(nothing.columns, [])
})

test('a condition on rows is made anew for whatever policies about rows read', () => {
  let made = 0
  const counted: RowFilters = {
    filter: (call, session) => {
      made++
      return rows.filter(call, session)
    },
  }
  const conditions = new RowConditions()
  const call: Call = {
    ...{ instance: 'spiffe://sql.example/agent/analyst/i1', agent: 'analyst', system: 'ledger' },
    ...{ operation: 'read_accounts', time: 1_800_000_000_000, evidence: { approvals: [] } },
    input: { columns: ['id'], filters: [], where: {}, written: [], set: {} },
  }
  const session: SessionState = { labels: [], risk: 0 }
  const first = conditions.of(counted, { call, session })
  assert.match(first?.sql ?? '', /north/)
  const other = { ...call, input: { ...call.input, where: { id: 7 } }, time: call.time + 999 }
  assert.equal(conditions.of(counted, { call: other, session }), first)
  assert.equal(made, 1)
  const clerk = { instance: 'spiffe://sql.example/agent/clerk/i1', agent: 'clerk' }
  assert.match(conditions.of(counted, { call: { ...call, ...clerk }, session })?.sql ?? '', /zero/)
  const onBehalfOf = { subject: 'operator:olga', actors: [] }
  const changed: readonly (readonly [Call, SessionState])[] = [
    [{ ...call, time: call.time + 1000 }, session],
    [{ ...call, instance: `${call.instance}2` }, session],
    [{ ...call, operation: 'read_payments' }, session],
    [{ ...call, source: '192.0.2.1' }, session],
    [{ ...call, onBehalfOf }, session],
    [{ ...call, evidence: { approvals: ['olga'] } }, session],
    [{ ...call, mandate: { id: 'm', delegator: 'operator:olga', depth: 1, task: 't' } }, session],
    [call, { ...session, risk: 50 }],
    [call, { ...session, labels: ['pii'] }],
  ]
  for (const [one, its] of changed) {
    const until: number = made
    conditions.of(counted, { call: one, session: its })
    assert.equal(made, until + 1, JSON.stringify([one, its]))
  }
})

test('a token that is kept is the one that would be made, and what was not asked for lately is forgotten', () => {
  const real = createTokeniser(Buffer.alloc(32, 7))
  const made: string[] = []
  const counted = {
    tokenise: (kind: string, value: string): string => {
      made.push(`${kind} ${value}`)
      return real.tokenise(kind, value)
    },
  }
  const kept = new KeptTokens(counted, 3)
  for (const kind of ['accounts.iban', 'payments.iban', 'accounts.iban']) {
    assert.equal(kept.of(kind, 'DE1'), real.tokenise(kind, 'DE1'))
  }
  assert.deepEqual(made.splice(0), ['accounts.iban DE1', 'payments.iban DE1'])
  const long = 'x'.repeat(65)
  assert.equal(kept.of('a.b', long), kept.of('a.b', long))
  assert.deepEqual(made.splice(0), [`a.b ${long}`, `a.b ${long}`])
  // Asked for again and again it stays; what was asked for once goes, and no more than two generations are there.
  for (let i = 0; i < 20; i++) {
    kept.of('a.b', `once ${i}`)
    kept.of('accounts.iban', 'DE1')
  }
  assert.equal(made.filter((one) => one.startsWith('accounts.iban')).length, 0)
  made.length = 0
  kept.of('a.b', 'once 0')
  kept.of('payments.iban', 'DE1')
  assert.deepEqual(made, ['a.b once 0', 'payments.iban DE1'])
  assert.throws(() => kept.of('no kind!', 'DE1'), { code: 'SP_TOKEN_KIND' })
})

test('a row is changed where it is to be, and nowhere else', () => {
  const long = Buffer.alloc(40_000, 'y')
  const row = (...values: readonly (Buffer | null)[]): Buffer =>
    Buffer.concat([
      int16(values.length),
      ...values.flatMap((value) => (value ? [int32(value.length), value] : [int32(-1)])),
    ])
  const values = [Buffer.from('1'), null, Buffer.from('two'), Buffer.alloc(0), long]
  const change = (value: Buffer): Buffer => Buffer.concat([Buffer.from('t_'), value])
  const changes = new Map([1, 2, 3].map((at) => [at, change]))
  const wanted = [values[0] ?? null, null, Buffer.from('t_two'), Buffer.from('t_'), long]
  assert.deepEqual(changedRow(row(...values), changes), message('D', row(...wanted)))
  assert.deepEqual(changedRow(row(), changes), message('D', row()))
  assert.throws(
    () => changedRow(Buffer.concat([row(...values), Buffer.of(0)]), changes),
    RangeError,
  )
})

test('what is bound is read back as it was', () => {
  const text = { portal: 'p€', statement: '', formats: [], values: [], resultFormats: [] }
  const long = Buffer.alloc(40_000, 'y')
  const values = [null, Buffer.alloc(0), Buffer.from('1'), long]
  for (const bound of [
    text,
    { ...text, statement: 's', formats: [0, 1, 0, 1], values, resultFormats: [1] },
    { ...text, formats: [1], values: Array.from({ length: 40_000 }, () => null) },
  ]) {
    const bytes = bind(bound)
    assert.equal(bytes.toString('latin1', 0, 1), 'B')
    assert.equal(bytes.readUInt32BE(1), bytes.length - 1)
    assert.deepEqual(readBind(bytes.subarray(5)), bound)
  }
})
