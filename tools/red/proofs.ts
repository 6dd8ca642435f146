import type { RedRow } from './types.ts'

const ENCODED = 'packages/policy/src/diff/input.ts'
const LITERALS = 'packages/policy/src/diff/literals.ts'
const INPUTS = 'packages/policy/test/diff-inputs.test.ts'

/** What is proven equal and is not, and what is read that a declaration does not take. */
export const PROOFS: readonly RedRow[] = [
  {
    id: 'input.least',
    threat: 'a list with fewer items than the declaration demands',
    file: 'packages/decide/src/input.ts',
    from: `raw.length < type.minItems`,
    to: `raw.length < 0`,
    test: 'packages/decide/test/input.test.ts',
    name: 'refuses too few items',
  },
  {
    id: 'proof.shapes',
    threat: 'a difference shown by an input that has none of the shapes declared',
    file: ENCODED,
    from: `t.or(...fitting), single)`,
    to: `single)`,
    test: INPUTS,
    name: 'of several shapes a counterexample has one, and what has none is no difference',
  },
  {
    id: 'proof.joined',
    threat:
      'proven equal: calls whose list has all that another list, or its approvers, are found to have',
    file: LITERALS,
    from: `for (const one of joined.get(name) ?? [name]) {`,
    to: `for (const one of [name]) {`,
    test: INPUTS,
    name: 'a list has room for all that another has which it is asked to hold, wherever the other has it from',
  },
  {
    id: 'proof.nested',
    threat: 'proven equal: calls with a list in a list',
    file: ENCODED,
    from: '`${path}-${i}`, name))',
    to: '`${path}-${i}`, path))',
    test: INPUTS,
    name: 'a list in a list has room for all that it is compared with',
  },
  {
    id: 'proof.beyond',
    threat: 'proven equal: calls with a value that the solver has no characters for',
    file: ENCODED,
    from: `items.enum?.every(representable) === true`,
    to: `items.enum !== undefined`,
    test: INPUTS,
    name: 'values that the solver has no characters for are not left out',
  },
  {
    id: 'proof.least',
    threat: 'proven equal: fields of calls with as many items as the old declaration demanded',
    file: ENCODED,
    from: `Math.max(minItems, other?.minItems ?? 0)`,
    to: `minItems`,
    test: INPUTS,
    name: 'fields of calls with as many items as only the other side demands are compared',
  },
  {
    id: 'proof.closed',
    threat: 'a list whose values are all known keeps questions about others from being proven',
    file: ENCODED,
    from: `const own = isClosed(type.items) ? 0 : filling(type, against)`,
    to: `const own = filling(type, against)`,
    test: INPUTS,
    name: 'a list whose values are all known takes no room from the others, however many it must have',
  },
]
