import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { SallyportError } from '@sallyport/base'
import { DAY } from './transaction.ts'
import type { Transaction } from './transaction.ts'

type CsvCode = 'SP_MERIDIAN_CSV' | 'SP_MERIDIAN_CSV_READ'

const MAX_LINE = 10_000
const TRANSACTION_COLUMNS = ['sourceNodeId', 'targetNodeId', 'value', 'time'] as const
const NODE_COLUMNS = ['nodeid', 'isFraud'] as const

function bad(file: string, line: number, message: string): SallyportError<CsvCode> {
  return new SallyportError('SP_MERIDIAN_CSV', message, {
    span: { file, line, column: 1 },
    fix: 'Mend the line; the columns are `sourceNodeId,targetNodeId,value,time`, unquoted.',
  })
}

/** Rows of a plain CSV file (no quoting, as AMLSim writes it), one at a time: the file is never held whole. */
async function* rows(
  file: string,
  needed: readonly string[],
): AsyncGenerator<{ readonly line: number; readonly values: readonly string[] }> {
  const input = createReadStream(file, { encoding: 'utf8', highWaterMark: 1 << 16 })
  // A line without an end would grow without bound inside readline: give up on the raw stream first.
  let sinceNewline = 0
  input.on('data', (chunk) => {
    const text = String(chunk)
    const last = text.lastIndexOf('\n')
    sinceNewline = last < 0 ? sinceNewline + text.length : text.length - last
    if (sinceNewline > 1 << 20) input.destroy(bad(file, 1, 'a line has no end'))
  })
  const lines = createInterface({ input, crlfDelay: Infinity })
  let order: number[] | undefined
  let width = 0
  let line = 0
  try {
    for await (const raw of lines) {
      line++
      const text = line === 1 ? raw.replace(/^\uFEFF/, '') : raw
      if (text.length > MAX_LINE)
        throw bad(file, line, `the line is longer than ${MAX_LINE} characters`)
      if (text.includes('"')) throw bad(file, line, 'the line has a quote')
      if (order === undefined) {
        const header = text.split(',').map((name) => name.trim())
        if (new Set(header).size !== header.length) throw bad(file, line, 'a column is named twice')
        const missing = needed.filter((name) => !header.includes(name))
        if (missing.length > 0) {
          throw bad(
            file,
            line,
            `the header lacks ${missing.map((name) => `\`${name}\``).join(', ')}`,
          )
        }
        order = needed.map((name) => header.indexOf(name))
        width = header.length
        continue
      }
      if (text === '') continue
      const cells = text.split(',')
      if (cells.length !== width) {
        throw bad(file, line, `the line has ${cells.length} values, the header has ${width}`)
      }
      yield { line, values: order.map((index) => (cells[index] ?? '').trim()) }
    }
  } catch (error) {
    if (error instanceof SallyportError) throw error
    throw new SallyportError('SP_MERIDIAN_CSV_READ', `cannot read \`${file}\``, {
      cause: error,
      fix: 'Check that the file exists and may be read.',
    })
  } finally {
    lines.close()
    input.destroy()
  }
  if (order === undefined) throw bad(file, 1, 'the file is empty')
}

const ACCOUNT = /^[A-Za-z0-9_-]{1,56}$/

/**
 * Streams transactions from a file with AMLSim's columns. `value` is in major units with at most two decimals and
 * becomes minor units; `time` is a day. Account ids get the prefix `acc_`. Times must not go back.
 *
 * @throws SallyportError `SP_MERIDIAN_CSV` with the line, `SP_MERIDIAN_CSV_READ` where the file cannot be read
 */
export async function* readTransactions(file: string): AsyncGenerator<Transaction> {
  let previous = 0
  let index = 0
  for await (const { line, values } of rows(file, TRANSACTION_COLUMNS)) {
    const [from = '', to = '', value = '', time = ''] = values
    for (const account of [from, to]) {
      if (!ACCOUNT.test(account))
        throw bad(file, line, `\`${account.slice(0, 80)}\` is no account id`)
    }
    const decimal = /^(\d{1,12})(?:\.(\d{1,2}))?$/.exec(value)
    if (!decimal) throw bad(file, line, `\`${value.slice(0, 80)}\` is no amount`)
    const amount = Number(decimal[1]) * 100 + Number((decimal[2] ?? '').padEnd(2, '0'))
    if (amount === 0) throw bad(file, line, 'the amount is zero')
    if (!/^\d{1,6}$/.test(time)) throw bad(file, line, `\`${time.slice(0, 80)}\` is no day`)
    const seconds = Number(time) * DAY
    if (seconds < previous) throw bad(file, line, 'the time goes back: sort the file by time')
    previous = seconds
    yield {
      id: `tx_${String(index++).padStart(7, '0')}`,
      time: seconds,
      from: `acc_${from}`,
      to: `acc_${to}`,
      amount,
      currency: 'EUR',
      memo: '',
    }
  }
}

/**
 * Reads the labels of AMLSim's `nodes.csv`: account id → whether it took part in a planted pattern.
 *
 * @throws SallyportError as `readTransactions`
 */
export async function readLabels(file: string): Promise<Map<string, boolean>> {
  const labels = new Map<string, boolean>()
  for await (const { line, values } of rows(file, NODE_COLUMNS)) {
    const [id = '', fraud = ''] = values
    if (!ACCOUNT.test(id)) throw bad(file, line, `\`${id.slice(0, 80)}\` is no account id`)
    if (fraud !== '0' && fraud !== '1')
      throw bad(file, line, `\`${fraud.slice(0, 80)}\` is no label`)
    if (labels.has(`acc_${id}`)) throw bad(file, line, `\`${id}\` is listed twice`)
    labels.set(`acc_${id}`, fraud === '1')
  }
  return labels
}
