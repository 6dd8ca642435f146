import { ordinaryLife } from './ordinary.ts'
import type { OrdinaryLeg, Population } from './ordinary.ts'
import { Random } from './random.ts'
import { DAY, TYPOLOGIES } from './transaction.ts'
import type { Transaction, Typology } from './transaction.ts'
import { plant, ringSize } from './typologies.ts'

export interface GeneratorOptions {
  /** The same seed gives the same bank, payment for payment. */
  readonly seed: number
  /** Accounts (default 600). */
  readonly accounts?: number
  /** Days of payments (default 90). */
  readonly days?: number
  /** Rings of each typology (default 1, hence eight). */
  readonly ringsPerTypology?: number
}

/** The ground truth about one planted ring. */
export interface PlantedRing {
  readonly typology: Typology
  readonly accounts: readonly string[]
  readonly transactions: readonly string[]
}

export interface GeneratedBank {
  readonly accounts: readonly string[]
  /** In order of time. */
  readonly transactions: readonly Transaction[]
  readonly rings: readonly PlantedRing[]
}

const MEMOS = ['invoice', 'services', 'loan', 'thanks', 'for the car', 'deposit', 'family']

/**
 * A bank with rings of AMLSim's eight typologies hidden in ordinary life. Rings start after 40 % of the days, on
 * accounts that live ordinary lives too; their amounts (median 1,400.00) lie among salaries, rents and car sales.
 */
export function generate(options: GeneratorOptions): GeneratedBank {
  const random = new Random(options.seed)
  const count = options.accounts ?? 600
  const days = options.days ?? 90
  if (count < 200) throw new RangeError('a generated bank needs at least 200 accounts')
  if (days < 40) throw new RangeError('a generated bank needs at least 40 days')
  const accounts = Array.from({ length: count }, (_, i) => `acc_${String(i).padStart(6, '0')}`)
  const shuffled = random.sample(accounts, count)
  const take = (share: number): string[] =>
    shuffled.splice(0, Math.max(3, Math.round(count * share)))
  const population: Population = {
    merchants: take(0.05),
    employers: take(0.02),
    landlords: take(0.015),
    utilities: take(0.01),
    persons: shuffled,
  }
  const legs: (OrdinaryLeg & { readonly ring?: number })[] = ordinaryLife(population, days, random)

  const free = random.sample(population.persons, population.persons.length)
  const planted: { readonly typology: Typology; readonly accounts: readonly string[] }[] = []
  for (let round = 0; round < (options.ringsPerTypology ?? 1); round++) {
    for (const typology of TYPOLOGIES) {
      const members = free.splice(0, ringSize(typology, random))
      const start = Math.round(random.between(days * 0.4, days - 18) * DAY)
      const base = Math.min(900_000, Math.max(40_000, random.logNormal(140_000, 0.6)))
      const ring = planted.push({ typology, accounts: members }) - 1
      for (const leg of plant(typology, members, start, base, random)) {
        legs.push({ ...leg, memo: random.pick(MEMOS), ring })
      }
    }
  }
  legs.sort((a, b) => a.time - b.time)
  const truth = planted.map((ring) => ({ ...ring, transactions: [] as string[] }))
  const transactions = legs.map(({ ring, time, from, to, amount, memo }, index): Transaction => {
    const id = `tx_${String(index).padStart(7, '0')}`
    if (ring !== undefined) truth[ring]?.transactions.push(id)
    return { id, time, from, to, amount, currency: 'EUR', memo }
  })
  return { accounts, transactions, rings: truth }
}
