import { SallyportError } from '@sallyport/base'
import { createDecider, readInput } from '@sallyport/decide'
import type { Call, Decider, Outcome, OutcomeExplanation, SessionState } from '@sallyport/decide'
import type { Declaration } from '@sallyport/network'
import { Coverage } from './coverage.ts'
import type { CoverageReport } from './coverage.ts'
import { TestProblems } from './problem.ts'
import { checkReferences } from './references.ts'
import type { RowCall, TestFile, TestRow } from './row.ts'

/** Something that a row expects and did not get. */
interface Mismatch {
  readonly what: string
  readonly expected: string
  readonly actual: string
}

export interface RowResult {
  readonly row: TestRow
  readonly passed: boolean
  readonly code: string
  readonly decision: Outcome['decision']
  readonly mismatches: readonly Mismatch[]
  /** What decided it, in one sentence. */
  readonly summary: string
  /** What would have to change for the call to be allowed. */
  readonly remedies: readonly string[]
}

export interface TestRun {
  readonly results: readonly RowResult[]
  readonly coverage: CoverageReport
}

/**
 * Decides every row as a gateway would and compares how it ended with how it should.
 *
 * @throws TestProblems where rows name what the declaration has not, SallyportError `SP_CEDAR_*` for policies that do
 *   not fit the network
 */
export async function runTests(
  files: readonly TestFile[],
  declaration: Declaration,
  prepared?: Decider,
): Promise<TestRun> {
  const decider = prepared ?? (await createDecider({ declaration }))
  const rows = files.flatMap((file) => file.rows)
  const problems = checkReferences(rows, declaration, decider.index)
  if (problems.length > 0) throw new TestProblems(problems)
  const coverage = new Coverage(decider.points(), declaration.policies)
  const results = rows.map((row) => new RowRun(row, decider, coverage).result())
  return { results, coverage: coverage.report() }
}

class RowRun {
  readonly #row: TestRow
  readonly #decider: Decider
  readonly #coverage: Coverage
  readonly #mismatches: Mismatch[] = []

  constructor(row: TestRow, decider: Decider, coverage: Coverage) {
    this.#row = row
    this.#decider = decider
    this.#coverage = coverage
  }

  result(): RowResult {
    const row = this.#row
    const labels = this.#labels()
    const explained = this.#decide(row, { labels, risk: row.risk }, row.approvals)
    const { outcome, summary, remedies } = explained
    this.#compare(explained)
    const mismatches = this.#mismatches
    const { code, decision } = outcome
    return { row, passed: mismatches.length === 0, code, decision, mismatches, summary, remedies }
  }

  #differ(what: string, expected: string, actual: string): void {
    this.#mismatches.push({ what, expected, actual })
  }

  /** The session's labels: those given, or those that the calls made before bring. */
  #labels(): readonly string[] {
    const { first, labels, risk } = this.#row
    if (first.length === 0) return labels ?? []
    const brought = new Set<string>()
    for (const one of first) {
      const { outcome } = this.#decide(one, { labels: [...brought], risk }, [])
      if (outcome.decision !== 'allow') {
        this.#differ(`the call before, ${one.system}.${one.operation}`, 'SP_ALLOWED', outcome.code)
      }
      for (const label of outcome.labels) brought.add(label)
    }
    const found = [...brought].sort()
    if (labels !== undefined && list(labels) !== list(found)) {
      this.#differ('labels', list(labels), list(found))
    }
    return found
  }

  #decide(one: RowCall, session: SessionState, approvals: readonly string[]): Explained {
    const { agent, instance, time, source } = this.#row
    const { index } = this.#decider
    const operation = index.findOperation(one.system, one.operation)
    const flow = index.findFlow(agent, one.system, one.operation)
    const foreign = index.findForeignAgent(agent)
    const base = {
      instance: foreign
        ? `spiffe://${foreign.trustDomain}${foreign.path.replace(/\*$/, instance)}`
        : `spiffe://${index.network.trustDomain}/agent/${agent}/${instance}`,
      agent,
      system: one.system,
      operation: one.operation,
      time,
      evidence: { approvals },
      ...(source === undefined ? {} : { source }),
    }
    // A call outside every flow is refused whatever it brings, so such a row need not bring anything.
    if (operation === undefined || flow === undefined) {
      return this.#decider.explain({ ...base, input: {} }, session)
    }
    let call: Call
    try {
      call = { ...base, input: readInput(operation.input, one.input) }
    } catch (error) {
      if (!(error instanceof SallyportError)) throw error
      return refused(error)
    }
    const explained = this.#decider.explain(call, session)
    // A call that cannot be put to the policies covers nothing of them; its outcome says so.
    if (explained.outcome.errors.every(({ policyId }) => policyId !== '')) {
      for (const covers of this.#decider.cover(call, session)) this.#coverage.add(covers)
    }
    return explained
  }

  #compare(explained: Explained): void {
    const { outcome } = explained
    const { code, decision, needs, why, projection, limits } = this.#row.expect
    if (code !== undefined && code !== outcome.code) this.#differ('code', code, outcome.code)
    if (decision !== undefined && decision !== outcome.decision) {
      this.#differ('decision', decision, outcome.decision)
    }
    const asked = outcome.needs[0]?.count ?? 0
    if (needs !== undefined && needs !== asked) {
      this.#differ('approvals needed', String(needs), String(asked))
    }
    const deciding = decidedBy(explained)
    for (const id of why ?? []) {
      if (!deciding.includes(id)) this.#differ('why', id, list(deciding))
    }
    for (const [field, treatment] of Object.entries(projection ?? {})) {
      const dot = field.indexOf('.')
      const fields = outcome.projection[field.slice(0, dot)] ?? {}
      const found = Object.hasOwn(fields, field.slice(dot + 1))
        ? fields[field.slice(dot + 1)]
        : 'drop'
      if (found !== treatment) this.#differ(field, treatment, found ?? 'drop')
    }
    const counting = list(outcome.limits.map(({ id }) => id))
    if (limits !== undefined && list(limits) !== counting) {
      this.#differ('limits', list(limits), counting)
    }
  }
}

/** An outcome as rows see it: an input that is refused before any decision has a code of its own. */
interface Explained extends Pick<OutcomeExplanation, 'summary' | 'remedies'> {
  readonly outcome: Omit<Outcome, 'code'> & { readonly code: string }
  readonly cedar?: OutcomeExplanation['cedar']
}

function refused({ code, message }: SallyportError): Explained {
  return {
    outcome: {
      decision: 'deny',
      code,
      reasons: [],
      errors: [],
      needs: [],
      projection: {},
      limits: [],
      labels: [],
      maxClass: 'public',
    },
    summary: `the call is refused before any policy is asked: ${message}`,
    remedies: [],
  }
}

/** The determining policies; where nothing permits a call, the permits whose scope covers it. */
function decidedBy({ outcome, cedar }: Explained): string[] {
  const near = (cedar?.policies ?? []).filter(
    ({ effect, outcome, scope }) =>
      effect === 'permit' && outcome === 'unsatisfied' && scope.every((c) => c.result === 'true'),
  )
  return [
    ...outcome.reasons,
    ...outcome.errors.map(({ policyId }) => policyId).filter((id) => id !== ''),
    ...(outcome.decision === 'allow' || outcome.code === 'SP_DENIED_FORBIDDEN'
      ? []
      : near.map(({ policyId }) => policyId)),
  ]
}

const list = (names: readonly string[]): string =>
  names.length === 0 ? 'none' : [...names].sort().join(', ')
