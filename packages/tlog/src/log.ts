import type { KeyObject } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import { checkpointSigner, signCheckpoint } from './checkpoint.ts'
import type { CheckpointSigner } from './checkpoint.ts'
import { encodeFrame, encodeSegmentHeader, MAX_RECORD, SEGMENT_HEADER } from './frame.ts'
import { FrameIndex } from './frame-index.ts'
import { closed, failed } from './failed.ts'
import { lockWriter } from './lock.ts'
import { CompactTree, inclusionProof, leafHash } from './merkle.ts'
import { recover } from './recover.ts'
import { CHECKPOINT_FILE, segmentName } from './scan.ts'
import { fileStorage } from './storage.ts'
import type { Storage, StorageFile } from './storage.ts'

export interface LogOptions {
  /** The shard's directory; one writer. */
  readonly dir: string
  /** Name of the log, on every checkpoint, e.g. `meridian.example/gateway/gw1`. */
  readonly origin: string
  /** Ed25519 key that signs checkpoints: a private key, or one that is kept elsewhere. */
  readonly signer: KeyObject | CheckpointSigner
  /** Bytes a segment file is preallocated with (default 64 MiB). */
  readonly segmentBytes?: number
  /** A checkpoint is signed this long after the first record it covers (default 1,000 ms). */
  readonly checkpointEveryMs?: number
  /** Told of each new checkpoint once it is durable. */
  readonly onCheckpoint?: (note: string) => void
  /** Test seam; the file system by default. */
  readonly storage?: Storage
}

/** What opening found to mend: a tail that was being written when the power went. Nothing acknowledged was in it. */
export interface Recovery {
  readonly size: number
  readonly discardedBytes: number
}

export interface InclusionProof {
  readonly index: number
  readonly size: number
  readonly hashes: readonly string[]
  readonly checkpoint: string
}

/** An open shard. */
export interface Log {
  readonly origin: string
  /** Records that are durable. */
  readonly size: number
  /** True once a write or sync failed: every later append is refused, until the process starts anew. */
  readonly failed: boolean
  readonly recovery: Recovery | undefined
  /**
   * Appends a record of 1 to 65,535 bytes; resolves when it is durable (group commit: one write, one fdatasync).
   *
   * @throws SallyportError `SP_LOG_RECORD_SIZE`, `SP_LOG_FAILED`, `SP_LOG_CLOSED`
   */
  append(record: Uint8Array): Promise<{ index: number }>
  /**
   * The same of what nobody waits for: it takes its place at once, and is written with the next record that somebody waits for, or
   * `SOON_MS` later.
   *
   * @throws SallyportError as `append`
   */
  appendSoon(record: Uint8Array): Promise<{ index: number }>
  /**
   * As `append` or, where it is `soon`, `appendSoon`, without a promise for each.
   *
   * @param settled called once, and for one record after the other in their order: with an error that `append` throws, perhaps
   *   before this returns, or with the index of what is durable. It must not throw
   */
  submit(record: Uint8Array, soon: boolean, settled: Settled): void
  /** Signs the tree over all durable records, keeps the checkpoint in the log's directory and returns it. */
  checkpoint(): Promise<string>
  /** Durable records `[from, from + count)`, in order. */
  read(from: number, count: number): AsyncIterable<{ index: number; record: Buffer }>
  /** Proof that record `index` is under a fresh checkpoint (RFC 9162 section 2.1.3). */
  prove(index: number): Promise<InclusionProof>
  close(): Promise<void>
}

/** @param index -1 where there is an error */
type Settled = (error: Error | undefined, index: number) => void

interface Pending {
  readonly record: Uint8Array
  /** Nobody waits for it. */
  readonly soon: boolean
  readonly settled: Settled
}

const BATCH_RECORDS = 4096
const BATCH_BYTES = 4 * 1024 * 1024
/** How long a record that nobody waits for may wait for one that somebody does. */
const SOON_MS = 5

/**
 * Opens a shard for appending, after rehashing all of it and comparing it with its signed checkpoints.
 *
 * @throws SallyportError `SP_LOG_LOCKED`; `SP_LOG_TAMPERED` where records below the last signed checkpoint are missing
 *   or different; `SP_LOG_CHECKPOINT`; `SP_LOG_KEY`
 */
export async function openLog(options: LogOptions): Promise<Log> {
  const storage = options.storage ?? (await fileStorage(options.dir))
  const unlock = options.storage ? async () => {} : await lockWriter(options.dir)
  try {
    const log = new Shard(options, storage, unlock)
    await log.open()
    return log
  } catch (error) {
    await unlock()
    throw error
  }
}

