import type { FieldTreatment, Outcome, Projection } from '@sallyport/decide'
import { classRank } from '@sallyport/network'

/**
 * What both of two decisions on calls of one operation let through of an answer, e.g. of one to several messages: of each field the
 * lesser form, and none where neither is less than the other. Its labels are those of both.
 */
export function narrowed(one: Outcome, other: Outcome): Outcome {
  if (one === other) return one
  return {
    ...one,
    projection: both(one.projection, other.projection),
    labels: [...new Set([...one.labels, ...other.labels])],
    maxClass: classRank(one.maxClass) < classRank(other.maxClass) ? other.maxClass : one.maxClass,
  }
}

/** What one of them does not name is dropped. */
function both(one: Projection, other: Projection): Projection {
  const fields = ([dataset, treatments]: readonly [string, Projection[string]]): [
    string,
    Projection[string],
  ] => {
    const others = Object.hasOwn(other, dataset) ? (other[dataset] ?? {}) : {}
    return [
      dataset,
      Object.fromEntries(
        Object.entries(treatments).map(([name, treatment]) => [
          name,
          lesser(treatment, Object.hasOwn(others, name) ? (others[name] ?? 'drop') : 'drop'),
        ]),
      ),
    ]
  }
  return Object.fromEntries(Object.entries(one).map(fields))
}

function lesser(one: FieldTreatment, other: FieldTreatment): FieldTreatment {
  if (one === other || other === 'whole') return one
  return one === 'whole' ? other : 'drop'
}
