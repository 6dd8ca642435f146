import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { openLog } from '../src/index.ts'
import { leafHash } from '../src/merkle.ts'
import { segmentName } from '../src/scan.ts'
import { testLog } from './support/logs.ts'

const RECORDS = ['a', 'second', 'third', 'x'.repeat(8190), 'x'.repeat(8191), 'é'.repeat(32_767)]

const sha256 = (...parts: readonly (string | Uint8Array)[]): Buffer => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** RFC 6962 section 2.1, as it is written there. */
function root(records: readonly string[]): Buffer {
  const [first = ''] = records
  if (records.length <= 1) return sha256(Uint8Array.of(0), first)
  let k = 1
  while (k * 2 < records.length) k *= 2
  return sha256(Uint8Array.of(1), root(records.slice(0, k)), root(records.slice(k)))
}

function uint(value: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(8)
  buffer.writeBigUInt64BE(BigInt(value))
  return buffer.subarray(8 - bytes)
}

/** A frame as the format says, put together from its parts. */
function frame(start: number, records: readonly string[], all: readonly string[]): Buffer {
  const body = records.flatMap((one) => [uint(Buffer.byteLength(one), 4), Buffer.from(one)])
  const length = Buffer.concat(body).length
  const header = Buffer.concat([
    Buffer.from('SPLF'),
    uint(start, 8),
    uint(records.length, 4),
    uint(length, 4),
    root(all),
  ])
  return Buffer.concat([header, sha256(header).subarray(0, 8), ...body])
}

test('the bytes of a segment: what was appended in a turn is one frame, what came later the next', async (t) => {
  const { dir, signer, remove } = await testLog()
  t.after(remove)
  const log = await openLog({ dir, origin: 'pinned.example/log', signer, segmentBytes: 1_000_000 })
  const [first, later] = [RECORDS.slice(0, 3), RECORDS.slice(3)]
  await Promise.all(first.map((one) => log.append(Buffer.from(one))))
  await Promise.all(later.map((one) => log.append(Buffer.from(one))))
  await log.close()
  const header = Buffer.concat([
    Buffer.from('SPLS'),
    uint(1, 4),
    uint(0, 4),
    uint(0, 8),
    sha256('pinned.example/log'),
  ])
  const expected = Buffer.concat([
    header,
    sha256(header).subarray(0, 8),
    frame(0, first, first),
    frame(3, later, RECORDS),
  ])
  const bytes = readFileSync(join(dir, segmentName(0)))
  assert.equal(bytes.subarray(0, expected.length).toString('hex'), expected.toString('hex'))
  assert.ok(bytes.subarray(expected.length).every((byte) => byte === 0))
  // Of the whole, once more: neither of the two writers above may change together.
  assert.equal(
    sha256(expected).toString('hex'),
    'e0a7428c1d146e9375b15fb7aacce946e645569b462a882a345590f2a9e48113',
  )
})

test('leaves of every length hash as RFC 6962 says, whichever came before', () => {
  for (const length of [0, 1, 8192, 8190, 8191, 8193, 5, 65_535, 5]) {
    const record = Buffer.alloc(length, length % 251)
    assert.deepEqual(leafHash(record), sha256(Uint8Array.of(0), record), String(length))
  }
})
