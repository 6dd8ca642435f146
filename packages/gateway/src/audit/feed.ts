import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import { canonicalJson, errorCode } from '@sallyport/base'
import type { Log } from '@sallyport/tlog'
import type { PlaneClient } from '../plane/client.ts'
import { readJsonFile, writeDurably } from '../state/files.ts'
import { isObject } from '../adapters/jsonrpc.ts'
import type { LoggedRecord } from './audit.ts'

export interface FeedOptions {
  readonly dataDir: string
  readonly shard: string
  readonly log: Pick<Log, 'read' | 'size' | 'checkpoint'>
  readonly client: PlaneClient
  onFailure(code: string): void
}

const FILE = 'feed.json'
const MAX_ITEMS = 200
const MAX_BYTES = 600_000
const MAX_EXPLANATION = 65_536
/** Records kept in memory for sending; older ones are read from the log. */
const MAX_TAIL = 20_000
const PAGE = 10_000
/** Lets records that come close together travel together. */
const GATHER_MS = 10
/** The same while calls keep coming: each request costs the calls that it runs beside, however few records it carries. */
const BETWEEN_MS = 25
const SAVE_EVERY_MS = 1000

/** Forwards the log to the control plane, in order, at least once, from a cursor that survives restarts. */
export class Feed {
  readonly #options: FeedOptions
  readonly #stop = new AbortController()
  #next: number
  #saved: number
  #savedAt = 0
  /** Contiguous, newest last. */
  #tail: LoggedRecord[] = []
  /** The newest signed checkpoint that the control plane was not told of yet. */
  #checkpoint: string | undefined
  #wake: (() => void) | undefined
  #running: Promise<void> | undefined

  private constructor(options: FeedOptions, next: number) {
    this.#options = options
    this.#next = next
    this.#saved = next
  }

  static async open(options: FeedOptions): Promise<Feed> {
    const kept = await readJsonFile(join(options.dataDir, FILE))
    const next = isObject(kept) ? kept['next'] : undefined
    // A cursor beyond the log is of another log: everything is sent again.
    const valid = typeof next === 'number' && next >= 0 && next <= options.log.size
    return new Feed(options, valid ? next : 0)
  }

  /** Records not yet confirmed by the control plane. */
  get lag(): number {
    return this.#options.log.size - this.#next
  }

  start(): void {
    this.#running = this.#run()
  }

