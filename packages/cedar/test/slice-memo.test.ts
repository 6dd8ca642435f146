import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Slice, SliceMemo } from '../src/slice-memo.ts'

const slice = (): Slice => new Slice([])

function get(memo: SliceMemo, ...key: [number, number, number]): Slice | undefined {
  const at = memo.find(...key)
  return at < 0 ? undefined : memo.slice(at)
}

describe('the memo of slices', () => {
  it('gives back what was put under the same three numbers, and only that', () => {
    const memo = new SliceMemo(1024)
    const kept = [slice(), slice(), slice()] as const
    memo.put(1, 2, 3, kept[0])
    memo.put(3, 2, 1, kept[1])
    memo.put(0, 0, 0, kept[2])
    assert.equal(get(memo, 1, 2, 3), kept[0])
    assert.equal(get(memo, 3, 2, 1), kept[1])
    assert.equal(get(memo, 0, 0, 0), kept[2])
    for (const [p, a, r] of [
      [1, 3, 2],
      [2, 1, 3],
      [-1, 2, 3],
      [1, 2, 0],
    ] as const) {
      assert.equal(get(memo, p, a, r), undefined)
    }
  })

  it('tells numbers beyond 32 bits apart', () => {
    const memo = new SliceMemo(64)
    const [near, far] = [slice(), slice()]
    memo.put(5, 1, 1, near)
    memo.put(5 + 2 ** 32, 1, 1, far)
    assert.equal(get(memo, 5, 1, 1), near)
    assert.equal(get(memo, 5 + 2 ** 32, 1, 1), far)
  })

  it('never holds more than its capacity, and mixes nothing up under pressure', () => {
    const memo = new SliceMemo(256)
    const kept = Array.from({ length: 10_000 }, slice)
    for (const [i, each] of kept.entries()) memo.put(i, i % 7, -i, each)
    const found = kept.filter((each, i) => {
      const known = get(memo, i, i % 7, -i)
      assert.ok(known === undefined || known === each)
      return known !== undefined
    })
    assert.ok(found.length <= 256, `${found.length} kept`)
    assert.ok(found.length > 128, `${found.length} kept`)
  })

  it('looks at each of the three numbers', () => {
    for (const place of [0, 1, 2]) {
      const memo = new SliceMemo(4)
      const at = (n: number): [number, number, number] => {
        const key: [number, number, number] = [7, 7, 7]
        key[place] = n
        return key
      }
      // A memo of four entries has one set: every key is compared with every other.
      const kept = [1, 2, 3, 4].map((n) => ({ n, slice: slice() }))
      for (const { n, slice: each } of kept) memo.put(...at(n), each)
      for (const { n, slice: each } of kept) assert.equal(get(memo, ...at(n)), each)
      assert.equal(get(memo, ...at(5)), undefined)
    }
  })

  it('keeps what is used while a flood of others passes', () => {
    const memo = new SliceMemo(256)
    const hot = slice()
    memo.put(1, 1, 1, hot)
    for (let i = 0; i < 5000; i++) {
      memo.put(1000 + i, 2, 3, slice())
      assert.equal(get(memo, 1, 1, 1), hot, `after ${i}`)
    }
  })

  it('keeps nothing where its capacity says so, and no endless slice', () => {
    const off = new SliceMemo(0)
    off.put(1, 1, 1, slice())
    assert.equal(get(off, 1, 1, 1), undefined)
    const memo = new SliceMemo(64)
    // The memo looks at nothing but the length.
    memo.put(1, 1, 1, new Slice(Array.from<never>({ length: 257 })))
    assert.equal(get(memo, 1, 1, 1), undefined)
    const long = new Slice(Array.from<never>({ length: 256 }))
    memo.put(1, 1, 1, long)
    assert.equal(get(memo, 1, 1, 1), long)
  })

  it('is on from four entries, and keeps as many as a power of two allows', () => {
    const capacities: [capacity: number, most: number][] = [
      [-1, 0],
      [0, 0],
      [3, 0],
      [4, 4],
      [7, 4],
      [8, 8],
      [100, 64],
      [256, 256],
      [300, 256],
      [511, 256],
      [512, 512],
    ]
    for (const [capacity, most] of capacities) {
      const memo = new SliceMemo(capacity)
      assert.equal(memo.on, most > 0)
      for (let i = 0; i < 5000; i++) memo.put(i, i * 31, i * 17, slice())
      let kept = 0
      for (let i = 0; i < 5000; i++) if (get(memo, i, i * 31, i * 17) !== undefined) kept++
      assert.equal(kept, most, `of ${capacity}`)
    }
  })

  it('has at the place of a slice what is read of it', () => {
    const memo = new SliceMemo(64)
    const of = (from: number, to: number): Slice => Object.assign(slice(), { from, to })
    const ranges: [from: number, to: number][] = [
      [0, 0],
      [0, 2],
      [2, 2],
      [7, 400],
      [2 ** 31, 2 ** 31 + 2 ** 20 - 2],
    ]
    for (const [i, [from, to]] of ranges.entries()) memo.put(i, 0, 0, of(from, to))
    for (const [i, [from, to]] of ranges.entries()) {
      // The first time and when it was used before.
      for (const _ of [1, 2]) {
        const at = memo.find(i, 0, 0)
        assert.deepEqual([memo.from(at), memo.to(at)], [from, to])
        assert.equal(memo.held(at), undefined)
      }
    }
    memo.put(9, 0, 0, of(5, 5 + 2 ** 20 - 1))
    assert.equal(memo.find(9, 0, 0), -1, 'a range too long for its place')
  })

  it('loses nothing while it grows', () => {
    const memo = new SliceMemo(16_384)
    const kept = Array.from({ length: 3000 }, (_, i) => ({ i, slice: slice() }))
    for (const { i, slice: each } of kept) memo.put(i, 1, -i, each)
    const there = kept.filter(({ i, slice: each }) => get(memo, i, 1, -i) === each)
    // Where five of one set come before it grows again, one may go.
    assert.ok(there.length > 2950, `${there.length} are left`)
  })

  it('gives the least used of a set away, in turn', () => {
    const memo = new SliceMemo(4)
    const put = (n: number): void => memo.put(n, n, n, slice())
    const has = (n: number): boolean => get(memo, n, n, n) !== undefined
    for (const n of [1, 2, 3, 4]) put(n)
    // None was asked for since: the first goes, then the second.
    put(5)
    put(6)
    assert.deepEqual([1, 2].map(has), [false, false])
    // `3` was used, so the hand passes it over once.
    assert.ok(has(3))
    put(7)
    assert.deepEqual([3, 4].map(has), [true, false])
    // A new entry has to be asked for to stay: `5` and `6` go before the used ones.
    put(8)
    put(9)
    assert.deepEqual([5, 6].map(has), [false, false])
    for (const n of [3, 7, 8, 9]) if (has(n)) assert.ok(has(n))
    // All in use: one goes all the same.
    put(10)
    assert.ok(has(10))
    assert.equal([3, 7, 8, 9].filter(has).length, 3)
  })

  it('spreads keys that differ in one number only', () => {
    for (const place of [0, 1, 2]) {
      const memo = new SliceMemo(1024)
      const at = (n: number): [number, number, number] => {
        const key: [number, number, number] = [1, 1, 1]
        key[place] = n
        return key
      }
      for (let n = 0; n < 512; n++) memo.put(...at(n), slice())
      let kept = 0
      for (let n = 0; n < 512; n++) if (get(memo, ...at(n)) !== undefined) kept++
      assert.ok(kept > 450, `${kept} of 512 by number ${place}`)
    }
  })
})
