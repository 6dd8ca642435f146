import type { EntityRecord, EntityStore } from './entities.ts'
import { isLong } from './long.ts'
import type { Long } from './long.ts'
import { indexOf } from './search.ts'
import { EntityRef, EvaluationError, RecordValue, SetValue, typeError } from './value.ts'
import type { Value } from './value.ts'

/** What an expression is evaluated against. */
export interface Env {
  readonly principal: EntityRef
  readonly action: EntityRef
  readonly resource: EntityRef
  readonly context: RecordValue
  /** What the store has of the three, looked up once. */
  readonly principalRecord: EntityRecord | undefined
  readonly actionRecord: EntityRecord | undefined
  readonly resourceRecord: EntityRecord | undefined
  readonly store: Pick<EntityStore, 'find'>
}

export function recordOf(env: Env, entity: EntityRef): EntityRecord | undefined {
  if (entity === env.principal) return env.principalRecord
  if (entity === env.resource) return env.resourceRecord
  return entity === env.action ? env.actionRecord : env.store.find(entity)
}

export function noOverflow(result: Long | undefined, sign: string): Long {
  if (result === undefined) throw new EvaluationError(`integer overflow in \`${sign}\``)
  return result
}

export function toEntity(value: Value): EntityRef {
  if (!(value instanceof EntityRef)) throw typeError('an entity', value)
  return value
}

export function toSet(value: Value): SetValue {
  if (!(value instanceof SetValue)) throw typeError('set', value)
  return value
}

export function toText(value: Value): string {
  if (typeof value !== 'string') throw typeError('string', value)
  return value
}

export function toLong(value: Value): Long {
  if (!isLong(value)) throw typeError('long', value)
  return value
}

export function isIn(env: Env, entity: EntityRef, target: Value): boolean {
  if (target instanceof EntityRef) return descends(env, entity, target)
  if (!(target instanceof SetValue)) throw typeError('an entity or a set of entities', target)
  const targets: EntityRef[] = []
  for (const item of target.values()) targets.push(toEntity(item))
  return targets.some((item) => descends(env, entity, item))
}

function descends(env: Env, entity: EntityRef, ancestor: EntityRef): boolean {
  if (entity.id === ancestor.id && entity.type === ancestor.type) return true
  return recordOf(env, entity)?.ancestorIds.get(ancestor.type)?.has(ancestor.id) ?? false
}

/** An attribute that may be absent. A missing entity has none. */
export function find(env: Env, value: Value, name: string): Value | undefined {
  if (value instanceof RecordValue) return value.fields.get(name)
  if (value instanceof EntityRef) return recordOf(env, value)?.attrs.get(name)
  throw typeError('record or entity', value)
}

export function attribute(env: Env, value: Value, name: string): Value {
  const found = find(env, value, name)
  if (found !== undefined) return found
  if (value instanceof EntityRef) {
    if (!recordOf(env, value)) throw noEntity(value)
    throw missing(`entity of type \`${value.type}\``, name)
  }
  throw missing('record', name)
}

export function missing(of: string, name: string): EvaluationError {
  return new EvaluationError(`${of} does not have \`${name}\``)
}

export function noEntity(entity: EntityRef): EvaluationError {
  return new EvaluationError(
    `entity \`${entity.type}::${JSON.stringify(entity.id)}\` does not exist`,
  )
}

export type PatternElement = 'Wildcard' | { readonly Literal: string }

/** The literal texts between wildcards, so that there is always one more text than wildcards. */
export function segments(pattern: readonly PatternElement[]): string[] {
  const parts = ['']
  for (const element of pattern) {
    if (element === 'Wildcard') parts.push('')
    else parts.push(`${parts.pop() ?? ''}${element.Literal}`)
  }
  return parts
}

/** First text at the start, last at the end, the others found in order between: linear in the wildcards. */
export function matches(text: string, parts: readonly string[]): boolean {
  const [first = '', ...rest] = parts
  const last = rest.pop()
  if (last === undefined) return text === first
  if (text.length < first.length + last.length) return false
  if (!text.startsWith(first) || !text.endsWith(last)) return false
  const end = text.length - last.length
  let at = first.length
  for (const part of rest) {
    const found = indexOf(text, part, at)
    if (found < 0 || found + part.length > end) return false
    at = found + part.length
  }
  return true
}
