import type { TLSSocket } from 'node:tls'
import { SqlRefusal } from '../refuse.ts'
import { BodyReader, FrameReader, int32, message, text } from '../wire/frames.ts'
import type { Frame } from '../wire/frames.ts'
import { errorFields, TERMINATE } from '../wire/messages.ts'
import { scram } from './scram.ts'

/** A row wider than this does not pass. */
const MAX_FRAME = 16 * 1024 * 1024
/** What may wait to be read before the database is asked to wait. */
const MAX_WAITING = 1024 * 1024

export const unreachable = (detail: string): SqlRefusal =>
  new SqlRefusal('SP_SQL_UPSTREAM', 'the database cannot be reached', '08006', { detail })

/** One session with a database, of one caller. */
export class Link {
  readonly socket: TLSSocket
  /** What the server says of itself and its settings. */
  readonly parameters: Map<string, string> = new Map()
  /** To cancel what runs. */
  key: Buffer = Buffer.alloc(0)
  onParameter: ((name: string, value: string) => void) | undefined
  readonly #reader = new FrameReader(MAX_FRAME)
  #frames: Frame[] = []
  #waiting = 0
  #failed: SqlRefusal | undefined
  #wake: (() => void) | undefined

  constructor(socket: TLSSocket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => {
      this.#take(chunk)
    })
    const ended = (): void => {
      this.#fail('the database closed the connection')
    }
    socket.on('error', ended)
    socket.on('close', ended)
  }

  get alive(): boolean {
    return this.#failed === undefined
  }

  send(...messages: readonly Buffer[]): void {
    if (this.#failed) throw this.#failed
    this.socket.write(messages.length === 1 ? (messages[0] ?? '') : Buffer.concat(messages))
  }

  /** Whatever has come, at least one message; notices and notifications, which carry values, are left out. */
  async batch(): Promise<readonly Frame[]> {
    while (this.#frames.length === 0) {
      if (this.#failed) throw this.#failed
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    const frames = this.#frames
    this.#frames = []
    this.#waiting = 0
    this.socket.resume()
    return frames
  }

  /** The next message. */
  async next(): Promise<Frame> {
    const [first, ...rest] = await this.batch()
    if (!first) throw unreachable('no message')
    this.putBack(rest)
    return first
  }

  /** Reads up to and with a message of one of these types. */
  async until(...types: readonly string[]): Promise<Frame> {
    for (;;) {
      const frames = await this.batch()
      const at = frames.findIndex(({ type }) => types.includes(type))
      this.putBack(at < 0 ? [] : frames.slice(at + 1))
      const found = frames[at]
      if (found) return found
    }
  }

  /** Gives back what was read too far. */
  putBack(frames: readonly Frame[]): void {
    if (frames.length > 0) this.#frames = [...frames, ...this.#frames]
  }

  destroy(): void {
    this.socket.destroy()
  }

  end(): void {
    if (this.alive) this.socket.end(TERMINATE)
    else this.socket.destroy()
  }

  /**
   * Signs in (PostgreSQL, section 54.2.1).
   *
   * @param password by SCRAM-SHA-256 only: no server is given it in another form
   * @throws SqlRefusal `SP_SQL_UPSTREAM`
   */
  async start(settings: Readonly<Record<string, string>>, password: string): Promise<void> {
    const parts = Object.entries(settings).flatMap(([name, value]) => [text(name), text(value)])
    const body = Buffer.concat([int32(196_608), ...parts, Buffer.from([0])])
    this.send(Buffer.concat([int32(body.length + 4), body]))
    let exchange: ReturnType<typeof scram> | undefined
    let verified = false
    for (;;) {
      const { type, body: content } = await this.next()
      if (type === 'E') throw unreachable(saidOf(content))
      if (type === 'K') this.key = Buffer.from(content)
      if (type === 'Z') {
        if (!verified) throw unproven()
        return
      }
      if (type !== 'R') continue
      const reader = new BodyReader(content)
      switch (reader.int32()) {
        case 0:
          // A server that lets anybody in, or that does not know the password, is not the one that was meant.
          if (!verified) throw unproven()
          break
        case 10: {
          exchange = scram(password)
          const first = Buffer.from(exchange.first)
          this.send(message('p', text('SCRAM-SHA-256'), int32(first.length), first))
          break
        }
        case 11:
          if (!exchange) throw unreachable('the sign-in is out of order')
          this.send(message('p', await exchange.final(content.subarray(4).toString())))
          break
        case 12:
          verified = exchange?.verify(content.subarray(4).toString()) === true
          if (!verified) throw unreachable('the database does not know the password')
          break
        default:
          throw unreachable('the database asks for a sign-in that is not SCRAM-SHA-256')
      }
    }
  }

  #take(chunk: Buffer): void {
    let frames: Frame[] | undefined
    try {
      frames = this.#reader.push(chunk)
      if (!frames) {
        this.#fail('the database sent what is no message')
        this.socket.destroy()
        return
      }
      for (const frame of frames) this.#sort(frame)
    } catch {
      this.#fail('the database sent what is no message')
      this.socket.destroy()
      return
    }
    if (this.#waiting > MAX_WAITING) this.socket.pause()
    this.#wakeUp()
  }

  #sort(frame: Frame): void {
    switch (frame.type) {
      case 'S': {
        const reader = new BodyReader(frame.body)
        const [name, value] = [reader.text(), reader.text()]
        this.parameters.set(name, value)
        this.onParameter?.(name, value)
        return
      }
      case 'N':
      case 'A':
        return
      default:
        this.#frames.push(frame)
        this.#waiting += frame.raw.length
    }
  }

  #fail(detail: string): void {
    this.#failed ??= unreachable(detail)
    this.#wakeUp()
  }

  #wakeUp(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}

const unproven = (): SqlRefusal =>
  unreachable('the database did not prove that it knows the password')

function saidOf(body: Buffer): string {
  const { C = '', M = '' } = errorFields(body)
  return `${C} ${M}`.slice(0, 300)
}
