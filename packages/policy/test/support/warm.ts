import { after } from 'node:test'
import { diff as compare } from '../../src/index.ts'
import type { DiffReport } from '../../src/index.ts'
import type { DiffOptions } from '../../src/diff/diff.ts'
import { Solver } from '../../src/diff/solver.ts'

const solver = new Solver(10_000)
after(() => solver.close())

/**
 * As `diff` does by itself, with one solver for all comparisons of a test file, each of whose questions has a context of its own: most
 * of a short comparison is a solver that starts, and runs code that nothing has optimised yet.
 */
export const diff = (options: Pick<DiffOptions, 'old' | 'new'>): Promise<DiffReport> =>
  compare({ ...options, solver })
