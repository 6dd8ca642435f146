import type { GrowingText } from '../growing.ts'
import { ENGLISH_MONTHS, isEnglishMonth, MONTHS, MONTHS_IN_CONTEXT } from './months.ts'
import type { Place, Recogniser } from './recogniser.ts'

const DATE = { kind: 'DATE', group: 'identifiers' } as const
const MONTH = '(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)'
const MONTH_NAME = `(?:${ENGLISH_MONTHS})`
const DAY = '(?:0?[1-9]|[12]\\d|3[01])'
const NUMBER = '(?:0?[1-9]|1[0-2])'
const AFTER = '(?![\\w]|[/-]\\d)'
/** A day and a year with a month between them: `1er mars 1990`, `12. März 1990`, `12 de marzo de 1990`, `1° gennaio 1990`. */
const written = (months: string): string =>
  `${DAY}(?:(?:st|nd|rd|th|er|ro|\\.?[º°])? |\\. ?)(?:(?:of|de|d[ei]l?) )?(?:${months})\\.?(?:,? | del? )\\d{4}(?!\\w)`
const FORMS = [
  '\\d{4}-[01]\\d-[0-3]\\dT[0-2]\\d:[0-5]\\d(?::[0-5]\\d(?:\\.\\d{1,9})?)?(?:[+-][0-2]\\d:?[0-5]\\d|Z)?(?!\\w)',
  `\\d{4}[-/]${NUMBER}[-/]${DAY}(?: [0-2]\\d:[0-5]\\d(?::[0-5]\\d)?)?${AFTER}`,
  `(?:${NUMBER}[-/]${DAY}|${DAY}[-/]${NUMBER})[-/](?:\\d{4}|\\d{2})${AFTER}`,
  `${DAY}\\.${NUMBER}\\.(?:\\d{4}|\\d{2})(?![\\w]|\\.\\d)`,
  `${DAY}-${MONTH}-(?:\\d{4}|\\d{2})${AFTER}`,
  `${MONTH_NAME}\\.? ${DAY}(?:st|nd|rd|th)?,? \\d{4}(?!\\w)`,
]
const LOOSE = [
  `${MONTH}-(?:\\d{4}|\\d{2})${AFTER}`,
  `${DAY}-${MONTH}${AFTER}`,
  `${NUMBER}/(?:\\d{4}|\\d{2})${AFTER}`,
  `${MONTH_NAME}\\.? ${DAY}(?:st|nd|rd|th)(?!\\w)`,
  `${DAY}(?:st|nd|rd|th) (?:of )?${MONTH_NAME}(?!\\w)`,
  '(?:19|20)\\d{2}(?![\\w-])',
]
/** What calls a day one of birth. */
const CALLED =
  /(?:born|birth|\bdob\b|geboren|geburt|\bgeb\.|naissance|\bné(?:e|\(e\))? |nacimiento|\bnacid[oa]|nascita|\bnat[oa] (?:il|a|nel)\b|geboorte|nascimento|\bnascid[oa]|urodz|\bur\. |\bd\.o\.b)/
const SIGNED = 'd1-2[s/.º°-] l3-9[s.-] n3-4[s]'
const INITIALS = 'JFMASONDjfmasond0123456789'

/** Days: of birth wherever they are called that; any day where `dates` are asked for. */
export const dates: readonly Recogniser[] = [
  {
    ...DATE,
    id: 'date_of_birth',
    starts: `d4[/-] ${SIGNED}`,
    initials: INITIALS,
    quick: isDate,
    pattern: new RegExp(
      `(?<![\\w/.-])(?:${[...FORMS, written(MONTHS_IN_CONTEXT)].join('|')})`,
      'iy',
    ),
    context: CALLED,
  },
  {
    ...DATE,
    id: 'date',
    group: 'dates',
    starts: `d4 ${SIGNED}`,
    initials: INITIALS,
    quick: isDate,
    pattern: new RegExp(
      `(?<![\\w/.-])(?:${[...FORMS, written(MONTHS), ...LOOSE].join('|')})`,
      'iy',
    ),
  },
]

/** A month by itself, where a word before it says that it is one. */
export const month: Recogniser = {
  ...DATE,
  id: 'month',
  group: 'dates',
  starts: 'l3-9',
  initials: 'JFMASOND',
  quick: ({ codes, start }) => isEnglishMonth(codes, start),
  pattern: new RegExp(
    `(?<=\\b(?:in|of|on|since|until|by|last|next|this) )${MONTH_NAME}(?!\\w)`,
    'y',
  ),
}

/** Whether a word is a day as it stands in a date: one or two figures, and perhaps `st`, `nd`, `rd` or `th`. */
export function isDayOfMonth({ codes }: GrowingText, start: number, end: number): boolean {
  let i = start
  while (i < end && i < start + 2 && isFigure(codes[i])) i++
  const letters = end - i
  return i > start && (letters === 0 || (letters === 2 && !isFigure(codes[i])))
}

const isFigure = (c: number | undefined): boolean => c !== undefined && c >= 0x30 && c <= 0x39

/** A month with a day after it, a year, or a day with what belongs to it: after a blank a month, or `of`. */
function isDate({ codes, start, end, limit }: Place): boolean {
  const next = end < limit ? (codes[end] ?? 0) : 0
  const after = end + 1 < limit ? (codes[end + 1] ?? 0) : 0
  if ((codes[start] ?? 0) > 0x39)
    return isEnglishMonth(codes, start) && (next !== 0x20 || after <= 0x39)
  const length = end - start
  if (length > 2 && (codes[end - 1] ?? 0) <= 0x39) {
    const century = 10 * (codes[start] ?? 0) + (codes[start + 1] ?? 0) - 528
    return century === 19 || century === 20 || next === 0x2d || next === 0x2f
  }
  return next !== 0x20 || (after | 0x20) >= 0x61
}
