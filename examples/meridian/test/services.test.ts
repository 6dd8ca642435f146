import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseJson, systemClock } from '@sallyport/base'
import { caseStore, declaredTools } from '../src/services/caseStore.ts'
import { CaseBook } from '../src/services/cases.ts'
import { coreBanking } from '../src/services/coreBanking.ts'
import type { Handler } from '../src/services/http.ts'
import { messages } from '../src/services/messages.ts'
import { customer, piiVault } from '../src/services/piiVault.ts'
import { openStream, TransactionStream } from '../src/services/stream.ts'
import { watchlist } from '../src/services/watchlist.ts'
import type { Transaction } from '../src/transaction.ts'

async function ask(
  handler: Handler,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: unknown }> {
  const request = new Request(`http://service.invalid${path}`, {
    method,
    headers: { 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
  const response = await handler(request)
  const text = await response.text()
  return { status: response.status, body: text === '' ? undefined : parseJson(text) }
}

const clock = { at: 0, now: () => 0, monotonic: (): number => clock.at }
const row = (index: number): Transaction => ({
  id: `tx_${index}`,
  time: index,
  from: 'acc_1',
  to: 'acc_2',
  amount: 5,
  currency: 'EUR',
  memo: '',
})
const rows = (count: number): Transaction[] => Array.from({ length: count }, (_, i) => row(i))

test('core banking releases the history at once, the rest over time, in pages of at most 100', async () => {
  clock.at = 0
  const bank = coreBanking(new TransactionStream(rows(250), 130, 10, clock))
  const page = async (after: string): Promise<{ n: number; next: string }> => {
    const answer = await ask(bank, 'GET', `/v1/transactions?after=${after}&limit=100`)
    const { transactions, next } = answer.body as { transactions: unknown[]; next: string }
    return { n: transactions.length, next }
  }
  assert.deepEqual(await page('0'), { n: 100, next: '100' })
  assert.deepEqual(await page('100'), { n: 30, next: '130' })
  assert.deepEqual(await page('130'), { n: 0, next: '130' })
  clock.at = 2000
  assert.deepEqual(await page('130'), { n: 20, next: '150' })
  clock.at = 1e6
  assert.deepEqual(await page('150'), { n: 100, next: '250' })
  assert.deepEqual(await page('9999'), { n: 0, next: '9999' })
  for (const query of ['limit=101', 'limit=0', 'limit=x', 'after=-1', 'after=tx_1']) {
    assert.equal((await ask(bank, 'GET', `/v1/transactions?${query}`)).status, 400)
  }
})

test('an injected payment is the next that every reader sees, once', async () => {
  clock.at = 0
  const stream = new TransactionStream(rows(20), 5, 1, clock)
  let started = false
  void stream.started.then(() => (started = true))
  await Promise.resolve()
  assert.equal(started, false)
  assert.equal(stream.released(), 5)
  await stream.started
  clock.at = 3000
  const injected = stream.inject((index) => ({ ...row(index), id: 'poison' }))
  assert.equal(injected.id, 'poison')
  assert.equal(stream.at(8)?.id, 'poison')
  assert.equal(stream.at(9)?.id, 'tx_8')
  clock.at = 4000
  assert.equal(stream.released(), 9)
})

test('a generated stream starts with its history', async () => {
  const options = { seed: 1, accounts: 250, days: 50, seconds: 10 }
  const stream = await openStream(options, { now: () => 0, monotonic: () => 0 })
  assert.ok(stream.released() > 0.2 * stream.size && stream.released() < 0.6 * stream.size)
})

test('holds are placed with exact input and listed', async () => {
  const bank = coreBanking(new TransactionStream([], 0, 1, clock))
  const good = { amount: 100, currency: 'EUR', reason: 'x', caseId: 'case_1' }
  const placed = await ask(bank, 'POST', '/v1/accounts/acc_7/holds', good)
  assert.equal(placed.status, 201)
  for (const change of [
    { amount: 0 },
    { amount: 1.5 },
    { amount: '1' },
    { currency: 'eur' },
    { caseId: '' },
  ]) {
    const answer = await ask(bank, 'POST', '/v1/accounts/acc_7/holds', { ...good, ...change })
    assert.equal(answer.status, 400, JSON.stringify(change))
  }
  assert.equal((await ask(bank, 'POST', '/v1/accounts/..%2Fx/holds', good)).status, 404)
  const { body } = await ask(bank, 'GET', '/v1/holds')
  assert.equal((body as { holds: unknown[] }).holds.length, 1)
  const account = (await ask(bank, 'GET', '/v1/accounts/acc_7')).body as {
    account: { status: string }
  }
  assert.equal(account.account.status, 'held')
})

test('malformed requests are refused by every service', async () => {
  for (const handler of [
    coreBanking(new TransactionStream([], 0, 1, clock)),
    messages(),
    piiVault(),
  ]) {
    assert.equal((await ask(handler, 'GET', '/nowhere')).status, 404)
    assert.equal((await ask(handler, 'DELETE', '/v1/messages')).status, 404)
  }
  const deep = `${'['.repeat(50)}${']'.repeat(50)}`
  for (const body of ['{', '[]', '"x"', '{"to":"a","to":"b"}', deep, '{}']) {
    assert.equal((await ask(messages(), 'POST', '/v1/messages', body)).status, 400, body)
  }
  assert.equal((await ask(piiVault(), 'GET', '/v1/customers/%zz')).status, 400)
})

test('the vault invents the same person for the same id, with a valid IBAN', async () => {
  const person = customer('cus_5')
  assert.deepEqual(customer('cus_5'), person)
  const moved = person.iban.slice(4) + person.iban.slice(0, 4)
  const digits = moved.replaceAll(/[A-Z]/g, (letter) => String(letter.charCodeAt(0) - 55))
  assert.equal(BigInt(digits) % 97n, 1n)
  const contact = await ask(piiVault(), 'GET', '/v1/customers/cus_5/contact')
  assert.deepEqual(contact.body, { contact: { id: 'cus_5', email: person.email } })
})

test('the watchlist answers with its key only', async () => {
  const handler = watchlist('secret')
  const body = { name: 'Dario Castro' }
  for (const headers of [{}, { 'x-api-key': 'wrong!' }, { 'x-api-key': '' }]) {
    assert.equal((await ask(handler, 'POST', '/v1/screen', body, headers)).status, 401)
  }
  const good = await ask(handler, 'POST', '/v1/screen', body, { 'x-api-key': 'secret' })
  assert.deepEqual(good.body, {
    matches: [{ listId: 'WL-0107', name: 'Dario Castro', score: 100 }],
  })
  const other = await ask(
    handler,
    'POST',
    '/v1/screen',
    { name: 'Ada Abel' },
    { 'x-api-key': 'secret' },
  )
  assert.deepEqual(other.body, { matches: [] })
})

async function tool(
  handler: Handler,
  name: string,
  input: unknown,
): Promise<Record<string, unknown>> {
  const answer = await ask(
    handler,
    'POST',
    '/mcp',
    { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name, arguments: input } },
    { accept: 'application/json, text/event-stream' },
  )
  assert.equal(answer.status, 200)
  const { result } = answer.body as { result: Record<string, unknown> }
  return result
}

const content = (result: Record<string, unknown>): Record<string, Record<string, unknown>> =>
  result['structuredContent'] as Record<string, Record<string, unknown>>

test('the case store does what it declares, over MCP', async () => {
  assert.deepEqual(
    Object.keys(new CaseBook(systemClock).tools).sort(),
    declaredTools()
      .map((declared) => declared.name)
      .sort(),
  )
  const store = caseStore(systemClock)
  const accounts = ['acc_1', 'acc_2']
  await tool(store, 'report_ring', { pattern: 'cycle', accounts, score: 91 })
  const opened = content(
    await tool(store, 'open_case', { kind: 'suspicion', accounts, summary: 's', pattern: 'cycle' }),
  )
  const caseId = opened['case']?.['id']
  const rings = content(await tool(store, 'list_rings', {}))['rings'] as unknown as {
    caseId: string
  }[]
  assert.equal(rings[0]?.caseId, caseId)
  const drafted = content(await tool(store, 'draft_sar', { caseId, narrative: 'n' }))
  const sarId = drafted['sar']?.['id']
  assert.equal((await tool(store, 'draft_sar', { caseId, narrative: 'n' }))['isError'], true)
  assert.equal(content(await tool(store, 'file_sar', { sarId }))['sar']?.['status'], 'filed')
  assert.equal((await tool(store, 'file_sar', { sarId }))['isError'], true)
  const item = content(await tool(store, 'get_case', { caseId }))['case']
  assert.equal(item?.['sarStatus'], 'filed')
})

test('the case store refuses unknown tools, unknown arguments and unknown cases', async () => {
  const store = caseStore(systemClock)
  for (const [name, input] of [
    ['toString', {}],
    ['get_case', { caseId: 'case_9' }],
    ['get_case', {}],
    ['list_rings', { before: 'x' }],
    ['report_ring', { pattern: 'x', accounts: [], score: 1 }],
    ['report_ring', { pattern: 'x', accounts: ['a'], score: 101 }],
  ] as const) {
    assert.equal((await tool(store, name, input))['isError'], true, name)
  }
  assert.equal((await ask(store, 'GET', '/mcp')).status, 405)
})