class Shard implements Log {
  readonly origin: string
  failed = false
  recovery: Recovery | undefined
  readonly #signer: CheckpointSigner
  readonly #storage: Storage
  readonly #unlock: () => Promise<void>
  readonly #segmentBytes: number
  readonly #checkpointEveryMs: number
  readonly #onCheckpoint: ((note: string) => void) | undefined
  #tree = new CompactTree()
  #frames = new FrameIndex()
  #segment = 0
  #offset = 0
  #file: StorageFile | undefined
  #checkpoints: StorageFile | undefined
  #checkpointBytes = 0
  #signedSize = 0
  #queue: Pending[] = []
  #flushing: Promise<void> | undefined
  #soon: NodeJS.Timeout | undefined
  /** Whatever is in the queue is to be written, waited for or not. */
  #isDue = false
  #spare: Promise<void> | undefined
  #spareNumber = 0
  #timer: NodeJS.Timeout | undefined
  #signing: Promise<unknown> = Promise.resolve()
  #closed = false

  constructor(options: LogOptions, storage: Storage, unlock: () => Promise<void>) {
    this.origin = options.origin
    const { signer } = options
    this.#signer = 'sign' in signer ? signer : checkpointSigner(signer)
    this.#storage = storage
    this.#unlock = unlock
    this.#segmentBytes = options.segmentBytes ?? 64 * 1024 * 1024
    this.#onCheckpoint = options.onCheckpoint
    this.#checkpointEveryMs = options.checkpointEveryMs ?? 1000
  }

  get size(): number {
    return this.#tree.size
  }

  async open(): Promise<void> {
    const state = await recover(this.#storage, this.origin, this.#signer.publicKey)
    this.#tree = state.tree
    this.#frames = state.frames
    this.#segment = state.segment
    this.#spareNumber = state.segments - 1
    this.#offset = state.offset
    this.#checkpointBytes = state.checkpointBytes
    this.#signedSize = state.signedSize
    this.recovery = state.recovery
    if (state.segments > 0) this.#file = await this.#storage.open(segmentName(this.#segment))
    else await this.#useSegment(0)
    this.#checkpoints = await this.#storage.open(CHECKPOINT_FILE)
    await this.#checkpoints.truncate(this.#checkpointBytes)
    // What a process before this one wrote and did not live to sync is read like the rest, and no later write makes it durable.
    await this.#file?.sync()
    await this.#checkpoints.sync()
    await this.#storage.syncDirectory()
  }

  append(record: Uint8Array): Promise<{ index: number }> {
    return this.#append(record, false)
  }

  appendSoon(record: Uint8Array): Promise<{ index: number }> {
    return this.#append(record, true)
  }

  #append(record: Uint8Array, soon: boolean): Promise<{ index: number }> {
    return new Promise((resolve, reject) => {
      this.submit(record, soon, (error, index) => {
        if (error) reject(error)
        else resolve({ index })
      })
    })
  }

