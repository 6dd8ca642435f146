import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { constants, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import test from 'node:test'
import { SallyportError } from '@sallyport/base'
import { CHECKPOINT_FILE } from '../src/scan.ts'
import { leafHash, openLog, parseCheckpoint, verifyInclusion, verifyLog } from '../src/index.ts'
import type { Log } from '../src/index.ts'
import { fileStorage } from '../src/storage.ts'
import type { Storage, StorageFile } from '../src/storage.ts'
import { ORIGIN, seeded, testLog } from './support/logs.ts'

const record = (i: number): Buffer => Buffer.from(JSON.stringify({ i, text: `record ${i}` }))

async function fill(log: Log, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, i) => log.append(record(i))))
}

const code =
  (expected: string) =>
  (error: unknown): boolean =>
    error instanceof SallyportError && error.code === expected

test('what nobody waits for is written with what somebody waits for, soon by itself, and at the end', async (t) => {
  const { dir, signer, publicKey, remove } = await testLog()
  t.after(remove)
  const disk = await fileStorage(dir)
  let syncs = 0
  const storage: Storage = {
    ...disk,
    async open(name) {
      const file = await disk.open(name)
      if (!name.endsWith('.seg')) return file
      return {
        ...file,
        writeDurably: (...args) => ((syncs += 1), file.writeDurably(...args)),
      }
    },
  }
  const log = await openLog({ dir, origin: ORIGIN, signer, storage, checkpointEveryMs: 60_000 })
  const indexes = async (...appended: Promise<{ index: number }>[]): Promise<number[]> =>
    (await Promise.all(appended)).map(({ index }) => index)
  const made = syncs
  const [first, second] = [log.appendSoon(record(0)), log.append(record(1))]
  assert.deepEqual(await indexes(first, second, log.append(record(2))), [0, 1, 2])
  // Record 2 came while the first two were not yet being written, or while they were.
  assert.ok(syncs - made <= 2)
  // By itself, with nobody after it.
  assert.deepEqual(await indexes(log.appendSoon(record(3))), [3])
  assert.equal(log.size, 4)
  const last = log.appendSoon(record(4))
  await log.close()
  assert.deepEqual(await indexes(last), [4])
  await assert.rejects(log.appendSoon(record(5)), code('SP_LOG_CLOSED'))
  const { problems, records } = await verifyLog({ dir, origin: ORIGIN, publicKey })
  assert.deepEqual(problems, [])
  assert.equal(records, 5)
})

test('records go through a descriptor whose every write is synced', async (t) => {
  if (process.platform !== 'linux') {
    t.skip('elsewhere each write is followed by a sync')
    return
  }
  const { dir, signer, remove } = await testLog()
  t.after(remove)
  const log = await openLog({ dir, origin: ORIGIN, signer })
  await log.append(record(0))
  const segments = readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(dir) && isSegment(fd)
    } catch {
      // The one that lists them is closed by now.
      return false
    }
  })
  const flags = segments.map((fd) => {
    const [, octal = ''] =
      /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')) ?? []
    return Number.parseInt(octal, 8) & constants.O_DSYNC
  })
  assert.deepEqual(
    flags.toSorted((a, b) => a - b),
    [0, constants.O_DSYNC],
  )
  await log.close()
})

const isSegment = (fd: string): boolean => readlinkSync(`/proc/self/fd/${fd}`).endsWith('.seg')

test('a disk that fails refuses what nobody waits for, too', async (t) => {
  const { dir, signer, remove } = await testLog()
  t.after(remove)
  const disk = await fileStorage(dir)
  let broken = false
  const storage: Storage = {
    ...disk,
    async open(name) {
      const file = await disk.open(name)
      const writeDurably: StorageFile['writeDurably'] = (...args) =>
        broken ? Promise.reject(new Error('EIO')) : file.writeDurably(...args)
      return { ...file, writeDurably }
    },
  }
  const log = await openLog({ dir, origin: ORIGIN, signer, storage, checkpointEveryMs: 60_000 })
  await log.append(record(0))
  broken = true
  const refused = [log.appendSoon(record(1)), log.append(record(2)), log.appendSoon(record(3))]
  for (const one of refused) await assert.rejects(one, code('SP_LOG_FAILED'))
  await assert.rejects(log.appendSoon(record(4)), code('SP_LOG_FAILED'))
  assert.equal(log.size, 1)
  await log.close()
})

