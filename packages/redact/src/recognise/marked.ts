import { isIPv4, isIPv6 } from 'node:net'
import type { Group, Kind } from './recogniser.ts'

/** What is found by a mark inside it, not by how its first word looks. */
export type MarkedId = 'email' | 'url' | 'ipv6'
export const MARKED: Readonly<Record<MarkedId, { kind: Kind; group: Group }>> = {
  email: { kind: 'EMAIL', group: 'identifiers' },
  url: { kind: 'URL', group: 'identifiers' },
  ipv6: { kind: 'IP', group: 'identifiers' },
}

type Found = (start: number, end: number) => void

const MAX_LOCAL = 64
const MAX_DOMAIN = 255
const MAX_URL = 2048

/** RFC 5321 mailboxes without quoting; letters beyond ASCII count (RFC 6531). */
export function emails(text: string, from: number, found: Found): void {
  for (let at = text.indexOf('@', from); at >= 0; at = text.indexOf('@', at + 1)) {
    let start = at
    while (start > 0 && at - start < MAX_LOCAL && isLocal(text.charCodeAt(start - 1))) start--
    while (start < at && !isWord(text.charCodeAt(start))) start++
    let end = at + 1
    let dot = -1
    while (end < text.length && end - at <= MAX_DOMAIN && isHost(text.charCodeAt(end))) {
      if (text.charCodeAt(end) === 0x2e) dot = end
      end++
    }
    while (end > at && !isWord(text.charCodeAt(end - 1))) {
      end--
      if (end === dot) dot = text.lastIndexOf('.', end - 1)
    }
    if (start < at && dot > at + 1 && end - dot > 2) found(start, end)
  }
}

const isDigit = (c: number): boolean => c >= 0x30 && c <= 0x39
const isAsciiLetter = (c: number): boolean => (c | 0x20) >= 0x61 && (c | 0x20) <= 0x7a
const isWord = (c: number): boolean => isAsciiLetter(c) || isDigit(c) || c === 0x5f || c > 0x7f
const isHost = (c: number): boolean => isWord(c) || c === 0x2d || c === 0x2e
const isLocal = (c: number): boolean =>
  isWord(c) || (c < 0x80 && "!#$%&'*+-/=?^`{|}~.".includes(String.fromCharCode(c)))

/** Top-level domains that a bare name is taken for one by; those that are also endings of files or common words are not here. */
const BARE = new Set(
  'com net org edu gov mil int info biz io ai app dev co uk de fr es nl eu ch se dk fi ie pt cz hu ro gr ru ua tr jp cn kr tw hk sg au nz ca us br mx ar cl za ng il ae bank insure online site store tech cloud shop xyz top club live'.split(
    ' ',
  ),
)
const SCHEME = /[A-Za-z][A-Za-z0-9+.-]{1,15}$/

/** Addresses with a scheme or `www.`, and bare domain names below the best-known top-level domains. */
export function urls(text: string, from: number, found: Found): void {
  let i = from
  while (i < text.length) {
    while (i < text.length && text.charCodeAt(i) <= 0x20) i++
    const start = i
    while (i < text.length && text.charCodeAt(i) > 0x20) i++
    if (i > start) oneUrl(text, start, i, found)
  }
}

function oneUrl(text: string, from: number, to: number, found: Found): void {
  const marks = text.slice(from, to).indexOf('://')
  if (marks > 0) {
    const scheme = SCHEME.exec(text.slice(from, from + marks))
    const host = from + marks + 3
    const end = trimmed(text, host, Math.min(to, from + MAX_URL))
    if (scheme && isUrlHost(hostOf(text, host, end))) found(from + scheme.index, end)
    return
  }
  let start = from
  while (start < to && !isWord(text.charCodeAt(start))) start++
  let end = start
  while (end < to && isHost(text.charCodeAt(end))) end++
  // The domain of a mailbox is the mailbox's.
  if (text.charCodeAt(end) === 0x40 || end - start > MAX_DOMAIN) return
  while (end > start && !isWord(text.charCodeAt(end - 1))) end--
  const name = text.slice(start, end)
  const labels = name.split('.')
  const top = labels.at(-1)?.toLowerCase() ?? ''
  if (
    labels.length < 2 ||
    labels.some((label) => !/^[A-Za-z0-9\u0080-\uffff](?:[\w\u0080-\uffff-]{0,62})$/.test(label))
  )
    return
  const www = labels.length > 2 && labels[0]?.toLowerCase() === 'www' && /^[a-z]{2,24}$/.test(top)
  // One capital after a dot is a sentence without its blank.
  const bare =
    BARE.has(top) && /[A-Za-z]/.test(labels.at(-2) ?? '') && !/^[A-Z]/.test(labels.at(-1) ?? '')
  if (!www && !bare) return
  const path =
    text.charCodeAt(end) === 0x2f || text.charCodeAt(end) === 0x3a
      ? trimmed(text, end, Math.min(to, from + MAX_URL))
      : end
  found(start, path)
}

const hostOf = (text: string, from: number, to: number): string =>
  /^[^/?#:]*/.exec(text.slice(from, to))?.[0].replace(/^.*@/, '') ?? ''

const isUrlHost = (host: string): boolean =>
  isIPv4(host) ||
  host === 'localhost' ||
  /^[\w\u0080-\uffff](?:[\w\u0080-\uffff.-]{0,252})\.[A-Za-z\u0080-\uffff][\w\u0080-\uffff-]{1,62}$/.test(
    host,
  )

function trimmed(text: string, from: number, to: number): number {
  let end = to
  while (end > from && ".,:!?)'*_~".includes(text.charAt(end - 1))) end--
  return end
}

const SIX = /(?<![\w:.])[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,45}(?:%[A-Za-z0-9]{1,16})?(?:\/\d{1,3})?/g

/** RFC 4291, with zone and prefix. */
export function ipv6(text: string, from: number, found: Found): void {
  if (text.indexOf(':', from) < 0) return
  SIX.lastIndex = from
  for (let match = SIX.exec(text); match; match = SIX.exec(text)) {
    const [all] = match
    const start = match.index
    let [address = '', prefix] = all.split('/')
    while (address.endsWith('.') || (address.endsWith(':') && !address.endsWith('::'))) {
      address = address.slice(0, -1)
      prefix = undefined
    }
    const fits = Number(prefix) <= 128
    const end = start + address.length + (fits ? (prefix?.length ?? 0) + 1 : 0)
    const next = text.charCodeAt(end)
    if (
      isIPv6(address) &&
      (address.length > 2 || fits || bareUnspecified(text, start)) &&
      !(next > 0 && isWord(next) && next < 0x80)
    ) {
      found(start, end)
    }
  }
}

/** `::` alone is an address where somebody speaks of addresses. */
const bareUnspecified = (text: string, at: number): boolean =>
  /(?:ip|src|dst|addr|unspecified|bind|listen)[\w= :]{0,12}$/i.test(
    text.slice(Math.max(0, at - 24), at),
  )
