import { allSame, digitsOf, icao, isDay, luhn, mod11_10, weighted } from './checksums.ts'
import { figureFollows } from './recogniser.ts'
import type { Place, Recogniser } from './recogniser.ts'

const ID = { kind: 'ID', group: 'identifiers' } as const
const PLATE = { kind: 'PLATE', group: 'identifiers' } as const
const CAR =
  /(?:vehicle|\bcar\b|\bcars\b|plate|licen[cs]e|registration|kennzeichen|fahrzeug|plaka|\breg\b|\bvan\b|truck|bike)/
const DOCUMENT = /(?:passport|\bpass\b|pasaporte|passaporto|reisepass|travel document)/
const NIF = 'TRWAGMYFPDXBNJZSQVHLCKE'

/** Identifiers of Europe. */
export const europe: readonly Recogniser[] = [
  {
    ...ID,
    id: 'uk_nino',
    starts: 'l2[s]# m4[s] m6[s] m8[s] m9',
    quick: figureFollows,
    pattern:
      /(?!bg|gb|nk|kn|nt|tn|zz)[a-ceghj-pr-tw-z][a-ceghj-npr-tw-z] ?\d{2} ?\d{2} ?\d{2} ?[a-d](?!\w)/iy,
  },
  {
    ...ID,
    id: 'uk_nhs',
    starts: 'd3[s-]# d10',
    pattern: /\d{3}([- ]?)\d{3}\1\d{4}(?![\w]|-\d)/y,
    holds: (text) => {
      const digits = digitsOf(text)
      const check = (11 - (weighted(digits, [10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11)) % 11
      return check === digits[9] && !allSame(text)
    },
  },
  {
    ...ID,
    id: 'uk_passport',
    starts: 'm9',
    pattern: /[A-Z]{2}\d{7}(?!\w)/iy,
    context: DOCUMENT,
  },
  {
    ...ID,
    id: 'uk_driving_licence',
    starts: 'm16',
    pattern:
      /[A-Z][A-Z9]{4}\d(?:0[1-9]|1[0-2]|5[1-9]|6[0-2])(?:0[1-9]|[12]\d|3[01])\d[A-Z9]{2}[A-Z0-9][A-Z]{2}(?!\w)/iy,
  },
  {
    kind: 'POSTCODE',
    group: 'identifiers',
    id: 'uk_postcode',
    starts: 'm2-4[s] m5-7 l3[s]#',
    quick: figureFollows,
    pattern:
      /(?:GIR\s?0AA|(?:[A-PR-UWYZ]\d[ABCDEFGHJKPSTUW]?|[A-PR-UWYZ]\d\d|[A-PR-UWYZ][A-HK-Y]\d[ABEHMNPRVWXY]?|[A-PR-UWYZ][A-HK-Y]\d\d)\s?\d[ABD-HJLNP-UW-Z]{2})(?!\w)/y,
  },
  {
    ...PLATE,
    id: 'uk_vehicle_registration',
    starts: 'm2-4[s-] m5-8 l3[s-]#',
    quick: figureFollows,
    pattern:
      /(?:[A-HJ-PR-Y]{2}(?:0[2-9]|[12]\d|5[1-9]|[67]\d)[- ]?[A-HJ-PR-Z]{3}|[A-HJ-NPR-TV-Y]\d{1,3}[- ]?[A-HJ-PR-Y][A-HJ-PR-Z]{2}|[A-HJ-PR-Z]{3}[- ]?\d{1,3}[- ]?[A-HJ-NPR-TV-Y])(?!\w)/iy,
    context: CAR,
  },
  {
    ...ID,
    id: 'de_id_card',
    starts: 'm9',
    pattern: /[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{7}\d(?!\w)/iy,
    holds: (text) => icao(text) || /^T\d{8}$/i.test(text),
    context: /(?:ausweis|\bid\b|identity|identit|personal|card)/,
  },
  {
    ...ID,
    id: 'de_passport',
    starts: 'm9',
    pattern: /[CFGHJKLMNPRTVWXYZ][CFGHJKLMNPRTVWXYZ0-9]{7}\d(?!\w)/iy,
    holds: icao,
    context: DOCUMENT,
  },
  {
    ...ID,
    id: 'de_tax_id',
    starts: 'd11',
    pattern: /[1-9]\d{10}(?!\w)/y,
    holds: (text) => mod11_10(text) && !/(\d)(?:\d*\1){3}/.test(text.slice(0, 10)),
    context: /(?:steuer|idnr|tin\b|\btax\b)/,
  },
  {
    ...ID,
    id: 'de_tax_number',
    starts: 'd13 d2[/] d3[/]',
    pattern: /(?<![\w/])(?:(?:0[1-9]|1[0-6])\d{11}|\d{2,3}\/\d{3,4}\/\d{4,5})(?![\w/])/y,
    context: /(?:steuer|st\.?-?nr|\btax\b)/,
  },
  {
    ...ID,
    id: 'de_vat_id',
    starts: 'm11 l2[s.-]# m5[s.-]# m8[s.-]#',
    initials: 'Dd',
    pattern: /DE[\s.-]?\d{3}[\s.-]?\d{3}[\s.-]?\d{3}(?![\w-])/iy,
  },
  {
    ...ID,
    id: 'de_social_security',
    starts: 'n12',
    pattern:
      /\d{2}(?:0[1-9]|[12]\d|3[01]|5[1-9]|[67]\d|8[01])(?:0[1-9]|1[0-2])\d{2}[A-Z]\d{3}(?!\w)/iy,
    holds: (text) => {
      const letter = String(text.toUpperCase().charCodeAt(8) - 64).padStart(2, '0')
      const digits = digitsOf(text.slice(0, 8) + letter + text.slice(9, 11))
      return crossSum(digits, [2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1]) % 10 === Number(text.at(-1))
    },
  },
  {
    ...ID,
    id: 'de_health_insurance',
    starts: 'm10',
    pattern: /[A-Z]\d{9}(?!\w)/iy,
    holds: (text) => {
      const letter = String(text.toUpperCase().charCodeAt(0) - 64).padStart(2, '0')
      const digits = digitsOf(letter + text.slice(1, 9))
      return crossSum(digits, [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]) % 10 === Number(text.at(-1))
    },
  },
  {
    ...ID,
    id: 'de_lanr',
    starts: 'd9',
    pattern: /\d{9}(?!\w)/y,
    holds: (text) => {
      const digits = digitsOf(text)
      return (10 - (weighted(digits, [4, 9, 4, 9, 4, 9]) % 10)) % 10 === digits[6]
    },
    context: /(?:lanr|arzt)/,
  },
  {
    ...ID,
    id: 'de_bsnr',
    starts: 'd9',
    pattern: /(?!0{9})\d{9}(?!\w)/y,
    context: /(?:bsnr|betriebsst|praxis)/,
  },
  {
    ...ID,
    id: 'de_fuehrerschein',
    starts: 'm11',
    pattern: /[A-Z]{2}\d{8}[A-Z0-9](?!\w)/iy,
    context: /(?:führerschein|fahrerlaubnis|driv|licen[cs]e)/,
  },
  {
    ...ID,
    id: 'de_handelsregister',
    starts: 'l3[s] m4-9',
    initials: 'Hh',
    pattern: /HR[AB]\s{0,3}\d{1,6}(?!\w)/iy,
  },
  {
    ...PLATE,
    id: 'de_kfz',
    starts: 'l1-3',
    quick: hasPlate,
    pattern: /(?<![\w-])[A-ZÄÖÜ]{1,3}(?:\s[A-Z]{1,2}\s|-[A-Z]{1,2}[-\s])\d{1,4}[EH]?(?!\w)/iy,
    context: CAR,
  },
  {
    kind: 'POSTCODE',
    group: 'identifiers',
    id: 'de_plz',
    starts: 'd5',
    pattern: /(?!01000|99999)(?:0[1-9]\d{3}|[1-9]\d{4})(?![\w])/y,
    context: /(?:\bplz\b|postleitzahl|\bzip\b|postal|postcode|zip code)/,
  },
  {
    ...ID,
    id: 'es_nif',
    starts: 'n8 n9 d7[-] d8[-]',
    pattern: /\d{7,8}-?[A-Z](?!\w)/iy,
    holds: (text) => NIF[Number(text.replaceAll(/\D/g, '')) % 23] === text.at(-1)?.toUpperCase(),
  },
  {
    ...ID,
    id: 'es_nie',
    starts: 'm8[-] m9',
    initials: 'XYZxyz',
    pattern: /[X-Z]\d{7}-?[A-Z](?!\w)/iy,
    holds: (text) => {
      const first = 'XYZ'.indexOf(text.charAt(0).toUpperCase())
      const number = Number(`${first}${text.slice(1).replaceAll(/\D/g, '')}`)
      return NIF[number % 23] === text.at(-1)?.toUpperCase()
    },
  },
  {
    ...ID,
    id: 'es_passport',
    starts: 'm9',
    pattern: /[A-Z]{3}\d{6}(?!\w)/iy,
    context: DOCUMENT,
  },
  {
    ...ID,
    id: 'fi_personal_identity_code',
    starts: 'n11 d6[+-]',
    pattern: /\d{6}[-+ABCDEFYXWVU]\d{3}[0-9A-FHJ-NPR-Y](?!\w)/y,
    holds: (text) => {
      const digits = text.slice(0, 6)
      if (!isDay(digits.slice(4) + digits.slice(2, 4) + digits.slice(0, 2))) return false
      const number = Number(digits + text.slice(7, 10))
      return '0123456789ABCDEFHJKLMNPRSTUVWXY'[number % 31] === text.at(-1)
    },
  },
  {
    ...ID,
    id: 'it_fiscal_code',
    starts: 'm16 l16',
    pattern:
      /[A-Z]{6}[\dLMNP-V]{2}[A-EHLMPR-T](?:[04LQ][1-9MNP-V]|[15MR][\dLMNP-V]|[26NS][0-8LMNP-U]|[37PT][01LM])[A-MZ][\dLMNP-V]{3}[A-Z](?!\w)/iy,
  },
  {
    ...ID,
    id: 'it_driver_license',
    starts: 'm10',
    pattern: /(?:[A-Z]{2}\d{7}[A-Z]|U1[B-HJ-NP-Y0-9]{7}[A-Z])(?!\w)/iy,
    holds: (text) => !/^U1/i.test(text) || !/[AEIOQV]/i.test(text.slice(2, 9)),
  },
  {
    ...ID,
    id: 'it_identity_card',
    starts: 'm9 n9 l2[s]#',
    pattern: /(?:[A-Z]{2}\s?\d{7}|\d{7}[A-Z]{2}|[A-Z]{2}\d{5}[A-Z]{2})(?!\w)/iy,
    context: /(?:identit|carta|\bcie\b|\bid\b)/,
  },
  {
    ...ID,
    id: 'it_passport',
    starts: 'm9',
    pattern: /[A-Z]{2}\d{7}(?!\w)/iy,
    context: DOCUMENT,
  },
  {
    ...ID,
    id: 'it_vat_code',
    starts: 'd11 n12',
    pattern: /\d{8}_?\d{3}(?!\w)/y,
    holds: (text) => luhn(text) && !allSame(text),
    context: /(?:\biva\b|\bvat\b|p\.? ?iva|partita)/,
  },
  {
    ...ID,
    id: 'pl_pesel',
    starts: 'd11',
    pattern: /\d{2}(?:[02468][1-9]|[13579][012])(?:0[1-9]|[12]\d|3[01])\d{5}(?!\w)/y,
    holds: (text) => {
      const digits = digitsOf(text)
      return (10 - (weighted(digits, [1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10)) % 10 === digits[10]
    },
  },
  {
    ...ID,
    id: 'se_personnummer',
    starts: 'd6[+-] d8[+-] d10 d12',
    pattern: /(?:\d{2})?\d{6}[-+]?\d{4}(?!\w)/y,
    holds: (text) => {
      const digits = text.replaceAll(/\D/g, '')
      const day = digits.slice(0, -4)
      // A coordination number has sixty added to its day.
      const plain =
        Number(day.slice(-2)) > 60
          ? day.slice(0, -2) + String(Number(day.slice(-2)) - 60).padStart(2, '0')
          : day
      return (
        isDay(plain) &&
        luhn(digits.slice(-10)) &&
        (digits.length === 10 || /^(?:18|19|20)/.test(digits))
      )
    },
  },
  {
    ...ID,
    id: 'se_organisationsnummer',
    starts: 'd6[-] d10',
    pattern: /\d{2}[2-9]\d{3}-?\d{4}(?!\w)/y,
    holds: luhn,
    context: /(?:org|företag|company)/,
  },
  {
    ...ID,
    id: 'tr_national_id',
    starts: 'd11',
    pattern: /[1-9]\d{10}(?!\w)/y,
    holds: (text) => {
      const d = digitsOf(text)
      const at = (i: number): number => d[i] ?? 0
      const odd = at(0) + at(2) + at(4) + at(6) + at(8)
      const even = at(1) + at(3) + at(5) + at(7)
      const tenth = (((7 * odd - even) % 10) + 10) % 10
      return tenth === at(9) && (odd + even + at(9)) % 10 === at(10)
    },
  },
  {
    ...PLATE,
    id: 'tr_license_plate',
    starts: 'd2[s-] n3-5[s] n5-9',
    quick: lettersFollow,
    pattern: /(?:0[1-9]|[1-7]\d|8[01])(?:\s?[A-PR-VY-Z]{1,3}\s?|-[A-PR-VY-Z]{1,3}-)\d{2,4}(?!\w)/iy,
    context: CAR,
  },
]

/** Whether one or two letters and a figure come after it, as on a plate. */
function hasPlate({ codes, start, end, limit }: Place): boolean {
  let i = end
  // The word that was found ends before an umlaut.
  while (i < limit && i < start + 3 && isLetter(codes[i] ?? 0)) i++
  const first = ++i
  while (i < limit && i < first + 2 && isLetter(codes[i] ?? 0)) i++
  const figure = i + 1 < limit ? (codes[i + 1] ?? 0) : 0
  return i > first && figure >= 0x30 && figure <= 0x39
}

/** After two figures and a sign a letter must stand. */
function lettersFollow({ codes, start, end, limit }: Place): boolean {
  return end - start > 2 || (end + 1 < limit && isLetter(codes[end + 1] ?? 0))
}

const isLetter = (c: number): boolean => (c | 0x20) >= 0x61

/** Products summed digit by digit. */
function crossSum(digits: readonly number[], weights: readonly number[]): number {
  return weights.reduce((sum, weight, i) => {
    const product = weight * (digits[i] ?? 0)
    return sum + Math.floor(product / 10) + (product % 10)
  }, 0)
}
