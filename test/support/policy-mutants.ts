import { tokenise } from '../../packages/cedar/src/lex.ts'

/** A policy with one thing changed, and what that was. */
export interface Mutant {
  readonly what: string
  readonly source: string
}

interface Word {
  readonly text: string
  readonly start: number
  readonly end: number
}

const SWAPS: Readonly<Record<string, string>> = {
  '<': '<=',
  '<=': '<',
  '>': '>=',
  '>=': '>',
  '==': '!=',
  '!=': '==',
  '&&': '||',
  '||': '&&',
}
const OPENING = new Set(['(', '[', '{'])
const CLOSING = new Set([')', ']', '}'])

/**
 * Every mutant of a policy: its principal left open, each condition and each operand of `&&` and `||` dropped,
 * each operator turned, each number moved by one, `when` and `unless` swapped, the effect turned.
 */
export function mutantsOf(source: string): Mutant[] {
  const words = tokenise(source).map(({ start, end }) => ({
    text: source.slice(start, end),
    start,
    end,
  }))
  const mutants: Mutant[] = []
  const cut = (what: string, start: number, end: number, put = ''): void => {
    mutants.push({ what, source: source.slice(0, start) + put + source.slice(end) })
  }
  const effect = words.findIndex(
    ({ text }, i) => /^(permit|forbid)$/.test(text) && words[i + 1]?.text === '(',
  )
  const scopeEnd = matching(words, effect + 1)
  scope(words.slice(effect + 2, scopeEnd), cut)
  const verb = words[effect]
  if (verb) {
    const other = verb.text === 'permit' ? 'forbid' : 'permit'
    cut(`${verb.text} → ${other}`, verb.start, verb.end, other)
  }
  for (let i = scopeEnd + 1; i < words.length && words[i]?.text !== ';'; i++) {
    const [keyword, open] = [words[i], words[i + 1]]
    const end = matching(words, i + 1)
    const close = words[end]
    if (!keyword || !open || !close) break
    const inside = words.slice(i + 2, end)
    cut(`without ${source.slice(keyword.start, close.end)}`, keyword.start, close.end)
    const swapped = keyword.text === 'when' ? 'unless' : 'when'
    cut(`${keyword.text} → ${swapped}`, keyword.start, keyword.end, swapped)
    operands(inside, source, cut)
    for (const { text, start, end: stop } of inside) {
      const swap = SWAPS[text]
      if (swap !== undefined) cut(`${text} → ${swap} at ${start}`, start, stop, swap)
      if (/^\d+$/.test(text)) {
        for (const by of [-1, 1])
          cut(`${text} ${by < 0 ? '−' : '+'} 1`, start, stop, String(Number(text) + by))
      }
    }
    i = end
  }
  return mutants
}

type Cut = (what: string, start: number, end: number, put?: string) => void

/**
 * Actions and resources are not opened: an operation fixes its system, so that much of it would be no change. Nor is
 * who may see a field, which is asked only about who may make the call.
 */
function scope(words: readonly Word[], cut: Cut): void {
  const [[variable, ...rest] = [], action = []] = split(words, ',')
  if (action.some(({ text }) => text.startsWith('"field.'))) return
  const last = rest.at(-1)
  if (variable && last) cut('any principal', variable.start, last.end, variable.text)
}

/** Drops each operand of the outermost join, and so on inside each of them. */
function operands(words: readonly Word[], source: string, cut: Cut): void {
  const bare = unwrapped(words)
  const joined = [split(bare, '||'), split(bare, '&&')].find((parts) => parts.length > 1)
  if (joined === undefined) return
  for (const [i, part] of joined.entries()) {
    const [first, last] = [part[0], part.at(-1)]
    const neighbour = joined[i === 0 ? 1 : i - 1]
    if (!first || !last || !neighbour) continue
    const what = `without ${source.slice(first.start, last.end)}`
    if (i === 0) cut(what, first.start, neighbour[0]?.start ?? last.end)
    else cut(what, neighbour.at(-1)?.end ?? first.start, last.end)
    operands(part, source, cut)
  }
}

/** Without parentheses around the whole. */
function unwrapped(words: readonly Word[]): readonly Word[] {
  return words[0]?.text === '(' && matching(words, 0) === words.length - 1
    ? unwrapped(words.slice(1, -1))
    : words
}

/** The parts between separators that stand in no brackets. */
function split(words: readonly Word[], separator: string): Word[][] {
  const parts: Word[][] = [[]]
  let depth = 0
  for (const word of words) {
    if (OPENING.has(word.text)) depth++
    if (CLOSING.has(word.text)) depth--
    if (depth === 0 && word.text === separator) parts.push([])
    else parts.at(-1)?.push(word)
  }
  return parts
}

/** Where the bracket that opens at a place closes. */
function matching(words: readonly Word[], open: number): number {
  let depth = 0
  for (let i = open; i < words.length; i++) {
    if (OPENING.has(words[i]?.text ?? '')) depth++
    if (CLOSING.has(words[i]?.text ?? '') && --depth === 0) return i
  }
  return words.length
}
