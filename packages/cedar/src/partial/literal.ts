import type { Expr } from '../ast.ts'
import { renderIp } from '../ip.ts'
import { renderDecimal } from '../render.ts'
import { DatetimeValue, DecimalValue, EntityRef, IpValue, RecordValue, SetValue } from '../value.ts'
import type { Value } from '../value.ts'

const text = (value: string): Expr => ({ kind: 'string', value })
const call = (name: string, ...args: Expr[]): Expr => ({ kind: 'call', function: name, args })

/** The expression that gives a value. */
export function literal(value: Value): Expr {
  if (typeof value === 'boolean') return { kind: 'bool', value }
  if (typeof value === 'string') return text(value)
  if (typeof value !== 'object') return { kind: 'long', value: BigInt(value) }
  if (value instanceof EntityRef) {
    return { kind: 'entity', uid: { type: value.type, id: value.id } }
  }
  if (value instanceof SetValue) return { kind: 'set', items: [...value.values()].map(literal) }
  if (value instanceof RecordValue) {
    return { kind: 'record', members: [...value.fields].map(([k, v]) => [k, literal(v)]) }
  }
  if (value instanceof IpValue) return call('ip', text(renderIp(value)))
  if (value instanceof DecimalValue) {
    return call('decimal', text(renderDecimal(BigInt(value.scaled))))
  }
  if (value instanceof DatetimeValue) return datetime(Number(value.ms), BigInt(value.ms))
  return call('duration', text(`${value.ms}ms`))
}

function datetime(approximate: number, ms: bigint): Expr {
  const year = new Date(approximate).getUTCFullYear()
  if (year >= 0 && year <= 9999) return call('datetime', text(new Date(approximate).toISOString()))
  // Cedar has datetimes that it cannot write.
  return call('offset', call('datetime', text('1970-01-01')), call('duration', text(`${ms}ms`)))
}
