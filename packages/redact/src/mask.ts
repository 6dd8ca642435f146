import type { JsonValue } from '@sallyport/base'

/** How a masked value looks. */
export type MaskStyle = 'full' | 'last4' | 'first1' | 'year'

const HIDDEN = '***'

/**
 * Masks a value. `last4` keeps the last four letters or digits of at least eight, `first1` the first character of at least
 * two, `year` the year of an ISO 8601 date; whatever a style does not fit, and every style it does not know, is hidden
 * whole. The result never tells the length or the type of what was hidden.
 */
export function mask(value: JsonValue, style: string): JsonValue {
  if (typeof value !== 'string' && typeof value !== 'number') return HIDDEN
  const text = String(value)
  switch (style) {
    case 'last4':
      return last4(text)
    case 'first1':
      return first1(text)
    case 'year':
      return /^(\d{4})-\d{2}-\d{2}(?:T.*)?$/.exec(text)?.[1] ?? HIDDEN
    default:
      return HIDDEN
  }
}

function last4(text: string): string {
  const plain = last4OfAscii(text)
  if (plain !== undefined) return plain
  const kept = text.match(/[\p{L}\p{N}]/gu) ?? []
  return kept.length < 8 ? HIDDEN : `${HIDDEN}${kept.slice(-4).join('')}`
}

/** The same without a list of all its letters; undefined for a text with others than those of ASCII. */
function last4OfAscii(text: string): string | undefined {
  let count = 0
  let kept = ''
  for (let i = text.length - 1; i >= 0; i--) {
    const c = text.charCodeAt(i)
    if (c >= 0x80) return undefined
    const letter = c | 0x20
    if (!((c >= 0x30 && c <= 0x39) || (letter >= 0x61 && letter <= 0x7a))) continue
    if (++count <= 4) kept = text.charAt(i) + kept
  }
  return count < 8 ? HIDDEN : `${HIDDEN}${kept}`
}

const segmenter = new Intl.Segmenter()

function first1(text: string): string {
  const shown = text.trim()
  // Two of these are never one character for whoever reads them, but for the end of a line.
  if (/^[\x21-\x7e]{2}/.test(shown)) return `${shown.charAt(0)}${HIDDEN}`
  const [first, second] = segmenter.segment(shown)
  return first === undefined || second === undefined ? HIDDEN : `${first.segment}${HIDDEN}`
}
