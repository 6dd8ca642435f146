import { allSame, digitsOf, isDay, luhn, verhoeff, weighted } from './checksums.ts'
import type { Recogniser } from './recogniser.ts'

const ID = { kind: 'ID', group: 'identifiers' } as const
const PLATE = { kind: 'PLATE', group: 'identifiers' } as const
const DOCUMENT = /(?:passport|여권|travel document)/
const CAR = /(?:vehicle|\bcar\b|plate|registration|bike|\bvan\b|truck)/

/** Identifiers of Asia, Africa and Australia. */
export const asia: readonly Recogniser[] = [
  {
    ...ID,
    id: 'au_abn',
    starts: 'd2[s]# d11',
    pattern: /[1-9]\d(?: \d{3} \d{3} \d{3}|\d{9})(?![\w]| \d)/y,
    holds: (text) => {
      const [first = 0, ...rest] = digitsOf(text)
      return weighted([first - 1, ...rest], [10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]) % 89 === 0
    },
  },
  {
    ...ID,
    id: 'au_acn',
    starts: 'd3[s]# d9',
    pattern: /\d{3}( ?)\d{3}\1\d{3}(?![\w]| \d)/y,
    holds: (text) => {
      const digits = digitsOf(text)
      return (10 - (weighted(digits, [8, 7, 6, 5, 4, 3, 2, 1]) % 10)) % 10 === digits[8]
    },
    context: /(?:\bacn\b|company|australia)/,
  },
  {
    ...ID,
    id: 'au_tfn',
    starts: 'd3[s]# d9',
    pattern: /\d{3}( ?)\d{3}\1\d{3}(?![\w]| \d)/y,
    holds: (text) =>
      weighted(digitsOf(text), [1, 4, 3, 7, 5, 8, 6, 9, 10]) % 11 === 0 && !allSame(text),
    context: /(?:\btfn\b|tax file|\btax\b)/,
  },
  {
    ...ID,
    id: 'au_medicare',
    starts: 'd4[s]# d10',
    initials: '23456',
    pattern: /[2-6]\d{3}( ?)\d{5}\1\d(?![\w]| \d)/y,
    holds: (text) => {
      const digits = digitsOf(text)
      return weighted(digits, [1, 3, 7, 9, 1, 3, 7, 9]) % 10 === digits[8]
    },
    context: /medicare/,
  },
  {
    ...ID,
    id: 'in_aadhaar',
    starts: 'd4[s:-]# d12',
    pattern: /[2-9]\d{3}([- :]?)\d{4}\1\d{4}(?![\w])/y,
    holds: (text) => {
      const digits = text.replaceAll(/\D/g, '')
      return verhoeff(digits) && digits !== digitsOf(digits).toReversed().join('')
    },
  },
  {
    ...ID,
    id: 'in_pan',
    starts: 'm10 n10',
    pattern: /(?:[A-Z]{5}\d{4}[A-Z]|(?=[A-Z\d]{0,6}\d{4})(?=\d{0,9}[A-Z])[A-Z\d]{10})(?!\w)/iy,
    holds: (text) => !/^[A-Z]{3}\d{7}$/i.test(text),
    context: /(?:\bpan\b|permanent account|income tax)/,
  },
  {
    ...ID,
    id: 'in_gstin',
    starts: 'n15',
    pattern: /(?:0[1-9]|[12]\d|3[0-7])[A-Z]{5}\d{4}[A-Z][A-Z\d]Z[A-Z\d](?!\w)/iy,
  },
  {
    ...ID,
    id: 'in_voter',
    starts: 'm10',
    pattern: /[A-Z]{3}\d{7}(?!\w)/iy,
    context: /(?:vote|epic\b|election|elector)/,
  },
  {
    ...ID,
    id: 'in_passport',
    starts: 'm8 m3[s]',
    pattern: /[A-Z][1-9]\d\s?\d{4}[1-9](?!\w)/y,
    context: DOCUMENT,
  },
  {
    ...PLATE,
    id: 'in_vehicle_registration',
    starts: 'm5-11 n5-10',
    pattern:
      /(?:[A-Z](?!0000)\d{4}|[A-Z]{2,3}(?!0000)\d{4}|I(?!00000)\d{5}|\d{1,3}(?:CD|CC|UN)[1-9]\d{1,3}|[A-Z]{2}\d[A-Z]{1,3}(?!0000)\d{4}|[A-Z]{2}\d{2}[A-Z]{1,2}(?!0000)\d{4}|[2-9][1-9]BH(?!0000)\d{4}[A-HJ-NP-Z]{2}|(?!00)\d{2}[A-FHKPRX]\d{6}[A-Z])(?!\w)/y,
    context: CAR,
  },
  {
    ...ID,
    id: 'kr_rrn',
    starts: 'd6[-] d13',
    pattern: /\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-?[1-4]\d{6}(?!\d)/y,
  },
  {
    ...ID,
    id: 'kr_frn',
    starts: 'd6[-] d13',
    pattern: /\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])-?[5-8]\d{6}(?!\d)/y,
  },
  {
    ...ID,
    id: 'kr_brn',
    starts: 'd3[-] d10',
    pattern: /\d{3}(-?)\d{2}\1\d{5}(?![\w])/y,
    holds: (text) => {
      const digits = digitsOf(text)
      const sum =
        weighted(digits, [1, 3, 7, 1, 3, 7, 1, 3, 5]) + Math.floor(((digits[8] ?? 0) * 5) / 10)
      return (10 - (sum % 10)) % 10 === digits[9]
    },
    context: /(?:\bbrn\b|business|사업자)/,
  },
  {
    ...ID,
    id: 'kr_driver_license',
    starts: 'd2[s-]# d12',
    initials: '12',
    pattern: /(?<!\d[- ]?)(?:1[1-9]|2[0-8])([- ]?)\d{2}\1\d{6}\1\d{2}(?![\w]|-\d)/y,
    context: /(?:licen[cs]e|driv|면허)/,
  },
  {
    ...ID,
    id: 'kr_passport',
    starts: 'm9',
    initials: 'MSRODmsrod',
    pattern: /[MSROD](?:\d{3}[A-Z]\d{4}|\d{8})(?!\w)/iy,
    context: DOCUMENT,
  },
  {
    ...ID,
    id: 'ng_nin',
    starts: 'd11',
    pattern: /\d{11}(?!\w)/y,
    holds: (text) => verhoeff(text) && !allSame(text),
    context: /(?:\bnin\b|national identi)/,
  },
  {
    ...PLATE,
    id: 'ng_vehicle_registration',
    starts: 'l3[s-]# m8',
    pattern: /[A-Z]{3}[- ]?\d{3}[A-Z]{2}(?!\w)/iy,
    context: CAR,
  },
  {
    ...ID,
    id: 'ph_tin',
    starts: 'd3[-] d9 d12',
    pattern: /\d{3}(?:-\d{3}-\d{3}(?:-\d{3})?|\d{6}|\d{9})(?![\w])/y,
    holds: (text) => {
      const digits = digitsOf(text)
      return weighted(digits, [9, 8, 7, 6, 5, 4, 3, 2]) % 11 === digits[8] && !allSame(text)
    },
    context: /(?:\btin\b|\btax\b|\bbir\b)/,
  },
  {
    ...ID,
    id: 'sg_fin',
    starts: 'm9',
    pattern: /[A-Z]\d{7}[A-Z](?!\w)/y,
    // Series S, T, F, G and M are issued; the rest only look alike.
    context: /(?:nric|\bfin\b|identi|singapore|\bic\b)/,
  },
  {
    ...ID,
    id: 'sg_uen',
    starts: 'n9 n10 m10',
    pattern: /(?:\d{8}[A-Z]|\d{9}[A-Z]|[TSR]\d{2}[A-Z]{2}\d{4}[A-Z])(?!\w)/y,
    context: /(?:\buen\b|company|entity|business|registration)/,
  },
  {
    ...ID,
    id: 'th_tnin',
    starts: 'd13',
    pattern: /[1-9](?:[134]\d|2[0-7]|5[0-8]|6[0-7]|7[0-7]|[89][0-6])\d{10}(?!\w)/y,
    holds: (text) => {
      const digits = digitsOf(text)
      const sum = weighted(digits, [13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2])
      return (11 - (sum % 11)) % 10 === digits[12] && !allSame(text)
    },
  },
  {
    ...ID,
    id: 'za_id_number',
    starts: 'd13',
    pattern: /\d{10}[0-2][89]\d(?!\w)/y,
    holds: (text) => luhn(text) && isDay(text.slice(0, 6)),
  },
]
