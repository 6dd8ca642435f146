/** What can be wrong with a message's frame. */
export type FrameFault = 'compressed' | 'flags' | 'size' | 'truncated'

const PREFIX = 5

/** Messages out of the bytes of a stream ("gRPC over HTTP2", Length-Prefixed-Message), each at most as long as allowed. */
export class Frames {
  readonly #maxBytes: number
  readonly #refuse: (fault: FrameFault) => Error
  #chunks: Buffer[] = []
  #size = 0
  /** Of the message that is being read, with its prefix; 0 before its prefix is here. */
  #wanted = 0

  /** @param refuse makes what is thrown for a fault */
  constructor(maxBytes: number, refuse: (fault: FrameFault) => Error) {
    this.#maxBytes = maxBytes
    this.#refuse = refuse
  }

  /** @returns the messages that are whole now @throws what `refuse` makes */
  push(chunk: Buffer): Buffer[] {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    const messages: Buffer[] = []
    while (this.#size >= (this.#wanted || PREFIX)) {
      if (this.#wanted === 0) this.#wanted = this.#readPrefix()
      if (this.#size < this.#wanted) break
      const bytes = this.#joined()
      messages.push(bytes.subarray(PREFIX, this.#wanted))
      this.#chunks = [bytes.subarray(this.#wanted)]
      this.#size -= this.#wanted
      this.#wanted = 0
    }
    return messages
  }

  /** To be called where nothing more comes. @throws what `refuse` makes, of a message that is not whole */
  end(): void {
    if (this.#size > 0) throw this.#refuse('truncated')
  }

  #readPrefix(): number {
    const bytes = this.#joined()
    const flags = bytes.readUInt8(0)
    if (flags !== 0) throw this.#refuse(flags === 1 ? 'compressed' : 'flags')
    const length = bytes.readUInt32BE(1)
    // Before a byte of it is waited for.
    if (length > this.#maxBytes) throw this.#refuse('size')
    return PREFIX + length
  }

  #joined(): Buffer {
    const [first, ...more] = this.#chunks
    if (first && more.length === 0) return first
    const bytes = Buffer.concat(this.#chunks)
    this.#chunks = [bytes]
    return bytes
  }
}

/** A message as it stands in a stream. */
export function framed(message: Buffer): Buffer {
  const prefix = Buffer.alloc(PREFIX)
  prefix.writeUInt32BE(message.length, 1)
  return Buffer.concat([prefix, message])
}
