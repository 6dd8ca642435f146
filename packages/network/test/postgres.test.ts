import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseNetwork } from '../src/index.ts'

const TEXT = `
name: bank
trustDomain: bank.example
quorum: 1
segments: { zone: { owner: o } }
agents: { reader: { owner: o, segment: zone } }
operators: { olga: { displayName: Olga, roles: [admin] } }
services: { db: { owner: o, segment: zone } }
systems:
  ledger:
    owner: o
    segment: zone
    protocol: postgres
    postgres:
      database: ledger
      user: gateway
      secret: ledger-password
      tables:
        accounts:
          dataset: accounts
          key: id
          columns: { id: int8, iban: text }
          rows: [rows.cedar]
    upstream: { service: db, port: 5432 }
    operations:
      read_accounts: { kind: read, from: accounts.select }
      open_account: { kind: write, from: accounts.insert }
datasets:
  accounts:
    system: ledger
    owner: o
    fields: { id: internal, iban: confidential, never_a_column: restricted }
flows: [{ from: reader, to: ledger, operations: [read_accounts], purpose: reading }]
`
const parsed = (text: string): ReturnType<typeof parseNetwork> =>
  parseNetwork(text, {
    file: 'network.yaml',
    readFile: () => 'permit(principal, action, resource);',
  })
const codes = (text: string): string[] =>
  parsed(text).problems.map(({ code, message }) => `${code} ${message}`)

test('operations of a database are those of its tables, typed by their columns', () => {
  const { network, problems } = parsed(TEXT)
  assert.deepEqual(problems, [])
  const [system] = network?.systems ?? []
  const [read, open] = system?.operations ?? []
  assert.deepEqual(read?.binding, { kind: 'postgres', action: 'select', table: 'accounts' })
  assert.deepEqual(read?.returns, { $: 'accounts' })
  assert.deepEqual(Object.keys(read?.input.members ?? {}), ['columns', 'filters', 'where', 'limit'])
  assert.deepEqual(Object.keys(open?.input.members ?? {}), ['columns', 'written', 'set'])
  const [table] = system?.postgres?.tables ?? []
  assert.equal(table?.schema, 'public')
  assert.equal(table?.rows?.[0]?.file, 'rows.cedar')
})

for (const [what, from, to, expected] of [
  ['a column that is no field', 'iban: text }', 'iban: text, ssn: text }', /no field `ssn`/],
  ['a type that is not known', 'iban: text }', 'iban: citext }', /./],
  ['a key that is no column', 'key: id', 'key: number', /the key `number`/],
  ['a data set of nobody', 'dataset: accounts\n', 'dataset: others\n', /no data set `others`/],
  ['a table that is not there', 'accounts.select', 'cards.select', /no operation `cards.select`/],
  ['a read that writes', 'kind: write, from', 'kind: read, from', /is `read`, but writes/],
  ['a name in capitals', 'columns: { id', 'columns: { Id', /./],
  [
    'an OpenAPI document beside it',
    'protocol: postgres\n',
    'protocol: postgres\n    openapi: a.yaml\n',
    /./,
  ],
  [
    'tables of an HTTP system',
    'protocol: postgres\n',
    'protocol: http\n    openapi: a.yaml\n',
    /./,
  ],
] as const) {
  test(`refused: ${what}`, () => {
    assert.ok(TEXT.includes(from))
    const found = codes(TEXT.replace(from, to))
    assert.ok(
      found.some((one) => expected.test(one)),
      found.join('\n'),
    )
  })
}
