import {
  durationSince,
  offset,
  parseDatetime,
  parseDecimal,
  parseDuration,
  toDate,
  toTime,
} from './chrono.ts'
import { inRange, isLoopback, isMulticast, parseIp } from './ip.ts'
import { divide } from './long.ts'
import { DatetimeValue, DecimalValue, DurationValue, IpValue, typeError } from './value.ts'
import type { Value } from './value.ts'

export interface ExtensionFunction {
  readonly arity: 1 | 2
  /** Whether it can only give a bool. */
  readonly bool: boolean
  /** `b` is present exactly when `arity` is 2. */
  call(a: Value, b: Value | undefined): Value
}

type Kind<T extends Value> = (value: Value | undefined) => T

const string: Kind<string> = (value = false) => {
  if (typeof value !== 'string') throw typeError('string', value)
  return value
}
const ip: Kind<IpValue> = (value = false) => {
  if (!(value instanceof IpValue)) throw typeError('ipaddr', value)
  return value
}
const decimal: Kind<DecimalValue> = (value = false) => {
  if (!(value instanceof DecimalValue)) throw typeError('decimal', value)
  return value
}
const datetime: Kind<DatetimeValue> = (value = false) => {
  if (!(value instanceof DatetimeValue)) throw typeError('datetime', value)
  return value
}
const duration: Kind<DurationValue> = (value = false) => {
  if (!(value instanceof DurationValue)) throw typeError('duration', value)
  return value
}

function unary<T extends Value>(kind: Kind<T>, call: (a: T) => Value): ExtensionFunction {
  return { arity: 1, bool: false, call: (a) => call(kind(a)) }
}

function predicate<T extends Value>(kind: Kind<T>, call: (a: T) => boolean): ExtensionFunction {
  return { arity: 1, bool: true, call: (a) => call(kind(a)) }
}

function compare<T extends Value>(kind: Kind<T>, call: (a: T, b: T) => boolean): ExtensionFunction {
  return { arity: 2, bool: true, call: (a, b) => call(kind(a), kind(b)) }
}

const units = (divisor: number): ExtensionFunction => unary(duration, (d) => divide(d.ms, divisor))

/** Every extension function of Cedar 4.5, by the name the JSON policy format uses. */
export const EXTENSIONS: ReadonlyMap<string, ExtensionFunction> = new Map<
  string,
  ExtensionFunction
>([
  ['ip', unary(string, parseIp)],
  ['isIpv4', predicate(ip, (a) => !a.v6)],
  ['isIpv6', predicate(ip, (a) => a.v6)],
  ['isLoopback', predicate(ip, isLoopback)],
  ['isMulticast', predicate(ip, isMulticast)],
  ['isInRange', compare(ip, inRange)],
  ['decimal', unary(string, parseDecimal)],
  ['lessThan', compare(decimal, (a, b) => a.scaled < b.scaled)],
  ['lessThanOrEqual', compare(decimal, (a, b) => a.scaled <= b.scaled)],
  ['greaterThan', compare(decimal, (a, b) => a.scaled > b.scaled)],
  ['greaterThanOrEqual', compare(decimal, (a, b) => a.scaled >= b.scaled)],
  ['datetime', unary(string, parseDatetime)],
  ['duration', unary(string, parseDuration)],
  ['offset', { arity: 2, bool: false, call: (a, b) => offset(datetime(a), duration(b)) }],
  [
    'durationSince',
    { arity: 2, bool: false, call: (a, b) => durationSince(datetime(a), datetime(b)) },
  ],
  ['toDate', unary(datetime, toDate)],
  ['toTime', unary(datetime, toTime)],
  ['toMilliseconds', units(1)],
  ['toSeconds', units(1000)],
  ['toMinutes', units(60_000)],
  ['toHours', units(3_600_000)],
  ['toDays', units(86_400_000)],
])

/** The extension functions whose calls may stand in data. */
export const DATA_CONSTRUCTORS: ReadonlySet<string> = new Set([
  'ip',
  'decimal',
  'datetime',
  'duration',
  'offset',
])
