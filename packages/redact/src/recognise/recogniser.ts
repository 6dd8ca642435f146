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
   * a digit on) and its length or range of lengths, e.g. `d3 d9 m8-10`.
   */
  readonly starts: string
  readonly pattern: RegExp
  /** Where it begins with a word of letters alone, the letters that this word begins with: asked before the pattern is. */
  readonly initials?: string
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

/** Which recognisers are tried at a word of this make and length: `MAKES.indexOf(make) * WIDTH + length`. */
const MAKES = 'dlmn'
export const WIDTH = 33

export function dispatchTable(recognisers: readonly Recogniser[]): readonly Recogniser[][] {
  const table: Recogniser[][] = Array.from({ length: MAKES.length * WIDTH }, () => [])
  for (const recogniser of recognisers) {
    for (const start of recogniser.starts.split(' ')) {
      const [, make = '', from = '', to = from] = /^([dlmn])(\d+)(?:-(\d+))?$/.exec(start) ?? []
      if (make === '') throw new Error(`no such start: ${recogniser.id} ${start}`)
      for (let length = Number(from); length <= Math.min(Number(to), WIDTH - 1); length++) {
        table[MAKES.indexOf(make) * WIDTH + length]?.push(recogniser)
      }
    }
  }
  return table
}
