import { quote, representable } from './terms.ts'

/** What `minLength` becomes when a declaration is read. */
const MIN_LENGTH = /^\^\(\?=\[\\s\\S\]\{(\d+),\}\$\)\[\\s\\S\]\*\?\(\?:([\s\S]*)\)$/

/**
 * An ECMAScript pattern (`u` flag, not anchored) as an SMT-LIB regular language; undefined for what is not regular or not covered:
 * look-around, back references, boundaries, properties, anchors inside, characters beyond plane 2.
 */
export function languageOf(pattern: string): string | undefined {
  if (!representable(pattern)) return undefined
  const [, min, inner] = MIN_LENGTH.exec(pattern) ?? []
  try {
    if (min === undefined || inner === undefined) return new Reader(pattern).whole()
    const long = `(re.++ ((_ re.^ ${min}) re.allchar) re.all)`
    return `(re.inter ${long} ${new Reader(inner).whole()})`
  } catch (error) {
    if (error instanceof NotCovered) return undefined
    throw error
  }
}

class NotCovered extends Error {}

const range = (from: string, to: string): string => `(re.range ${quote(from)} ${quote(to)})`
const either = (parts: readonly string[]): string =>
  parts.length === 1
    ? (parts[0] ?? '')
    : parts.length === 0
      ? 're.none'
      : `(re.union ${parts.join(' ')})`
const row = (parts: readonly string[]): string =>
  parts.length === 1
    ? (parts[0] ?? '')
    : parts.length === 0
      ? '(str.to_re "")'
      : `(re.++ ${parts.join(' ')})`
const except = (language: string): string => `(re.diff re.allchar ${language})`

const DIGIT = range('0', '9')
const WORD = either([range('a', 'z'), range('A', 'Z'), DIGIT, range('_', '_')])
const SPACE = either([
  range('\t', '\r'),
  ...[' ', '\u00a0', '\u1680', '\u2028', '\u2029', '\u202f', '\u205f', '\u3000', '\ufeff'].map(
    (one) => range(one, one),
  ),
  range('\u2000', '\u200a'),
])
const LINE_END = either(['\n', '\r', '\u2028', '\u2029'].map((one) => range(one, one)))
const CLASSES: Readonly<Record<string, string>> = {
  d: DIGIT,
  D: except(DIGIT),
  w: WORD,
  W: except(WORD),
  s: SPACE,
  S: except(SPACE),
}
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', f: '\f', v: '\v' }

/** Reads a pattern that compiles, so its brackets match. */
class Reader {
  readonly #text: readonly string[]
  #at = 0

  constructor(pattern: string) {
    this.#text = Array.from(pattern)
  }

  whole(): string {
    const language = this.#alternatives(true)
    if (this.#at < this.#text.length) throw new NotCovered()
    return language
  }

  #alternatives(top: boolean): string {
    const found: string[] = []
    do {
      found.push(this.#sequence(top))
    } while (this.#take('|'))
    return either(found)
  }

  #sequence(top: boolean): string {
    const parts: string[] = []
    if (top && !this.#take('^')) parts.push('re.all')
    for (;;) {
      const next = this.#text[this.#at]
      if (next === undefined || next === '|' || next === ')') break
      if (next === '$' && top && [undefined, '|'].includes(this.#text[this.#at + 1])) {
        this.#at++
        return row(parts)
      }
      parts.push(this.#quantified(this.#atom()))
    }
    if (top) parts.push('re.all')
    return row(parts)
  }

  #quantified(atom: string): string {
    const rest = this.#text.slice(this.#at, this.#at + 24).join('')
    const [found, sign, low, comma, high] = /^(?:([*+?])|\{(\d+)(,?)(\d*)\})\??/.exec(rest) ?? []
    if (found === undefined) return atom
    this.#at += found.length
    if (sign === '*') return `(re.* ${atom})`
    if (sign === '+') return `(re.+ ${atom})`
    if (sign === '?') return `(re.opt ${atom})`
    if (comma === '') return `((_ re.^ ${low}) ${atom})`
    return high === ''
      ? `(re.++ ((_ re.^ ${low}) ${atom}) (re.* ${atom}))`
      : `((_ re.loop ${low} ${high}) ${atom})`
  }

  #atom(): string {
    const next = this.#next()
    switch (next) {
      case '.':
        return except(LINE_END)
      case '[':
        return this.#class()
      case '(': {
        if (this.#take('?') && !this.#take(':')) throw new NotCovered()
        const inner = this.#alternatives(false)
        this.#take(')')
        return inner
      }
      case '\\':
        return this.#escape()
      case '^':
      case '$':
        throw new NotCovered()
      default:
        return `(str.to_re ${quote(next)})`
    }
  }

  #escape(): string {
    const next = this.#text[this.#at] ?? ''
    const named = CLASSES[next]
    if (named === undefined) {
      const one = this.#character()
      return range(one, one)
    }
    this.#at++
    return named
  }

  /** What stands after a backslash and means one character. */
  #character(): string {
    const next = this.#next()
    const known = ESCAPES[next]
    if (known !== undefined) return known
    if (/[a-zA-Z0-9]/.test(next)) throw new NotCovered()
    return next
  }

  #class(): string {
    const negated = this.#take('^')
    const parts: string[] = []
    while (!this.#take(']')) {
      let from = this.#next()
      if (from === '\\') {
        const named = CLASSES[this.#text[this.#at] ?? '']
        if (named !== undefined) {
          this.#at++
          parts.push(named)
          continue
        }
        from = this.#character()
      }
      const isRange = this.#text[this.#at] === '-' && this.#text[this.#at + 1] !== ']'
      if (!isRange) {
        parts.push(range(from, from))
        continue
      }
      this.#at++
      let to = this.#next()
      if (to === '\\') to = this.#character()
      parts.push(range(from, to))
    }
    return negated ? except(either(parts)) : either(parts)
  }

  #next(): string {
    const next = this.#text[this.#at++]
    if (next === undefined) throw new NotCovered()
    return next
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false
    this.#at++
    return true
  }
}
