import { isIPv4, isIPv6 } from 'node:net'
import { isValidIBAN } from 'ibantools'
import { luhn } from '../recognise/checksums.ts'
import { emails } from '../recognise/marked.ts'
import type { Kind } from '../recognise/recogniser.ts'
import { isFigure, isGrouped, lay, squeeze } from './characters.ts'
import { checkedKind } from './checked.ts'
import type { Draw } from './draw.ts'
import { drawPhone, phoneTemplates } from './phones.ts'

/** How a value may be stood in for by something of its form. */
export interface Form {
  /** What is stood in for: of a loose one its letters and figures alone, whatever stands between them. */
  readonly core: string
  readonly loose: boolean
  /** What comes after it in the value and stays. */
  readonly after: string
  /** Another core. */
  readonly draw: (draw: Draw) => string
  /** Whether a core is nobody's, as far as anybody can tell by a check. */
  readonly isNobodys: (core: string) => boolean
}

/** Fewer letters and figures say too little: they would be found where nobody meant them. */
export const MIN_CORE = 8

const FIGURES = '0123456789'
const LOWER = 'abcdefghijklmnopqrstuvwxyz'
const UPPER = LOWER.toUpperCase()
const HEX = 'abcdef'

/**
 * The form of a value; undefined where it has none that is worth keeping, or where nothing of that form is nobody's for sure.
 */
export function formOf(kind: Kind, value: string): Form | undefined {
  const known = kind === 'RECORD' ? recordKind(value) : kind
  const form = known === undefined ? undefined : FORMS[known]?.(value)
  // What stands between its letters and figures goes out as it is.
  const isUnfit = form?.loose === true && (form.core.length < MIN_CORE || !isGrouped(value))
  return isUnfit ? undefined : form
}

/** Kinds that are missing have no form: names, secrets, plates, post codes and codes of banks, in which any letters may be somebody's. */
const FORMS: Partial<Record<Kind, (value: string) => Form | undefined>> = {
  CARD: cardForm,
  IBAN: ibanForm,
  EMAIL: emailForm,
  WALLET: walletForm,
  URL: urlForm,
  IP: ipForm,
  MAC: macForm,
  ID: numberForm,
  ACCOUNT: numberForm,
  DATE: dateForm,
  PHONE: phoneForm,
}

/** What a value that a session read is besides, by its own look. */
function recordKind(value: string): Kind | undefined {
  const checked = checkedKind(value)
  if (checked !== undefined) return checked
  if (value.includes('@')) {
    let whole = false
    emails(value, 0, (start, end) => {
      whole ||= start === 0 && end === value.length
    })
    return whole ? 'EMAIL' : undefined
  }
  if (value.startsWith('+')) return 'PHONE'
  const address = value.replace(/\/\d{1,3}$/, '')
  return isIPv4(address) || (value.includes(':') && isIPv6(address)) ? 'IP' : 'DATE'
}

/** Letters and figures of a value, with what they are checked as where they stand. */
function loose(
  value: string,
  draw: Form['draw'],
  fails: (core: string) => boolean = () => true,
): Form {
  const isNobodys = (core: string): boolean =>
    fails(core) && checkedKind(core) === undefined && checkedKind(lay(value, core)) === undefined
  return { core: squeeze(value), loose: true, after: '', draw, isNobodys }
}

const exact = (core: string, draw: Form['draw'], after = ''): Form => ({
  core,
  loose: false,
  after,
  draw,
  isNobodys: () => true,
})

/** A character of the same make. A figure at the beginning stays zero or other than that: a number may not begin with it. */
function likeIt(c: string, isFirst: boolean, draw: Draw): string {
  if (isFigure(c.charCodeAt(0))) {
    if (!isFirst) return draw.oneOf(FIGURES)
    return c === '0' ? c : draw.oneOf('123456789')
  }
  return draw.oneOf(c >= 'a' ? LOWER : UPPER)
}

