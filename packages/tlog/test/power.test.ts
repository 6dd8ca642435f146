import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import test from 'node:test'
import { openLog } from '../src/index.ts'
import type { Storage, StorageFile } from '../src/index.ts'
import { ORIGIN, seeded } from './support/logs.ts'

const SECTOR = 512

interface Disk {
  readonly storage: Storage
  /** Power goes: of what was not synced, each sector survives or not, by chance. */
  loseAndReturn(random: () => number): void
  /** The process ends: what it opened it cannot write to any more. */
  end(): void
  cut(afterWrites: number): void
}

/** A disk whose unsynced sectors are lost by chance, with a file system that keeps synced names. */
function disk(): Disk {
  const files = new Map<string, { durable: Buffer; live: Buffer; dirty: Set<number> }>()
  let writesLeft = Number.POSITIVE_INFINITY
  let process = 0
  const grow = (bytes: Buffer, size: number): Buffer =>
    bytes.length >= size ? bytes : Buffer.concat([bytes, Buffer.alloc(size - bytes.length)])
  const spend = (): void => {
    if (writesLeft-- <= 0) throw new Error('the power is off')
  }
  const storage: Storage = {
    list: async () => [...files.keys()],
    read: async (name) => Buffer.from(files.get(name)?.live ?? []),
    readAt: async (name, position, length) =>
      Buffer.from(files.get(name)?.live.subarray(position, position + length) ?? []),
    async open(name): Promise<StorageFile> {
      const file = files.get(name) ?? {
        durable: Buffer.alloc(0),
        live: Buffer.alloc(0),
        dirty: new Set<number>(),
      }
      files.set(name, file)
      const owner = process
      // A process that really ends takes its timers with it.
      const alive = (): void => {
        if (owner !== process) throw new Error('the process ended')
      }
      const opened: StorageFile = {
        async writeDurably(data, position) {
          await opened.write(data, position)
          alive()
          spend()
          // What was written before and never synced is no part of it (open(2), O_DSYNC).
          file.durable = grow(file.durable, position + data.byteLength)
          const last = Math.floor((position + data.byteLength - 1) / SECTOR)
          for (let s = Math.floor(position / SECTOR); s <= last; s++) {
            file.live.copy(file.durable, s * SECTOR, s * SECTOR, (s + 1) * SECTOR)
            file.dirty.delete(s)
          }
        },
        async write(data, position) {
          alive()
          file.live = grow(file.live, position + data.byteLength)
          file.live.set(data, position)
          const last = Math.floor((position + data.byteLength - 1) / SECTOR)
          for (let s = Math.floor(position / SECTOR); s <= last; s++) file.dirty.add(s)
          spend()
        },
        async truncate(size) {
          file.live = Buffer.from(file.live.subarray(0, size))
          file.durable = Buffer.from(file.durable.subarray(0, size))
        },
        async sync() {
          alive()
          spend()
          file.durable = Buffer.from(file.live)
          file.dirty.clear()
        },
        close: async () => {},
      }
      return opened
    },
    syncDirectory: async () => {},
  }
  return {
    storage,
    cut(afterWrites) {
      writesLeft = afterWrites
    },
    end() {
      process++
    },
    loseAndReturn(random) {
      writesLeft = Number.POSITIVE_INFINITY
      for (const file of files.values()) {
        const after = grow(Buffer.from(file.durable), file.live.length)
        for (const sector of file.dirty) {
          if (random() < 0.5) continue
          file.live.copy(after, sector * SECTOR, sector * SECTOR, (sector + 1) * SECTOR)
        }
        file.live = after
        file.durable = Buffer.from(after)
        file.dirty.clear()
      }
    },
  }
}

test('simulated power loss: no acknowledged record is lost, and the log opens again', async () => {
  let recoveries = 0
  for (let seed = 1; seed <= 150; seed++) {
    const random = seeded(seed)
    const { privateKey } = generateKeyPairSync('ed25519')
    const machine = disk()
    const options = {
      dir: '',
      origin: ORIGIN,
      signer: privateKey,
      storage: machine.storage,
      segmentBytes: 8192,
      checkpointEveryMs: 1,
    }
    const acknowledged: string[] = []
    for (let life = 0; life < 4; life++) {
      const log = await openLog(options)
      if (log.recovery) recoveries++
      const seen: string[] = []
      for await (const { record } of log.read(0, log.size)) seen.push(record.toString())
      assert.ok(log.size >= acknowledged.length, `seed ${seed}: ${log.size} records left`)
      assert.deepEqual(seen.slice(0, acknowledged.length), acknowledged, `seed ${seed}`)
      acknowledged.splice(0, acknowledged.length, ...seen)
      machine.cut(Math.floor(random() * 60))
      try {
        for (let i = 0; i < 40; i++) {
          const text = `${life}/${i} `.padEnd(50 + Math.floor(random() * 900), 'x')
          await log.append(Buffer.from(text))
          acknowledged.push(text)
          if (random() < 0.2) await log.checkpoint()
        }
      } catch {
        // It ended in the middle of a write or a sync.
      }
      machine.end()
      // Or the process alone ends: what it wrote can be read by the next one, synced or not.
      if (random() < 0.3) machine.cut(Number.POSITIVE_INFINITY)
      else machine.loseAndReturn(random)
    }
  }
  assert.ok(recoveries > 20, `only ${recoveries} torn tails were met: the trial shows too little`)
})
