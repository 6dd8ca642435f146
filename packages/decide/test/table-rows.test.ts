import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseNetwork } from '@sallyport/network'
import type { Declaration } from '@sallyport/network'
import { createDecider, createTableRows } from '../src/index.ts'

const NETWORK = `
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
      secret: password
      tables:
        accounts: { dataset: accounts, key: id, columns: { id: int8, branch: text, opened: date }, rows: [rows.cedar] }
        payments: { dataset: payments, key: id, columns: { id: int8 } }
    upstream: { service: db, port: 5432 }
    operations: { read_accounts: { kind: read, from: accounts.select } }
datasets:
  accounts: { system: ledger, owner: o, fields: { id: internal, branch: internal, opened: internal } }
  payments: { system: ledger, owner: o, fields: { id: internal } }
flows: [{ from: reader, to: ledger, operations: [read_accounts], purpose: reading }]
`
const CALL = {
  ...{ instance: 'spiffe://bank.example/agent/reader/1', agent: 'reader', time: 0 },
  ...{ system: 'ledger', operation: 'read_accounts', evidence: { approvals: [] } },
  input: { columns: ['id'], filters: [], where: {} },
}
const PERMITS =
  'permit(principal, action == Action::"ledger.read_accounts", resource);permit(principal, action == Action::"field.read", resource);'

function declarationWith(rows: string): Declaration {
  const { network, problems } = parseNetwork(NETWORK, {
    ...{ file: 'network.yaml', readFile: () => rows },
  })
  assert.deepEqual(problems, [])
  assert.ok(network)
  const policies = PERMITS.split(';')
    .filter((text) => text !== '')
    .map((text, i) => ({ id: `p${i}`, source: `${text};`, file: 'p.cedar', line: 1 }))
  return { network, policies }
}

test('the rows of a table are those that its own policies permit', async () => {
  const declaration = declarationWith(`
    permit(principal, action == Action::"row.read", resource) when { resource has branch && resource.branch == "north" };
    forbid(principal, action == Action::"row.read", resource) when { resource has id && resource.id == 7 };`)
  const decider = await createDecider({ declaration })
  const rows = await createTableRows({ declaration, decider, alias: 'r' })
  assert.deepEqual([...rows.keys()], ['ledger.accounts'])
  const filter = rows.get('ledger.accounts')?.filter(CALL, { labels: [], risk: 0 })
  assert.equal(filter?.kind, 'some')
  assert.deepEqual(filter?.values, ['north', '7'])
  assert.match(filter?.text ?? '', /"r"\."branch"/)
})

for (const [what, text] of [
  ['a column that is not there', 'resource.colour == "red"'],
  ['a column of a type that policies do not read', 'resource.opened == "2020-01-01"'],
  [
    'a value of another type',
    'resource has branch && resource.branch == 5 + 1 && resource.branch > 5',
  ],
] as const) {
  test(`refused before anybody signs it: ${what}`, async () => {
    const declaration = declarationWith(
      `permit(principal, action == Action::"row.read", resource) when { ${text} };`,
    )
    const decider = await createDecider({ declaration })
    await assert.rejects(
      createTableRows({ declaration, decider, alias: 'r' }),
      /SP_CEDAR|policy|type/i,
    )
  })
}
