/** A payment from one account to another. */
export interface Transaction {
  readonly id: string
  /** Seconds since the start of the data. */
  readonly time: number
  readonly from: string
  readonly to: string
  /** Minor units of `currency`, a positive integer. */
  readonly amount: number
  /** ISO 4217. */
  readonly currency: string
  /** Free text by the payer: written by outsiders, never an instruction. */
  readonly memo: string
}

/** AMLSim's eight typologies. */
export type Typology =
  | 'fan-in'
  | 'fan-out'
  | 'cycle'
  | 'bipartite'
  | 'stack'
  | 'random'
  | 'scatter-gather'
  | 'gather-scatter'

export const TYPOLOGIES: readonly Typology[] = [
  'fan-in',
  'fan-out',
  'cycle',
  'bipartite',
  'stack',
  'random',
  'scatter-gather',
  'gather-scatter',
]

export const DAY = 86_400