  submit(record: Uint8Array, soon: boolean, settled: Settled): void {
    const refusal = this.#refusalOf(record)
    if (refusal) {
      settled(refusal, -1)
      return
    }
    this.#queue.push({ record, soon, settled })
    if (!soon) this.#flushing ??= this.#flush()
    else if (!this.#flushing) this.#flushSoon()
  }

  #refusalOf({ byteLength }: Uint8Array): Error | undefined {
    if (this.#closed) return closed()
    if (this.failed) return failed()
    if (byteLength >= 1 && byteLength <= MAX_RECORD) return undefined
    return new SallyportError(
      'SP_LOG_RECORD_SIZE',
      `a log record has ${byteLength} bytes, 1 to ${MAX_RECORD} are allowed`,
    )
  }

  #flushSoon(): void {
    this.#soon ??= setTimeout(() => {
      this.#flushAll()
    }, SOON_MS)
  }

  #flushAll(): void {
    clearTimeout(this.#soon)
    this.#soon = undefined
    if (this.#queue.length === 0) return
    this.#isDue = true
    this.#flushing ??= this.#flush()
  }

  async #flush(): Promise<void> {
    // Let everything that this turn of the event loop appends join the first batch.
    await new Promise<void>((resolve) => {
      setImmediate(resolve)
    })
    while (this.#isDue || this.#queue.some(({ soon }) => !soon)) {
      if (this.failed || this.#queue.length === 0) break
      const batch = this.#takeBatch()
      if (this.#queue.length === 0) this.#isDue = false
      try {
        await this.#write(batch)
      } catch (cause) {
        // Never retry a failed sync: the kernel may have dropped the pages and report success next time.
        this.failed = true
        for (const { settled } of batch) settled(failed(cause), -1)
      }
    }
    this.#isDue = false
    this.#flushing = undefined
    if (this.failed) for (const { settled } of this.#queue.splice(0)) settled(failed(), -1)
    if (this.#queue.length > 0) this.#flushSoon()
  }

  #takeBatch(): Pending[] {
    let bytes = 0
    let count = 0
    while (count < this.#queue.length && count < BATCH_RECORDS && bytes < BATCH_BYTES) {
      bytes += (this.#queue[count]?.record.byteLength ?? 0) + 4
      count++
    }
    return this.#queue.splice(0, count)
  }

  async #write(batch: readonly Pending[]): Promise<void> {
    const tree = this.#tree.clone()
    for (const { record } of batch) tree.add(leafHash(record))
    const start = this.#tree.size
    const records = batch.map(({ record }) => record)
    const frame = encodeFrame(start, records, tree.root())
    if (this.#offset + frame.length > this.#segmentBytes && this.#offset > SEGMENT_HEADER) {
      await this.#useSegment(this.#segment + 1)
    }
    let data = frame
    let position = this.#offset
    if (this.#offset === 0) {
      data = Buffer.concat([encodeSegmentHeader(this.#segment, start, this.origin), frame])
      position = 0
    }
    await this.#file?.writeDurably(data, position)
    this.#frames.add(start, this.#segment, position + data.length - frame.length)
    this.#offset = position + data.length
    this.#tree = tree
    let index = start
    for (const { settled } of batch) settled(undefined, index++)
    this.#scheduleCheckpoint()
    if (this.#offset > this.#segmentBytes / 2 && this.#spareNumber <= this.#segment) {
      this.#spareNumber = this.#segment + 1
      this.#spare = this.#allocate(this.#spareNumber)
      // Awaited, and its failure met, when the segment is needed.
      this.#spare.catch(() => undefined)
    }
  }

  /** Preallocates a segment with zeros, so that later syncs of its data change no metadata. */
  async #allocate(number: number): Promise<void> {
    const file = await this.#storage.open(segmentName(number))
    try {
      const chunk = Buffer.alloc(Math.min(1024 * 1024, this.#segmentBytes))
      for (let at = 0; at < this.#segmentBytes; at += chunk.length) {
        await file.write(chunk.subarray(0, Math.min(chunk.length, this.#segmentBytes - at)), at)
      }
      await file.sync()
    } finally {
      await file.close()
    }
    await this.#storage.syncDirectory()
  }

  async #useSegment(number: number): Promise<void> {
    if (this.#spareNumber === number && this.#spare) await this.#spare
    else if (this.#spareNumber !== number || number === 0) await this.#allocate(number)
    this.#spare = undefined
    this.#spareNumber = number
    const previous = this.#file
    this.#file = await this.#storage.open(segmentName(number))
    await previous?.close()
    this.#segment = number
    this.#offset = 0
  }

  #scheduleCheckpoint(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.checkpoint().catch(() => {
        this.failed = true
      })
    }, this.#checkpointEveryMs).unref()
  }

  checkpoint(): Promise<string> {
    const next = this.#signing.then(() => this.#sign())
    this.#signing = next.catch(() => undefined)
    return next
  }

  async #sign(): Promise<string> {
    if (this.failed) throw failed()
    // INVARIANT: #tree only ever covers synced records; signing a larger size could fork the log in a crash.
    const { size } = this.#tree
    const note = signCheckpoint(
      { origin: this.origin, size, root: this.#tree.root() },
      this.#signer,
    )
    if (size === this.#signedSize) return note
    const bytes = Buffer.from(note)
    await this.#checkpoints?.writeDurably(bytes, this.#checkpointBytes)
    this.#checkpointBytes += bytes.length
    this.#signedSize = size
    this.#onCheckpoint?.(note)
    return note
  }

  read(from: number, count: number): AsyncGenerator<{ index: number; record: Buffer }> {
    return this.#frames.read(this.#storage, from, Math.min(from + count, this.size))
  }

  async prove(index: number): Promise<InclusionProof> {
    if (!Number.isSafeInteger(index) || index < 0 || index >= this.size) {
      throw new SallyportError('SP_LOG_NO_RECORD', `the log has no record ${index}`)
    }
    const { size } = this
    const checkpoint = await this.checkpoint()
    const leaves: Buffer[] = []
    for await (const { record } of this.read(0, size)) leaves.push(leafHash(record))
    const hashes = inclusionProof(leaves, index).map((node) => node.toString('base64'))
    return { index, size, hashes, checkpoint }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#flushAll()
    await this.#flushing
    clearTimeout(this.#timer)
    if (!this.failed) await this.checkpoint()
    await this.#spare?.catch(() => undefined)
    await this.#file?.close()
    await this.#checkpoints?.close()
    await this.#unlock()
  }
}
