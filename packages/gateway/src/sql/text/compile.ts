import type { ColumnType } from '@sallyport/network'
import { unsupported } from '../refuse.ts'
import type { Reading, TableFacts } from './facts.ts'
import type { OutputColumn } from './from.ts'
import { Selects } from './select.ts'
import { Tables } from './tables.ts'
import type { Source, TablesParts } from './tables.ts'
import type { Node } from './nodes.ts'
import { Writes } from './write.ts'

/** A column of what comes back. */
export interface CompiledOutput extends Pick<OutputColumn, 'token' | 'single'> {
  readonly sources: readonly Source[]
}

/** A statement as it would be sent, and what it does. */
export interface Compiled {
  readonly sql: string
  readonly outputs: readonly CompiledOutput[]
  readonly facts: readonly TableFacts[]
  readonly parameterTypes: ReadonlyMap<number, ColumnType>
  /** Whether it would be the same with other values, but for what rows are wanted by. */
  readonly isFixed: boolean
  /** One object for this text, of one declaration and one way to see the tables, whatever values come with it. */
  readonly form: object
}

/**
 * Writes a statement anew from its parse tree.
 *
 * @throws SqlRefusal for whatever it does not understand, and for what is declared nowhere
 */
export function compile(kind: string, node: Node, parts: TablesParts): Compiled {
  let isFixed = true
  const tables = new Tables({
    ...parts,
    parameters: {
      read: (number, type) => {
        isFixed = false
        return parts.parameters.read(number, type)
      },
    },
  })
  const selects = new Selects(tables)
  const { sql, columns } = compileAny(kind, node, selects)
  for (const facts of tables.facts) {
    if (facts.action === 'select' && tables.facts.length === 1) facts.limit = selects.limit
  }
  const outputs = columns.map(({ token, single, note }) => ({
    ...(token === undefined ? {} : { token }),
    single: single === true,
    sources: tables.sourcesOf(note),
  }))
  const { facts, parameterTypes } = tables
  return { sql, outputs, facts, parameterTypes, isFixed, form: {} }
}

/** A statement of which `isFixed` is true, with other values. */
export const withValues = (compiled: Compiled, reading: Reading): Compiled => ({
  ...compiled,
  facts: compiled.facts.map((facts) => facts.with(reading)),
})

function compileAny(
  kind: string,
  node: Node,
  selects: Selects,
): { readonly sql: string; readonly columns: readonly OutputColumn[] } {
  switch (kind) {
    case 'SelectStmt':
      return selects.select(node, undefined, new Map(), true)
    case 'InsertStmt':
      return new Writes(selects).insert(node)
    case 'UpdateStmt':
      return new Writes(selects).update(node)
    case 'DeleteStmt':
      return new Writes(selects).delete(node)
    default:
      throw unsupported(`this statement (${kind})`)
  }
}
