import type { Random } from './vocabulary.ts'
import { some } from './vocabulary.ts'

/** Pieces that mean something to a parser, a lexer or a JavaScript object. */
const PIECES: readonly string[] = [
  ...['permit', 'forbid', 'when', 'unless', 'principal', 'action', 'resource', 'context', 'if'],
  ...['then', 'else', 'in', 'like', 'has', 'is', 'true', 'false', '?principal', '?resource'],
  ...['(', ')', '[', ']', '{', '}', ',', ';', ':', '::', '.', '@', '==', '!=', '<', '<=', '>='],
  ...['&&', '||', '!', '+', '-', '*', '/', '%', '=', '"', '\\', '\\u{', '\\u{1F600}', '\\x41'],
  ...['"*"', '"\\*"', '""', '//', '/*', '*/', '\n', '\r', '\t', ' ', '\u0000', '\u00a0', '\u2028'],
  ...['\ufeff', '\u200b', '\u202e', '\u0430', 'é', 'e\u0301', '😀', '\ud83d', '\udc00', '\ufb01'],
  ...['__proto__', 'constructor', 'toString', '__cedar', '__entity', '__extn', 'Action::"a"'],
  ...['0', '-1', '007', '9007199254740993', '9223372036854775807', '9223372036854775808', '1e3'],
  ...[
    '18446744073709551616',
    '1.5',
    '0x10',
    'ip("::1")',
    'decimal("1.0")',
    'datetime("2024-01-01")',
  ],
  ...['.contains(', '.isEmpty()', '.getTag("a")', '.hasTag("a")', '[]', '{}', 'User::"a"', '["a"]'],
  ...['@id("x")', 'entity', 'namespace', 'appliesTo', 'tags', 'enum', 'Set<', 'Long', '?:', 'type'],
]

/** A text near another: a few cuts, copies, swaps and insertions, now and then very many of one thing. */
export function mutate(text: string, other: string, random: Random): string {
  let mutated = text
  for (let left = 1 + random.below(4); left > 0; left--) mutated = once(mutated, other, random)
  return mutated
}

function once(text: string, other: string, random: Random): string {
  const at = random.below(text.length + 1)
  const end = Math.min(text.length, at + 1 + random.below(random.chance(0.8) ? 12 : 200))
  const from = random.below(other.length + 1)
  const piece = random.pick(some(PIECES))
  const insert = (what: string): string => text.slice(0, at) + what + text.slice(at)
  return random.pick([
    () => text.slice(0, at) + text.slice(end),
    () => insert(piece),
    () => insert(piece),
    () => insert(` ${piece} `),
    () => text.slice(0, at) + piece + text.slice(end),
    () => insert(text.slice(at, end)),
    () => insert(other.slice(from, from + 1 + random.below(80))),
    () => swapWords(text, random),
    () => insert(String.fromCodePoint(random.below(0xd800))),
    () => insert(repeated(piece, random)),
  ])()
}

/** Two words change places: what comes out is often still a policy. */
function swapWords(text: string, random: Random): string {
  const words = text.split(/(\b|(?<=\W)|(?=\W))/)
  const [a, b] = [random.below(words.length), random.below(words.length)]
  const [left = '', right = ''] = [words[a], words[b]]
  return words.with(a, right).with(b, left).join('')
}

function repeated(piece: string, random: Random): string {
  return piece.repeat(random.pick([2, 3, 10, 39, 41, 200, random.chance(0.1) ? 20_000 : 5]))
}

/** A smaller text for which `still` holds as it does for this one, found in a bounded number of tries. */
export async function shrink(
  text: string,
  still: (text: string) => Promise<boolean>,
): Promise<string> {
  let best = text
  let tries = 300
  // What is wrong may be that a case takes long.
  const until = performance.now() + 60_000
  for (let size = Math.ceil(text.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < best.length && tries > 0 && performance.now() < until; tries--) {
      const smaller = best.slice(0, at) + best.slice(at + size)
      if (await still(smaller)) best = smaller
      else at += size
    }
  }
  return best
}
