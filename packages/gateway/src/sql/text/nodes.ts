import { unsupported } from '../refuse.ts'

/** A node of PostgreSQL's parse tree, as its JSON has it: values that are zero, false or empty are left out. */
export type Node = Readonly<Record<string, unknown>>

const isNode = (value: unknown): value is Node =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Where a node stands in the text says nothing of what it means. */
const PLACES: ReadonlySet<string> = new Set([
  'location',
  'list_start',
  'list_end',
  'rexpr_list_start',
  'rexpr_list_end',
  'name_location',
  'arg_location',
  'stmt_location',
  'stmt_len',
])

/**
 * The kind and the content of a wrapped node, `{ Kind: { … } }`.
 *
 * @throws SqlRefusal for anything else
 */
export function unwrap(value: unknown): readonly [kind: string, node: Node] {
  if (isNode(value)) {
    const [entry, ...more] = Object.entries(value)
    if (entry && more.length === 0 && isNode(entry[1])) return [entry[0], entry[1]]
  }
  throw unsupported('this statement')
}

/** INVARIANT: whatever reads a node first says which members it understands; one more refuses the statement. */
export function only(node: Node, what: string, ...members: readonly string[]): void {
  for (const key of Object.keys(node)) {
    if (!members.includes(key) && !PLACES.has(key)) throw unsupported(`${what} (${key})`)
  }
}

export function listOf(value: unknown): readonly unknown[] {
  if (value === undefined) return []
  if (Array.isArray(value)) return value
  throw unsupported('this statement')
}

/** A node that is not wrapped, such as an alias. */
export function plain(value: unknown): Node {
  if (isNode(value)) return value
  throw unsupported('this statement')
}

export function textOf(value: unknown): string {
  if (value === undefined) return ''
  if (typeof value === 'string') return value
  throw unsupported('this statement')
}

export function numberOf(value: unknown): number {
  if (value === undefined) return 0
  if (typeof value === 'number' && Number.isSafeInteger(value)) return value
  throw unsupported('this statement')
}

export function flagOf(value: unknown): boolean {
  if (value === undefined) return false
  if (typeof value === 'boolean') return value
  throw unsupported('this statement')
}

/** The texts of a list of `String` nodes. */
export function namesOf(value: unknown): readonly string[] {
  return listOf(value).map((item) => {
    const [kind, node] = unwrap(item)
    if (kind !== 'String') throw unsupported('this name')
    only(node, 'this name', 'sval')
    return textOf(node['sval'])
  })
}
