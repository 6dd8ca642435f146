/** Where the same declaration is enforced. */
type LayerName = 'policy' | 'database' | 'adapter' | 'segments'

/** One thing that one layer lets through and another does not. */
export interface Disagreement {
  readonly between: readonly [LayerName, LayerName]
  /** In one sentence: who may do what by which layer, and what the other says. */
  readonly says: string
}

/** What was compared, and where it disagrees. */
export interface LayerReport {
  readonly layer: LayerName
  /** How many things were compared: none is no agreement. */
  readonly compared: number
  readonly disagreements: readonly Disagreement[]
  /** What could not be compared, and why. */
  readonly notCompared: readonly string[]
}
