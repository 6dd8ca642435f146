import type { JsonValue } from '@sallyport/base'

/** Readers of JSON that came from another process: what is not of the shape reads as empty. */

export type Members = Readonly<Record<string, JsonValue>>

export function members(value: JsonValue | undefined): Members {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
    ? // Narrowed to a JSON object.
      (value as Members)
    : {}
}

/** The items of an array, or of the one array member of an object such as `{agents: […]}`. */
export function list(value: JsonValue | undefined): readonly JsonValue[] {
  // Narrowed to a JSON array; TypeScript does not narrow readonly arrays by Array.isArray.
  if (Array.isArray(value)) return value as readonly JsonValue[]
  const arrays = Object.values(members(value)).filter((member) => Array.isArray(member))
  // As above.
  return arrays.length === 1 ? (arrays[0] as readonly JsonValue[]) : []
}

export function textOf(value: JsonValue | undefined): string {
  if (value === undefined || value === null) return ''
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

export function numberOf(value: JsonValue | undefined): number {
  return typeof value === 'number' ? value : Number(textOf(value)) || 0
}
