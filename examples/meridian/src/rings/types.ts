import type { Typology } from '../transaction.ts'

/** What a payment looks like to the finder: accounts may be pseudonyms, the memo is never read. */
export interface Payment {
  /** Seconds. */
  readonly time: number
  readonly from: string
  readonly to: string
  /** Minor units. */
  readonly amount: number
}

export type Pattern = Typology | 'structuring'

/** A suspicion, before it is merged with others about the same accounts. */
export interface Candidate {
  readonly pattern: Pattern
  readonly accounts: readonly string[]
  /** Orders of magnitude by which chance is unlikely to have made it. */
  readonly surprise: number
  readonly time: number
}

/** A ring as it is reported. */
export interface FoundRing {
  readonly pattern: Pattern
  /** Sorted. */
  readonly accounts: readonly string[]
  /** 0–100. */
  readonly score: number
  readonly firstTime: number
  readonly lastTime: number
}

export interface FinderSettings {
  /** Payments remembered, in seconds of stream time. */
  readonly windowSeconds: number
  /** Within which the payments of one fan or one layer fall. */
  readonly groupSeconds: number
  /** Within which money is passed on. */
  readonly hopSeconds: number
  /** A hop's outgoing share of the incoming amount. */
  readonly hopShare: { readonly least: number; readonly most: number }
  /** Whether money must arrive before it leaves; files with coarse or shuffled times cannot say. */
  readonly ordered: boolean
  /** Longest chain searched, in payments. */
  readonly maxHops: number
  /** Like payments of one pair within a day that count as one sum split up. */
  readonly minRepeat: number
  /** Whether like amounts at one account mean anything: not where every payer always pays the same sum. */
  readonly fans: boolean
  /** What a group must move to matter, in multiples of what strangers usually pay each other. */
  readonly material: number
  /** Seconds of stream time to learn from before anything is reported. */
  readonly warmUpSeconds: number
  /** Quiet seconds after which a suspicion is reported. */
  readonly settleSeconds: number
  /** Payments held at once; the oldest go first. */
  readonly maxPayments: number
}

const DAY = 86_400

/** For streams with real times. Developed on generator seeds 1–12. */
export const STREAM_SETTINGS: FinderSettings = {
  windowSeconds: 14 * DAY,
  groupSeconds: 7 * DAY,
  hopSeconds: 3 * DAY,
  hopShare: { least: 0.92, most: 1.005 },
  ordered: true,
  maxHops: 12,
  minRepeat: 3,
  fans: true,
  material: 20,
  warmUpSeconds: 35 * DAY,
  settleSeconds: 4 * DAY,
  maxPayments: 200_000,
}

/**
 * For AMLSim's files: whole days only, patterns that stretch over months, hops in any order, amounts passed on
 * unchanged.
 */
export const AMLSIM_SETTINGS: FinderSettings = {
  ...STREAM_SETTINGS,
  windowSeconds: 150 * DAY,
  groupSeconds: 150 * DAY,
  hopSeconds: 150 * DAY,
  hopShare: { least: 0.9999, most: 1.0001 },
  ordered: false,
  minRepeat: 2,
  fans: false,
  material: 0,
  warmUpSeconds: 0,
  settleSeconds: 150 * DAY,
}