test('appends, reads back, proves and verifies over several segments and openings', async (t) => {
  const { dir, signer, publicKey, remove } = await testLog()
  t.after(remove)
  const options = { dir, origin: ORIGIN, signer, segmentBytes: 4096 }
  for (let round = 1; round <= 3; round++) {
    const log = await openLog(options)
    assert.equal(log.size, (round - 1) * 100)
    for (let i = 0; i < 100; i++) {
      const { index } = await log.append(record((round - 1) * 100 + i))
      assert.equal(index, (round - 1) * 100 + i)
    }
    const proof = await log.prove(42)
    const head = parseCheckpoint(proof.checkpoint, publicKey, ORIGIN)
    assert.ok(
      verifyInclusion(
        leafHash(record(42)),
        42,
        head.size,
        proof.hashes.map((h) => Buffer.from(h, 'base64')),
        head.root,
      ),
    )
    const seen: string[] = []
    for await (const { record: bytes } of log.read(50, 20)) seen.push(bytes.toString())
    assert.deepEqual(
      seen,
      Array.from({ length: 20 }, (_, i) => record(50 + i).toString()),
    )
    await log.close()
  }
  assert.ok(readdirSync(dir).filter((name) => name.endsWith('.seg')).length > 3)
  const result = await verifyLog({ dir, origin: ORIGIN, publicKey })
  assert.deepEqual(result.problems, [])
  assert.equal(result.records, 300)
  assert.equal(result.signed, 300)
  assert.match(result.statement, /truncation not excluded/)
})

test('one writer a shard', async (t) => {
  const { dir, signer, remove } = await testLog()
  t.after(remove)
  const log = await openLog({ dir, origin: ORIGIN, signer, segmentBytes: 4096 })
  await assert.rejects(openLog({ dir, origin: ORIGIN, signer }), code('SP_LOG_LOCKED'))
  await log.close()
  await (await openLog({ dir, origin: ORIGIN, signer, segmentBytes: 4096 })).close()
})

