import type { JsonValue } from '@sallyport/base'

/** A JSON object as `google.protobuf.Struct` has it. */
export function structOf(value: { readonly [name: string]: JsonValue }): object {
  return {
    fields: Object.fromEntries(
      Object.entries(value).map(([name, member]) => [name, valueOf(member)]),
    ),
  }
}

function valueOf(value: JsonValue): object {
  if (value === null) return { nullValue: 'NULL_VALUE' }
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'number') return { numberValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  // Array.isArray does not narrow readonly arrays; what is left of JSON is an array or an object.
  if (Array.isArray(value)) return { listValue: { values: (value as JsonValue[]).map(valueOf) } }
  return { structValue: structOf(value as { readonly [name: string]: JsonValue }) }
}
