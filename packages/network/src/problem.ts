import { SallyportError } from '@sallyport/base'
import type { SourceSpan } from '@sallyport/base'

export type ProblemCode =
  | 'SP_NETWORK_YAML'
  | 'SP_NETWORK_YAML_FEATURE'
  | 'SP_NETWORK_TOO_LARGE'
  | 'SP_NETWORK_DUPLICATE_KEY'
  | 'SP_NETWORK_UNKNOWN_KEY'
  | 'SP_NETWORK_SHAPE'
  | 'SP_NETWORK_REFERENCE'
  | 'SP_NETWORK_DUPLICATE'
  | 'SP_NETWORK_QUORUM'
  | 'SP_NETWORK_FILE'
  | 'SP_NETWORK_OPENAPI'
  | 'SP_NETWORK_GRPC'
  | 'SP_NETWORK_MCP'
  | 'SP_NETWORK_URI_TEMPLATE'
  | 'SP_NETWORK_A2A'
  | 'SP_NETWORK_INPUT'
  | 'SP_NETWORK_RETURNS'
  | 'SP_NETWORK_RULE'
  | 'SP_NETWORK_PLAINTEXT'
  | 'SP_NETWORK_POLICY'
  | 'SP_PEP_INCAPABLE'

/** One thing wrong with a declaration: what and where, why it matters, how to mend it. */
export interface Problem {
  readonly code: ProblemCode
  readonly message: string
  readonly why: string
  readonly fix: string
  readonly span: SourceSpan
}

/** Thrown when a declaration cannot be used: every problem found, in the order of the text. */
export class NetworkProblems extends SallyportError<'SP_NETWORK_INVALID'> {
  readonly problems: readonly Problem[]

  constructor(problems: readonly Problem[]) {
    const [first] = problems
    super(
      'SP_NETWORK_INVALID',
      `the declaration has ${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`,
      {
        detail: problems.map(renderProblem).join('\n'),
        fix: 'mend each problem listed and run `sallyport check` again',
        ...(first && { span: first.span }),
      },
    )
    this.problems = problems
  }
}

/** `FILE:LINE:COLUMN: message [CODE]`, then why and fix, each on a line of its own. */
export function renderProblem(problem: Omit<Problem, 'code'> & { readonly code: string }): string {
  const { file, line, column } = problem.span
  return `${file}:${line}:${column}: ${problem.message} [${problem.code}]\n  why: ${problem.why}\n  fix: ${problem.fix}`
}

/** Stops an importer where it can read no further; always caught and collected. */
export class Halt extends Error {
  readonly code: ProblemCode
  readonly why: string
  readonly fix: string

  constructor(code: ProblemCode, message: string, why: string, fix: string) {
    super(message)
    this.code = code
    this.why = why
    this.fix = fix
  }
}

const MAX_CANDIDATES = 500

/** The nearest of `known` to a misspelt `name`, as the end of a sentence; empty when nothing is near. */
export function didYouMean(name: string, known: Iterable<string>): string {
  if (name.length > 128) return ''
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1
  let tried = 0
  for (const candidate of known) {
    if (++tried > MAX_CANDIDATES) break
    const distance = editDistance(name, candidate, bestDistance)
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best === undefined ? '' : `; did you mean \`${best}\`?`
}

function editDistance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const swap = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1))
    }
    row = next
  }
  return row[b.length] ?? limit
}