const alike = (core: string, keep: number, draw: Draw): string =>
  Array.from(core, (c, i) => (i < keep ? c : likeIt(c, i === 0, draw))).join('')

/** The scheme shows in the first figure, of cards of 15 in two; no card has a number that fails Luhn's check. */
function cardForm(value: string): Form {
  const core = squeeze(value)
  const keep = core.length === 15 && core.startsWith('3') ? 2 : 1
  return loose(
    value,
    (draw) => alike(core, keep, draw),
    (drawn) => !luhn(drawn),
  )
}

/** ISO 13616 gives check digits from 02 to 98: no account has others, though some of them pass the sum. */
function ibanForm(value: string): Form {
  const core = squeeze(value)
  return loose(
    value,
    (draw) =>
      core.slice(0, 2) + (['00', '01', '99'][draw.below(3)] ?? '') + alike(core, 4, draw).slice(4),
    (drawn) => mod97(drawn) !== 1 && !isValidIBAN(drawn.toUpperCase()),
  )
}

function mod97(iban: string): number {
  const upper = iban.toUpperCase()
  let rest = 0
  for (const c of upper.slice(4) + upper.slice(0, 4)) {
    const value = Number.parseInt(c, 36)
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97
  }
  return rest
}

/** A name that nobody ever has (RFC 2606), as long as the value where that leaves room to tell many apart. */
const INVALID = '.invalid'
const MIN_DRAWN = 8

function label(length: number, draw: Draw): string {
  let text = draw.oneOf(LOWER)
  while (text.length < length) text += draw.oneOf(LOWER + FIGURES)
  return text
}

function emailForm(value: string): Form | undefined {
  const at = value.lastIndexOf('@')
  if (at < 1) return undefined
  const local = value.slice(0, at)
  const like = Array.from(local, (c, i) => {
    const isSign = '._+-'.includes(c) && i > 0 && i < local.length - 1
    // Of two signs in a row the second becomes a letter: so many would be no address everywhere.
    if (isSign && !'._+-'.includes(local.charAt(i - 1))) return c
    return /[0-9A-Z]/.test(c) ? c : 'a'
  }).join('')
  const drawn = squeeze(like).length
  const rest = value.length - at - 1 - INVALID.length
  const host = Math.min(63, Math.max(1, MIN_DRAWN - drawn, rest))
  return exact(value, (draw) => {
    const name = lay(like, Array.from(squeeze(like), (c) => likeIt(c, false, draw)).join(''))
    return `${name}@${label(host, draw)}${INVALID}`
  })
}

/** Of an address the scheme stays, and where it leads to is nowhere; what comes after the host is left out. */
function urlForm(value: string): Form {
  const scheme = /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.exec(value)?.[0] ?? ''
  const length = Math.min(40, Math.max(12, value.length - scheme.length - INVALID.length))
  return exact(value, (draw) => scheme + label(length, draw) + INVALID)
}

/** IPv4: RFC 2544, for measurements in laboratories; IPv6: RFC 3849, for documents. */
function ipForm(value: string): Form | undefined {
  const [address = ''] = /^[0-9A-Fa-f.:]+/.exec(value) ?? []
  const after = value.slice(address.length)
  if (!/^(?:\/\d{1,3})?$/.test(after)) return undefined
  if (isIPv4(address)) {
    const octet = (draw: Draw): number => 100 + draw.below(156)
    return exact(
      address,
      (draw) => `198.${18 + draw.below(2)}.${octet(draw)}.${octet(draw)}`,
      after,
    )
  }
  if (!isIPv6(address)) return undefined
  const hex = FIGURES + HEX
  const group = (draw: Draw): string =>
    draw.oneOf(hex.slice(1)) + draw.oneOf(hex) + draw.oneOf(hex) + draw.oneOf(hex)
  return exact(
    address,
    (draw) => `2001:db8:${Array.from({ length: 6 }, () => group(draw)).join(':')}`,
    after,
  )
}

