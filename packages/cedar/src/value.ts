import type { Long } from './long.ts'

/** Thrown by an evaluation that Cedar calls an error; it never leaves the package. */
export class EvaluationError extends Error {
  override readonly name = 'EvaluationError'
}

export class EntityRef {
  readonly type: string
  readonly id: string
  constructor(type: string, id: string) {
    this.type = type
    this.id = id
  }
}

export class IpValue {
  readonly v6: boolean
  readonly address: bigint
  readonly prefix: number
  constructor(v6: boolean, address: bigint, prefix: number) {
    this.v6 = v6
    this.address = address
    this.prefix = prefix
  }
}

/** Scaled by 10⁴. */
export class DecimalValue {
  readonly scaled: Long
  constructor(scaled: Long) {
    this.scaled = scaled
  }
}

/** Milliseconds since the Unix epoch. */
export class DatetimeValue {
  readonly ms: Long
  constructor(ms: Long) {
    this.ms = ms
  }
}

/** Milliseconds. */
export class DurationValue {
  readonly ms: Long
  constructor(ms: Long) {
    this.ms = ms
  }
}

export class RecordValue {
  readonly fields: ReadonlyMap<string, Value>
  /** Private, for two records that have the same fields are equal. */
  readonly #serial: number

  constructor(fields: ReadonlyMap<string, Value>, serial = 0) {
    this.fields = fields
    this.#serial = serial
  }

  /** Of a context that may be met again: this record's alone in this process, from 1. 0 where none was asked for. */
  get serial(): number {
    return this.#serial
  }
}

/** A set: duplicates gone, order meaningless. Scalars are found by themselves, the rest by a canonical key. */
export class SetValue {
  readonly scalars: ReadonlySet<Scalar>
  readonly others: ReadonlyMap<string, Value>

  constructor(items: Iterable<Value>) {
    const scalars = new Set<Scalar>()
    let others: Map<string, Value> | undefined
    for (const item of items) {
      if (typeof item !== 'object') scalars.add(item)
      else (others ??= new Map<string, Value>()).set(keyOf(item), item)
    }
    this.scalars = scalars
    this.others = others ?? NONE
  }

  get size(): number {
    return this.scalars.size + this.others.size
  }

  has(value: Value): boolean {
    return typeof value === 'object' ? this.others.has(keyOf(value)) : this.scalars.has(value)
  }

  containsAll(other: SetValue): boolean {
    if (other.size > this.size) return false
    for (const scalar of other.scalars) if (!this.scalars.has(scalar)) return false
    for (const key of other.others.keys()) if (!this.others.has(key)) return false
    return true
  }

  containsAny(other: SetValue): boolean {
    const [small, large] = this.size < other.size ? [this, other] : [other, this]
    for (const scalar of small.scalars) if (large.scalars.has(scalar)) return true
    for (const key of small.others.keys()) if (large.others.has(key)) return true
    return false
  }

  *values(): Generator<Value> {
    yield* this.scalars
    yield* this.others.values()
  }
}

export type Scalar = boolean | Long | string

/** Most sets hold scalars only. */
const NONE: ReadonlyMap<string, Value> = new Map()

export type Value =
  | Scalar
  | EntityRef
  | SetValue
  | RecordValue
  | IpValue
  | DecimalValue
  | DatetimeValue
  | DurationValue

/** A text that two values share exactly when they are equal. */
function keyOf(value: Value): string {
  if (typeof value === 'string') return `s${JSON.stringify(value)}`
  if (typeof value !== 'object') return `${typeof value === 'boolean' ? 'b' : 'l'}${value}`
  if (value instanceof EntityRef) return `e${JSON.stringify([value.type, value.id])}`
  if (value instanceof RecordValue) {
    const parts = [...value.fields].map(([k, v]) => `${JSON.stringify(k)}:${keyOf(v)}`)
    return `{${parts.sort().join(',')}}`
  }
  if (value instanceof SetValue) return `[${[...value.values()].map(keyOf).sort().join(',')}]`
  if (value instanceof IpValue) return `i${value.v6 ? 6 : 4}/${value.address}/${value.prefix}`
  if (value instanceof DecimalValue) return `d${value.scaled}`
  if (value instanceof DatetimeValue) return `t${value.ms}`
  return `p${value.ms}`
}

/** Cedar's `==`: structural, false between different types, never an error. */
export function equal(a: Value, b: Value): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object') return false
  if (a instanceof EntityRef) return b instanceof EntityRef && a.id === b.id && a.type === b.type
  if (a instanceof SetValue) return b instanceof SetValue && a.size === b.size && a.containsAll(b)
  if (a instanceof RecordValue) {
    if (!(b instanceof RecordValue) || a.fields.size !== b.fields.size) return false
    for (const [key, value] of a.fields) {
      const other = b.fields.get(key)
      if (other === undefined || !equal(value, other)) return false
    }
    return true
  }
  if (a instanceof IpValue) {
    return b instanceof IpValue && a.v6 === b.v6 && a.address === b.address && a.prefix === b.prefix
  }
  if (a instanceof DecimalValue) return b instanceof DecimalValue && a.scaled === b.scaled
  if (a instanceof DatetimeValue) return b instanceof DatetimeValue && a.ms === b.ms
  return b instanceof DurationValue && a.ms === b.ms
}

/** The Cedar name of a value's type, for messages. */
function typeName(value: Value): string {
  if (typeof value === 'boolean') return 'bool'
  if (typeof value === 'string') return 'string'
  if (typeof value !== 'object') return 'long'
  if (value instanceof EntityRef) return `entity of type \`${value.type}\``
  if (value instanceof SetValue) return 'set'
  if (value instanceof RecordValue) return 'record'
  if (value instanceof IpValue) return 'ipaddr'
  if (value instanceof DecimalValue) return 'decimal'
  return value instanceof DatetimeValue ? 'datetime' : 'duration'
}

export function typeError(expected: string, got: Value): EvaluationError {
  return new EvaluationError(`type error: expected ${expected}, got ${typeName(got)}`)
}
