import { contextFromJson, reading, valueFromJson } from './data.ts'
import type { CedarJson } from './types.ts'
import {
  DatetimeValue,
  DecimalValue,
  DurationValue,
  EntityRef,
  IpValue,
  RecordValue,
  SetValue,
} from './value.ts'
import type { Value } from './value.ts'

/** A context converted once, for many decisions. */
export type PreparedContext = RecordValue

/** A value converted once, to be a member of many contexts. */
export type PreparedValue =
  DatetimeValue | DecimalValue | DurationValue | EntityRef | IpValue | RecordValue | SetValue

/**
 * Converts a context; members that `prepareValue` converted are taken as they are.
 *
 * @throws SallyportError `SP_CEDAR_VALUE`
 */
export function prepareContext(
  context: Readonly<Record<string, CedarJson | PreparedValue>>,
): PreparedContext {
  return reading(() => contextFromJson(context, isPrepared, undefined, ++lastSerial))
}

/**
 * A context with a few members more, or others in their place.
 *
 * @throws SallyportError `SP_CEDAR_VALUE`
 */
export function extendContext(
  base: PreparedContext,
  members: Readonly<Record<string, CedarJson | PreparedValue>>,
): PreparedContext {
  return reading(() => contextFromJson(members, isPrepared, base, ++lastSerial))
}

let lastSerial = 0

/**
 * Converts a set, record, entity or extension value. Scalars are quickly converted with the context itself.
 *
 * @throws SallyportError `SP_CEDAR_VALUE`
 */
export function prepareValue(json: Exclude<CedarJson, Scalar>): PreparedValue {
  // What is no scalar in JSON form becomes no scalar.
  return valueFromJson(json) as PreparedValue
}

type Scalar = boolean | number | bigint | string

const PREPARED: ReadonlySet<unknown> = new Set(
  [DatetimeValue, DecimalValue, DurationValue, EntityRef, IpValue, RecordValue, SetValue].map(
    (made): unknown => made.prototype,
  ),
)

/** Only what this package's own classes made: nothing that came as JSON is one of these. */
function isPrepared(value: unknown): value is Value {
  return typeof value === 'object' && value !== null && PREPARED.has(Object.getPrototypeOf(value))
}
