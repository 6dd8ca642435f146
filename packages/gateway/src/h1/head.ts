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
/** What most answers begin with. */
const OK_LINE = 'HTTP/1.1 200 OK\r\n'
/** RFC 9110, section 5.6.2: by character, whether it can stand in the name of a field. */
const IN_NAME = characters(/[!#$%&'*+\-.^_`|~0-9A-Za-z]/)
/** RFC 9110, section 5.5: no control characters. */
const IN_VALUE = characters(/[\t\x20-\x7e\x80-\xff]/)
/** A line feed alone, a carriage return alone, or another control character. */
// eslint-disable-next-line no-control-regex -- control characters are what is being excluded
const STRAY = /[^\r]\n|\r[^\n]|[\0-\x08\x0b\x0c\x0e-\x1f\x7f]/
const TAB = 0x09
const LF = 0x0a
const CR = 0x0d
const SPACE = 0x20
const COLON = 0x3a
/** No number has two spellings, and none is beyond what is counted exactly. */
const LENGTH = /^(?:0|[1-9]\d{0,14})$/
/** What would change how a message is read after its head was. */
const NEVER_BEHIND: ReadonlySet<string> = new Set([
  ...['content-length', 'transfer-encoding', 'connection', 'keep-alive', 'proxy-connection'],
  ...['upgrade', 'host', 'te', 'trailer'],
])
const HEAD_END = '\r\n\r\n'
const CLOSE = /(?:^|,)[\t ]*close[\t ]*(?:,|$)/i

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
  let status = 200
  let fields = OK_LINE.length
  if (!text.startsWith(OK_LINE)) {
    STATUS_LINE.lastIndex = 0
    const line = STATUS_LINE.exec(text)
    if (!line) throw new Fault('status')
    if (line[1] !== '1.1') throw new Fault('version')
    status = Number(line[2])
    // Nobody here asks for another protocol.
    if (status === 101) throw new Fault('upgrade')
    fields = STATUS_LINE.lastIndex
  }
  const framed = new FramingReader()
  const headers: Record<string, string | string[]> = {}
  let close = false
  readFields(text, fields, bounds, (name, value) => {
    if (name === 'connection') close ||= CLOSE.test(value)
    else framed.take(name, value)
    const there = Object.hasOwn(headers, name) ? headers[name] : undefined
    if (there !== undefined) set(headers, name, [there, value].flat())
    else set(headers, name, value)
  })
  return { status, headers, framing: framingOf(status, method, framed.framing), close }
}

function set(
  headers: Record<string, string | string[]>,
  name: string,
  value: string | string[],
): void {
  if (name !== '__proto__') headers[name] = value
  // An own property whatever its name.
  else
    Object.defineProperty(headers, name, {
      value,
      configurable: true,
      enumerable: true,
      writable: true,
    })
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

/**
 * Reads lines of fields: nothing stands between a name and its colon, and none goes on in the next line. In one pass, character by
 * character: what regular expressions take for it is most of what an answer costs.
 */
function readFields(
  text: string,
  from: number,
  { maxHeaders }: HeadBounds,
  take: (name: string, value: string) => void,
): void {
  let count = 0
  let at = from
  while (at < text.length) {
    const nameAt = at
    while (IN_NAME[text.charCodeAt(at)] === 1) at++
    if (at === nameAt || text.charCodeAt(at) !== COLON) throw new Fault('header')
    const name = text.slice(nameAt, at).toLowerCase()
    let character = text.charCodeAt(++at)
    while (isBlank(character)) character = text.charCodeAt(++at)
    const valueAt = at
    let valueEnd = at
    while (IN_VALUE[character] === 1) {
      at++
      if (!isBlank(character)) valueEnd = at
      character = text.charCodeAt(at)
    }
    if (character !== CR || text.charCodeAt(at + 1) !== LF) throw new Fault('header')
    at += 2
    if (++count > maxHeaders) throw new Fault('too-many-headers')
    take(name, text.slice(valueAt, valueEnd))
  }
}

const isBlank = (character: number): boolean => character === SPACE || character === TAB

/** By the code of a character, 1 where it is one of these. */
function characters(these: RegExp): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) => +these.test(String.fromCharCode(code)))
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
