import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Database, Network, SecretRule } from '@sallyport/network'
import { custodyChanges } from '../src/diff/custody.ts'
import { network } from './support/bank.ts'

const secret = (path: string, over: Partial<SecretRule> = {}): SecretRule => ({
  ...{ path, owner: 'it', use: '-', agents: [], services: [], operators: [], local: false },
  maxVersions: 1,
  ...over,
})
const grant = {
  ...{ schema: 'public', table: 'accounts', columns: ['id'], actions: ['select'] as const },
  rows: { branch: 'HH' },
}
const database = (over: Partial<Database> = {}, grants = [grant]): Database => ({
  ...{ name: 'ledger', description: '', owner: 'it', host: 'localhost', port: 5432 },
  ...{ database: 'bank', admin: { user: 'maker', secret: 'db' }, login: 'certificate' },
  accounts: [
    {
      ...{ agent: 'clerk', ttlSeconds: 60, maxTtlSeconds: 600, maxConnections: 1 },
      ...{ statementTimeoutMs: 1000, grants },
    },
  ],
  ...over,
})
const before: Network = network(1, {
  databases: [database()],
  secrets: [secret('mail/*', { agents: ['clerk'] }), secret('mail/board')],
  transit: [
    { name: 'pii', owner: 'it', use: '-', type: 'aes256-gcm', users: { clerk: ['encrypt'] } },
  ],
})
const directions = (after: Partial<Network>): string[] =>
  custodyChanges(before, { ...before, ...after }).map(
    ({ direction, what }) => `${direction} ${what}`,
  )

test('what agents may hold beside calls is compared, and more of it has widened', () => {
  assert.deepEqual(directions({}), [])
  const account = 'database ledger: account of clerk'
  const columns = [{ ...grant, columns: ['id', 'iban'] }]
  assert.deepEqual(directions({ databases: [database({}, columns)] }), [`widened ${account}`])
  const { rows: _, ...all } = grant
  // All rows in the place of some.
  assert.deepEqual(directions({ databases: [database({}, [all as typeof grant])] }), [
    `widened ${account}`,
  ])
  assert.deepEqual(directions({ databases: [database({ accounts: [] })] }), [`narrowed ${account}`])
  assert.deepEqual(directions({ databases: [database({ host: '127.0.0.1' })] }), [
    'widened database ledger',
  ])
  const mail = secret('mail/*', { agents: ['clerk'] })
  const both = [secret('mail/*', { agents: ['clerk', 'other'] }), secret('mail/board')]
  assert.deepEqual(directions({ secrets: both }), ['widened secret mail/*'])
  assert.deepEqual(directions({ secrets: [secret('mail/*'), secret('mail/board')] }), [
    'narrowed secret mail/*',
  ])
  // Without its own entry it is everybody’s whom the wider one names.
  assert.deepEqual(directions({ secrets: [mail] }), ['widened secret mail/board'])
  const key = (users: Record<string, readonly 'encrypt'[]>) => [
    { name: 'pii', owner: 'it', use: '-', type: 'aes256-gcm' as const, users },
  ]
  assert.deepEqual(directions({ transit: key({ other: ['encrypt'] }) }), ['widened key pii'])
  assert.deepEqual(directions({ transit: key({}) }), ['narrowed key pii'])
})
