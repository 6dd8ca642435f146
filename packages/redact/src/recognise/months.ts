/** Names of months as dates have them, whole and cut short. A sign that is no letter of ASCII may be written without its accent. */
const ENGLISH =
  'Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?'
const GERMAN = 'Jän(?:ner)?|Januar|Februar|März?|Mai|Juni|Juli|Sept|Okt(?:ober)?|Dez(?:ember)?'
const FRENCH =
  'janv(?:ier)?|févr?(?:ier)?|mars|avr(?:il)?|mai|juin|juil(?:l|let)?|août|septembre|octobre|novembre|déc(?:embre)?'
const SPANISH =
  'enero|febrero|marzo|abr(?:il)?|mayo|junio|julio|agosto|sep?tiembre|octubre|noviembre|dic(?:iembre)?'
const ITALIAN = 'gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre'
const DUTCH = 'januari|februari|maart|mrt|mei|augustus'
const PORTUGUESE = 'janeiro|fev(?:ereiro)?|março|maio|junho|julho|setembro|outubro|dezembro'
const POLISH =
  'styczeń|stycznia|luty|lutego|marzec|marca|kwi(?:ecień|etnia)|maja?|czerwiec|czerwca|lipiec|lipca|sierpień|sierpnia|wrzesień|września|października?|listopada?|grudzień|grudnia'
/** Short ones that are words of English, or of its kind, besides: only a word before them tells. */
const AMBIGUOUS = 'ene|gen|mag|giu|lug|ago|set|ott|out|sty|lut|kwi|cze|lip|sie|wrz|paź|lis|gru'

const PLAIN: Readonly<Record<string, string>> = { ł: 'l', ß: 'ss' }
const WRITTEN_OUT: Readonly<Record<string, string>> = { ä: 'ae', ö: 'oe', ü: 'ue' }

/** Each letter beyond ASCII as it may be written: as one, as a letter and its accent, or plainly. */
const written = (names: string): string =>
  names.replaceAll(/[^\0-\x7f]/g, (c) => {
    const parts = c.normalize('NFD')
    const out = WRITTEN_OUT[c]
    const ways = [c, parts, PLAIN[c] ?? parts.charAt(0), ...(out === undefined ? [] : [out])]
    return `(?:${[...new Set(ways)].join('|')})`
  })

/** Alternatives of a regular expression that ignores case. */
export const ENGLISH_MONTHS: string = ENGLISH
/** The same of eight languages: English, German, French, Spanish, Italian, Dutch, Portuguese and Polish. */
export const MONTHS: string = written(
  [ENGLISH, GERMAN, FRENCH, SPANISH, ITALIAN, DUTCH, PORTUGUESE, POLISH].join('|'),
)
export const MONTHS_IN_CONTEXT: string = `${MONTHS}|${written(AMBIGUOUS)}`

/** Of three letters, in any case; everything beyond ASCII is one letter more. */
const keyOf = (codes: ArrayLike<number>, at: number): number =>
  (letterOf(codes[at]) * 27 + letterOf(codes[at + 1])) * 27 + letterOf(codes[at + 2])
function letterOf(c = 0): number {
  if (c > 0x7f) return 26
  return (c | 0x20) - 0x61
}

const IN_ENGLISH = 1
const IN_ANY = 2
const beginnings = new Uint8Array(27 ** 3)
const english = 'jan feb mar apr may jun jul aug sep oct nov dec'
const others =
  'jän jae mär mae mai mei okt dez fév fev avr jui aoû aou déc ene abr ago dic gen mag giu lug set ott out maa maj mrt sty lut kwi cze lip sie wrz paź paz lis gru'
// A letter whose accent is a character of its own begins as the plain one does, and has something beyond ASCII third.
const apart = 'ma\u0308 ja\u0308 fe\u0301 de\u0301'
for (const name of `${english} ${others} ${apart}`.split(' ')) {
  const key = keyOf(
    Array.from(name.slice(0, 3), (c) => c.charCodeAt(0)),
    0,
  )
  beginnings[key] = (beginnings[key] ?? 0) | IN_ANY | (english.includes(name) ? IN_ENGLISH : 0)
}

/** Whether a word begins as a month does, in English. */
export const isEnglishMonth = (codes: ArrayLike<number>, at: number): boolean =>
  ((beginnings[keyOf(codes, at)] ?? 0) & IN_ENGLISH) !== 0

const WHOLE_NAME = new RegExp(`^(?:${MONTHS_IN_CONTEXT})\\.?$`, 'i')
/** With an accent of its own. */
const LONGEST_NAME = 'października.'.length + 1

/** Whether a word is the name of a month in any of the languages, whole or short. */
export const isMonthName = (
  { codes, text }: { readonly codes: ArrayLike<number>; readonly text: string },
  start: number,
  end: number,
): boolean =>
  end - start <= LONGEST_NAME &&
  ((beginnings[keyOf(codes, start)] ?? 0) & IN_ANY) !== 0 &&
  WHOLE_NAME.test(text.slice(start, end))
