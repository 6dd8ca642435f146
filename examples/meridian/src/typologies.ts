import type { Random } from './random.ts'
import { DAY } from './transaction.ts'
import type { Typology } from './transaction.ts'

/** One payment of a ring, before it gets an id and a memo. */
export interface Leg {
  readonly time: number
  readonly from: string
  readonly to: string
  readonly amount: number
}

/** Fewest and most accounts of a ring of each typology. */
const SIZES: Readonly<Record<Typology, readonly [number, number]>> = {
  'fan-in': [6, 11],
  'fan-out': [6, 11],
  cycle: [3, 8],
  bipartite: [4, 7],
  stack: [6, 9],
  random: [5, 8],
  'scatter-gather': [5, 9],
  'gather-scatter': [7, 11],
}

/** How many accounts a ring of a typology takes. */
export function ringSize(typology: Typology, random: Random): number {
  const [fewest, most] = SIZES[typology]
  return random.int(fewest, most)
}

/** What a courier keeps on each hop: up to 6 %. */
const kept = (random: Random): number => random.between(0.94, 1)

/**
 * The payments of one ring. `base` is the typical payment in minor units; payments of a layer scatter by ±15 % around it.
 */
export function plant(
  typology: Typology,
  members: readonly string[],
  start: number,
  base: number,
  random: Random,
): Leg[] {
  const legs: Leg[] = []
  const about = (amount: number): number => Math.round(amount * random.between(0.85, 1.15))
  const within = (days: number): number => Math.round(start + random.next() * days * DAY)
  const [main = '', ...rest] = members
  switch (typology) {
    case 'fan-in': {
      const span = random.between(2, 6)
      for (const from of rest)
        legs.push({ time: within(span), from, to: main, amount: about(base) })
      break
    }
    case 'fan-out': {
      const span = random.between(2, 6)
      for (const to of rest) legs.push({ time: within(span), from: main, to, amount: about(base) })
      break
    }
    case 'cycle': {
      let amount = base
      let time = start
      for (const [index, from] of members.entries()) {
        const to = members[(index + 1) % members.length] ?? main
        legs.push({ time, from, to, amount: Math.round(amount) })
        amount *= kept(random)
        time += Math.round(random.between(0.2, 1.8) * DAY)
      }
      break
    }
    case 'random': {
      // A walk: each receiver passes nearly all of it on to another member picked at random.
      let at = main
      let amount = base
      let time = start
      const hops = members.length + random.int(2, 4)
      const unvisited = new Set(rest)
      for (let hop = 0; hop < hops; hop++) {
        const fresh = [...unvisited].filter((member) => member !== at)
        const others = members.filter((member) => member !== at)
        const to =
          fresh.length > 0 && random.chance(0.75) ? random.pick(fresh) : random.pick(others)
        unvisited.delete(to)
        legs.push({ time, from: at, to, amount: Math.round(amount) })
        amount *= kept(random)
        time += Math.round(random.between(0.1, 1.5) * DAY)
        at = to
      }
      break
    }
    case 'bipartite': {
      const half = Math.floor(members.length / 2)
      const span = random.between(1, 5)
      for (const from of members.slice(0, half)) {
        for (const to of members.slice(half)) {
          legs.push({ time: within(span), from, to, amount: about(base) })
        }
      }
      break
    }
    case 'stack': {
      const third = Math.floor(members.length / 3)
      const layers = [
        members.slice(0, third),
        members.slice(third, 2 * third),
        members.slice(2 * third),
      ]
      for (const [index, layer] of layers.slice(0, 2).entries()) {
        for (const from of layer) {
          for (const to of layers[index + 1] ?? []) {
            legs.push({
              time: Math.round(start + (index * 3 + random.next() * 2.5) * DAY),
              from,
              to,
              amount: about(base),
            })
          }
        }
      }
      break
    }
    case 'scatter-gather': {
      const [sink = '', ...couriers] = rest
      for (const courier of couriers) {
        const amount = about(base)
        const out = within(3)
        const on = Math.round(out + random.between(0.2, 2.5) * DAY)
        legs.push({ time: out, from: main, to: courier, amount })
        legs.push({ time: on, from: courier, to: sink, amount: Math.round(amount * kept(random)) })
      }
      break
    }
    case 'gather-scatter': {
      const half = Math.floor(rest.length / 2)
      let total = 0
      for (const from of rest.slice(0, half)) {
        const amount = about(base)
        total += amount
        legs.push({ time: within(3), from, to: main, amount })
      }
      const targets = rest.slice(half)
      for (const to of targets) {
        const amount = about((total * kept(random)) / targets.length)
        const time = Math.round(start + (3 + random.next() * 3) * DAY)
        legs.push({ time, from: main, to, amount })
      }
      break
    }
  }
  return legs
}
