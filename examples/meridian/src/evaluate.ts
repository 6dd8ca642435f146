import { join } from 'node:path'
import { readLabels, readTransactions } from './csv.ts'
import { generate } from './generator.ts'
import { AMLSIM_SETTINGS, RingFinder } from './rings/index.ts'
import type { FoundRing } from './rings/index.ts'
import type { Transaction, Typology } from './transaction.ts'

/** Seeds that nothing was developed or tuned on. */
export const HELD_SEEDS: readonly number[] = [
  1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010,
]

export interface AccountScore {
  readonly flagged: number
  readonly precision: number
  readonly recall: number
  readonly f1: number
}

export interface AmlsimEvaluation {
  readonly transactions: number
  readonly accounts: number
  /** Accounts with the label. */
  readonly fraudulent: number
  /** Accounts of any ring that the finder reports. */
  readonly finder: AccountScore & { readonly rings: number; readonly seconds: number }
  /** Accounts on either side of a payment at or above the threshold that gives the best F1 on these very labels. */
  readonly thresholdAbove: AccountScore & { readonly threshold: number }
  /** The same at or below a threshold: in this file small amounts give patterns away. */
  readonly thresholdBelow: AccountScore & { readonly threshold: number }
  /** Labelled accounts whose every payment looks like the others': none of the three can tell them. */
  readonly withoutTrace: number
}

export interface SeedEvaluation {
  readonly seed: number
  readonly transactions: number
  readonly present: number
  readonly found: number
  /** Of the found ones, those whose typology is named rightly. */
  readonly named: number
  readonly falseRings: number
  readonly missed: readonly Typology[]
  readonly accounts: AccountScore
  /** The best value threshold for this seed, chosen on its own truth. */
  readonly threshold: AccountScore
}

function score(flagged: ReadonlySet<string>, truth: ReadonlySet<string>): AccountScore {
  const right = flagged.intersection(truth).size
  const precision = flagged.size === 0 ? 0 : right / flagged.size
  const recall = truth.size === 0 ? 0 : right / truth.size
  const f1 = right === 0 ? 0 : (2 * precision * recall) / (precision + recall)
  return { flagged: flagged.size, precision, recall, f1 }
}

/** The value threshold with the best F1, over every distinct amount: as kind to the baseline as can be. */
function bestThreshold(
  transactions: readonly Transaction[],
  truth: ReadonlySet<string>,
  side: 'above' | 'below',
): AccountScore & { threshold: number } {
  const ordered = transactions.toSorted((a, b) =>
    side === 'above' ? b.amount - a.amount : a.amount - b.amount,
  )
  const flagged = new Set<string>()
  let right = 0
  let best = { flagged: 0, precision: 0, recall: 0, f1: 0, threshold: 0 }
  for (const [index, transaction] of ordered.entries()) {
    for (const account of [transaction.from, transaction.to]) {
      if (!flagged.has(account) && truth.has(account)) right++
      flagged.add(account)
    }
    if (ordered[index + 1]?.amount === transaction.amount) continue
    const precision = right / flagged.size
    const recall = right / Math.max(1, truth.size)
    const f1 = right === 0 ? 0 : (2 * precision * recall) / (precision + recall)
    if (f1 > best.f1) {
      best = { flagged: flagged.size, precision, recall, f1, threshold: transaction.amount }
    }
  }
  return best
}

/** The rings that a finder reports over a whole file. */
function findAll(transactions: readonly Transaction[], finder: RingFinder): FoundRing[] {
  const rings: FoundRing[] = []
  for (const transaction of transactions) rings.push(...finder.add(transaction))
  rings.push(...finder.flush())
  return rings
}

/** Scores the finder on AMLSim's sample (`nodes.csv` and `transactions.csv` in `dir`) beside value thresholds. */
export async function evaluateAmlsim(dir: string): Promise<AmlsimEvaluation> {
  const labels = await readLabels(join(dir, 'nodes.csv'))
  const transactions: Transaction[] = []
  for await (const row of readTransactions(join(dir, 'transactions.csv'))) transactions.push(row)
  const truth = new Set([...labels].filter(([, fraud]) => fraud).map(([account]) => account))
  const began = performance.now()
  const rings = findAll(transactions, new RingFinder(AMLSIM_SETTINGS))
  const seconds = (performance.now() - began) / 1000
  const below = bestThreshold(transactions, truth, 'below')
  const traced = new Set<string>()
  for (const { from, to, amount } of transactions) {
    if (amount <= below.threshold) traced.add(from).add(to)
  }
  const flagged = new Set(rings.flatMap((ring) => ring.accounts))
  return {
    transactions: transactions.length,
    accounts: labels.size,
    fraudulent: truth.size,
    finder: { ...score(flagged, truth), rings: rings.length, seconds },
    thresholdAbove: bestThreshold(transactions, truth, 'above'),
    thresholdBelow: below,
    withoutTrace: truth.difference(traced.union(flagged)).size,
  }
}

/** Overlap of two sets of accounts, 0 to 1. */
function jaccard(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  return a.intersection(b).size / a.union(b).size
}

/** Scores the finder on one generated bank each. A ring counts as found at a Jaccard overlap of accounts ≥ 0.5. */
export function evaluateSeeds(seeds: readonly number[] = HELD_SEEDS): SeedEvaluation[] {
  return seeds.map((seed) => {
    const bank = generate({ seed })
    const reported = findAll(bank.transactions, new RingFinder()).map((ring) => ({
      pattern: ring.pattern,
      accounts: new Set(ring.accounts),
    }))
    const missed: Typology[] = []
    const matched = new Set<unknown>()
    let named = 0
    for (const ring of bank.rings) {
      const accounts = new Set(ring.accounts)
      const hits = reported.filter((found) => jaccard(found.accounts, accounts) >= 0.5)
      for (const hit of hits) matched.add(hit)
      if (hits.length === 0) missed.push(ring.typology)
      else if (hits.some((hit) => hit.pattern === ring.typology)) named++
    }
    const truth = new Set(bank.rings.flatMap((ring) => ring.accounts))
    const { threshold: _, ...threshold } = bestThreshold(bank.transactions, truth, 'above')
    return {
      seed,
      transactions: bank.transactions.length,
      present: bank.rings.length,
      found: bank.rings.length - missed.length,
      named,
      falseRings: reported.filter((ring) => !matched.has(ring)).length,
      missed,
      accounts: score(new Set(reported.flatMap((ring) => [...ring.accounts])), truth),
      threshold,
    }
  })
}
