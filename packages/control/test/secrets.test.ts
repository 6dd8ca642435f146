import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { SecretRule } from '@sallyport/network'
import pg from 'pg'
import type { Reader } from '../src/secrets/access.ts'
import type { Vault } from '../src/secrets/vault.ts'
import { TestBank } from './support/bank.ts'
import type { Answer, Peer, TestPlane } from './support/network.ts'

let bank: TestBank
let plane: TestPlane
let vault: Vault
let flagger: Peer
let analyst: Peer
let state: pg.Client
const ALICE: Reader = { kind: 'operator', name: 'alice' }
const CANARY = 'canary-7f3a91'

const rule = (path: string, over: Partial<SecretRule> = {}): SecretRule => ({
  ...{ path, owner: 'core', use: 'a test', agents: [], services: [], operators: [] },
  ...{ local: false, maxVersions: 3 },
  ...over,
})

before(async () => {
  bank = await TestBank.start()
  plane = await bank.plane({
    secrets: [
      rule('reports/*', { agents: ['flagger'], operators: ['alice'] }),
      rule('reports/board', { operators: ['alice'] }),
      rule('sallyport/*', { agents: ['flagger'], operators: ['alice'], local: true }),
    ],
  })
  vault = plane.control.context.custody.vault
  flagger = await plane.enrol('agent', 'flagger')
  analyst = await plane.enrol('agent', 'analyst')
  state = new pg.Client({ connectionString: bank.server.url })
  await state.connect()
})
after(async () => {
  await state?.end()
  await plane?.close()
  await bank?.close()
})

const put = (path: string, value: string, cas?: number): Promise<number> =>
  vault.write('alice', path, Buffer.from(value), cas === undefined ? {} : { cas })
const read = async (path: string, version?: number): Promise<string> =>
  (await vault.read(ALICE, path, version)).value.toString()
const refusedWith = (answer: Answer, status: number, code: string): void =>
  assert.deepEqual([answer.status, answer.body['code']], [status, code])

test('versions are kept, taken away, given back and destroyed', async () => {
  assert.equal(await put('reports/a', 'one'), 1)
  assert.equal(await put('reports/a', 'two', 1), 2)
  await assert.rejects(put('reports/a', 'late', 1), { code: 'SP_SECRET_CONFLICT' })
  await assert.rejects(put('reports/a', 'first', 0), { code: 'SP_SECRET_CONFLICT' })
  assert.deepEqual([await read('reports/a'), await read('reports/a', 1)], ['two', 'one'])
  await vault.mark('alice', 'reports/a', [2], 'delete')
  await assert.rejects(read('reports/a'), { code: 'SP_SECRET_UNKNOWN' })
  await vault.mark('alice', 'reports/a', [2], 'undelete')
  assert.equal(await read('reports/a'), 'two')
  await vault.mark('alice', 'reports/a', [1], 'destroy')
  await assert.rejects(vault.mark('alice', 'reports/a', [1], 'undelete'))
  await assert.rejects(read('reports/a', 1), { code: 'SP_SECRET_UNKNOWN' })
  for (const value of ['three', 'four', 'five']) await put('reports/a', value)
  assert.deepEqual(
    (await vault.versions('reports/a')).map(({ version, state: is }) => [version, is]),
    [
      [5, 'there'],
      [4, 'there'],
      [3, 'there'],
      [2, 'destroyed'],
      [1, 'destroyed'],
    ],
  )
  const writers = Array.from({ length: 8 }, (_, index) => put('reports/raced', `${index}`, 0))
  const won = (await Promise.allSettled(writers)).filter(({ status }) => status === 'fulfilled')
  assert.equal(won.length, 1)
})

test('only those who are declared read, and a narrower entry takes away what a wider one gives', async () => {
  await put('reports/q1', 'for the flagger')
  await put('reports/board', 'for the board')
  const ask = (peer: Peer, path: string) => peer.call('POST', '/v1/secrets/read', { path })
  const fine = await ask(flagger, 'reports/q1')
  assert.deepEqual(
    [fine.status, fine.body['value'], fine.body['encoding'], fine.body['version']],
    [200, 'for the flagger', 'utf8', 1],
  )
  refusedWith(await ask(flagger, 'reports/board'), 403, 'SP_SECRET_REFUSED')
  refusedWith(await ask(analyst, 'reports/q1'), 403, 'SP_SECRET_REFUSED')
  // The same answer for what is not there.
  assert.deepEqual((await ask(analyst, 'nothing')).body, (await ask(analyst, 'reports/q1')).body)
  refusedWith(await ask(flagger, 'databases/ledger'), 403, 'SP_SECRET_REFUSED')
  refusedWith(await ask(await plane.enrol('gateway', 'gw1'), 'reports/q1'), 403, 'SP_PLANE_KIND')
  await assert.rejects(vault.read({ kind: 'operator', name: 'bob' }, 'reports/q1'), {
    code: 'SP_SECRET_REFUSED',
  })
  await assert.rejects(vault.read({ kind: 'local' }, 'reports/q1'), { code: 'SP_SECRET_REFUSED' })
  await assert.rejects(put('undeclared', 'x'), { code: 'SP_SECRET_UNDECLARED' })
})