  offer(logged: LoggedRecord): void {
    const last = this.#tail.at(-1)
    if (last && last.index + 1 !== logged.index) this.#tail = []
    this.#tail.push(logged)
    if (this.#tail.length > MAX_TAIL) this.#tail = this.#tail.slice(MAX_TAIL / 2)
    this.#wake?.()
  }

  /** Only the newest is sent: it covers what those before it did. */
  offerCheckpoint(note: string): void {
    this.#checkpoint = note
    this.#wake?.()
  }

  async close(): Promise<void> {
    this.#stop.abort()
    this.#wake?.()
    await this.#running
  }

  async #run(): Promise<void> {
    let delay = 100
    while (!this.#stop.signal.aborted) {
      try {
        if (this.lag > 0) {
          await this.#sendSome()
          if (this.lag < MAX_ITEMS && !this.#stop.signal.aborted) await this.#pause(BETWEEN_MS)
        } else if (this.#checkpoint !== undefined) await this.#sendCheckpoint(this.#checkpoint)
        else await this.#idle()
        delay = 100
      } catch (error) {
        this.#options.onFailure(errorCode(error))
        await this.#pause(delay)
        delay = Math.min(delay * 2, 5000)
      }
    }
    await this.#save().catch(() => undefined)
    // What is in the log as it is closed is held elsewhere too, where anyone is there to hold it.
    await this.#options.log
      .checkpoint()
      .then((note) => this.#sendCheckpoint(note))
      .catch(() => undefined)
  }

  async #idle(): Promise<void> {
    // Not after every call: each of its syncs is one that the log's own would wait for.
    const since = performance.now() - this.#savedAt
    if (since > SAVE_EVERY_MS) await this.#save()
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#wake = resolve
    const unsaved = this.#saved !== this.#next
    const timer = unsaved ? setTimeout(resolve, Math.max(0, SAVE_EVERY_MS - since) + 1) : undefined
    const idle = this.lag === 0 && this.#checkpoint === undefined
    if (idle && !this.#stop.signal.aborted) await promise
    clearTimeout(timer)
    this.#wake = undefined
    await this.#pause(GATHER_MS)
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined)
  }

  async #sendSome(): Promise<void> {
    const { client, shard } = this.#options
    for (const { last, json } of batches(await this.#pending(), shard)) {
      const { body } = await client.request({ method: 'POST', path: '/v1/feed', json })
      if (this.#stop.signal.aborted) return
      const { next } = body
      // The control plane may ask for a place before this; never for one that it was not sent.
      this.#next = typeof next === 'number' && next >= 0 && next <= last ? next : last + 1
      const first = this.#tail[0]
      if (first) this.#tail.splice(0, Math.max(0, this.#next - first.index))
      if (this.#next <= last) return
      if (performance.now() - this.#savedAt > SAVE_EVERY_MS) await this.#save()
    }
  }

  async #sendCheckpoint(note: string): Promise<void> {
    const { client, shard } = this.#options
    await client.request({
      method: 'POST',
      path: '/v1/feed/checkpoint',
      body: { shard, checkpoint: note },
      // A control plane of the version before knows no such call; one that contradicts has raised its alarm.
      also: [400, 404, 409],
    })
    if (this.#checkpoint === note) this.#checkpoint = undefined
  }

  async #pending(): Promise<LoggedRecord[]> {
    const first = this.#tail[0]
    if (first && first.index <= this.#next) {
      return this.#tail.slice(this.#next - first.index, this.#next - first.index + PAGE)
    }
    const items: LoggedRecord[] = []
    for await (const item of this.#options.log.read(this.#next, PAGE)) items.push(item)
    return items
  }

  async #save(): Promise<void> {
    if (this.#saved === this.#next) return
    const next = this.#next
    await writeDurably(join(this.#options.dataDir, FILE), JSON.stringify({ next }))
    this.#saved = next
    this.#savedAt = performance.now()
  }
}

interface Batch {
  /** Index of its last record. */
  readonly last: number
  /** The body of a request: `wire`'s `FeedItem`s and the shard they are of. */
  readonly json: Buffer
}

const BEGIN = '{"items":['

/** Cuts items into bodies that the plane API takes. Records travel as they stand in the log. */
function* batches(logged: readonly LoggedRecord[], shard: string): Generator<Batch> {
  const end = `],"shard":${JSON.stringify(shard)}}`
  // What stands before each record.
  let heads: string[] = []
  let size = 0
  for (const [i, { index, record, explanation }] of logged.entries()) {
    const head = `{${explained(explanation)}"index":${index},"record":`
    const bytes = Buffer.byteLength(head) + record.length + 2
    if (heads.length > 0 && (heads.length >= MAX_ITEMS || size + bytes > MAX_BYTES)) {
      yield batch(logged.slice(i - heads.length, i), heads, size, end)
      heads = []
      size = 0
    }
    heads.push(heads.length === 0 ? BEGIN + head : `},${head}`)
    size += bytes
  }
  if (heads.length > 0) yield batch(logged.slice(-heads.length), heads, size, end)
}

/** @param size bytes of the items with a comma for each */
function batch(
  logged: readonly LoggedRecord[],
  heads: readonly string[],
  size: number,
  end: string,
): Batch {
  const json = Buffer.allocUnsafe(BEGIN.length + size + Buffer.byteLength(end))
  let at = 0
  let last = 0
  for (const [i, { index, record }] of logged.entries()) {
    at += json.write(heads[i] ?? '', at)
    json.set(record, at)
    at += record.length
    last = index
  }
  at += json.write(`}${end}`, at)
  return { last, json: json.subarray(0, at) }
}

/** The log has the explanation sealed, whole or by digest, where it is too long to travel. */
function explained(explanation: unknown): string {
  if (explanation === undefined) return ''
  try {
    const text = canonicalJson(explanation)
    return text.length > MAX_EXPLANATION ? '' : `"explanation":${text},`
  } catch {
    return ''
  }
}
