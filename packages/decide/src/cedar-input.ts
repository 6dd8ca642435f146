import type { CedarJson } from '@sallyport/cedar'
import type { InputSchema, InputType, Operation } from '@sallyport/network'

type Input = Readonly<Record<string, CedarJson>>

const withDecimals = new WeakMap<Operation, boolean>()

/**
 * An input as policies read it: a `number` is a decimal for them, whole or not, where for JSON it is a number like any other.
 *
 * @param input as `readInput` gives it
 */
export function cedarInput(operation: Operation, input: Input): Input {
  let has = withDecimals.get(operation)
  if (has === undefined) withDecimals.set(operation, (has = hasDecimals(operation.input)))
  return has ? recordOf(operation.input, input) : input
}

function hasDecimals(type: InputType): boolean {
  if (type.type === 'set') return hasDecimals(type.items)
  if (type.type !== 'record') return type.type === 'decimal'
  return Object.values(type.members).some(({ schema }) => hasDecimals(schema))
}

const recordOf = ({ members }: InputSchema, input: Input): Input =>
  Object.fromEntries(
    Object.entries(input).map(([name, value]) => {
      const schema = Object.hasOwn(members, name) ? members[name]?.schema : undefined
      return [name, schema ? valueOf(schema, value) : value]
    }),
  )

function valueOf(type: InputType, value: CedarJson): CedarJson {
  switch (type.type) {
    case 'decimal':
      return typeof value === 'number'
        ? { __extn: { fn: 'decimal', arg: decimalText(value) } }
        : value
    case 'set':
      // TypeScript does not narrow readonly arrays by Array.isArray.
      return Array.isArray(value)
        ? (value as readonly CedarJson[]).map((item) => valueOf(type.items, item))
        : value
    case 'record':
      // As `readInput` typed it.
      return recordOf(type, value as Input)
    default:
      return value
  }
}

/** Cedar's spelling has a point always. */
const decimalText = (value: number): string => {
  const text = String(value)
  return text.includes('.') ? text : `${text}.0`
}
