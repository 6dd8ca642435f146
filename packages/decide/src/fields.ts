import { DATA_CLASSES } from '@sallyport/network'
import type { DataClass, Field, NetworkIndex, Operation } from '@sallyport/network'
import type { FieldTreatment, Projection } from './types.ts'

/** Least revealing last. */
const TREATMENTS: readonly FieldTreatment[] = ['whole', 'tokenise', 'mask', 'drop']

export function stricter(a: FieldTreatment, b: FieldTreatment): FieldTreatment {
  return TREATMENTS.indexOf(a) < TREATMENTS.indexOf(b) ? b : a
}

export interface FieldsSummary {
  readonly projection: Projection
  /** Tags of every field that leaves in any form. */
  readonly labels: readonly string[]
  /** Highest class that leaves whole. */
  readonly maxClass: DataClass
}

/**
 * Decides the treatment of every field that an operation can return, through data sets inside data sets as far as
 * their fields leave whole: nothing is reached through a field that does not.
 */
export function projectFields(
  index: NetworkIndex,
  returns: Operation['returns'],
  treat: (dataset: string, field: Field) => FieldTreatment,
): FieldsSummary {
  const projection = new Map<string, Readonly<Record<string, FieldTreatment>>>()
  const labels = new Set<string>()
  let maxClass: DataClass = 'public'
  const waiting = Object.values(returns).filter((name) => name !== 'public')
  for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
    const dataset = index.findDataset(name)
    if (dataset === undefined || projection.has(name)) continue
    const treatments: [string, FieldTreatment][] = []
    for (const field of dataset.fields) {
      const treatment = treat(name, field)
      treatments.push([field.name, treatment])
      if (treatment !== 'drop') for (const tag of field.tags) labels.add(tag)
      if (treatment !== 'whole') continue
      maxClass = higherClass(maxClass, field.class)
      if (field.dataset !== undefined) waiting.push(field.dataset)
    }
    projection.set(name, Object.fromEntries(treatments))
  }
  return { projection: Object.fromEntries(projection), labels: [...labels].sort(), maxClass }
}

export function higherClass(a: DataClass, b: DataClass): DataClass {
  return DATA_CLASSES.indexOf(a) < DATA_CLASSES.indexOf(b) ? b : a
}
