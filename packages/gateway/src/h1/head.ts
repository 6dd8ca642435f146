import { Fault } from './fault.ts'

export interface HeadBounds {
  /** Bytes of a head, its empty line included; of trailers too. */
  readonly maxBytes: number
  readonly maxHeaders: number
}

/** How the body of a message is delimited (RFC 9112, section 6.3): by its length, where zero means that there is none, or in chunks. */
export type Framing = number | 'chunked'

export interface AnswerHead {
  readonly status: number
  /** By lower-case name; a list where a name stands more than once. */
  readonly headers: Readonly<Record<string, string | string[]>>
  readonly framing: Framing
  /** The other side ends the connection behind this answer. */
  readonly close: boolean
}

/** RFC 9112, section 4. */
const STATUS_LINE = /HTTP\/(\d\.\d) ([1-5]\d\d) [\t\x20-\x7e\x80-\xff]*\r\n/y
/**
 * RFC 9110, section 5.1 and 5.5: nothing between name and colon, no folding, no control characters. No character can be matched in
 * two ways, so that what does not match is known in one pass.
 */
const FIELD =
  /([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*((?:[\x21-\x7e\x80-\xff][\t\x20-\x7e\x80-\xff]*)?)\r\n/y
/** A line feed alone, a carriage return alone, or another control character. */
// eslint-disable-next-line no-control-regex -- control characters are what is being excluded
const STRAY = /[^\r]\n|\r[^\n]|[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/
const LF = 0x0a
/** No number has two spellings, and none is beyond what is counted exactly. */
const LENGTH = /^(?:0|[1-9]\d{0,14})$/
/** What would change how a message is read after its head was. */
const NEVER_BEHIND: ReadonlySet<string> = new Set([
  ...['content-length', 'transfer-encoding', 'connection', 'keep-alive', 'proxy-connection'],
  ...['upgrade', 'host', 'te', 'trailer'],
])
const HEAD_END = '\r\n\r\n'

/** Gathers the bytes of a head, however they are split. */
export class HeadReader {
  readonly #maxBytes: number
  #held: Buffer | undefined

  constructor({ maxBytes }: Pick<HeadBounds, 'maxBytes'>) {
    this.#maxBytes = maxBytes
  }

  /**
   * @returns the head up to and with the end of its last line, and what stands behind it; undefined where more is needed
   * @throws Fault as soon as no bytes that could follow would make a head of it
   */
  push(bytes: Buffer): { readonly text: string; readonly rest: Buffer } | undefined {
    const before = this.#held?.length ?? 0
    const all = this.#held ? Buffer.concat([this.#held, bytes]) : bytes
    const end = all.indexOf(HEAD_END, Math.max(0, before - 3), 'latin1')
    if (end < 0 ? all.length > this.#maxBytes : end + 4 > this.#maxBytes) {
      throw new Fault('head-too-large')
    }
    if (end >= 0) {
      this.#held = undefined
      return { text: all.toString('latin1', 0, end + 2), rest: all.subarray(end + 4) }
    }
    // One byte is looked at twice: a carriage return that ended a piece is judged by what follows.
    if (all[0] === LF || STRAY.test(all.toString('latin1', Math.max(0, before - 1)))) {
      throw new Fault('control')
    }
    this.#held = all
    return undefined
  }
}

/**
 * @param method of the request that it answers
 * @throws Fault for whatever is not exactly the head of an answer
 */
export function readAnswerHead(text: string, method: string, bounds: HeadBounds): AnswerHead {
  STATUS_LINE.lastIndex = 0
  const line = STATUS_LINE.exec(text)
  if (!line) throw new Fault('status')
  if (line[1] !== '1.1') throw new Fault('version')
  const status = Number(line[2])
  // Nobody here asks for another protocol.
  if (status === 101) throw new Fault('upgrade')
  const framed = new FramingReader()
  const headers: Record<string, string | string[]> = {}
  let close = false
  readFields(text, STATUS_LINE.lastIndex, bounds, (name, value) => {
    if (name === 'connection') close ||= /(?:^|,)[\t ]*close[\t ]*(?:,|$)/i.test(value)
    else framed.take(name, value)
    // An own property whatever its name: `__proto__` is one like any other.
    const there = Object.hasOwn(headers, name) ? headers[name] : undefined
    const now = there === undefined ? value : [...(Array.isArray(there) ? there : [there]), value]
    Object.defineProperty(headers, name, {
      value: now,
      ...{ configurable: true, enumerable: true, writable: true },
    })
  })
  return { status, headers, framing: framingOf(status, method, framed.framing), close }
}

/** RFC 9112, section 6.3, items 1 to 8; an answer that ends with its connection is refused, for nobody could tell whether it is whole. */
function framingOf(status: number, method: string, stated: Framing | undefined): Framing {
  if (status < 200 || status === 204) {
    if (stated === 'chunked' || (stated ?? 0) > 0) throw new Fault('two-framings')
    return 0
  }
  if (status === 304 || method === 'HEAD') return 0
  if (stated === undefined) throw new Fault('no-framing')
  return stated
}

/** @throws Fault for whatever is not exactly the trailers of a message, or could change how it is read */
export function checkTrailers(text: string, bounds: HeadBounds): void {
  readFields(text, 0, bounds, (name) => {
    if (NEVER_BEHIND.has(name)) throw new Fault('trailer')
  })
}

function readFields(
  text: string,
  from: number,
  { maxHeaders }: HeadBounds,
  take: (name: string, value: string) => void,
): void {
  let count = 0
  for (let at = from; at < text.length; at = FIELD.lastIndex) {
    FIELD.lastIndex = at
    const field = FIELD.exec(text)
    if (!field) throw new Fault('header')
    const [, name = '', padded = ''] = field
    if (++count > maxHeaders) throw new Fault('too-many-headers')
    take(name.toLowerCase(), trimEnd(padded))
  }
}

/** Without the blanks at its end. A regular expression for it would take time that grows with their square. */
function trimEnd(value: string): string {
  let end = value.length
  while (end > 0 && (value.charCodeAt(end - 1) === 0x20 || value.charCodeAt(end - 1) === 0x09))
    end--
  return end === value.length ? value : value.slice(0, end)
}

/** Reads how a body is delimited: by one header, stated once, in one spelling. */
class FramingReader {
  framing: Framing | undefined

  take(name: string, value: string): void {
    if (name === 'content-length') {
      if (this.framing !== undefined) throw new Fault('two-framings')
      if (!LENGTH.test(value)) throw new Fault('content-length')
      this.framing = Number(value)
    } else if (name === 'transfer-encoding') {
      if (this.framing !== undefined) throw new Fault('two-framings')
      if (value.toLowerCase() !== 'chunked') throw new Fault('transfer-encoding')
      this.framing = 'chunked'
    }
  }
}
