import { SallyportError } from '@sallyport/base'
import type { Slicer } from './slicer.ts'

/** Bounds kept before any text reaches the parser, whose own stack a hostile policy can exhaust. */
export const POLICY_LIMITS = {
  /** UTF-16 code units of one policy. */
  policyLength: 65_536,
  /** UTF-16 code units of all policies of a set. */
  totalLength: 16_777_216,
  policies: 20_000,
  /** Open brackets and `if`s at any point. */
  depth: 40,
  /** Operators, member accesses and `if`s of one policy: each may be one level of the parse tree. */
  operators: 500,
  /** Escapes in texts that are none: the parser takes quadratic time to complain of them. */
  badEscapes: 16,
} as const

export interface Token {
  readonly kind: 'word' | 'number' | 'string' | 'punctuation'
  readonly start: number
  readonly end: number
}

const TOKEN =
  /(?<space>[\s\uFEFF]+|\/\/[^\n\r]*)|(?<word>[A-Za-z_][A-Za-z0-9_]*)|(?<number>[0-9]+)|(?<string>"(?:[^"\\]|\\[^])*")|(?<punctuation>::|==|!=|<=|>=|&&|\|\||[^])/y

const OPENING = new Set(['(', '[', '{'])
const CLOSING = new Set([')', ']', '}'])
const OPERATORS = new Set('&& || + - * ! == != < <= > >= . if in like has is'.split(' '))

/** Splits Cedar text into tokens, comments left out. Any text yields tokens; only the parser judges them. */
export function tokenise(text: string): Token[] {
  return [...tokensOf(text)]
}

function* tokensOf(text: string): Generator<Token> {
  for (let at = 0; at < text.length;) {
    TOKEN.lastIndex = at
    const match = TOKEN.exec(text)
    // The last alternative takes any code unit, so the expression matches wherever text is left.
    const end = match ? TOKEN.lastIndex : at + 1
    const groups = match?.groups
    if (groups?.['space'] === undefined) {
      const kind =
        groups?.['word'] !== undefined
          ? 'word'
          : groups?.['number'] !== undefined
            ? 'number'
            : groups?.['string'] !== undefined
              ? 'string'
              : 'punctuation'
      yield { kind, start: at, end }
    }
    at = end
  }
}

/**
 * Refuses what could break the parser or be misread on the way out of it.
 *
 * @throws SallyportError `SP_CEDAR_LIMIT`, `SP_CEDAR_SYNTAX`
 */
export function boundPolicy(id: string, text: string): Token[] {
  if (text.length > POLICY_LIMITS.policyLength) {
    throw limit(id, `has ${text.length} characters, the limit is ${POLICY_LIMITS.policyLength}`)
  }
  if (!text.isWellFormed()) {
    throw new SallyportError('SP_CEDAR_SYNTAX', `policy \`${id}\` has an unpaired surrogate`)
  }
  const tokens = tokenise(text)
  boundDepth(id, text, tokens)
  return tokens
}

function boundDepth(id: string, text: string, tokens: readonly Token[]): void {
  let depth = 0
  let operators = 0
  let badEscapes = 0
  let last = ''
  for (const token of tokens) {
    const word = text.slice(token.start, token.end)
    if (token.kind === 'string' || token.kind === 'word') refuseProto(id, word)
    if (token.kind === 'string') badEscapes += countBadEscapes(word, last === 'like')
    last = word
    if (badEscapes > POLICY_LIMITS.badEscapes) {
      throw limit(id, `has more than ${POLICY_LIMITS.badEscapes} escapes that are none`)
    }
    if (token.kind === 'string' || token.kind === 'number') continue
    if (OPENING.has(word)) depth++
    else if (CLOSING.has(word)) depth--
    else if (OPERATORS.has(word)) operators++
    if (depth > POLICY_LIMITS.depth) throw limit(id, `nests deeper than ${POLICY_LIMITS.depth}`)
    if (operators > POLICY_LIMITS.operators) {
      throw limit(id, `has more than ${POLICY_LIMITS.operators} operators`)
    }
  }
}

/** What starts an escape, or is a carriage return, which a text may hold in the form of an escape only. */
const ESCAPE =
  /\r|\\(?:(?<plain>[nrt0\\'"\n]|x[0-7][0-9a-fA-F])|(?<star>\*)|u\{(?<code>[0-9a-fA-F][0-9a-fA-F_]*)\})?/g

/** @param pattern whether the text is one of `like`, which alone may escape a star */
function countBadEscapes(word: string, pattern: boolean): number {
  let bad = 0
  for (const { groups } of word.matchAll(ESCAPE)) {
    const code = groups?.['code']
    const good =
      groups?.['plain'] !== undefined ||
      (groups?.['star'] !== undefined && pattern) ||
      (code !== undefined && isScalar(code.replaceAll('_', '')))
    if (!good) bad++
  }
  return bad
}

function isScalar(digits: string): boolean {
  const code = Number.parseInt(digits, 16)
  return digits.length <= 6 && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff)
}

/** The parser hands records over as JavaScript objects, in which this one key would vanish. */
function refuseProto(id: string, word: string): void {
  const plain = word.replace(/\\u\{([0-9a-fA-F]{1,6})\}|\\x([0-9a-fA-F]{2})/g, (_, u, x) => {
    const code = Number.parseInt(String(u ?? x), 16)
    return code < 128 ? String.fromCharCode(code) : '?'
  })
  if (plain === '__proto__' || plain === '"__proto__"') {
    throw new SallyportError('SP_CEDAR_SYNTAX', `policy \`${id}\` uses the name \`__proto__\``)
  }
}

/** Bounds a schema in the same way: bytes, brackets and escapes that are none. */
export async function boundSchema(text: string, slicer: Slicer): Promise<void> {
  if (text.length > POLICY_LIMITS.totalLength / 4) {
    throw new SallyportError('SP_CEDAR_LIMIT', `the schema has ${text.length} characters`)
  }
  if (!text.isWellFormed()) {
    throw new SallyportError('SP_CEDAR_SYNTAX', 'the schema has an unpaired surrogate')
  }
  let depth = 0
  let badEscapes = 0
  for (const token of tokensOf(text)) {
    if (slicer.over) await slicer.rest()
    const word = text.slice(token.start, token.end)
    if (token.kind === 'string') badEscapes += countBadEscapes(word, false)
    if (badEscapes > POLICY_LIMITS.badEscapes) {
      throw new SallyportError(
        'SP_CEDAR_LIMIT',
        `the schema has more than ${POLICY_LIMITS.badEscapes} escapes that are none`,
      )
    }
    if (token.kind === 'string') continue
    if (OPENING.has(word) || word === '<') depth++
    else if (CLOSING.has(word) || word === '>') depth--
    if (depth > POLICY_LIMITS.depth) {
      throw new SallyportError(
        'SP_CEDAR_LIMIT',
        `the schema nests deeper than ${POLICY_LIMITS.depth}`,
      )
    }
  }
}

function limit(id: string, what: string): SallyportError {
  return new SallyportError('SP_CEDAR_LIMIT', `policy \`${id}\` ${what}`)
}
