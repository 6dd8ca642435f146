import { isObject } from './input-type.ts'
import { refuse } from './openapi-parts.ts'
import type { LabelledItems } from './types.ts'

const NAME = '[A-Za-z_][A-Za-z0-9_-]{0,62}'
const PATH = new RegExp(`^(?:${NAME}(?:\\[\\])?\\.)*${NAME}\\[\\]$`)

/** What an operation says with `x-sallyport-labelled` of its answers. @throws Halt `SP_NETWORK_OPENAPI` */
export function labelledOf(
  operation: Readonly<Record<string, unknown>>,
): LabelledItems | undefined {
  const given = operation['x-sallyport-labelled']
  if (given === undefined) return undefined
  const { items, label, value, ...rest } = isObject(given) ? given : {}
  const isName = (text: unknown): text is string =>
    typeof text === 'string' && new RegExp(`^${NAME}$`).test(text)
  const isPath = typeof items === 'string' && PATH.test(items)
  if (
    !isPath ||
    !isName(label) ||
    !isName(value) ||
    label === value ||
    Object.keys(rest).length > 0
  ) {
    throw refuse(
      '`x-sallyport-labelled` does not say which items are labelled, and by what',
      'write `{ items: result[].prediction[], label: label, value: ocr_text }`',
    )
  }
  return { items, label, value }
}