test('MUST-reject 11: a listing shows what its reader may read, whatever prefix it names', async () => {
  const listed = async (peer: Peer, body: unknown): Promise<string[]> => {
    const answer = await peer.call('POST', '/v1/secrets/list', body)
    assert.equal(answer.status, 200)
    return (answer.body['secrets'] as { path: string }[]).map(({ path }) => path)
  }
  await put('reports/q2', 'x')
  assert.ok((await listed(flagger, {})).includes('reports/q2'))
  for (const body of [{}, { prefix: 'reports/' }, { prefix: 'reports/board' }]) {
    assert.ok(!(await listed(flagger, body)).includes('reports/board'))
    assert.deepEqual(await listed(analyst, body), [])
  }
  assert.deepEqual(await listed(flagger, { prefix: '%' }), [])
})

test('MUST-reject 11: paths are compared letter by letter, and what is none is refused', async () => {
  await put('reports/q3', 'x')
  assert.equal(await read('reports/q3'), 'x')
  for (const path of [
    ...['reports/../reports/q3', './reports/q3', 'reports/./q3', 'reports//q3', '/reports/q3'],
    ...['reports/q3/', 'reports/q3 ', ' reports/q3', 'reports/%71%33', 'reports/q3\0', 'reports/*'],
    ...[
      'reports/q3,x',
      'reports\\q3',
      'reports/q３',
      '',
      '..',
      'a/b/c/d/e/f/g/h/i',
      'x'.repeat(65),
    ],
  ]) {
    await assert.rejects(vault.read(ALICE, path), { code: 'SP_SECRET_PATH' }, path)
    await assert.rejects(put(path, 'x'), { code: 'SP_SECRET_PATH' }, path)
  }
  for (const path of ['Reports/q3', 'reports/Q3']) {
    await assert.rejects(vault.read(ALICE, path), /there is no such secret/, path)
  }
})

test('what the control plane keeps for itself is nobody’s, whatever is declared', async () => {
  await plane.control.context.custody.databaseClients()
  const path = 'sallyport/database-clients'
  await assert.rejects(vault.read(ALICE, path), { code: 'SP_SECRET_REFUSED' })
  await assert.rejects(vault.read({ kind: 'local' }, path), { code: 'SP_SECRET_REFUSED' })
  await assert.rejects(put(path, 'x'), { code: 'SP_SECRET_UNDECLARED' })
  assert.ok(!(await vault.all()).some((one) => one.path === path))
})

test('MUST-reject 14: a ciphertext in another’s place does not open', async () => {
  await put('reports/x', 'one')
  await put('reports/x', 'two')
  await put('reports/y', 'other')
  assert.equal(await read('reports/x'), 'two')
  const swap = async (from: string, to: string): Promise<void> => {
    await state.query(
      `UPDATE secret_versions SET value = (SELECT value FROM secret_versions WHERE path || '@' || version = $1)
        WHERE path || '@' || version = $2`,
      [from, to],
    )
  }
  await swap('reports/y@1', 'reports/x@2')
  await assert.rejects(read('reports/x'), { code: 'SP_SEAL_INVALID' })
  // An old version in the place of a new one.
  await swap('reports/x@1', 'reports/x@2')
  await assert.rejects(read('reports/x'), { code: 'SP_SEAL_INVALID' })
  assert.equal(await read('reports/x', 1), 'one')
})

test('MUST-reject 13: a value is in no record, row, event, file or error', async () => {
  const events: unknown[] = []
  const stop = plane.control.context.events.subscribe((event) => void events.push(event))
  await put('reports/canary', CANARY)
  await assert.rejects(put('reports/canary', CANARY, 0))
  await assert.rejects(put('nowhere/canary', CANARY))
  assert.equal(await read('reports/canary'), CANARY)
  const read1 = await flagger.call('POST', '/v1/secrets/read', { path: 'reports/canary' })
  assert.equal(read1.body['value'], CANARY)
  const refused = [
    await analyst.call('POST', '/v1/secrets/read', { path: 'reports/canary' }),
    await analyst.call('POST', '/v1/secrets/read', { path: 'reports/canary', value: CANARY }),
    await analyst.raw('POST', '/v1/secrets/read', `{"path":"${CANARY}`),
  ]
  for (const answer of refused) assert.ok(answer.status >= 400)
  stop()
  const { rows: tables } = await state.query<{ name: string }>(
    `SELECT quote_ident(relname) AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace`,
  )
  assert.ok(tables.length > 20)
  let text = JSON.stringify([events, plane.errors, refused, await vault.all()])
  for (const { name } of tables) {
    const { rows } = await state.query<{ row: string }>(`SELECT t::text AS row FROM ${name} t`)
    text += rows.map(({ row }) => row).join('\n')
  }
  for (const file of readdirSync(plane.dataDir, { recursive: true, withFileTypes: true })) {
    if (file.isFile()) text += readFileSync(join(file.parentPath, file.name), 'latin1')
  }
  // The positive control: the log is in what was searched.
  assert.match(text, /secret-read/)
  assert.match(text, /reports\/canary/)
  for (const form of [
    CANARY,
    Buffer.from(CANARY).toString('hex'),
    Buffer.from(CANARY).toString('base64'),
  ]) {
    assert.ok(!text.includes(form.replace(/=+$/, '')), form)
  }
})

test('nothing is read or written while it cannot be recorded', async () => {
  await put('reports/z', 'x')
  assert.equal(await read('reports/z'), 'x')
  await state.query('BEGIN')
  try {
    // Nobody adds to the feed now.
    await state.query('LOCK TABLE feed IN EXCLUSIVE MODE')
    await assert.rejects(read('reports/z'), { code: 'SP_STORE_UNAVAILABLE' })
    await assert.rejects(put('reports/z', 'y'), { code: 'SP_STORE_UNAVAILABLE' })
  } finally {
    await state.query('ROLLBACK')
  }
  assert.equal(await read('reports/z'), 'x')
})
