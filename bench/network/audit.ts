import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { mkdtemp, open, readdir, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openLog, verifyLog } from '@sallyport/tlog'
import { encodeRecord } from '@sallyport/wire'
import { bounded, stated } from '../row.ts'
import type { Row } from '../row.ts'

const ORIGIN = 'bench.example/gateway/bench'
const RECORDS = 1_000_000
const FLIPS = 1000

/** `audit verify` on a million records, and single-bit flips found. */
export async function benchAudit(note: (text: string) => void): Promise<Row[]> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const big = await mkdtemp(join(tmpdir(), 'sp-bench-log-'))
  const small = await mkdtemp(join(tmpdir(), 'sp-bench-flip-'))
  try {
    note(`appending ${RECORDS} records`)
    const started = performance.now()
    await fill(big, privateKey, RECORDS, 64 << 20)
    const appendSeconds = (performance.now() - started) / 1000
    note('verifying them')
    const before = performance.now()
    const result = await verifyLog({ dir: big, origin: ORIGIN, publicKey })
    const seconds = (performance.now() - before) / 1000

    note(`${FLIPS} single-bit flips`)
    await fill(small, privateKey, 2000, 256 << 10)
    let found = 0
    const names = (await readdir(small)).toSorted()
    const sizes = await Promise.all(names.map(async (name) => (await stat(join(small, name))).size))
    const total = sizes.reduce((sum, size) => sum + size, 0)
    for (let trial = 0; trial < FLIPS; trial++) {
      let at = Math.floor(Math.random() * total)
      const file = sizes.findIndex((size) => {
        if (at < size) return true
        at -= size
        return false
      })
      const path = join(small, names[file] ?? '')
      const bit = 1 << Math.floor(Math.random() * 8)
      await flip(path, at, bit)
      const { ok } = await verifyLog({ dir: small, origin: ORIGIN, publicKey })
      if (!ok) found++
      await flip(path, at, bit)
    }
    const control = await verifyLog({ dir: small, origin: ORIGIN, publicKey })
    return [
      bounded(
        'audit verify: records verified',
        result.ok ? result.records : 0,
        'records',
        '=',
        RECORDS,
      ),
      stated('audit verify: rate', RECORDS / seconds, 'records/s'),
      stated(
        'audit append: rate, group commit, batches of 1,000 in flight',
        RECORDS / appendSeconds,
        'records/s',
      ),
      bounded(
        'single-bit flips found (2,000-record log, flips restored)',
        control.ok ? found : 0,
        'of 1000',
        '=',
        FLIPS,
      ),
    ]
  } finally {
    await rm(big, { recursive: true, force: true })
    await rm(small, { recursive: true, force: true })
  }
}

async function fill(
  dir: string,
  signer: KeyObject,
  count: number,
  segmentBytes: number,
): Promise<void> {
  const log = await openLog({ dir, origin: ORIGIN, signer, segmentBytes })
  for (let done = 0; done < count; done += 1000) {
    const batch = Array.from({ length: Math.min(1000, count - done) }, (_, i) =>
      log.append(
        encodeRecord({
          v: 1,
          kind: 'outcome',
          at: 1_790_000_000_000 + done + i,
          gateway: 'spiffe://bench.example/gateway/bench',
          decisionId: `dec_${String(done + i).padStart(26, '0')}`,
          status: 200,
          result: 'completed',
          durationMs: 3,
          bytesOut: 1024,
          released: { transactions: { records: 100, maxWholeClass: 'internal' } },
        }),
      ),
    )
    await Promise.all(batch)
  }
  await log.close()
}

async function flip(path: string, at: number, bit: number): Promise<void> {
  const file = await open(path, 'r+')
  try {
    const byte = Buffer.alloc(1)
    await file.read(byte, 0, 1, at)
    byte.writeUInt8(byte.readUInt8(0) ^ bit)
    await file.write(byte, 0, 1, at)
  } finally {
    await file.close()
  }
}
