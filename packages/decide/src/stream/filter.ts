import { isUtf8 } from 'node:buffer'
import { SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { DataClass } from '@sallyport/network'
import { mask } from '@sallyport/redact'
import type { Tokeniser } from '@sallyport/redact'
import { higherClass } from '../fields.ts'
import type { Projected } from '../project.ts'
import { cutCharacter, is, isSpace, isWord } from './bytes.ts'
import { FACTOR, KeyTable, SEED } from './keys.ts'
import { DROP, KEEP, MASK, NULL, TOKEN } from './plan.ts'
import type { MemberPlan, ObjectPlan, ProjectionPlan, ValuePlan } from './plan.ts'
import { BACKSLASH, checkNumber, QUOTE, StringScanner, syntax } from './strings.ts'

const MAX_DEPTH = 64
/** Bytes of one name, one number, or one text that is masked or replaced. */
const MAX_TOKEN = 262_144

/** What is expected, or being read. */
const VALUE = 0
const ITEM_OR_END = 1
const NAME_OR_END = 2
const NAME = 3
const COLON = 4
const NEXT = 5
const DONE = 6
const IN_NAME = 7
const IN_TEXT = 8
const IN_KEPT_TEXT = 9
const IN_SKIPPED_TEXT = 10
const IN_WORD = 11

const OBJECT = 1
const ARRAY = 2

const EMPTY = Buffer.from('{}')
const HIDDEN = Buffer.from(JSON.stringify(mask({}, 'full')))

/** Of one that is used again: names learnt, bytes held, objects read; and how many wait. */
const MAX_LEARNT = 256
const MAX_KEPT = 65_536
const MAX_TURN = 2 ** 30
const MAX_SPARE = 16
const MAX_ANSWERS = 500
/** Of one answer. */
const MAX_STRANGERS = 32

const NO_BYTES = new Uint8Array()
const NO_NAMES = new Int32Array()

interface Tally {
  records: number
  maxWholeClass: DataClass
}

/**
 * What `project` does to a whole answer, done to its bytes as they pass, in memory that does not grow with it. The text is
 * checked as strictly as `parseJson` checks it; once anything throws, what has been handed out must not be taken for an answer.
 */
export class ProjectionStream {
  readonly #tokeniser: Pick<Tokeniser, 'tokenise'>
  readonly #keys: KeyTable
  readonly #forbidden: number
  readonly #tallies = new Map<string, Tally>()
  readonly #strings = new StringScanner()
  /** Of each depth: which object, by its turn, each name was last seen in. */
  readonly #seen: Int32Array[] = []
  #turn = 0
  /** The name before, wherever it stood. */
  #last = 0
  // Of the innermost object, while it is the innermost container.
  #seenHere: Int32Array = NO_NAMES
  #turnHere = 0
  #membersHere: ObjectPlan['members'] | undefined
  #state = VALUE
  #depth = 0
  // Of each open container.
  readonly #kinds = new Uint8Array(MAX_DEPTH + 1)
  readonly #any = new Uint8Array(MAX_DEPTH + 1)
  readonly #turns = new Int32Array(MAX_DEPTH + 1)
  readonly #objects: (ObjectPlan | undefined)[] = []
  readonly #items: (ValuePlan | undefined)[] = []
  readonly #open: (Tally | undefined)[] = []
  /** Whether the container is written at all. */
  readonly #written = new Uint8Array(MAX_DEPTH + 1)
  // Of the value that is expected.
  #plan: ValuePlan | undefined
  #member: MemberPlan | undefined
  /** Beginning of a character that the next piece ends. */
  #tail: Uint8Array = NO_BYTES
  /** Beginning of a name, number or text that the next piece goes on with. */
  #token = Buffer.alloc(256)
  #tokenLength = 0
  #out: Buffer = Buffer.alloc(0)
  #outLength = 0

  readonly #made: ProjectionPlan
  #strangers: (readonly [at: string, name: string])[] = []
  #answers = 0

  constructor(made: ProjectionPlan, tokeniser: Pick<Tokeniser, 'tokenise'>) {
    this.#made = made
    this.#plan = made.root
    this.#tokeniser = tokeniser
    this.#keys = new KeyTable(made.keys)
    this.#forbidden = this.#keys.idOf('__proto__')
  }

  /** One that was used before, where there is one: making one takes longer than a short answer does. */
  static of(made: ProjectionPlan, tokeniser: Pick<Tokeniser, 'tokenise'>): ProjectionStream {
    return made.spare.pop() ?? new ProjectionStream(made, tokeniser)
  }

  /** Lets it be used for another answer of the same plan; to be called after `finish`, if at all. */
  free(): void {
    const known = this.#made.keys.size + MAX_LEARNT
    const small = this.#out.length <= MAX_KEPT && this.#token.length <= MAX_KEPT
    if (this.#state !== DONE || !small || this.#keys.size > known || this.#turn > MAX_TURN) return
    // Each tells of a strange name once: a new one tells again.
    if (++this.#answers >= MAX_ANSWERS) return
    this.#strangers = []
    if (this.#made.spare.length >= MAX_SPARE) return
    this.#state = VALUE
    this.#plan = this.#made.root
    this.#member = undefined
    this.#any[0] = 0
    this.#last = 0
    this.#tokenLength = 0
    this.#tallies.clear()
    // Nothing of the answer stays, in whatever memory is handed out next.
    this.#out.fill(0, 0, this.#outLength)
    this.#token.fill(0)
    this.#outLength = 0
    this.#made.spare.push(this)
  }

  /** What has left, or is about to with what was handed out. */
  get released(): Projected['released'] {
    // Their names are declared ones.
    const released: Record<string, Tally> = {}
    for (const [name, { records, maxWholeClass }] of this.#tallies) {
      released[name] = { records, maxWholeClass }
    }
    return released
  }

  /**
   * Members that were dropped because nobody declares them, by data set or path; each is told of by one of many answers, some by
   * none.
   */
  get strangers(): readonly (readonly [at: string, name: string])[] {
    return this.#strangers
  }

  /** Whether any record is among what has been handed out. */
  get hasReleased(): boolean {
    return this.#tallies.size > 0
  }

  /**
   * @param piece of the answer, cut anywhere
   * @returns what may leave of it; good until the next call
   * @throws SallyportError `SP_JSON_*`
   */
  push(piece: Uint8Array): Buffer {
    const text =
      this.#tail.length === 0
        ? Buffer.from(piece.buffer, piece.byteOffset, piece.length)
        : Buffer.concat([this.#tail, piece])
    const end = text.length - cutCharacter(text)
    this.#tail = end === text.length ? NO_BYTES : Uint8Array.from(text.subarray(end))
    if (!isUtf8(end === text.length ? text : text.subarray(0, end))) {
      throw new SallyportError('SP_JSON_UNICODE', 'the JSON text is not valid UTF-8')
    }
    this.#begin(end)
    this.#read(text, end)
    return this.#out.subarray(0, this.#outLength)
  }

  /**
   * @returns the last of what may leave
   * @throws SallyportError `SP_JSON_*` for a text that is not whole
   */
  finish(): Buffer {
    this.#begin(8)
    if (this.#tail.length > 0) {
      throw new SallyportError('SP_JSON_UNICODE', 'the JSON text is not valid UTF-8')
    }
    // A number alone has no end of its own.
    if (this.#state === IN_WORD && this.#depth === 0) this.#word(this.#token, 0, this.#tokenLength)
    if (this.#state !== DONE) throw syntax()
    // As an answer of which nothing may leave is told everywhere.
    if (this.#any[0] === 0) this.#write(EMPTY, 0, EMPTY.length)
    return this.#out.subarray(0, this.#outLength)
  }

  #begin(expected: number): void {
    this.#outLength = 0
    const room = expected + this.#tokenLength + 64
    if (this.#out.length < room) this.#out = Buffer.allocUnsafe(room)
  }

  #read(text: Buffer, n: number): void {
    let i = 0
    while (i < n) {
      const byte = text[i] ?? 0
      switch (this.#state) {
        case NEXT:
          if (byte === 0x2c || byte === 0x5d || byte === 0x7d) {
            this.#next(byte)
            i++
            continue
          }
          break
        case NAME_OR_END:
          if (byte === 0x7d) {
            this.#close()
            i++
            continue
          }
          if (byte === QUOTE) {
            i = this.#name(text, i, n)
            continue
          }
          break
        case NAME:
          if (byte === QUOTE) {
            i = this.#name(text, i, n)
            continue
          }
          break
        case COLON:
          if (byte === 0x3a) {
            this.#state = VALUE
            i++
            continue
          }
          break
        case ITEM_OR_END:
          if (byte === 0x5d) {
            this.#close()
            i++
            continue
          }
          if (!isSpace(byte)) {
            i = this.#value(text, i, n, byte)
            continue
          }
          break
        case VALUE:
          if (!isSpace(byte)) {
            i = this.#value(text, i, n, byte)
            continue
          }
          break
        case DONE:
          break
        default:
          i = this.#goOn(text, i, n)
          continue
      }
      if (!isSpace(byte)) throw syntax()
      i++
    }
  }

  #next(byte: number): void {
    const kind = this.#kinds[this.#depth]
    if (byte === 0x2c) {
      if (kind === OBJECT) this.#state = NAME
      else {
        this.#state = VALUE
        this.#plan = this.#items[this.#depth]
        this.#member = undefined
      }
    } else if (byte === (kind === OBJECT ? 0x7d : 0x5d)) this.#close()
    else throw syntax()
  }

  #name(text: Buffer, i: number, n: number): number {
    const start = i + 1
    // Records repeat themselves: what stood behind the name before stands there again.
    const guess = this.#keys.follower(this.#last, text, start)
    if (guess >= 0) {
      const end = start + this.#keys.lengthOf(guess)
      if (text[end] === QUOTE && end < n) {
        this.#named(guess)
        if (end + 1 < n && text[end + 1] === 0x3a) {
          this.#state = VALUE
          return end + 2
        }
        return end + 1
      }
    }
    // Nearly every name is whole, and without escapes.
    let hash = SEED
    for (let at = start; at < n; at++) {
      const c = text[at] ?? 0
      if (c === QUOTE) {
        const id = this.#keys.find(text, start, at, hash)
        this.#keys.follows(this.#last, id)
        this.#named(id)
        // Nearly every colon stands right behind it.
        if (at + 1 < n && text[at + 1] === 0x3a) {
          this.#state = VALUE
          return at + 2
        }
        return at + 1
      }
      if (c < 0x20) throw syntax()
      if (c === BACKSLASH) break
      hash = (Math.imul(hash, FACTOR) + c) | 0
    }
    this.#strings.begin()
    this.#tokenLength = 0
    this.#state = IN_NAME
    return start
  }

  #named(id: number): void {
    if (id === this.#forbidden) {
      throw new SallyportError(
        'SP_JSON_FORBIDDEN_KEY',
        'a JSON object has a member named `__proto__`',
      )
    }
    this.#last = id
    let seen = this.#seenHere
    if (id >= seen.length) seen = this.#widen(this.#depth)
    const met = seen[id]
    if (met === this.#turnHere) {
      throw new SallyportError('SP_JSON_DUPLICATE_KEY', 'a JSON object names the same member twice')
    }
    seen[id] = this.#turnHere
    const members = this.#membersHere
    const member = members !== undefined && id < members.length ? members[id] : undefined
    this.#member = member
    this.#plan = member?.value
    this.#state = COLON
    // A name that this stream meets for the first time at this depth: nearly none of them is.
    if (member === undefined && met === 0 && members !== undefined) this.#strange(id)
  }

  #strange(id: number): void {
    const object = this.#objects[this.#depth]
    if (object === undefined || this.#strangers.length >= MAX_STRANGERS) return
    const name = this.#keys.nameOf(id)
    if (!object.declares(name)) this.#strangers.push([object.at, name])
  }

  #widen(depth: number): Int32Array {
    const wider = new Int32Array(Math.max(this.#keys.size, 32) * 2)
    wider.set(this.#seen[depth] ?? NO_NAMES)
    this.#seen[depth] = this.#seenHere = wider
    return wider
  }

  /** What of the open container is looked at for each of its members. */
  #here(): void {
    const depth = this.#depth
    if (this.#kinds[depth] !== OBJECT) return
    this.#seenHere = this.#seen[depth] ?? NO_NAMES
    this.#turnHere = this.#turns[depth] ?? 0
    this.#membersHere = this.#objects[depth]?.members
  }

  #value(text: Buffer, i: number, n: number, byte: number): number {
    const plan = this.#plan
    if (byte === QUOTE) return this.#text(text, i, n, plan === undefined ? DROP : plan.scalar)
    if (byte === 0x7b || byte === 0x5b) {
      this.#enter(byte === 0x7b ? OBJECT : ARRAY, plan)
      return i + 1
    }
    this.#tokenLength = 0
    let at = i
    while (at < n && isWord(text[at] ?? 0)) at++
    if (at === i) throw syntax()
    if (at < n) this.#word(text, i, at)
    else {
      this.#state = IN_WORD
      this.#take(text, i, n)
    }
    return at
  }

  #text(text: Buffer, i: number, n: number, scalar: number): number {
    let end = i + 1
    let c = 0
    while (end < n && (c = text[end] ?? 0) !== QUOTE && c !== BACKSLASH && c >= 0x20) end++
    let whole = end < n && c === QUOTE
    if (scalar === MASK || scalar === TOKEN || !whole) this.#strings.begin()
    if (!whole) {
      const found = this.#strings.scan(text, end, n)
      whole = found >= 0
      end = whole ? found : n
    }
    const stop = whole ? end + 1 : n
    if (scalar === DROP || scalar === NULL) this.#state = whole ? this.#after() : IN_SKIPPED_TEXT
    else if (scalar === KEEP) {
      this.#prefix()
      this.#write(text, i, stop)
      this.#state = whole ? this.#after() : IN_KEPT_TEXT
    } else if (whole) {
      this.#replace(text, i, stop)
      this.#state = this.#after()
    } else {
      this.#tokenLength = 0
      this.#take(text, i, n)
      this.#state = IN_TEXT
    }
    return stop
  }

  /** Goes on with what the piece before began. */
  #goOn(text: Buffer, i: number, n: number): number {
    if (this.#state === IN_WORD) {
      let at = i
      while (at < n && isWord(text[at] ?? 0)) at++
      this.#take(text, i, at)
      if (at < n) this.#word(this.#token, 0, this.#tokenLength)
      return at
    }
    const end = this.#strings.scan(text, i, n)
    const stop = end < 0 ? n : end
    const state = this.#state
    if (state === IN_NAME) {
      this.#take(text, i, stop)
      if (end >= 0) this.#named(this.#nameTaken())
    } else if (state === IN_TEXT) {
      this.#take(text, i, end < 0 ? n : end + 1)
      if (end >= 0) {
        this.#replace(this.#token, 0, this.#tokenLength)
        this.#state = this.#after()
      }
    } else {
      if (state === IN_KEPT_TEXT) this.#write(text, i, end < 0 ? n : end + 1)
      if (end >= 0) this.#state = this.#after()
    }
    return end < 0 ? n : end + 1
  }

  #nameTaken(): number {
    const raw = this.#token.toString('utf8', 0, this.#tokenLength)
    // The scanner has found its grammar to be that of a string.
    return this.#keys.idOf(this.#strings.escaped ? (JSON.parse(`"${raw}"`) as string) : raw)
  }

  /** A number, `true`, `false` or `null`. */
  #word(text: Buffer, start: number, end: number): void {
    const first = text[start] ?? 0
    const scalar = this.#plan?.scalar ?? DROP
    const number = first === 0x2d || (first >= 0x30 && first <= 0x39)
    let isNull = false
    if (number) checkNumber(text, start, end)
    else {
      isNull = is(text, start, end, 'null')
      if (!isNull && !is(text, start, end, 'true') && !is(text, start, end, 'false')) throw syntax()
    }
    if (scalar === KEEP || (isNull && (scalar === NULL || scalar === TOKEN))) {
      this.#prefix()
      this.#write(text, start, end)
    } else if (scalar === MASK || (scalar === TOKEN && number)) {
      this.#replace(text, start, end)
    }
    this.#state = this.#after()
  }

  /** Writes the mask or the token of a value in its place. */
  #replace(text: Buffer, start: number, end: number): void {
    const plan = this.#plan
    const plain = text[start] === QUOTE && !this.#strings.escaped
    const value = plain
      ? text.toString('utf8', start + 1, end - 1)
      : // The scanners have found its grammar to be that of a JSON value.
        (JSON.parse(text.toString('utf8', start, end)) as JsonValue)
    let shown: JsonValue
    if (plan?.scalar === MASK) shown = mask(value, plan.how ?? 'full')
    else {
      try {
        const said = typeof value === 'string' ? value : JSON.stringify(value)
        shown = this.#tokeniser.tokenise(plan?.how ?? '', said)
      } catch {
        // What cannot be tokenised (too long, say) must not leave in another form.
        return
      }
    }
    this.#prefix()
    const json = JSON.stringify(shown)
    if (this.#outLength + json.length * 3 > this.#out.length) this.#room(json.length * 3)
    this.#outLength += this.#out.write(json, this.#outLength)
  }

  #enter(kind: typeof OBJECT | typeof ARRAY, plan: ValuePlan | undefined): void {
    if (this.#depth >= MAX_DEPTH) {
      throw new SallyportError('SP_JSON_TOO_DEEP', `the JSON text nests deeper than ${MAX_DEPTH}`)
    }
    const object = kind === OBJECT ? plan?.object : undefined
    const items = kind === ARRAY ? plan?.array : undefined
    const written = object !== undefined || items !== undefined
    let tally: Tally | undefined
    if (written) {
      this.#prefix()
      this.#byte(kind === OBJECT ? 0x7b : 0x5b)
      if (object?.dataset !== undefined) tally = this.#tally(object.dataset)
    } else if (plan?.scalar === MASK) {
      this.#prefix()
      this.#write(HIDDEN, 0, HIDDEN.length)
    }
    const depth = ++this.#depth
    this.#kinds[depth] = kind
    this.#any[depth] = 0
    this.#written[depth] = written ? 1 : 0
    this.#objects[depth] = object
    this.#items[depth] = items
    this.#open[depth] = tally
    if (kind === OBJECT) {
      this.#turns[depth] = ++this.#turn
      this.#here()
      this.#state = NAME_OR_END
    } else {
      this.#plan = items
      this.#member = undefined
      this.#state = ITEM_OR_END
    }
  }

  #close(): void {
    const depth = this.#depth
    if (this.#written[depth] === 1) {
      this.#byte(this.#kinds[depth] === OBJECT ? 0x7d : 0x5d)
      const tally = this.#open[depth]
      if (tally && this.#any[depth] === 1) tally.records++
    }
    this.#depth--
    this.#here()
    this.#state = this.#after()
  }

  #after(): number {
    return this.#depth === 0 ? DONE : NEXT
  }

  #tally(dataset: string): Tally {
    let tally = this.#tallies.get(dataset)
    if (!tally) this.#tallies.set(dataset, (tally = { records: 0, maxWholeClass: 'public' }))
    return tally
  }

  /** Before a value that is written: the comma and the name that it needs. */
  #prefix(): void {
    const depth = this.#depth
    if (this.#any[depth] === 1) this.#byte(0x2c)
    else this.#any[depth] = 1
    const member = this.#member
    if (member === undefined) return
    this.#write(member.key, 0, member.key.length)
    const tally = this.#open[depth]
    if (member.raises !== undefined && tally) {
      tally.maxWholeClass = higherClass(tally.maxWholeClass, member.raises)
    }
  }

  #byte(byte: number): void {
    if (this.#outLength >= this.#out.length) this.#room(1)
    this.#out[this.#outLength++] = byte
  }

  #write(text: Uint8Array, start: number, end: number): void {
    const length = end - start
    if (this.#outLength + length > this.#out.length) this.#room(length)
    const out = this.#out
    let to = this.#outLength
    if (length < 48) for (let i = start; i < end; i++) out[to++] = text[i] ?? 0
    else out.set(text.subarray(start, end), to)
    this.#outLength += length
  }

  #room(more: number): void {
    const larger = Buffer.allocUnsafe((this.#outLength + more) * 2)
    larger.set(this.#out.subarray(0, this.#outLength))
    this.#out = larger
  }

  #take(text: Uint8Array, start: number, end: number): void {
    const length = this.#tokenLength + end - start
    if (length > MAX_TOKEN) {
      throw new SallyportError('SP_JSON_TOO_LARGE', 'a part of the JSON text is too long')
    }
    if (length > this.#token.length) {
      const larger = Buffer.allocUnsafe(length * 2)
      larger.set(this.#token.subarray(0, this.#tokenLength))
      this.#token = larger
    }
    this.#token.set(text.subarray(start, end), this.#tokenLength)
    this.#tokenLength = length
  }
}
