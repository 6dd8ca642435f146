import type { FieldTreatment, Outcome, Projection } from '@sallyport/decide'
import type { Direction, FieldChange, Verdict } from './types.ts'

/** Most revealing first. */
const TREATMENTS: readonly FieldTreatment[] = ['whole', 'tokenise', 'mask', 'drop']

export interface Change {
  readonly direction: Direction
  readonly before: Verdict
  readonly after: Verdict
  readonly fields: readonly FieldChange[]
}

/**
 * How two outcomes of one call differ, in the order of how far they let it: allow, needs one approval, needs two, …, deny.
 * A call that both allow differs where a field leaves in another form; one field that leaves less strictly makes it widened.
 *
 * @param refusedAs the code that `after` was refused with before any policy was asked
 */
export function changeBetween(
  before: Outcome,
  after: Outcome,
  refusedAs: string = after.code,
): Change | undefined {
  const [a, b] = [hurdle(before), hurdle(after)]
  const verdict = { ...verdictOf(after), code: refusedAs }
  const sides = { before: verdictOf(before), after: verdict, fields: [] }
  if (a !== b) return { direction: b < a ? 'widened' : 'narrowed', ...sides }
  if (before.decision !== 'allow') return undefined
  const fields = fieldChanges(before.projection, after.projection)
  if (fields.length === 0) return undefined
  const widened = fields.some((field) => rank(field.after) < rank(field.before))
  return { ...sides, direction: widened ? 'widened' : 'narrowed', fields }
}

function hurdle({ decision, needs }: Outcome): number {
  if (decision === 'allow') return 0
  return decision === 'needs' ? (needs[0]?.count ?? Infinity) : Infinity
}

function verdictOf({ decision, code, needs, reasons, errors }: Outcome): Verdict {
  const [need] = needs
  const failed = code === 'SP_DENIED_POLICY_ERROR' ? errors.map(({ policyId }) => policyId) : []
  return {
    decision,
    code,
    ...(need === undefined ? {} : { approvals: need.count }),
    policies: [...reasons, ...failed],
  }
}

function fieldChanges(before: Projection, after: Projection): FieldChange[] {
  const changes: FieldChange[] = []
  for (const dataset of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [a, b] = [before[dataset] ?? {}, after[dataset] ?? {}]
    for (const field of new Set([...Object.keys(a), ...Object.keys(b)])) {
      // What a projection does not name is dropped.
      const [x, y] = [a[field] ?? 'drop', b[field] ?? 'drop']
      if (x !== y) changes.push({ field: `${dataset}.${field}`, before: x, after: y })
    }
  }
  return changes
}

const rank = (treatment: FieldTreatment): number => TREATMENTS.indexOf(treatment)
