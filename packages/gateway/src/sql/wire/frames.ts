/** One message after the start of a session: its type's letter, and what follows its length. */
export interface Frame {
  readonly type: string
  readonly body: Buffer
  /** The whole message as it came. */
  readonly raw: Buffer
}

const HEADER = 5

/** Cuts a stream of bytes into messages (PostgreSQL, section 54.2). */
export class FrameReader {
  readonly #maxBytes: number
  /** Parts of what is not whole yet; put together once it is, so that a long message costs no more than its length. */
  #parts: Buffer[] = []
  #length = 0
  #needed = HEADER

  /** @param maxBytes of one message */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /** @returns whole messages; undefined where the stream is not one of messages, or one is too long */
  push(chunk: Buffer): Frame[] | undefined {
    this.#parts.push(chunk)
    this.#length += chunk.length
    if (this.#length < this.#needed) return []
    const data = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts)
    const frames: Frame[] = []
    let at = 0
    this.#needed = HEADER
    while (data.length - at >= HEADER) {
      const length = data.readUInt32BE(at + 1)
      if (length < 4 || length > this.#maxBytes) return undefined
      const end = at + 1 + length
      if (data.length < end) {
        this.#needed = end - at
        break
      }
      frames.push({
        type: String.fromCharCode(data[at] ?? 0),
        body: data.subarray(at + HEADER, end),
        raw: data.subarray(at, end),
      })
      at = end
    }
    const rest = data.subarray(at)
    this.#parts = rest.length === 0 ? [] : [rest]
    this.#length = rest.length
    return frames
  }
}

/** A message: type, length, content. */
export function message(type: string, ...parts: readonly (Buffer | string)[]): Buffer {
  let length = 4
  for (const part of parts) length += Buffer.byteLength(part)
  const bytes = Buffer.allocUnsafe(1 + length)
  bytes.writeUInt8(type.charCodeAt(0), 0)
  let at = bytes.writeUInt32BE(length, 1)
  for (const part of parts)
    at += typeof part === 'string' ? bytes.write(part, at) : part.copy(bytes, at)
  return bytes
}

export const int16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

export const int32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

export const text = (value: string): Buffer => Buffer.from(`${value}\0`)

/** Reads the content of one message; whatever runs over its end is no message. */
export class BodyReader {
  readonly #body: Buffer
  #at = 0

  constructor(body: Buffer) {
    this.#body = body
  }

  get done(): boolean {
    return this.#at === this.#body.length
  }

  byte(): number {
    return this.#body.readUInt8(this.#skip(1))
  }

  uint16(): number {
    return this.#body.readUInt16BE(this.#skip(2))
  }

  int32(): number {
    return this.#body.readInt32BE(this.#skip(4))
  }

  uint32(): number {
    return this.#body.readUInt32BE(this.#skip(4))
  }

  bytes(length: number): Buffer {
    const start = this.#skip(length)
    return this.#body.subarray(start, this.#at)
  }

  /** A text up to its NUL. @throws RangeError where it is no UTF-8 */
  text(): string {
    const end = this.#body.indexOf(0, this.#at)
    if (end < 0) throw new RangeError('a text without an end')
    const start = this.#skip(end + 1 - this.#at)
    // Most names are empty.
    if (end === start) return ''
    try {
      return DECODER.decode(this.#body.subarray(start, end))
    } catch {
      throw new RangeError('a text that is no UTF-8')
    }
  }

  /** Goes on by so many bytes. @returns where they begin */
  #skip(length: number): number {
    const start = this.#at
    const end = start + length
    if (length < 0 || end > this.#body.length) throw new RangeError('a message that ends too soon')
    this.#at = end
    return start
  }
}

const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
