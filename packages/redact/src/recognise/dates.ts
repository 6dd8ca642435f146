import type { Recogniser } from './recogniser.ts'

const DATE = { kind: 'DATE', group: 'identifiers' } as const
const MONTH = '(?:JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)'
const MONTH_NAME =
  '(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)'
const DAY = '(?:0?[1-9]|[12]\\d|3[01])'
const NUMBER = '(?:0?[1-9]|1[0-2])'
const AFTER = '(?![\\w]|[/-]\\d)'
const FORMS = [
  '\\d{4}-[01]\\d-[0-3]\\dT[0-2]\\d:[0-5]\\d(?::[0-5]\\d(?:\\.\\d{1,9})?)?(?:[+-][0-2]\\d:?[0-5]\\d|Z)?(?!\\w)',
  `\\d{4}[-/]${NUMBER}[-/]${DAY}(?: [0-2]\\d:[0-5]\\d(?::[0-5]\\d)?)?${AFTER}`,
  `(?:${NUMBER}[-/]${DAY}|${DAY}[-/]${NUMBER})[-/](?:\\d{4}|\\d{2})${AFTER}`,
  `${DAY}\\.${NUMBER}\\.(?:\\d{4}|\\d{2})(?![\\w]|\\.\\d)`,
  `${DAY}-${MONTH}-(?:\\d{4}|\\d{2})${AFTER}`,
  `${DAY}(?:st|nd|rd|th)? (?:of )?${MONTH_NAME}\\.?,? \\d{4}(?!\\w)`,
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
const STARTS = 'd1-4 l3-9 n3-4 n10-32'

/** Days: of birth wherever they are called that; any day where `dates` are asked for. */
export const dates: readonly Recogniser[] = [
  {
    ...DATE,
    id: 'date_of_birth',
    starts: STARTS,
    initials: 'JFMASONDjfmasond',
    pattern: new RegExp(`(?<![\\w/.-])(?:${FORMS.join('|')})`, 'iy'),
    context: /(?:born|birth|\bdob\b|geboren|geburt|naissance|nacimiento|nascita|\bd\.o\.b)/,
  },
  {
    ...DATE,
    id: 'date',
    group: 'dates',
    starts: STARTS,
    initials: 'JFMASONDjfmasond',
    pattern: new RegExp(`(?<![\\w/.-])(?:${[...FORMS, ...LOOSE].join('|')})`, 'iy'),
  },
]

/** A month by itself, where a word before it says that it is one. */
export const MONTH_ALONE: RegExp = new RegExp(
  `(?<=\\b(?:in|of|on|since|until|by|last|next|this) )${MONTH_NAME}(?!\\w)`,
  'g',
)