/** IEEE 802c: a local address whose second figure is 6 is of a quarter that is not given out. */
function macForm(value: string): Form {
  const core = squeeze(value)
  return loose(value, (draw) =>
    Array.from(core, (c, i) => {
      if (i === 1) return '6'
      if (isFigure(c.charCodeAt(0))) return draw.oneOf(FIGURES)
      return draw.oneOf(c >= 'a' ? HEX : HEX.toUpperCase())
    }).join(''),
  )
}

const BASE58 = ['123456789', 'ABCDEFGHJKLMNPQRSTUVWXYZ', 'abcdefghijkmnopqrstuvwxyz']
const BECH32 = ['023456789', 'ACDEFGHJKLMNPQRSTUVWXYZ', 'acdefghjklmnpqrstuvwxyz']

/** Those that check themselves. An address of Ethereum in small letters does not: any may be somebody's. */
function walletForm(value: string): Form | undefined {
  if (value.startsWith('0x') || squeeze(value) !== value) return undefined
  const isBech32 = /^bc1/i.test(value)
  const [figures = '', upper = '', lower = ''] = isBech32 ? BECH32 : BASE58
  const keep = isBech32 ? 4 : 1
  const draw = (by: Draw): string =>
    Array.from(value, (c, i) =>
      i < keep ? c : by.oneOf(isFigure(c.charCodeAt(0)) ? figures : c >= 'a' ? lower : upper),
    ).join('')
  return { ...exact(value, draw), isNobodys: (core) => checkedKind(core) === undefined }
}

/** A telephone number with its country may look like other things besides. */
function numberForm(value: string): Form | undefined {
  return value.startsWith('+') ? phoneForm(value) : checkedForm(value)
}

/** Only where a check tells that it is one can anything of its form be told to be none. */
function checkedForm(value: string): Form | undefined {
  if (checkedKind(value) === undefined) return undefined
  const core = squeeze(value)
  if (!/^\d{9}$/.test(core)) return loose(value, (draw) => alike(core, 0, draw))
  // Nearly any nine figures are a social security number of the United States: but for an area of 000 or from 900, of which some
  // groups are taxpayers'.
  return loose(value, (draw) => {
    const area = core.startsWith('0') ? '000' : '9' + draw.oneOf(FIGURES) + draw.oneOf(FIGURES)
    return area + draw.oneOf('01234') + alike(core.slice(4), 0, draw)
  })
}

/** In figures, with all of the year: of a day on which nobody was born yet. */
function dateForm(value: string): Form | undefined {
  const year = (draw: Draw): string =>
    `2${draw.oneOf('23456789')}${draw.oneOf(FIGURES)}${draw.oneOf(FIGURES)}`
  const two = (draw: Draw, most: number): string => String(1 + draw.below(most)).padStart(2, '0')
  const first = /^\d{4}([-/])\d{2}\1\d{2}$/.exec(value)?.[1]
  if (first !== undefined) {
    return exact(value, (draw) => [year(draw), two(draw, 12), two(draw, 28)].join(first))
  }
  const last = /^\d{2}([-/.])\d{2}\1\d{4}$/.exec(value)?.[1]
  // Whichever of the two is the month.
  return last === undefined
    ? undefined
    : exact(value, (draw) => [two(draw, 12), two(draw, 12), year(draw)].join(last))
}

/**
 * Areas of North America that are no places: 911 and its like, numbers that whoever is called pays for (800, 833, 88#), that cost more
 * (900), that move with their owner (5##), of governments. None of theirs is kept for films.
 */
const NOWHERE = /^(?:00)?1?(?:.(.)\1|88.|52.|710)55501/

function phoneForm(value: string): Form | undefined {
  const core = squeeze(value)
  if (!/^\d+$/.test(core)) return undefined
  const templates = phoneTemplates(value, core)
  if (templates === undefined) return undefined
  return loose(
    value,
    (draw) => drawPhone(templates, draw),
    (drawn) => !NOWHERE.test(drawn),
  )
}
