import { SallyportError } from '@sallyport/base'
import type { SourceSpan } from '@sallyport/base'
import { renderProblem } from '@sallyport/network'
import type { ProblemCode } from '@sallyport/network'

/** One thing wrong with a file of tests. */
export interface TestProblem {
  readonly code: ProblemCode | 'SP_POLICY_TEST_ROW' | 'SP_POLICY_TEST_REFERENCE'
  readonly message: string
  readonly why: string
  readonly fix: string
  readonly span: SourceSpan
}

/** Thrown when a file of tests cannot be run: every problem found, in the order of the text. */
export class TestProblems extends SallyportError<'SP_POLICY_TEST_INVALID'> {
  readonly problems: readonly TestProblem[]

  constructor(problems: readonly TestProblem[]) {
    const [first] = problems
    super(
      'SP_POLICY_TEST_INVALID',
      `the tests have ${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}`,
      {
        detail: problems.map(renderProblem).join('\n'),
        fix: 'mend each problem listed and run `sallyport policy test` again',
        ...(first && { span: first.span }),
      },
    )
    this.problems = problems
  }
}