test('every kind of tampering is found; an untouched copy verifies', async (t) => {
  const { dir, signer, publicKey, remove } = await testLog()
  t.after(remove)
  const log = await openLog({ dir, origin: ORIGIN, signer, segmentBytes: 2048 })
  for (let i = 0; i < 6; i++) await fill(log, 20)
  const earlier = await log.checkpoint()
  for (let i = 0; i < 6; i++) await fill(log, 20)
  await log.close()
  const verify = (checkpoint?: string): ReturnType<typeof verifyLog> =>
    verifyLog({ dir, origin: ORIGIN, publicKey, ...(checkpoint ? { checkpoint } : {}) })
  const control = await verify(earlier)
  assert.deepEqual(control.problems, [])
  assert.match(control.statement, /nothing up to record 120 of the given checkpoint was removed/)

  const files = readdirSync(dir).toSorted()
  const original = new Map(files.map((name) => [name, readFileSync(join(dir, name))]))
  const restore = (): void => {
    for (const name of readdirSync(dir)) rmSync(join(dir, name))
    for (const [name, bytes] of original) writeFileSync(join(dir, name), bytes)
  }

  await t.test('random single-bit flips anywhere in any file', async () => {
    const random = seeded(20261123)
    for (let trial = 0; trial < 200; trial++) {
      const name = files[Math.floor(random() * files.length)] ?? ''
      const bytes = Buffer.from(original.get(name) ?? [])
      const bit = Math.floor(random() * bytes.length * 8)
      bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      writeFileSync(join(dir, name), bytes)
      const { ok } = await verify()
      assert.equal(ok, false, `bit ${bit} of ${name} flipped unseen`)
      writeFileSync(join(dir, name), original.get(name) ?? '')
    }
  })

  await t.test('a removed segment', async () => {
    rmSync(join(dir, files.find((name) => name === '00000000.seg') ?? ''))
    assert.equal((await verify()).ok, false)
    restore()
  })

  await t.test('swapped segments', async () => {
    const [a, b] = files.filter((name) => name.endsWith('.seg'))
    if (a === undefined || b === undefined) assert.fail('two segments are needed')
    writeFileSync(join(dir, a), original.get(b) ?? '')
    writeFileSync(join(dir, b), original.get(a) ?? '')
    assert.equal((await verify()).ok, false)
    restore()
  })

  await t.test(
    'truncation together with its checkpoints: found by the earlier one only',
    async () => {
      for (const name of files) rmSync(join(dir, name))
      const shorter = await openLog({ dir, origin: ORIGIN, signer, segmentBytes: 2048 })
      await fill(shorter, 20)
      await shorter.close()
      const without = await verify()
      assert.ok(without.ok)
      assert.match(without.statement, /truncation not excluded/)
      const result = await verify(earlier)
      assert.equal(result.ok, false)
      assert.ok(result.problems.some((p) => p.code === 'SP_LOG_TRUNCATED'))
      restore()
    },
  )

  await t.test('a checkpoint of another log, or signed by another key', async () => {
    const other = await testLog()
    const foreign = await openLog({ dir: other.dir, origin: ORIGIN, signer: other.signer })
    const note = await foreign.checkpoint()
    await foreign.close()
    await other.remove()
    assert.equal((await verify(note)).ok, false)
    assert.equal((await verify(earlier.replace('gateway/test', 'gateway/best'))).ok, false)
  })

  await t.test('opening refuses what verification refuses below the last checkpoint', async () => {
    const name = '00000000.seg'
    const bytes = Buffer.from(original.get(name) ?? [])
    bytes.writeUInt8(bytes.readUInt8(400) ^ 1, 400)
    writeFileSync(join(dir, name), bytes)
    await assert.rejects(openLog({ dir, origin: ORIGIN, signer }), code('SP_LOG_TAMPERED'))
    restore()
    await (await openLog({ dir, origin: ORIGIN, signer, segmentBytes: 2048 })).close()
  })
})

test('a frame cut short at the very end is told from one that is destroyed before others', async (t) => {
  const { dir, signer, publicKey, remove } = await testLog()
  t.after(remove)
  const log = await openLog({ dir, origin: ORIGIN, signer, segmentBytes: 65_536 })
  for (let i = 0; i < 20; i++) await log.append(record(i))
  await log.close()
  // As after a loss of the checkpoints: all of it is unsigned.
  rmSync(join(dir, CHECKPOINT_FILE))
  const [name = ''] = readdirSync(dir).filter((file) => file.endsWith('.seg'))
  const whole = readFileSync(join(dir, name))
  const frames: number[] = []
  for (let at = whole.indexOf('SPLF'); at >= 0; at = whole.indexOf('SPLF', at + 1)) {
    frames.push(at)
  }
  assert.equal(frames.length, 20)
  const verified = async (bytes: Buffer) => {
    writeFileSync(join(dir, name), bytes)
    const { ok, torn, records } = await verifyLog({ dir, origin: ORIGIN, publicKey })
    return { ok, torn, records }
  }
  assert.deepEqual(await verified(whole), { ok: true, torn: false, records: 20 })
  const last = frames.at(-1) ?? 0
  for (const written of [3, 20]) {
    const cut = Buffer.from(whole).fill(0, last + written)
    assert.deepEqual(await verified(cut), { ok: false, torn: true, records: 19 })
  }
  const holed = Buffer.from(whole)
  holed.fill(0xff, frames[9], (frames[9] ?? 0) + 8)
  assert.deepEqual(await verified(holed), { ok: false, torn: false, records: 9 })
})

