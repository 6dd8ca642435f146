import type { KeyObject } from 'node:crypto'
import { MessageChannel, Worker } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import { systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { SIGNATURE_BYTES } from '@sallyport/wire/call-signature'
import { FREE, MAX_OCTETS, RUNNING, SIGNED, Slots, WAITING } from './slots.ts'

/** What the signing thread is started with. */
export interface ThreadData {
  readonly memory: SharedArrayBuffer
  readonly port: MessagePort
}

/** A key as the signing thread is given it. */
export interface ThreadKey {
  readonly number: number
  readonly key: KeyObject
}

/** A small thread: it has no more than what it signs in its hands. */
const RESOURCES = { maxYoungGenerationSizeMb: 2, maxOldGenerationSizeMb: 32, stackSizeMb: 1 }

const THREAD = new URL('thread.ts', import.meta.url)

/** How long no thread is started where one could not be: twice as long each time, so that a machine without room for one is asked seldom. */
const FIRST_RETRY_MS = 1000
const MAX_RETRY_MS = 60_000

export interface SigningOptions {
  /** Called where a thread cannot be started, and not again before one was: what is to be signed meanwhile its owner signs. */
  readonly onUnstarted?: (error: unknown) => void
  readonly clock?: Pick<Clock, 'monotonic'>
  /** What the thread runs: another file, for tests. */
  readonly file?: URL
}

interface Thread {
  readonly worker: Worker
  readonly port: MessagePort
}

/**
 * Signs in a thread of its own what somebody will want signed in a moment. Nobody waits for it: what is not signed when it is wanted, its owner signs.
 * So a thread that is late, or gone, takes nothing away but time.
 *
 * A job of `node:crypto` in the pool of libuv does the same at a greater price: each is made, queued, woken for and told of by itself, behind whatever
 * else the pool has to do.
 */
export class SigningAhead {
  readonly #slots = new Slots()
  /** Ticket whose signature a slot is for, by the slot. */
  readonly #owners: (number | undefined)[] = []
  readonly #onEnd: (error: unknown) => void
  #next = 0
  #key: ThreadKey | undefined
  #thread: Thread | undefined
  #isOver = false
  readonly #onUnstarted: (error: unknown) => void
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #file: URL
  /** Where a thread could not be started: when it is tried again, and how long after that. */
  #retry: { readonly at: number; readonly waitMs: number } | undefined

  /**
   * @param onEnd called once where the thread ends by itself: everything is signed by its owner from then on
   */
  constructor(
    onEnd: (error: unknown) => void,
    { onUnstarted = onEnd, clock = systemClock, file = THREAD }: SigningOptions = {},
  ) {
    this.#onEnd = onEnd
    this.#onUnstarted = onUnstarted
    this.#clock = clock
    this.#file = file
  }

  /**
   * Has octets signed, if there is room.
   *
   * @param text ASCII
   * @returns what `take` wants; undefined where its owner is to sign it
   */
  begin(text: string, key: KeyObject): number | undefined {
    if (this.#isOver || text.length > MAX_OCTETS) return undefined
    const ticket = this.#next
    const state = this.#slots.state(ticket)
    // What was signed and not asked for in a whole turn of the ring is not asked for any more.
    if (state === WAITING || state === RUNNING) return undefined
    const thread = (this.#thread ??= this.#start())
    if (!thread) return undefined
    const { port } = thread
    if (this.#key?.key !== key) {
      this.#key = { number: (this.#key?.number ?? 0) + 1, key }
      // eslint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
      port.postMessage(this.#key)
    }
    this.#slots.fill(ticket, text, this.#key.number)
    this.#slots.setState(ticket, WAITING)
    this.#owners[this.#slots.indexOf(ticket)] = ticket
    this.#next = this.#slots.advance(ticket)
    return ticket
  }

  /**
   * Gives up a ticket.
   *
   * @returns the signature of its octets in base64url; undefined where it has none yet, and its owner is to sign them
   */
  take(ticket: number): string | undefined {
    const slots = this.#slots
    const index = slots.indexOf(ticket)
    if (this.#owners[index] !== ticket) return undefined
    this.#owners[index] = undefined
    // Not begun: it is not to be signed twice.
    if (slots.pass(ticket, WAITING, FREE) || slots.state(ticket) !== SIGNED) return undefined
    return slots.octets(ticket, SIGNATURE_BYTES).toString('base64url')
  }

  async close(): Promise<void> {
    this.#isOver = true
    this.#thread?.port.close()
    await this.#thread?.worker.terminate()
  }

  #start(): Thread | undefined {
    const now = this.#clock.monotonic()
    if (this.#retry && now < this.#retry.at) return undefined
    const { port1, port2 } = new MessageChannel()
    const workerData: ThreadData = { memory: this.#slots.memory, port: port2 }
    let worker: Worker
    try {
      worker = new Worker(this.#file, {
        name: 'call-token-signer',
        workerData,
        transferList: [port2],
        resourceLimits: RESOURCES,
        // It reads none of it.
        env: {},
      })
    } catch (error) {
      port1.close()
      const isFirst = !this.#retry
      const waitMs = Math.min(this.#retry?.waitMs ?? FIRST_RETRY_MS, MAX_RETRY_MS)
      this.#retry = { at: now + waitMs, waitMs: 2 * waitMs }
      if (isFirst) this.#onUnstarted(error)
      return undefined
    }
    this.#retry = undefined
    worker.unref()
    port1.unref()
    worker.on('error', (error) => {
      this.#end(error)
    })
    worker.on('exit', (code) => {
      this.#end(new Error(`it ended with ${code}`))
    })
    return { worker, port: port1 }
  }

  #end(error: unknown): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#onEnd(error)
  }
}
