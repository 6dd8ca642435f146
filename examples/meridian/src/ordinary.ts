import type { Random } from './random.ts'
import type { Leg } from './typologies.ts'
import { DAY } from './transaction.ts'

export interface Population {
  readonly persons: readonly string[]
  readonly merchants: readonly string[]
  readonly employers: readonly string[]
  readonly landlords: readonly string[]
  readonly utilities: readonly string[]
}

export type OrdinaryLeg = Leg & { readonly memo: string }

/** Who a person pays and is paid by. */
interface Habits {
  readonly person: string
  readonly employer: string
  readonly salary: number
  readonly landlord: string
  readonly rent: number
  readonly utility: string
  readonly shops: readonly string[]
  readonly friends: readonly string[]
}

/**
 * A bank's ordinary payments, with the innocent look-alikes that make rings hard to see: salaries fan out, rents and
 * subscriptions fan in, dinners are split, colleagues collect for a present, cars are sold and bought again, friends
 * lend and pay back, suppliers pay each other round in circles.
 */
export function ordinaryLife(population: Population, days: number, random: Random): OrdinaryLeg[] {
  const legs: OrdinaryLeg[] = []
  const { persons, merchants, employers, landlords, utilities } = population
  const pay = (time: number, from: string, to: string, cents: number, memo: string): void => {
    if (from !== to && time < days * DAY) {
      legs.push({
        time: Math.round(time),
        from,
        to,
        amount: Math.max(100, Math.round(cents)),
        memo,
      })
    }
  }
  const price = new Map(utilities.map((utility) => [utility, random.int(1900, 8900)]))
  const habits: Habits[] = persons.map((person) => ({
    person,
    employer: random.pick(employers),
    salary: random.logNormal(260_000, 0.35),
    landlord: random.pick(landlords),
    rent: random.logNormal(85_000, 0.3),
    utility: random.pick(utilities),
    shops: random.sample(merchants, 8),
    friends: random.sample(persons, 6),
  }))
  const suppliers = [...merchants, ...employers].map((from) => ({
    from,
    to: random.sample([...merchants, ...employers], 3),
    bill: random.logNormal(240_000, 0.8),
  }))

  for (let day = 0; day < days; day++) {
    const start = day * DAY
    const hour = (from: number, to: number): number => start + random.between(from, to) * 3600
    const date = day % 30
    for (const life of habits) {
      const { person } = life
      for (let n = random.poisson(0.35); n > 0; n--) {
        const shop = random.chance(0.85) ? random.pick(life.shops) : random.pick(merchants)
        pay(hour(8, 21), person, shop, random.logNormal(3200, 0.8), 'card payment')
      }
      if (random.chance(0.05)) {
        const friend = random.chance(0.85) ? random.pick(life.friends) : random.pick(persons)
        const amount = random.logNormal(4500, 0.9)
        pay(hour(9, 23), person, friend, amount, random.pick(['thanks', 'for lunch', 'tickets']))
        if (random.chance(0.25)) pay(hour(9, 23) + 3 * DAY, friend, person, amount, 'paid back')
      }
      if (date === 24) pay(hour(6, 9), life.employer, person, life.salary, 'salary')
      if (date === 1) pay(hour(6, 20), person, life.landlord, life.rent, 'rent')
      if (date === 4) {
        pay(hour(6, 20), person, life.utility, price.get(life.utility) ?? 2900, 'subscription')
      }
    }
    // A dinner is split: three to six people pay one, the same amount, within hours.
    for (let n = random.poisson(persons.length / 2500); n > 0; n--) {
      const [host = '', ...guests] = random.sample(persons, random.int(4, 7))
      const share = random.logNormal(3400, 0.4)
      for (const guest of guests) pay(hour(19, 24), guest, host, share, 'dinner')
    }
    // Colleagues collect for a present, and one of them buys it.
    for (let n = random.poisson(persons.length / 9000); n > 0; n--) {
      const [buyer = '', ...givers] = random.sample(persons, random.int(7, 13))
      const share = random.int(10, 40) * 100
      for (const giver of givers) pay(hour(9, 17), giver, buyer, share, 'for the present')
      pay(hour(9, 17) + DAY, buyer, random.pick(merchants), share * givers.length, 'present')
    }
    // A car or a kitchen changes hands; some sellers buy the next one with the money.
    for (let n = random.poisson(persons.length / 1500); n > 0; n--) {
      const [buyer = '', seller = '', next = ''] = random.sample(persons, 3)
      const value = random.logNormal(380_000, 0.6)
      pay(hour(9, 18), buyer, seller, value, 'car')
      if (random.chance(0.3)) {
        pay(hour(9, 18) + 2 * DAY, seller, next, value * random.between(0.7, 1.4), 'new car')
      }
    }
    // Money within families: now and then larger, and sometimes passed on.
    for (let n = random.poisson(persons.length / 1200); n > 0; n--) {
      const [parent = '', child = '', other = ''] = random.sample(persons, 3)
      const gift = random.logNormal(60_000, 0.7)
      pay(hour(8, 22), parent, child, gift, 'for you')
      if (random.chance(0.2)) pay(hour(8, 22) + DAY, child, other, gift * 0.5, 'your half')
    }
    for (const supplier of suppliers) {
      if (!random.chance(0.1)) continue
      pay(
        hour(8, 17),
        supplier.from,
        random.pick(supplier.to),
        supplier.bill * random.between(0.6, 1.6),
        `invoice ${random.int(1000, 9999)}`,
      )
    }
  }
  return legs
}
