import { renderDecimal } from '../render.ts'
import { renderIp } from '../ip.ts'
import type { CedarType } from '../schema-types.ts'
import {
  DatetimeValue,
  DecimalValue,
  DurationValue,
  EntityRef,
  IpValue,
  RecordValue,
  SetValue,
} from '../value.ts'
import type { Value } from '../value.ts'
import { unsupported } from './text.ts'
import type { Parameters, SqlType } from './text.ts'

/** The type of a value; of a set, that of its elements is not asked. */
export function typeOf(value: Value): CedarType {
  if (typeof value === 'boolean') return { kind: 'bool' }
  if (typeof value === 'string') return { kind: 'string' }
  if (typeof value !== 'object') return { kind: 'long' }
  if (value instanceof EntityRef) return { kind: 'entity', type: value.type }
  if (value instanceof SetValue) return { kind: 'set', element: { kind: 'bool' } }
  if (value instanceof RecordValue) return { kind: 'record', attributes: new Map() }
  if (value instanceof IpValue) return { kind: 'ipaddr' }
  if (value instanceof DecimalValue) return { kind: 'decimal' }
  return { kind: value instanceof DatetimeValue ? 'datetime' : 'duration' }
}

/** Whether values of both types can be equal; sets are not looked into. */
export function alike(a: CedarType, b: CedarType): boolean {
  return a.kind === b.kind && (a.kind !== 'entity' || b.kind !== 'entity' || a.type === b.type)
}

export function sqlType(type: CedarType): SqlType {
  switch (type.kind) {
    case 'bool':
      return 'boolean'
    case 'long':
    case 'datetime':
    case 'duration':
      return 'bigint'
    case 'decimal':
      return 'numeric'
    case 'ipaddr':
      return 'inet'
    case 'string':
    case 'entity':
      return 'text'
    default:
      throw unsupported(`a ${type.kind} as a value`)
  }
}

function textOf(value: Value): string | boolean {
  if (typeof value === 'boolean' || typeof value === 'string') return value
  if (typeof value !== 'object') return String(value)
  if (value instanceof EntityRef) return value.id
  if (value instanceof IpValue) return renderIp(value)
  if (value instanceof DecimalValue) return renderDecimal(BigInt(value.scaled))
  if (value instanceof DatetimeValue || value instanceof DurationValue) return String(value.ms)
  throw unsupported('a set or a record inside another')
}

/** A scalar as a parameter. */
export function parameter(value: Value, parameters: Parameters): string {
  return parameters.one(textOf(value), sqlType(typeOf(value)))
}

/** Those of `values` that are of type `type`, as an array. */
export function parameterList(
  values: Iterable<Value>,
  type: CedarType,
  parameters: Parameters,
  numeric = false,
): string {
  const fitting = [...values].filter((value) => alike(typeOf(value), type))
  return parameters.list(fitting.map(textOf), numeric ? 'numeric' : sqlType(type))
}
