import { indexNetwork } from '@sallyport/network'
import { planProjection, ProjectionStream } from '@sallyport/decide'
import type { Projection } from '@sallyport/decide'
import { createTokeniser } from '@sallyport/redact'
import { bounded, median, stated } from '../row.ts'
import type { Row } from '../row.ts'
import { declaration } from './declaration.ts'

const PIECE = 16_384
const ROUNDS = 3
const BYTES_A_ROUND = 20_000_000

const transaction = (i: number): object => ({
  id: `ACC-${i}`,
  owner: `Ann Lee ${i}`,
  balance: i * 17,
  memo: 'rent for november, thank you, and until next month',
  status: 'open',
  branch: {
    name: 'High Street',
    code: '12-34-56',
    address: { line: '12 High Street', city: 'London' },
  },
  tags: ['a', 'b'],
  bookedAt: '2026-11-26T10:00:00Z',
})

/** How fast answers are projected as they pass, a core: by this process's processor time, so that others do not count. */
export async function benchProjection(note: (text: string) => void): Promise<Row[]> {
  const { network } = await declaration()
  const index = indexNetwork(network)
  const tokeniser = createTokeniser(new Uint8Array(32).fill(7))
  const rows: Row[] = []
  const measure = (size: number, projection: Projection): { rate: number; grown: number } => {
    const plan = planProjection({ 'accounts[]': 'accounts' }, projection, index)
    const items: string[] = []
    for (let length = 0; length < size; length += items.at(-1)?.length ?? 1) {
      items.push(JSON.stringify(transaction(items.length)))
    }
    const text = Buffer.from(`{"accounts":[${items.join(',')}]}`)
    const pieces = Array.from({ length: Math.ceil(text.length / PIECE) }, (_, i) =>
      text.subarray(i * PIECE, (i + 1) * PIECE),
    )
    const once = (): void => {
      const stream = ProjectionStream.of(plan, tokeniser)
      for (const piece of pieces) stream.push(piece)
      stream.finish()
      stream.free()
    }
    const times = Math.ceil(BYTES_A_ROUND / text.length)
    once()
    const before = process.memoryUsage().arrayBuffers
    const found = Array.from({ length: ROUNDS }, () => {
      const from = process.cpuUsage()
      for (let i = 0; i < times; i++) once()
      const { user, system } = process.cpuUsage(from)
      return (text.length * times) / (user + system)
    })
    return { rate: median(found), grown: (process.memoryUsage().arrayBuffers - before) / 1_048_576 }
  }
  const whole: Projection = {
    accounts: { id: 'whole', balance: 'whole', memo: 'whole', owner: 'drop', status: 'whole' },
  }
  const masked: Projection = { accounts: { ...whole['accounts'], owner: 'mask' } }
  for (const [name, size] of [
    ['1 KB', 1000],
    ['100 KB', 100_000],
    ['10 MB', 10_000_000],
  ] as const) {
    note(`projection of ${name}`)
    const { rate, grown } = measure(size, whole)
    rows.push(
      size < 10_000
        ? stated(`projection of ${name}, fields dropped`, rate, 'MB/s a core')
        : bounded(`projection of ${name}, fields dropped`, rate, 'MB/s a core', '>=', 150),
    )
    if (size > 1_000_000)
      rows.push(bounded(`memory grown by ${ROUNDS} rounds of ${name}`, grown, 'MiB', '<=', 8))
    rows.push(
      stated(
        `projection of ${name}, one field of each record masked`,
        measure(size, masked).rate,
        'MB/s a core',
      ),
    )
  }
  return rows
}
