import type { CedarJson } from '@sallyport/cedar'
import { readInput } from '@sallyport/decide'
import type { InputSchema, Operation } from '@sallyport/network'
import type { TableFacts } from './text/facts.ts'

type Input = Readonly<Record<string, CedarJson>>

/** The members that depend on the values of a statement. */
const BY_VALUES: ReadonlySet<string> = new Set(['where', 'set'])

/** What of an input is read already, and what is to be read of each call. */
interface Known {
  readonly fixed: Input
  readonly rest: InputSchema
}

/** The inputs of operations that statements are calls of. */
export class Inputs {
  /** Columns in the facts of a statement as it was written, which are one set whatever values come with it → operation. */
  readonly #known = new WeakMap<ReadonlySet<string>, WeakMap<Operation, Known>>()

  /**
   * @param set the row to be written, where there is one
   * @throws SallyportError `SP_INPUT_*`
   */
  of(operation: Operation, facts: TableFacts, set: Input | undefined): Input {
    const { input } = operation
    const given = { where: facts.where, set: set ?? {} }
    // Which of the variants it has, only the whole of it shows.
    if (input.variants) return readInput(input, declared(input, { ...fixedOf(facts), ...given }))
    const { fixed, rest } = this.#knownOf(operation, facts)
    return { ...fixed, ...readInput(rest, declared(rest, given)) }
  }

  #knownOf(operation: Operation, facts: TableFacts): Known {
    let operations = this.#known.get(facts.columns)
    if (!operations) this.#known.set(facts.columns, (operations = new WeakMap()))
    let known = operations.get(operation)
    if (!known) operations.set(operation, (known = knownOf(operation.input, facts)))
    return known
  }
}

function knownOf(input: InputSchema, facts: TableFacts): Known {
  const part = (byValues: boolean): InputSchema => ({
    ...input,
    members: Object.fromEntries(
      Object.entries(input.members).filter(([name]) => BY_VALUES.has(name) === byValues),
    ),
  })
  const fixed = readInput(part(false), declared(part(false), fixedOf(facts)))
  // It is part of one call after another.
  for (const value of Object.values(fixed)) Object.freeze(value)
  return { fixed, rest: part(true) }
}

function fixedOf({ columns, filters, written, limit }: TableFacts): Record<string, CedarJson> {
  return {
    columns: [...columns].toSorted(),
    filters: [...filters].toSorted(),
    written: [...written].toSorted(),
    ...(limit === undefined ? {} : { limit }),
  }
}

/** What of it the schema declares: the others are nothing that this operation is judged by. */
function declared({ members }: InputSchema, given: Input): Input {
  return Object.fromEntries(Object.entries(given).filter(([name]) => Object.hasOwn(members, name)))
}
