/** What a match is of; where several were found in one place, it is called the first of these. */
export const KINDS = [
  'SECRET',
  'RECORD',
  'IBAN',
  'CARD',
  'EMAIL',
  'WALLET',
  'URL',
  'IP',
  'MAC',
  'ID',
  'ACCOUNT',
  'BIC',
  'DATE',
  'PLATE',
  'PHONE',
  'POSTCODE',
  'NAME',
] as const
export type Kind = (typeof KINDS)[number]

/** `dates` and `names` go by shape alone: they find more than is personal. */
export type Group = 'identifiers' | 'secrets' | 'dates' | 'names'

/**
 * Finds one kind of identifier where an ASCII word begins. Every pattern is sticky, bounded in length and free of nested
 * repetition, so that a text is read in linear time whatever it holds.
 */
export interface Recogniser {
  readonly id: string
  readonly kind: Kind
  readonly group: Group
  /**
   * The words it is tried at: a letter for the word's make (`d` digits, `l` letters, `m` mixed from a letter on, `n` mixed from
   * a digit on) and its length or range of lengths, e.g. `d3 d9 m8-10`. In brackets the signs of which one must stand after the
   * word, `s` for a blank: `d3[s-]`; with `#` after them a figure must follow that sign.
   */
  readonly starts: string
  readonly pattern: RegExp
  /** What the first character of that word is one of. */
  readonly initials?: string
  /** How many characters without a blank must stand there, a figure among them. */
  readonly token?: number
  /** A look that costs less than the pattern does: false where it cannot match. */
  readonly quick?: (place: Place) => boolean
  /** What a checksum or a calendar says of the match; a number is how much of it holds, from its beginning. */
  readonly holds?: (match: string) => boolean | number
  /** Without one of these words shortly before it, so weak a pattern says nothing. Lower case. */
  readonly context?: RegExp
}

/** A place in a text: from `start` to `end`, exclusive. */
export interface Span {
  readonly start: number
  readonly end: number
  readonly kind: Kind
}

/** A word in a text. */
export interface Place {
  readonly codes: Uint16Array
  /** Where the word begins and ends, and where the stretch does that it stands in. */
  start: number
  end: number
  limit: number
}

/** A word's make. */
const MAKES = 'dlmn'
/** Longer words are taken for this long. */
const LONGEST = 32
const SIGNS = 's-./:()+º°'
/** Of the signs above, and of anything else; each twice, for with a figure after it there are others. */
const NEXTS = 2 * (SIGNS.length + 1)

/** Of a code unit below 128: its place in `SIGNS`, from 1 on. */
const signs = new Uint8Array(256)
for (let i = 0; i < SIGNS.length; i++) signs[SIGNS.charCodeAt(i)] = i + 1
signs[0x73] = 0
for (const blank of [0x20, 0x09, 0xa0]) signs[blank] = 1

const FIRST = 0x30
const INITIALS = 0x7b - FIRST

/** A recogniser as it is tried: each has all of these, for they are read at every word. */
export interface Trial {
  readonly kind: Kind
  readonly token: number
  readonly pattern: RegExp
  readonly quick: Recogniser['quick']
  readonly holds: Recogniser['holds']
  readonly context: RegExp | undefined
}

const trialOf = ({ kind, token = 0, pattern, quick, holds, context }: Recogniser): Trial => ({
  kind,
  token,
  pattern,
  quick,
  holds,
  context,
})

/** Recognisers by the words that they are tried at. */
export class Dispatch {
  readonly #recognisers: readonly (readonly [Recogniser, Trial])[]
  /** By word, the number of a list, from 1 on. Filled as words come: most of its places no word ever asks for. */
  readonly #table = new Uint16Array(MAKES.length * (LONGEST + 1) * NEXTS * INITIALS)
  readonly #lists: (readonly Trial[])[] = [[]]
  readonly #numbers = new Map<string, number>()

  constructor(recognisers: readonly Recogniser[]) {
    this.#recognisers = recognisers.map((one) => [one, trialOf(one)])
  }

  /**
   * Those to be tried at a word.
   *
   * @param make 0 to 3: digits, letters, mixed from a letter on, mixed from a digit on
   * @param initial the code of its first character
   * @param next the code of what follows it; 0 for the end
   * @param second the code of what follows that
   */
  at(
    make: number,
    length: number,
    initial: number,
    next: number,
    second: number,
  ): readonly Trial[] {
    const long = length < LONGEST ? length : LONGEST
    const sign =
      2 * (next < 256 ? (signs[next] ?? 0) : 0) + (second >= 0x30 && second <= 0x39 ? 1 : 0)
    const key = ((make * (LONGEST + 1) + long) * NEXTS + sign) * INITIALS + (initial - FIRST)
    const number = this.#table[key] ?? 0
    return this.#lists[number === 0 ? this.#fill(key, make, long, initial, sign) : number] ?? []
  }

  #fill(key: number, make: number, long: number, initial: number, sign: number): number {
    const tried = this.#recognisers.filter(([one]) =>
      startsAt(one, make, long, String.fromCharCode(initial), sign),
    )
    const name = tried.map(([{ id }]) => id).join()
    let number = this.#numbers.get(name)
    if (number === undefined) {
      number = this.#lists.push(tried.map(([, trial]) => trial)) - 1
      this.#numbers.set(name, number)
    }
    this.#table[key] = number
    return number
  }
}

function startsAt(
  { id, starts, initials }: Recogniser,
  make: number,
  length: number,
  initial: string,
  sign: number,
): boolean {
  if (initials !== undefined && !initials.includes(initial)) return false
  return starts.split(' ').some((start) => {
    const [, letter = '', from = '', to = from, next, figure] =
      /^([dlmn])(\d+)(?:-(\d+))?(?:\[([s\-./:()+º°]+)\](#)?)?$/.exec(start) ?? []
    if (letter === '') throw new Error(`no such start: ${id} ${start}`)
    return (
      MAKES.indexOf(letter) === make &&
      length >= Number(from) &&
      length <= Number(to) &&
      (next === undefined || (sign > 1 && next.includes(SIGNS.charAt((sign >> 1) - 1)))) &&
      (figure === undefined || sign % 2 === 1)
    )
  })
}

/** After one to three letters and a sign a figure must stand; of any other word nothing is said. */
export function figureFollows({ codes, start, end, limit }: Place): boolean {
  if (end - start > 3 || isFigure(codes[end - 1])) return true
  return end + 1 < limit && isFigure(codes[end + 1])
}

const isFigure = (c: number | undefined): boolean => c !== undefined && c >= 0x30 && c <= 0x39
