/** One figure that an issue asks for. `holds` is computed from `value` and `asked`, never written down. */
export interface Row {
  readonly what: string
  readonly value: number | string
  readonly unit: string
  /** As asked, in words, e.g. `<= 100`. */
  readonly asked: string
  readonly holds: boolean
}

/** A figure with a bound, `holds` computed. */
export function bounded(
  what: string,
  value: number,
  unit: string,
  relation: '<=' | '>=' | '=',
  bound: number,
): Row {
  const holds =
    relation === '<=' ? value <= bound : relation === '>=' ? value >= bound : value === bound
  return { what, value: round(value), unit, asked: `${relation} ${bound}`, holds }
}

/** A figure that is asked to be stated, with no bound. */
export function stated(what: string, value: number | string, unit: string): Row {
  return {
    what,
    value: typeof value === 'number' ? round(value) : value,
    unit,
    asked: 'stated',
    holds: value !== '' && !Number.isNaN(value),
  }
}

const round = (value: number): number =>
  Number.isInteger(value) ? value : Number(value.toPrecision(4))

/** The value below which the share `p` (0–1) of the values lies (nearest rank). */
export function percentile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)] ?? Number.NaN
}

export const median = (values: readonly number[]): number => percentile(values, 0.5)
