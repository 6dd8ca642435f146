import { allSame, digitsOf, luhn } from './checksums.ts'
import type { Recogniser } from './recogniser.ts'

const ID = { kind: 'ID', group: 'identifiers' } as const

/** Identifiers of the United States and Canada. */
export const americas: readonly Recogniser[] = [
  {
    ...ID,
    id: 'us_ssn',
    starts: 'd3[s.-]# d5[-]# d9',
    pattern:
      /(?<![\d][.-])(?:\d{3}([- .])\d{2}\1\d{4}|\d{3}-\d{6}|\d{5}-\d{4}|\d{9})(?![\w]|[-.]\d)/y,
    // Never issued: 000, 666 and 9xx; group 00; serial 0000; and the one that a wallet maker printed.
    holds: (text) => {
      const digits = text.replaceAll(/\D/g, '')
      return !/^(?:000|666|9|...00|.....0000|078051120|123456789$)/.test(digits) && !allSame(digits)
    },
  },
  {
    ...ID,
    id: 'us_itin',
    starts: 'd3[s-]# d5[s-]# d9',
    initials: '9',
    pattern: /9\d{2}[- ]?(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])[- ]?\d{4}(?!\w)/y,
  },
  {
    ...ID,
    id: 'us_mbi',
    starts: 'n4[-] n7[-] n11',
    pattern:
      /[1-9][AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d-?[AC-HJKMNP-RT-Y][0-9AC-HJKMNP-RT-Y]\d-?[AC-HJKMNP-RT-Y]{2}\d{2}(?!\w)/iy,
  },
  {
    ...ID,
    id: 'us_npi',
    starts: 'd4[s-]# d10',
    initials: '12',
    pattern: /[12]\d{3}(?:[ -]\d{3}[ -]\d{3}|\d{6})(?![\w])/y,
    holds: (text) => luhn(`80840${text}`) && !/^1{9}/.test(text.replaceAll(/\D/g, '')),
    context: /\b(?:npi|provider|prescriber|physician|doctor|medicare|clinic)\b/,
  },
  {
    ...ID,
    id: 'us_passport',
    starts: 'd9 m9',
    pattern: /[A-Z0-9]\d{8}(?!\w)/y,
    context: /(?:passport|travel document)/,
  },
  {
    ...ID,
    id: 'us_driver_license',
    starts: 'm2-19 n5-16 d4[-] d6-16',
    pattern:
      /(?:[A-Z]\d{1,14}[A-Z]?|[A-Z]\d{18}|[A-Z]{2}\d{2,7}[A-Z]?|\d{2}[A-Z]{3}\d{5,6}|\d{8}[A-Z]{2}|\d{9}[A-Z]|\d{3}[A-Z]{2}\d{4}|\d{7}[A-Z]|[A-Z]{1,2}\d{3}-\d{3,4}-\d{2,4}(?:-\d{1,4})?(?:-\d)?|\d{4}-\d{2}-\d{4}|\d{6,14}|\d{16})(?![\w])/y,
    context: /(?:driv(?:er|ing)|licen[cs]e|\bdl\b|permit)/,
  },
  {
    ...ID,
    id: 'certificate_number',
    starts: 'm9',
    pattern: /[A-HJ-MPRSTUX][A-Z9]\d{7}(?!\w)/iy,
    // Drug Enforcement Administration registration numbers check themselves.
    holds: (text) => {
      const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, check] = digitsOf(text.slice(2))
      return (a + c + e + 2 * (b + d + f)) % 10 === check
    },
  },
  {
    ...ID,
    id: 'ca_sin',
    starts: 'd3[s-]# d9',
    pattern: /[1-79]\d{2}([- ]?)\d{3}\1\d{3}(?![\w]|[- ]\d)/y,
    holds: (text) => luhn(text) && !allSame(text),
  },
]
