import { once } from 'node:events'
import type { TLSSocket } from 'node:tls'
import { SqlRefusal } from './refuse.ts'
import { FrameReader } from './wire/frames.ts'
import type { Frame } from './wire/frames.ts'

/** What may wait to be handled before the client is asked to wait. */
const MAX_WAITING = 256
const MAX_WAITING_BYTES = 1024 * 1024
/** What may be held back for what comes after it. */
const MAX_HELD_BYTES = 16 * 1024

export const protocolError = (what: string): SqlRefusal =>
  new SqlRefusal('SP_SQL_PROTOCOL', what, '08P01')

/** A client's connection: messages in, one at a time; bytes out, no faster than they are read. */
export class ClientWire {
  readonly socket: TLSSocket
  readonly #reader: FrameReader
  readonly #startBytes: number
  #start: Buffer = Buffer.alloc(0)
  #started = false
  #frames: Frame[] = []
  #waiting = 0
  #ended = false
  #broken: SqlRefusal | undefined
  #wake: (() => void) | undefined
  /** Said and not sent yet. */
  #held: Buffer[] = []
  #heldBytes = 0
  /** More of what the client has said is handled right after this, and is answered with it. */
  #isAmidst = false
  #isSending = false

  /** @param maxBytes of one message */
  constructor(socket: TLSSocket, maxBytes: number, maxStartBytes: number) {
    this.socket = socket
    this.#reader = new FrameReader(maxBytes)
    this.#startBytes = maxStartBytes
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => {
      this.#take(chunk)
    })
    const ended = (): void => {
      this.#ended = true
      this.#wakeUp()
    }
    socket.on('end', ended)
    socket.on('close', ended)
    socket.on('error', ended)
  }

  get closed(): boolean {
    return this.#ended || this.socket.destroyed
  }

  /** The first message, which has no type; undefined where the client went away. */
  async first(): Promise<Buffer | undefined> {
    for (;;) {
      if (this.#broken) throw this.#broken
      const length = this.#start.length >= 4 ? this.#start.readUInt32BE() : undefined
      if (length !== undefined && (length < 8 || length > this.#startBytes)) {
        throw protocolError('the session does not begin as one')
      }
      if (length !== undefined && this.#start.length >= length) {
        const body = this.#start.subarray(4, length)
        const rest = this.#start.subarray(length)
        this.#started = true
        if (rest.length > 0) this.#take(rest)
        return body
      }
      if (this.closed) return undefined
      await this.#more()
    }
  }

  /** The next message; undefined where the client went away. */
  async next(): Promise<Frame | undefined> {
    for (;;) {
      const frame = this.#frames.shift()
      if (frame) {
        this.#waiting -= frame.raw.length
        if (!this.#full(2)) this.socket.resume()
        this.#isAmidst = this.#frames.length > 0
        return frame
      }
      this.flush()
      if (this.#broken) throw this.#broken
      if (this.closed) return undefined
      await this.#more()
    }
  }

  /** A message that has come and that `next` has not handed out yet, 0 for the one that it will next. */
  waiting(at: number): Frame | undefined {
    return this.#frames[at]
  }

  /**
   * Writes. Answers to messages that came together travel together, as a server's do (PostgreSQL, section 54.2.4), and so does what one
   * turn of the event loop has to say.
   */
  write(...messages: readonly Buffer[]): void {
    this.hold(...messages)
    if (this.#heldBytes >= MAX_HELD_BYTES) this.flush()
    else if (!this.#isAmidst && !this.#isSending) {
      this.#isSending = true
      // After the promises of this turn.
      process.nextTick(() => {
        this.#isSending = false
        this.flush()
      })
    }
  }

  /** Writes what is not told before more is, or before the client is waited for. */
  hold(...messages: readonly Buffer[]): void {
    for (const message of messages) {
      if (message.length === 0) continue
      this.#held.push(message)
      this.#heldBytes += message.length
    }
  }

  /** Sends what was held back. */
  flush(): void {
    if (this.#held.length === 0) return
    const held = this.#held.length === 1 ? this.#held[0] : Buffer.concat(this.#held)
    this.#held = []
    this.#heldBytes = 0
    if (held !== undefined && !this.socket.destroyed && this.socket.writable) {
      this.socket.write(held)
    }
  }

  /** Says goodbye: nothing is said after it. */
  end(): void {
    this.flush()
    this.socket.end()
  }

  /** Waits until what was written has been taken. */
  async drained(): Promise<void> {
    if (this.socket.writableNeedDrain && !this.closed) {
      const gone = new AbortController()
      const onClose = (): void => gone.abort()
      this.socket.once('close', onClose)
      await once(this.socket, 'drain', { signal: gone.signal }).catch(() => undefined)
      this.socket.removeListener('close', onClose)
    }
  }

  #take(chunk: Buffer): void {
    if (!this.#started) {
      this.#start = Buffer.concat([this.#start, chunk])
      if (this.#start.length > this.#startBytes + MAX_EARLY) {
        this.#broken = protocolError('the session does not begin as one')
      }
    } else {
      const frames = this.#reader.push(chunk)
      for (const frame of frames ?? []) {
        this.#frames.push(frame)
        this.#waiting += frame.raw.length
      }
      if (!frames) this.#broken = protocolError('a message is too long, or none')
      if (this.#full(1)) this.socket.pause()
    }
    this.#wakeUp()
  }

  /** @param share 1 for as much as may wait, 2 for half of it */
  #full(share: number): boolean {
    return this.#frames.length >= MAX_WAITING / share || this.#waiting >= MAX_WAITING_BYTES / share
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  #wakeUp(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}

/** What a client may send before it was answered. */
const MAX_EARLY = 65_536
