import { Fault } from './fault.ts'
import { checkTrailers } from './head.ts'
import type { Framing, HeadBounds } from './head.ts'

/** RFC 9112, section 7.1, without extensions: nobody needs them, and readers disagree about where they end. */
const SIZE = /^[0-9A-Fa-f]{1,8}$/
/** A size, its carriage return and its line feed. */
const MAX_SIZE_LINE = 10
const CR = 0x0d
const LF = 0x0a
const NOTHING = Buffer.alloc(0)

type Step = 'length' | 'size' | 'data' | 'data-end' | 'trailers' | 'over'

/** Takes a body out of the bytes of a connection, however they are split. */
export class BodyReader {
  readonly #bounds: HeadBounds
  readonly #piece: (bytes: Buffer) => void
  #step: Step
  /** Bytes of the body, or of its chunk, that are still to come. */
  #left = 0
  /** Bytes of a size or of trailers that are not whole yet. */
  #held: Buffer | undefined

  /** @param piece is called with each piece of the body, which stays as it is */
  constructor(framing: Framing, bounds: HeadBounds, piece: (bytes: Buffer) => void) {
    this.#bounds = bounds
    this.#piece = piece
    if (framing === 'chunked') this.#step = 'size'
    else {
      this.#step = framing === 0 ? 'over' : 'length'
      this.#left = framing
    }
  }

  get isOver(): boolean {
    return this.#step === 'over'
  }

  /**
   * @returns what stands behind the body; undefined where it is not over
   * @throws Fault for whatever is not exactly a body
   */
  push(bytes: Buffer): Buffer | undefined {
    let rest = bytes
    for (;;) {
      if (this.#step === 'over') return rest
      if (rest.length === 0) return undefined
      const next = this.#take(rest)
      if (next === undefined) return undefined
      rest = next
    }
  }

  #take(bytes: Buffer): Buffer | undefined {
    switch (this.#step) {
      case 'length':
      case 'data':
        return this.#data(bytes)
      case 'size':
        return this.#size(bytes)
      case 'data-end':
        return this.#dataEnd(bytes)
      default:
        return this.#trailers(bytes)
    }
  }

  #data(bytes: Buffer): Buffer {
    const size = Math.min(this.#left, bytes.length)
    this.#left -= size
    if (this.#left === 0) this.#step = this.#step === 'length' ? 'over' : 'data-end'
    if (size === bytes.length) {
      this.#piece(bytes)
      return NOTHING
    }
    this.#piece(bytes.subarray(0, size))
    return bytes.subarray(size)
  }

  #size(bytes: Buffer): Buffer | undefined {
    const all = this.#held ? Buffer.concat([this.#held, bytes]) : bytes
    const end = all.indexOf(LF)
    if (end < 0) {
      // Only what could still become a size is waited for.
      const text = all.toString('latin1', 0, MAX_SIZE_LINE)
      const digits = text.endsWith('\r') ? text.slice(0, -1) : text
      if (all.length >= MAX_SIZE_LINE || !SIZE.test(digits)) throw new Fault('chunk')
      this.#held = all
      return undefined
    }
    this.#held = undefined
    if (end < 2 || all[end - 1] !== CR) throw new Fault('chunk')
    const digits = all.toString('latin1', 0, end - 1)
    if (!SIZE.test(digits)) throw new Fault('chunk')
    this.#left = Number.parseInt(digits, 16)
    this.#step = this.#left === 0 ? 'trailers' : 'data'
    return all.subarray(end + 1)
  }

  #dataEnd(bytes: Buffer): Buffer | undefined {
    const all = this.#held ? Buffer.concat([this.#held, bytes]) : bytes
    if (all[0] !== CR || (all.length > 1 && all[1] !== LF)) throw new Fault('chunk')
    if (all.length < 2) {
      this.#held = all
      return undefined
    }
    this.#held = undefined
    this.#step = 'size'
    return all.subarray(2)
  }

  #trailers(bytes: Buffer): Buffer | undefined {
    const all = this.#held ? Buffer.concat([this.#held, bytes]) : bytes
    // Without trailers an empty line ends it all.
    if (all[0] === CR) {
      if (all.length > 1 && all[1] !== LF) throw new Fault('chunk')
      if (all.length > 1) {
        this.#held = undefined
        this.#step = 'over'
        return all.subarray(2)
      }
      this.#held = all
      return undefined
    }
    const end = all.indexOf('\r\n\r\n', 0, 'latin1')
    if ((end < 0 ? all.length : end + 4) > this.#bounds.maxBytes) throw new Fault('head-too-large')
    if (end < 0) {
      this.#held = all
      return undefined
    }
    this.#held = undefined
    checkTrailers(all.toString('latin1', 0, end + 2), this.#bounds)
    this.#step = 'over'
    return all.subarray(end + 4)
  }
}
