import { AsyncLocalStorage } from 'node:async_hooks'

/**
 * Stands in for `node:test` in processes that run mutants: tests are only collected, so that the same functions can run again
 * and again in one process. Offers what tests of `cedar` and `decide` use, and nothing that would be passed over in silence.
 */

/** What one loading of a test file declared. */
export interface Declared {
  readonly tests: { readonly name: string; readonly run: Step }[]
  readonly before: Step[]
  readonly after: Step[]
}
type Step = () => unknown

let into: (Declared & { readonly declaring: Promise<unknown>[] }) | undefined
/** Names of the suites around; a suite may declare its tests later. */
const suites = new AsyncLocalStorage<readonly string[]>()

/** Collects what is declared while `load` runs. */
export async function collect(load: () => Promise<unknown>): Promise<Declared> {
  const declared: NonNullable<typeof into> = { tests: [], before: [], after: [], declaring: [] }
  into = declared
  try {
    await load()
    await Promise.all(declared.declaring)
  } finally {
    into = undefined
  }
  return declared
}

function current(): NonNullable<typeof into> {
  if (into === undefined) throw new Error('tests are declared while their file is loaded')
  return into
}

type Options = { readonly skip?: string | boolean }
type How = readonly [Step] | readonly [Options, Step]

export function it(name: string, ...[first, second]: How): void {
  const run = typeof first === 'function' ? first : second
  const unknown =
    typeof first === 'function' ? [] : Object.keys(first).filter((key) => key !== 'skip')
  if (run === undefined || run.length > 0 || unknown.length > 0) {
    throw new Error(`\`${name}\` is declared in a way unknown here`)
  }
  if (typeof first !== 'function' && first.skip) return
  current().tests.push({ name: [...(suites.getStore() ?? []), name].join(' › '), run })
}

/** The other name of `it`. */
export function test(name: string, ...how: How): void {
  it(name, ...how)
}

export function describe(name: string, declare: Step): void {
  const inside = [...(suites.getStore() ?? []), name]
  current().declaring.push(Promise.resolve(suites.run(inside, declare)))
}

export function before(step: Step): void {
  current().before.push(step)
}

export function after(step: Step): void {
  current().after.push(step)
}
