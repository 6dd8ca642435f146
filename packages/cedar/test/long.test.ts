import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { add, divide, isLong, multiply, subtract, toLong } from '../src/long.ts'
import type { Long } from '../src/long.ts'

const MAX = 2n ** 63n - 1n
const MIN = -(2n ** 63n)
const SAFE = BigInt(Number.MAX_SAFE_INTEGER)

/** Around every border: zero, 2³¹, 2⁵³, 2⁶³, and the square roots of the last two. */
const VALUES = [0n, 2n ** 31n, 2n ** 53n, 94_906_266n, 3_037_000_500n, 2n ** 62n, MAX]
  .flatMap((n) => [n - 2n, n - 1n, n, n + 1n, n + 2n])
  .flatMap((n) => [n, -n, -n - 1n])
  .filter((n) => n >= MIN && n <= MAX)

/** The one form of a Long, written down here once more: a number exactly where a double is exact. */
const form = (n: bigint): Long => (n >= -SAFE && n <= SAFE ? Number(n) : n)
const wrapped = (n: bigint): Long | undefined => (n < MIN || n > MAX ? undefined : form(n))

describe('64-bit integers', () => {
  it('have one form each', () => {
    for (const n of VALUES) assert.ok(Object.is(toLong(n), form(n)), String(n))
    for (const n of [MAX + 1n, MIN - 1n, 2n ** 64n, -(2n ** 64n)]) {
      assert.equal(toLong(n), undefined, String(n))
    }
    assert.deepEqual([toLong(MAX), toLong(MIN)], [MAX, MIN])
  })

  const operations: [
    string,
    (a: Long, b: Long) => Long | undefined,
    (a: bigint, b: bigint) => bigint,
  ][] = [
    ['+', add, (a, b) => a + b],
    ['-', subtract, (a, b) => a - b],
    ['*', multiply, (a, b) => a * b],
  ]
  for (const [sign, operate, exactly] of operations) {
    it(`compute ${sign} exactly, or not at all`, () => {
      for (const a of VALUES) {
        for (const b of VALUES) {
          const expected = wrapped(exactly(a, b))
          const got = operate(form(a), form(b))
          // `Object.is`: there is no -0 among integers.
          assert.ok(Object.is(got, expected), `${a} ${sign} ${b} gave ${got}`)
        }
      }
    })
  }

  it('divide towards zero', () => {
    for (const a of VALUES) {
      for (const b of [1, 2, 3, 1000, 86_400_000]) {
        const got = divide(form(a), b)
        assert.ok(Object.is(got, form(a / BigInt(b))), `${a} / ${b} gave ${got}`)
      }
    }
  })

  it('are numbers and bigints, and nothing else', () => {
    assert.deepEqual([1, 1n, '1', true, null, undefined, {}].map(isLong), [
      true,
      true,
      false,
      false,
      false,
      false,
      false,
    ])
  })
})
