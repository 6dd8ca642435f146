/** What differs between proto2, proto3 and editions (protobuf.dev, "Feature Settings for Editions"). */
export interface Features {
  readonly presence: 'implicit' | 'explicit' | 'required'
  readonly packed: boolean
  /** Messages are written as groups. */
  readonly delimited: boolean
}

/** Where nothing else is said. Of editions, those of 2023, which later ones share. */
export const NO_FEATURES: Readonly<Record<string, Features | undefined>> = {
  proto2: { presence: 'explicit', packed: false, delimited: false },
  proto3: { presence: 'implicit', packed: true, delimited: false },
  editions: { presence: 'explicit', packed: true, delimited: false },
}

const PRESENCE: Readonly<Record<number, Features['presence']>> = {
  1: 'explicit',
  2: 'implicit',
  3: 'required',
}

/** A `FeatureSet`, on top of what stands around it. */
export function featuresOf(
  set: { int(number: number): number | undefined } | undefined,
  outer: Features | undefined,
): Features | undefined {
  if (!set || !outer) return outer
  const encoding = set.int(3)
  const message = set.int(5)
  return {
    presence: PRESENCE[set.int(1) ?? 0] ?? outer.presence,
    packed: encoding === undefined ? outer.packed : encoding === 1,
    delimited: message === undefined ? outer.delimited : message === 2,
  }
}
