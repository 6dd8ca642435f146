import { add, multiply, subtract, toLong } from './long.ts'
import type { Long } from './long.ts'
import { DatetimeValue, DecimalValue, DurationValue, EvaluationError } from './value.ts'

const DAY = 86_400_000

const DATETIME =
  /^(\d{4})-(\d{2})-(\d{2})(?:T(\d{2}):(\d{2}):(\d{2})(?:\.(\d{3}))?(?:Z|([+-])(\d{2})(\d{2})))?$/

/** Parses Cedar's `datetime("…")` (RFC 80): a date, or a date and time with `Z` or a numeric offset. */
export function parseDatetime(text: string): DatetimeValue {
  const match = DATETIME.exec(text)
  if (!match) throw new EvaluationError(`\`${text.slice(0, 60)}\` is not a datetime`)
  const part = (index: number): number => Number(match[index] ?? 0)
  const [year, month, day] = [part(1), part(2), part(3)]
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  const exists = date.getUTCMonth() === month - 1 && date.getUTCDate() === day
  if (!exists || part(4) > 23 || part(5) > 59 || part(6) > 59 || part(9) > 23 || part(10) > 59) {
    throw new EvaluationError(`\`${text}\` is not a datetime that exists`)
  }
  const local = date.getTime() + part(4) * 3_600_000 + part(5) * 60_000 + part(6) * 1000 + part(7)
  const offset = part(9) * 3_600_000 + part(10) * 60_000
  return new DatetimeValue(local - (match[8] === '-' ? -offset : offset))
}

const DURATION = /^(-?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?$/

/** Parses Cedar's `duration("…")` (RFC 80): days, hours, minutes, seconds, milliseconds in that order. */
export function parseDuration(text: string): DurationValue {
  const match = DURATION.exec(text)
  const numbers = match?.slice(2) ?? []
  // Leading zeros are allowed; the bound keeps BigInt from reading megabytes.
  if (!match || text.length > 4096 || numbers.every((n) => n === undefined)) {
    throw new EvaluationError(`\`${text.slice(0, 60)}\` is not a duration`)
  }
  let total = 0n
  for (const [i, scale] of [86_400_000n, 3_600_000n, 60_000n, 1000n, 1n].entries()) {
    total += BigInt(numbers[i] ?? 0) * scale
  }
  const ms = toLong(match[1] === '-' ? -total : total)
  if (ms === undefined) throw new EvaluationError(`the duration \`${text}\` overflows`)
  return new DurationValue(ms)
}

/** Parses Cedar's `decimal("…")`: up to four digits after the point, 64 bits when scaled. */
export function parseDecimal(text: string): DecimalValue {
  const match = /^(-?)(\d+)\.(\d{1,4})$/.exec(text.length > 4096 ? '' : text)
  if (!match) throw new EvaluationError(`\`${text.slice(0, 60)}\` is not a decimal`)
  const digits = BigInt(`${match[2]}${(match[3] ?? '').padEnd(4, '0')}`)
  const scaled = toLong(match[1] === '-' ? -digits : digits)
  if (scaled === undefined) throw new EvaluationError(`the decimal \`${text}\` overflows`)
  return new DecimalValue(scaled)
}

const overflow = (what: string): EvaluationError => new EvaluationError(`overflow in \`${what}\``)

export function offset(at: DatetimeValue, by: DurationValue): DatetimeValue {
  const ms = add(at.ms, by.ms)
  if (ms === undefined) throw overflow('offset')
  return new DatetimeValue(ms)
}

export function durationSince(at: DatetimeValue, since: DatetimeValue): DurationValue {
  const ms = subtract(at.ms, since.ms)
  if (ms === undefined) throw overflow('durationSince')
  return new DurationValue(ms)
}

/** Midnight of the day, rounding down. */
export function toDate(at: DatetimeValue): DatetimeValue {
  const ms = multiply(floorDays(at.ms), DAY)
  if (ms === undefined) throw overflow('toDate')
  return new DatetimeValue(ms)
}

/** Time since midnight of the day. */
export function toTime(at: DatetimeValue): DurationValue {
  if (typeof at.ms === 'number') return new DurationValue((((at.ms % DAY) + DAY) % DAY) + 0)
  const day = BigInt(DAY)
  return new DurationValue(Number(((at.ms % day) + day) % day))
}

function floorDays(ms: Long): Long {
  if (typeof ms === 'number') return Math.floor(ms / DAY) + 0
  const day = BigInt(DAY)
  const rest = ((ms % day) + day) % day
  return Number((ms - rest) / day)
}
