import type { JsonValue } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import type { InputType } from '@sallyport/network'
import { Refusal } from '../refusal.ts'

/** Few enough digits for no two of them to have one double. Amounts are written with zeros at their end; the system gets none. */
const DECIMAL = /^(?!-0(?:\.0+)?$)-?(?:0|[1-9]\d{0,10})(?:\.\d{1,4})?$/

/** Texts of paths, queries, headers and forms, as their schema types them; only canonical spellings. */
export function textAs(name: string, text: string, schema: InputType): JsonValue {
  if (schema.type === 'long' && /^(?:0|-?[1-9]\d{0,15})$/.test(text)) return Number(text)
  if (schema.type === 'decimal' && DECIMAL.test(text)) return Number(text)
  if (schema.type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true'
  if (schema.type === 'string') return text
  throw new Refusal('SP_INPUT_TYPE', `the input \`${name}\` has not the type declared`, {
    status: 400,
  })
}

/** The other way round. */
export function scalarText(value: CedarJson | undefined): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  throw new Refusal('SP_INPUT_TYPE', 'an input is not a single value', { status: 400 })
}

export const unknownInput = (name: string): Refusal =>
  new Refusal('SP_INPUT_UNKNOWN', `the input \`${name.slice(0, 120)}\` is not declared`, {
    status: 400,
  })
