/** Up to this length, `indexOf` looks at no more than this many times the text. */
const SHORT = 64

/**
 * As `text.indexOf(part, from)`, in time that grows with the lengths and not with their product: the built-in takes half a
 * minute to find a certain 30,000 characters in a million, and the text is the caller's.
 */
export function indexOf(text: string, part: string, from: number): number {
  return part.length <= SHORT ? text.indexOf(part, from) : knuthMorrisPratt(text, part, from)
}

function knuthMorrisPratt(text: string, part: string, from: number): number {
  const borders = bordersOf(part)
  let matched = 0
  for (let at = from; at < text.length; at++) {
    matched = extend(part, borders, matched, text.charCodeAt(at))
    if (matched === part.length) return at + 1 - matched
  }
  return -1
}

/** For each length of a start of the text, the longest shorter start that it also ends with. */
function bordersOf(part: string): Uint32Array {
  const borders = new Uint32Array(part.length)
  for (let at = 1; at < part.length; at++) {
    borders[at] = extend(part, borders, borders[at - 1] ?? 0, part.charCodeAt(at))
  }
  return borders
}

/** How much of `part` ends at the next character, where `matched` of it ended before. */
function extend(part: string, borders: Uint32Array, matched: number, next: number): number {
  let length = matched
  while (length > 0 && part.charCodeAt(length) !== next) length = borders[length - 1] ?? 0
  return part.charCodeAt(length) === next ? length + 1 : length
}
