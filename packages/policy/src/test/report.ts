import type { CoverageReport, PolicyCoverage, Unseen } from './coverage.ts'
import type { RowResult } from './run.ts'
import type { Finding } from '../report/findings.ts'
import { visible } from '../report/text.ts'

/** The rows of one file. */
export interface Suite {
  /** As the reader finds it from where the command ran. */
  readonly file: string
  readonly results: readonly RowResult[]
}

export interface NetworkCoverage {
  /** The declaration, as above. */
  readonly network: string
  readonly report: CoverageReport
}

export interface TestReport {
  readonly suites: readonly Suite[]
  /** Where it was asked for. */
  readonly coverage: readonly NetworkCoverage[]
  /** Percent that each declaration must reach. */
  readonly minCoverage: number | undefined
}

/** One thing that a report says passed or failed: a row, or the threshold of a declaration's coverage. */
export interface Verdict {
  readonly suite: string
  readonly name: string
  readonly line: number | undefined
  readonly passed: boolean
  /** What differs and why, line by line; empty for what passed. */
  readonly lines: readonly string[]
}

/** Everything that passes or fails, in order, in one-line texts that are safe to show. */
export function verdicts(report: TestReport): Verdict[] {
  const { suites, coverage, minCoverage } = report
  return [
    ...suites.flatMap(({ file, results }) =>
      results.map((result) => ({
        suite: visible(file),
        name: visible(result.row.name),
        line: result.row.span.line,
        passed: result.passed,
        lines: result.passed ? [] : failureLines(result),
      })),
    ),
    ...(minCoverage === undefined ? [] : coverage.map((each) => threshold(each, minCoverage))),
  ]
}

function threshold({ network, report }: NetworkCoverage, minCoverage: number): Verdict {
  // In whole numbers, so that what is cut for display cannot fail or pass by it.
  const passed = report.seen * 100 >= minCoverage * report.total
  const figure = `${report.percent} % (${report.seen} of ${report.total})`
  return {
    suite: visible(network),
    name: `coverage of at least ${minCoverage} %`,
    line: undefined,
    passed,
    lines: passed ? [] : [`coverage is ${figure}`, ...report.policies.flatMap(unseenLines)],
  }
}

function failureLines({ mismatches, summary, remedies, code }: RowResult): string[] {
  const differing = mismatches.map(
    ({ what, expected, actual }) => `${what}: expected ${expected}, got ${actual}`,
  )
  // How to have it allowed helps only whoever did not get it allowed.
  const hints = code === 'SP_ALLOWED' ? [] : remedies.map((remedy) => `to allow it: ${remedy}`)
  return [...differing, summary, ...hints].map(visible)
}

function unseenLines(policy: PolicyCoverage): string[] {
  const { policyId, file, line, seen, total, unseen } = policy
  if (unseen.length === 0) return []
  return [
    visible(`${policyId} (${file}:${line}): ${seen} of ${total}`),
    ...unseen.map((each) => `  ${unseenText(each)}`),
  ]
}

function unseenText({ kind, text, never }: Unseen): string {
  if (kind === 'policy') return `never ${never}`
  return visible(`never ${never}: ${kind === 'part' ? '' : `${kind} `}${text}`)
}

/** For people: failures, what was never seen, and the count. */
export function textReport(report: TestReport): string {
  const all = verdicts(report)
  const failed = all.filter(({ passed }) => !passed)
  const lines: string[] = []
  for (const { suite, name, line, lines: why } of failed) {
    if (line === undefined) continue
    lines.push(`✗ ${suite}:${line} ${name}`, ...why.map((text) => `    ${text}`), '')
  }
  for (const { network, report: found } of report.coverage) {
    lines.push(
      `coverage of ${visible(network)}: ${found.percent} % (${found.seen} of ${found.total})`,
      ...found.policies.flatMap(unseenLines).map((text) => `  ${text}`),
      '',
    )
  }
  for (const {
    name,
    suite,
    line,
    lines: [first],
  } of failed) {
    if (line === undefined) lines.push(`✗ ${suite}: ${name}: ${first ?? ''}`)
  }
  const rows = all.filter(({ line }) => line !== undefined)
  const passed = rows.filter((row) => row.passed).length
  lines.push(`${passed} of ${rows.length} rows passed`)
  return lines.join('\n')
}

/**
 * What failed, at its place: rows, and where a threshold is missed each policy that was not seen in full.
 *
 * @param place of a policy file of a declaration, as the reader finds it
 */
export function testFindings(
  { suites, coverage, minCoverage }: TestReport,
  place: (network: string, file: string) => string,
): Finding[] {
  const rows = suites
    .flatMap(({ results }) => results)
    .filter(({ passed }) => !passed)
    .map((result) => ({
      code: 'SP_POLICY_TEST_FAILED',
      level: 'error' as const,
      message: [visible(result.row.name), ...failureLines(result)].join('\n'),
      span: result.row.span,
    }))
  const missed = coverage.filter(
    (each) => minCoverage !== undefined && !threshold(each, minCoverage).passed,
  )
  const unseen = missed.flatMap(({ network, report }) =>
    report.policies
      .filter((policy) => policy.unseen.length > 0)
      .map((policy) => ({
        code: 'SP_POLICY_TEST_COVERAGE',
        level: 'error' as const,
        message: unseenLines(policy).join('\n'),
        span: { file: place(network, policy.file), line: policy.line, column: 1 },
      })),
  )
  return [...rows, ...unseen]
}

/** For programs. */
export function jsonReport(report: TestReport): unknown {
  const rows = report.suites.flatMap(({ file, results }) =>
    results.map(({ row, passed, code, decision, mismatches, summary, remedies }) => ({
      ...{ file, line: row.span.line, name: row.name, passed, code, decision },
      ...{ mismatches, summary, remedies },
    })),
  )
  return {
    passed: verdicts(report).every(({ passed }) => passed),
    rows,
    coverage: report.coverage.map(({ network, report: found }) => ({ network, ...found })),
    ...(report.minCoverage === undefined ? {} : { minCoverage: report.minCoverage }),
  }
}