test('refuses records that are empty or over 65,535 bytes', async (t) => {
  const { dir, signer, remove } = await testLog()
  t.after(remove)
  const log = await openLog({ dir, origin: ORIGIN, signer, segmentBytes: 4096 })
  await assert.rejects(log.append(Buffer.alloc(0)), code('SP_LOG_RECORD_SIZE'))
  await assert.rejects(log.append(Buffer.alloc(65_536)), code('SP_LOG_RECORD_SIZE'))
  assert.deepEqual(await log.append(Buffer.alloc(65_535, 1)), { index: 0 })
  await log.close()
})

test('kill -9 at random moments loses no acknowledged record', async (t) => {
  const { dir, signer, publicKey, remove } = await testLog()
  t.after(remove)
  const keyFile = `${dir}.pem`
  writeFileSync(keyFile, signer.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  t.after(() => rmSync(keyFile, { force: true }))
  const random = seeded(7)
  let acknowledged = 0
  for (let trial = 0; trial < 12; trial++) {
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, 'support/appender.ts'), dir, ORIGIN, keyFile],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    const lines = createInterface({ input: child.stdout })
    let killer: NodeJS.Timeout | undefined
    lines.on('line', (line) => {
      const [word, n] = line.split(' ')
      if (word === 'size') {
        assert.ok(Number(n) >= acknowledged, `opened with ${n} of ${acknowledged} records`)
        killer = setTimeout(() => child.kill('SIGKILL'), random() * 60)
      } else acknowledged = Math.max(acknowledged, Number(n) + 1)
    })
    await once(child, 'close')
    clearTimeout(killer)
    assert.equal(child.signalCode, 'SIGKILL')
  }
  assert.ok(acknowledged > 50, `only ${acknowledged} records were written`)
  const log = await openLog({
    dir,
    origin: ORIGIN,
    signer: createPrivateKey(readFileSync(keyFile)),
    segmentBytes: 65_536,
  })
  assert.ok(log.size >= acknowledged)
  await log.close()
  assert.deepEqual((await verifyLog({ dir, origin: ORIGIN, publicKey })).problems, [])
})

const mayMount = spawnSync('unshare', ['-Urm', 'true']).status === 0

test(
  'a full disk fails the shard and every later append, and nothing acknowledged is lost',
  { skip: mayMount ? false : 'this machine permits no mount namespaces' },
  async (t) => {
    const { dir, remove } = await testLog()
    t.after(remove)
    const script = join(import.meta.dirname, 'support/fullDisk.ts')
    const { status, stdout, stderr } = spawnSync(
      'unshare',
      ['-Urm', 'sh', '-c', 'mount -t tmpfs -o size=256k tmpfs "$1" && exec "$2" "$3" "$1"'].concat([
        'sh',
        dir,
        process.execPath,
        script,
      ]),
      { encoding: 'utf8' },
    )
    assert.equal(status, 0, stderr)
    // The script's own output: one JSON object.
    const result = JSON.parse(stdout) as Record<string, unknown>
    assert.equal(result.first, 'SP_LOG_FAILED')
    assert.equal(result.second, 'SP_LOG_FAILED')
    assert.equal(result.failed, true)
    assert.ok(Number(result.acknowledged) > 0)
    assert.equal(result.recovered, result.acknowledged)
  },
)

test('told without promises: in the order of the log, once each, and at once where it is refused', async (t) => {
  const { dir, signer, remove } = await testLog()
  t.after(remove)
  const log = await openLog({ dir, origin: ORIGIN, signer })
  const told: [number, string | undefined][] = []
  const tell = (error: Error | undefined, index: number): void => {
    told.push([index, error instanceof SallyportError ? error.code : error?.message])
  }
  log.submit(Buffer.alloc(0), false, tell)
  assert.deepEqual(told, [[-1, 'SP_LOG_RECORD_SIZE']])
  log.submit(record(0), true, tell)
  log.submit(record(1), false, tell)
  assert.equal(told.length, 1)
  await log.append(record(2))
  assert.deepEqual(told.slice(1), [
    [0, undefined],
    [1, undefined],
  ])
  assert.equal(log.size, 3)
  await log.close()
  log.submit(record(3), false, tell)
  assert.deepEqual(told.slice(3), [[-1, 'SP_LOG_CLOSED']])
})
