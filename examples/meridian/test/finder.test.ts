import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Random } from '../src/random.ts'
import { RingFinder } from '../src/rings/index.ts'
import type { FoundRing } from '../src/rings/index.ts'
import type { Payment } from '../src/rings/types.ts'
import { DAY, TYPOLOGIES } from '../src/transaction.ts'
import { plant, ringSize } from '../src/typologies.ts'

/** Forty days of a few hundred people who shop: what everything below is hidden in. */
function backdrop(seed: number): Payment[] {
  const random = new Random(seed)
  const payments: Payment[] = []
  for (let i = 0; i < 6000; i++) {
    payments.push({
      time: Math.floor(random.next() * 60 * DAY),
      from: `p${random.int(0, 399)}`,
      to: `shop${random.int(0, 29)}`,
      amount: Math.round(random.logNormal(3500, 0.9)) + 100,
    })
  }
  return payments
}

function run(extra: readonly Payment[], seed = 3): FoundRing[] {
  const finder = new RingFinder()
  const all = [...backdrop(seed), ...extra].sort((a, b) => a.time - b.time)
  return [...all.flatMap((payment) => finder.add(payment)), ...finder.flush()]
}

const about = (rings: readonly FoundRing[], members: readonly string[]): FoundRing[] =>
  rings.filter((ring) => ring.accounts.filter((account) => members.includes(account)).length >= 2)

test('ordinary shopping holds no ring', () => {
  for (const seed of [3, 4, 5]) assert.deepEqual(run([], seed), [])
})

for (const typology of TYPOLOGIES) {
  test(`a planted ${typology} is found and named`, () => {
    const random = new Random(11)
    const size = Math.max(6, ringSize(typology, random))
    const members = Array.from({ length: size }, (_, i) => `p${i}`)
    const legs = plant(typology, members, 40 * DAY, 210_000, random)
    const [ring] = about(run(legs), members)
    assert.ok(ring, 'no ring')
    // A random walk may close on itself; then cycle is a fair name for it.
    const fair = typology === 'random' ? ['random', 'cycle'] : [typology]
    assert.ok(fair.includes(ring.pattern), ring.pattern)
    const common = ring.accounts.filter((account) => members.includes(account)).length
    assert.ok(common / new Set([...ring.accounts, ...members]).size >= 0.5)
    assert.ok(ring.score > 0 && ring.score < 100)
  })
}

const at = (day: number, from: string, to: string, amount: number): Payment => ({
  time: Math.round(day * DAY),
  from,
  to,
  amount,
})

test('a cycle whose amounts do not match is no ring', () => {
  const loop = (amounts: readonly number[]): Payment[] => [
    at(40, 'p1', 'p2', amounts[0] ?? 0),
    at(40.5, 'p2', 'p3', amounts[1] ?? 0),
    at(41, 'p3', 'p4', amounts[2] ?? 0),
    at(41.5, 'p4', 'p1', amounts[3] ?? 0),
  ]
  assert.equal(
    about(run(loop([200_000, 90_000, 310_000, 40_000])), ['p1', 'p2', 'p3', 'p4']).length,
    0,
  )
  assert.equal(run(loop([200_000, 198_000, 195_000, 191_000]))[0]?.pattern, 'cycle')
})

test('a cycle against the order of time is no ring', () => {
  const loop = [
    at(43, 'p1', 'p2', 200_000),
    at(42, 'p2', 'p3', 198_000),
    at(41, 'p3', 'p4', 195_000),
    at(40, 'p4', 'p1', 191_000),
  ]
  assert.deepEqual(run(loop), [])
})

test('a split dinner and a collection for a present are no fan-in', () => {
  const dinner = [1, 2, 3, 4, 5, 6].map((i) => at(45 + i / 100, `p${i}`, 'p50', 3600))
  const present = Array.from({ length: 11 }, (_, i) => at(46 + i / 100, `p${i + 60}`, 'p90', 2500))
  assert.deepEqual(run([...dinner, ...present, at(47, 'p90', 'shop3', 27_500)]), [])
})

test('pairs who have long dealt with each other are no fan-in, however much they pay', () => {
  const rents = (from: number): Payment[] =>
    [0, 1].flatMap((month) =>
      Array.from({ length: 9 }, (_, i) =>
        at(from + month * 30 + i / 10, `p${i}`, 'landlord', 90_000),
      ),
    )
  assert.deepEqual(run(rents(5)), [])
})

test('pseudonyms serve as well as account numbers', () => {
  const random = new Random(5)
  const members = Array.from({ length: 7 }, (_, i) => `p${i}`)
  const legs = plant('cycle', members, 41 * DAY, 180_000, random)
  const all = [...backdrop(3), ...legs].sort((a, b) => a.time - b.time)
  const hide = (account: string): string => `tok_${Buffer.from(account).toString('hex')}`
  const find = (name: (account: string) => string): FoundRing[] => {
    const finder = new RingFinder()
    const rings = all.flatMap((p) => finder.add({ ...p, from: name(p.from), to: name(p.to) }))
    return [...rings, ...finder.flush()]
  }
  const plain = find((account) => account)
  const hidden = find(hide)
  assert.ok(plain.length > 0)
  const renamed = plain.map((ring) => ({ ...ring, accounts: ring.accounts.map(hide).sort() }))
  assert.deepEqual(hidden, renamed)
})

test('the same stream gives the same rings', () => {
  const random = new Random(8)
  const members = Array.from({ length: 8 }, (_, i) => `p${i}`)
  const legs = plant('random', members, 41 * DAY, 180_000, random)
  assert.deepEqual(run(legs), run(legs))
})

test('a hostile stream of look-alike payments costs bounded work for each payment', () => {
  const finder = new RingFinder()
  for (const payment of backdrop(3).sort((a, b) => a.time - b.time)) {
    if (payment.time < 40 * DAY) finder.add(payment)
  }
  const began = performance.now()
  // Every payment can be every other passed on: the worst case of the chain search.
  for (let i = 0; i < 1500; i++) {
    finder.add({
      time: 41 * DAY + i,
      from: `h${i % 40}`,
      to: `h${(i * 7 + 1) % 40}`,
      amount: 50_000,
    })
  }
  assert.ok(performance.now() - began < 20_000)
})
