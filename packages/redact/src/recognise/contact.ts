import type { Place, Recogniser } from './recogniser.ts'

const OCTET = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)'
/** Fifteen digits at most (ITU-T E.164), in groups. */
const PHONE_CONTEXT =
  /(?:phone|call|cell|mobile|tel\b|telepono|fax|text|sms|whatsapp|number|contact|reach|dial|cep\b|mobil|telefon|numero|hotline|landline)/

/** Ways to reach somebody, and where machines are. E-mail, URLs and IPv6 are found by their marks, in `marked.ts`. */
export const contact: readonly Recogniser[] = [
  {
    id: 'ip',
    kind: 'IP',
    group: 'identifiers',
    starts: 'd1-3[.]',
    pattern: new RegExp(
      `(?<![\\w.:])(?:${OCTET}\\.){3}${OCTET}(?![\\w])(?:/(?:3[0-2]|[12]?\\d)(?!\\d))?`,
      'y',
    ),
  },
  {
    id: 'mac',
    kind: 'MAC',
    group: 'identifiers',
    starts: 'd2[:-] l2[:-] m2[:-] n2[:-] d4[.] l4[.] m4[.] n4[.]',
    initials: '0123456789abcdefABCDEF',
    pattern:
      /(?<![:.-])[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}(?![\w:-])|[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![\w.])/y,
    holds: (text) => !/^(?:[0:.-]+|[Ff:.-]+)$/.test(text),
  },
  {
    id: 'phone',
    kind: 'PHONE',
    group: 'identifiers',
    starts: 'd1-13 n10-18',
    quick: dials,
    pattern:
      /(?<![\d][.,/:-])(?:(?<=\+)\d{1,4}(?:[ .-]{0,2}\(\d{1,4}\))?(?:[ .-]?\d{1,12}){1,6}|(?<=\()\d{1,5}\)[ .-]{0,2}\d{2,8}(?:[ .-]\d{1,8}){0,5}|\d{1,3}[ .-]?\(\d{1,4}\)[ .-]?\d{2,8}(?:[ .-]\d{1,8}){0,4}|\d{1,6}(?:[ .-]\d{1,8}){1,6})(?:(?: ?x| ext\.? ?)\d{1,6})?(?!\w|[.,/:-]\d)/y,
    holds: isPhone,
  },
  {
    id: 'phone_plain',
    kind: 'PHONE',
    group: 'identifiers',
    starts: 'd7-13',
    pattern: /\d{7,13}(?![\w-])/y,
    context: PHONE_CONTEXT,
  },
  {
    id: 'ph_mobile_number',
    kind: 'PHONE',
    group: 'identifiers',
    starts: 'd1-8[s()-] d11 d12',
    initials: '06',
    quick: goesOn,
    pattern:
      /(?:(?<=\+)63[- ]?\(?9\d{2}\)?[- ]?\d{3}[- ]?\d{4}|0[- ]?\(?9\d{2}\)?[- ]?\d{3}[- ]?\d{4})(?!\d)/y,
  },
  {
    id: 'tr_phone_number',
    kind: 'PHONE',
    group: 'identifiers',
    starts: 'd1-10[s.()-] d10-12',
    initials: '023459',
    quick: goesOn,
    pattern:
      /(?:(?<=\+)90[ .-]?|0[ .-]?)?\(?[2-5]\d{2}\)?[ .-]?\d{3}[ .-]?\d{2}[ .-]?\d{2}(?![\w])/y,
    context: PHONE_CONTEXT,
  },
]

/** Whether more groups can follow, or a `+` came before. */
function dials({ codes, start, end, limit }: Place): boolean {
  const next = end < limit ? codes[end] : 0
  // After a bracket, or in one, it is as it is.
  if (codes[start - 1] === 0x2b || next === 0x28 || next === 0x29) return true
  if (next !== 0x20 && next !== 0x2d && next !== 0x2e) return false
  const after = end + 1 < limit ? (codes[end + 1] ?? 0) : 0
  return after === 0x28 || (after >= 0x30 && after <= 0x39)
}

/** After a few figures and a sign that joins, there must be more of them, or a bracket. */
function goesOn({ codes, start, end, limit }: Place): boolean {
  const next = end < limit ? codes[end] : 0
  if (end - start > 4 || next === 0x28 || next === 0x29) return true
  const after = end + 1 < limit ? (codes[end + 1] ?? 0) : 0
  return after === 0x28 || (after >= 0x30 && after <= 0x39)
}

const YEARS = /^(?:(?:19|20)\d{2}(?:[ .\-()x]+|$))+$/

/** Groups as people write telephone numbers; not years, money, versions or parts of a day. */
function isPhone(text: string): boolean {
  let digits = 0
  for (let i = 0; i < text.length; i++) if ((text.charCodeAt(i) - 48) >>> 0 <= 9) digits++
  if (digits < 7 || digits > 19) return false
  if (/^(?:19|20)\d{2}[-. ](?:0?[1-9]|1[0-2])[-. ](?:0?[1-9]|[12]\d|3[01])$/.test(text))
    return false
  if (/^\d{1,2}[-. ]\d{1,2}[-. ](?:19|20)\d{2}$/.test(text)) return false
  if (/^\d{1,3}(?:\.\d{1,3}){3}$/.test(text)) return false
  // `2019 2020 2021` and `1 000 000` are no numbers that anybody dials.
  return !YEARS.test(text)
}
