import { parseDatetime, parseDecimal, parseDuration } from '@sallyport/cedar'
import type { Term, Terms } from './terms.ts'
import { equal, ipConstant, Undecidable } from './values.ts'
import type { Sym } from './values.ts'

const DAY = 86_400_000

interface Called {
  readonly error: Term
  readonly value: Sym
}

/**
 * An extension function of Cedar 4.5; undefined where it always fails.
 *
 * @throws Undecidable
 */
export function extensionCall(t: Terms, name: string, [a, b]: readonly Sym[]): Called | undefined {
  const ok = (value: Sym): Called => ({ error: t.false, value })
  const bool = (term: Term): Called => ok({ kind: 'bool', term })
  switch (name) {
    case 'ip':
    case 'decimal':
    case 'datetime':
    case 'duration':
      return a && constructed(t, name, a)
    case 'isIpv4':
      return a?.kind === 'ip' ? bool(t.not(a.v6)) : undefined
    case 'isIpv6':
      return a?.kind === 'ip' ? bool(a.v6) : undefined
    case 'isLoopback':
      return a?.kind === 'ip' ? bool(inEither(t, a, '127.0.0.0/8', '::1')) : undefined
    case 'isMulticast':
      return a?.kind === 'ip' ? bool(inEither(t, a, '224.0.0.0/4', 'ff00::/8')) : undefined
    case 'isInRange':
      return a?.kind === 'ip' && b?.kind === 'ip' ? bool(inRange(t, a, b)) : undefined
    case 'lessThan':
    case 'lessThanOrEqual':
    case 'greaterThan':
    case 'greaterThanOrEqual': {
      if (a?.kind !== 'decimal' || b?.kind !== 'decimal') return undefined
      const [x, y] = name.startsWith('less') ? [a.term, b.term] : [b.term, a.term]
      return bool(name.endsWith('Equal') ? t.atMost(x, y) : t.less(x, y))
    }
    case 'offset': {
      if (a?.kind !== 'datetime' || b?.kind !== 'duration') return undefined
      const { value: term, overflow } = t.arithmetic('+', a.term, b.term)
      return { error: overflow, value: { kind: 'datetime', term } }
    }
    case 'durationSince': {
      if (a?.kind !== 'datetime' || b?.kind !== 'datetime') return undefined
      const { value: term, overflow } = t.arithmetic('-', a.term, b.term)
      return { error: overflow, value: { kind: 'duration', term } }
    }
    default:
      return rounded(t, name, a)
  }
}

const UNITS: Readonly<Record<string, number>> = {
  toMilliseconds: 1,
  toSeconds: 1000,
  toMinutes: 60_000,
  toHours: 3_600_000,
  toDays: DAY,
}

/** Functions that divide: worked out for constants only, since division of 64 bits is where solvers lose their way. */
function rounded(t: Terms, name: string, a: Sym | undefined): Called | undefined {
  const ok = (kind: 'long' | 'datetime' | 'duration', term: Term): Called => ({
    error: t.false,
    value: { kind, term },
  })
  const unit = UNITS[name]
  const wanted = unit === undefined ? 'datetime' : 'duration'
  if (a?.kind !== wanted) return undefined
  if (unit === 1) return ok('long', a.term)
  const { value } = a.term
  if (typeof value !== 'bigint') throw new Undecidable(`\`${name}\` of what is not constant`)
  // BigInt divides towards zero, as Cedar does here.
  if (unit !== undefined) return ok('long', t.long(value / BigInt(unit)))
  const rest = ((value % BigInt(DAY)) + BigInt(DAY)) % BigInt(DAY)
  if (name === 'toTime') return ok('duration', t.long(rest))
  if (name !== 'toDate') throw new Undecidable(`the function \`${name}\``)
  const midnight = value - rest
  return midnight < -(2n ** 63n) ? undefined : ok('datetime', t.long(midnight))
}

function constructed(
  t: Terms,
  name: 'ip' | 'decimal' | 'datetime' | 'duration',
  text: Sym,
): Called | undefined {
  if (text.kind === 'date' && name === 'datetime') {
    return { error: t.false, value: { kind: 'datetime', term: t.times(text.day, DAY) } }
  }
  if (text.kind === 'date') return undefined
  if (text.kind !== 'string') return undefined
  const { value } = text.term
  if (typeof value !== 'string') throw new Undecidable(`\`${name}\` of a text that is not constant`)
  try {
    return { error: t.false, value: constant(t, name, value) }
  } catch {
    return undefined
  }
}

function constant(t: Terms, name: 'ip' | 'decimal' | 'datetime' | 'duration', text: string): Sym {
  switch (name) {
    case 'ip':
      return ipConstant(t, text)
    case 'decimal':
      return { kind: name, term: t.long(parseDecimal(text).scaled) }
    case 'datetime':
      return { kind: name, term: t.long(parseDatetime(text).ms) }
    case 'duration':
      return { kind: name, term: t.long(parseDuration(text).ms) }
  }
}

type Ip = Extract<Sym, { kind: 'ip' }>

function inEither(t: Terms, a: Ip, v4: string, v6: string): Term {
  const [x, y] = [ipConstant(t, v4), ipConstant(t, v6)]
  if (x.kind !== 'ip' || y.kind !== 'ip') throw new Undecidable('an address')
  return t.or(inRange(t, a, x), inRange(t, a, y))
}

/** Whether every address of `a` is one of `b`. */
function inRange(t: Terms, a: Ip, b: Ip): Term {
  if (b.prefix === undefined) return equal(t, a, b)
  const wide = b.v6.value
  const bits = b.address.value
  if (typeof wide !== 'boolean' || typeof bits !== 'bigint') {
    throw new Undecidable('a range of addresses that is not constant')
  }
  if (a.prefix !== undefined && a.prefix < b.prefix) return t.false
  const width = BigInt(wide ? 128 : 32)
  const drop = width - BigInt(b.prefix)
  const mask = ((1n << width) - 1n) ^ ((1n << drop) - 1n)
  return t.and(t.equal(a.v6, t.bool(wide)), t.masked(a.address, mask, bits & mask))
}
