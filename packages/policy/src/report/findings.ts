import { SallyportError } from '@sallyport/base'
import type { SourceSpan } from '@sallyport/base'
import { checkPolicies } from '@sallyport/cedar'
import type { Diagnostic } from '@sallyport/cedar'
import { policiesByCaller } from '@sallyport/decide'
import { deriveSchema, NetworkProblems, renderProblem } from '@sallyport/network'
import type { Declaration, PolicySource } from '@sallyport/network'
import { TestProblems } from '../test/problem.ts'

/** Something to show at a place in a file. */
export interface Finding {
  readonly code: string
  readonly level: 'error' | 'warning'
  /** What is wrong, why it matters and how to mend it. */
  readonly message: string
  /** Its file relative to where the command runs, with `/`. */
  readonly span: SourceSpan
}

/** Thrown when policies do not fit their network: every problem, where it stands. */
export class PolicyProblems extends SallyportError<'SP_CEDAR_INVALID'> {
  readonly findings: readonly Finding[]

  constructor(findings: readonly Finding[]) {
    const [first] = findings
    const count = findings.length
    super(
      'SP_CEDAR_INVALID',
      `the policies have ${count} ${count === 1 ? 'problem' : 'problems'}`,
      {
        detail: findings
          .map(
            ({ code, message, span }) =>
              `${span.file}:${span.line}:${span.column}: ${message} [${code}]`,
          )
          .join('\n'),
        fix: 'mend each problem listed and run `sallyport check` again',
        ...(first && { span: first.span }),
      },
    )
    this.findings = findings
  }
}

/**
 * What the type checker says of a declaration's policies, errors and warnings, where it stands.
 *
 * @throws SallyportError `SP_CEDAR_LIMIT`, `SP_CEDAR_SYNTAX`, `SP_CEDAR_PARSER`
 */
export async function policyFindings({ network, policies }: Declaration): Promise<Finding[]> {
  const { own, foreign } = await policiesByCaller({ network, policies })
  const { diagnostics: ours } = await checkPolicies({
    policies: own,
    schema: deriveSchema(network),
  })
  const theirs = foreign && {
    policies: foreign,
    schema: deriveSchema(network, 'ForeignInstance'),
  }
  const diagnostics = [...ours, ...(theirs ? (await checkPolicies(theirs)).diagnostics : [])]
  const byId = new Map(policies.map((policy) => [policy.id, policy]))
  const findings = diagnostics.map((diagnostic): Finding => ({
    code: diagnostic.severity === 'error' ? 'SP_CEDAR_INVALID' : 'SP_CEDAR_WARNING',
    level: diagnostic.severity,
    message: [diagnostic.message, ...(diagnostic.help === undefined ? [] : [diagnostic.help])].join(
      '; ',
    ),
    span: placeOf(diagnostic, byId.get(diagnostic.policyId ?? '')),
  }))
  // The checker's order is none.
  return findings.sort(
    ({ span: a }, { span: b }) =>
      a.file.localeCompare(b.file) || a.line - b.line || a.column - b.column,
  )
}

function placeOf({ start, end }: Diagnostic, policy: PolicySource | undefined): SourceSpan {
  if (policy === undefined) return { file: 'network.yaml', line: 1, column: 1 }
  const { file, line, source } = policy
  if (start === undefined || end === undefined) return { file, line, column: 1 }
  // `line` is that of the first token; the comments before it belong to the source.
  const before = /^(?:\s*\/\/[^\n]*\n|\s*\n)*/.exec(source)?.[0] ?? ''
  const first = line - (before.split('\n').length - 1)
  const at = (offset: number): { line: number; column: number } => {
    const lines = source.slice(0, offset).split('\n')
    return { line: first + lines.length - 1, column: (lines.at(-1)?.length ?? 0) + 1 }
  }
  const [from, to] = [at(start), at(end)]
  return { file, ...from, endLine: to.line, endColumn: to.column }
}

/**
 * What an error says is wrong with the files of a declaration or of its tests; empty for an error about something else.
 *
 * @param networkFile as the command found it: spans of a declaration are relative to its folder
 * @param within a span of a declaration as one relative to where the command runs
 */
export function findingsOf(
  error: unknown,
  networkFile: string,
  within: (span: SourceSpan) => SourceSpan,
): Finding[] {
  if (error instanceof TestProblems) return error.problems.map(fromProblem)
  if (error instanceof NetworkProblems) {
    return error.problems.map((problem) => fromProblem({ ...problem, span: within(problem.span) }))
  }
  if (error instanceof PolicyProblems) {
    return error.findings.map((finding) => ({ ...finding, span: within(finding.span) }))
  }
  if (!(error instanceof SallyportError) || !/^SP_(NETWORK|CEDAR|POLICY)/.test(error.code))
    return []
  const { code, message, span } = error
  const place = span ? within(span) : { file: networkFile, line: 1, column: 1 }
  return [{ code, level: 'error', message, span: place }]
}

type Problem = Parameters<typeof renderProblem>[0]

const fromProblem = ({ code, message, why, fix, span }: Problem): Finding => ({
  code,
  level: 'error',
  message: `${message}\nwhy: ${why}\nfix: ${fix}`,
  span,
})
