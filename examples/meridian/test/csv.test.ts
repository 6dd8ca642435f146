import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { readLabels, readTransactions } from '../src/csv.ts'
import type { Transaction } from '../src/transaction.ts'

const dir = mkdtempSync(join(tmpdir(), 'meridian-'))
after(() => rmSync(dir, { recursive: true }))

let files = 0
function file(content: string): string {
  const path = join(dir, `${files++}.csv`)
  writeFileSync(path, content)
  return path
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = []
  for await (const item of items) list.push(item)
  return list
}

async function read(content: string): Promise<Transaction[]> {
  return await all(readTransactions(file(content)))
}

const HEADER = 'sourceNodeId,targetNodeId,value,time\n'

test('rows become transactions in minor units; order of columns, CRLF and a BOM do not matter', async () => {
  const [first, second] = await read(`${HEADER}216,14730,163.3,1\n1,2,5,2\n`)
  assert.deepEqual(first, {
    id: 'tx_0000000',
    time: 86_400,
    from: 'acc_216',
    to: 'acc_14730',
    amount: 16_330,
    currency: 'EUR',
    memo: '',
  })
  assert.equal(second?.amount, 500)
  const other = await read(
    '\uFEFFtime,value,targetNodeId,sourceNodeId,x\r\n1,163.3,14730,216,y\r\n',
  )
  assert.deepEqual(other, [first])
})

const bad: readonly (readonly [string, string, number])[] = [
  ['an empty file', '', 1],
  ['a missing column', 'sourceNodeId,targetNodeId,value\n', 1],
  ['a column named twice', 'sourceNodeId,targetNodeId,value,time,time\n', 1],
  ['too few values', `${HEADER}1,2,3\n`, 2],
  ['too many values', `${HEADER}1,2,3,4,5\n`, 2],
  ['a word for an amount', `${HEADER}1,2,3,4\n1,2,much,4\n`, 3],
  ['a negative amount', `${HEADER}1,2,-3,4\n`, 2],
  ['an amount in exponent form', `${HEADER}1,2,1e3,4\n`, 2],
  ['a third decimal', `${HEADER}1,2,1.234,4\n`, 2],
  ['zero', `${HEADER}1,2,0.00,4\n`, 2],
  ['a time that goes back', `${HEADER}1,2,3,4\n1,2,3,3\n`, 3],
  ['a time with decimals', `${HEADER}1,2,3,4.5\n`, 2],
  ['an id with a path in it', `${HEADER}../../x,2,3,4\n`, 2],
  ['a quote', `${HEADER}"1",2,3,4\n`, 2],
  ['a very long line', `${HEADER}${'1'.repeat(20_000)},2,3,4\n`, 2],
]
for (const [what, content, line] of bad) {
  test(`${what} is refused with its line`, async () => {
    await assert.rejects(read(content), (error: { code?: string; span?: { line: number } }) => {
      assert.equal(error.code, 'SP_MERIDIAN_CSV')
      assert.equal(error.span?.line, line)
      return true
    })
  })
}

test('a file without a single line end is given up, not held in memory', async () => {
  await assert.rejects(read('1'.repeat(4_000_000)), { code: 'SP_MERIDIAN_CSV' })
})

test('a file that is not there is said to be unreadable', async () => {
  await assert.rejects(all(readTransactions(join(dir, 'none.csv'))), {
    code: 'SP_MERIDIAN_CSV_READ',
  })
})

test('labels are read, and refused when malformed or given twice', async () => {
  const labels = await readLabels(
    file('nodeid,isFraud,init_balance,fraudStep\n0,0,1,-1\n7,1,1,5\n'),
  )
  assert.deepEqual(
    [...labels],
    [
      ['acc_0', false],
      ['acc_7', true],
    ],
  )
  for (const rows of ['0,2,1,-1\n', '0,0,1,-1\n0,1,1,-1\n']) {
    const path = file(`nodeid,isFraud,init_balance,fraudStep\n${rows}`)
    await assert.rejects(readLabels(path), { code: 'SP_MERIDIAN_CSV' })
  }
})
