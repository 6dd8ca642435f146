import type { NetworkIndex } from '@sallyport/network'
import { UNKNOWN } from './parameters.ts'
import { compile, withValues } from './text/compile.ts'
import type { Compiled } from './text/compile.ts'
import type { Node } from './text/nodes.ts'
import type { TablesParts } from './text/tables.ts'

/** Ways in which one statement may be kept: callers differ by what their policies let them see. */
const MAX_WAYS = 100

/** Statements as they were written before, where nothing in them depends on the values that come with them. */
export class Written {
  /** Declaration → statement → database and views → as it is sent. */
  readonly #known = new WeakMap<NetworkIndex, WeakMap<Node, Map<string, Compiled>>>()

  /**
   * Writes a statement, or takes it as it was written before with other values.
   *
   * @param index of the declaration that `parts` are of
   * @param seen names the database, and all that `parts.view` says
   * @throws SqlRefusal as `compile`
   */
  of(
    [kind, node]: readonly [kind: string, node: Node],
    index: NetworkIndex,
    seen: string,
    parts: TablesParts,
  ): Compiled {
    let statements = this.#known.get(index)
    if (!statements) this.#known.set(index, (statements = new WeakMap()))
    let ways = statements.get(node)
    if (!ways) statements.set(node, (ways = new Map()))
    const known = ways.get(seen)
    if (known) return withValues(known, parts)
    const compiled = compile(kind, node, parts)
    if (!compiled.isFixed) return compiled
    const oldest = ways.keys().next().value
    if (ways.size >= MAX_WAYS && oldest !== undefined) ways.delete(oldest)
    // The values of one call are not to be kept for the next.
    ways.set(seen, withValues(compiled, { ...parts, parameters: UNKNOWN }))
    return compiled
  }
}
