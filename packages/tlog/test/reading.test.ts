import assert from 'node:assert/strict'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { openLog } from '../src/index.ts'
import type { Log } from '../src/index.ts'
import { fileStorage } from '../src/storage.ts'
import type { Storage } from '../src/storage.ts'
import { ORIGIN, seeded, testLog } from './support/logs.ts'

const SEGMENT = 3 * 1024 * 1024

const random = seeded(20_261_126)
const upTo = (most: number): number => Math.floor(random() * most)

/** Some short, some of the largest size. */
const record = (i: number): Buffer => Buffer.alloc(1 + (i % 7 === 0 ? 65_000 : (i * 37) % 900), i)

/** In groups of one to dozens of records, of which some are larger than what is read at once. */
async function fill(log: Log, until: number): Promise<void> {
  while (log.size < until) {
    const from = log.size
    const count = Math.min(until - from, 1 + upTo(60))
    await Promise.all(Array.from({ length: count }, (_, i) => log.append(record(from + i))))
  }
}

async function demand(log: Log, from: number, count: number): Promise<void> {
  let next = from
  for await (const { index, record: bytes } of log.read(from, count)) {
    assert.equal(index, next++)
    assert.ok(bytes.equals(record(index)), `record ${index}`)
  }
  assert.equal(next, Math.max(from, Math.min(from + count, log.size)))
}

test('any stretch of records is read as it was written, over frames and segments, before and after a restart', async (t) => {
  const { dir, signer, remove } = await testLog()
  t.after(remove)
  const options = { dir, origin: ORIGIN, signer, segmentBytes: SEGMENT }
  let log = await openLog(options)
  await fill(log, 600)
  for (let i = 0; i < 60; i++) await demand(log, upTo(620), upTo(100))
  await demand(log, 0, 1000)
  await log.close()
  log = await openLog(options)
  for (let i = 0; i < 60; i++) await demand(log, upTo(620), upTo(100))
  // While more is written.
  const more = fill(log, 900)
  for (let i = 0; i < 30; i++) await demand(log, upTo(600), upTo(50))
  await more
  await demand(log, 550, 1000)
  await log.close()
  assert.ok(readdirSync(dir).filter((name) => name.endsWith('.seg')).length > 3)
})

test('what is read of the disk is in proportion to what is asked for', async (t) => {
  const { dir, signer, remove } = await testLog()
  t.after(remove)
  const disk = await fileStorage(dir)
  let bytes = 0
  const storage: Storage = {
    ...disk,
    async readAt(...args) {
      const read = await disk.readAt(...args)
      bytes += read.length
      return read
    },
  }
  const log = await openLog({ dir, origin: ORIGIN, signer, storage })
  await fill(log, 800)
  bytes = 0
  await demand(log, 790, 1)
  // One window, and where the frame is larger the frame.
  assert.ok(bytes > 0 && bytes < 6 * 1024 * 1024, String(bytes))
  await log.close()
})

test('a frame that was changed, blanked or cut off below a running log is told, and what is before it is read', async (t) => {
  const { dir, signer, remove } = await testLog()
  t.after(remove)
  const log = await openLog({ dir, origin: ORIGIN, signer, segmentBytes: SEGMENT })
  for (let i = 0; i < 40; i++) await log.append(record(i * 7 + 1))
  const [name = ''] = readdirSync(dir).filter((file) => file.endsWith('.seg'))
  const path = join(dir, name)
  const whole = readFileSync(path)
  const frame = (n: number): number => {
    let at = -1
    for (let i = 0; i <= n; i++) at = whole.indexOf('SPLF', at + 1)
    return at
  }
  const readAll = async (): Promise<number> => {
    let read = 0
    for await (const { index } of log.read(0, 40)) read = index + 1
    return read
  }
  assert.equal(await readAll(), 40)
  const changes: readonly (readonly [what: string, bytes: Buffer])[] = [
    ['its header', withByte(whole, frame(20) + 8)],
    ['a length in it', withByte(whole, frame(20) + 60)],
    ['blanked', Buffer.concat([whole.subarray(0, frame(20)), Buffer.alloc(SEGMENT - frame(20))])],
    ['cut off', whole.subarray(0, frame(20) + 70)],
    ['left out', Buffer.concat([whole.subarray(0, frame(20)), whole.subarray(frame(21))])],
  ]
  for (const [what, bytes] of changes) {
    writeFileSync(path, bytes)
    const seen: number[] = []
    await assert.rejects(
      async () => {
        for await (const { index } of log.read(0, 40)) seen.push(index)
      },
      { code: 'SP_LOG_TAMPERED' },
      what,
    )
    assert.equal(seen.length, 20, what)
  }
  writeFileSync(path, whole)
  assert.equal(await readAll(), 40)
  await log.close()
})

function withByte(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes)
  changed[at] = (changed[at] ?? 0) ^ 0xff
  return changed
}
