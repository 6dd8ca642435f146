import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { createSteadyClock } from '../src/index.ts'

const HOUR = 3_600_000
const START = 1_800_000_000_000

function machine() {
  let wall = START
  let monotonic = 5000
  const jumps: number[] = []
  const clock = createSteadyClock({ now: () => wall, monotonic: () => monotonic })
  clock.onJump(({ by }) => {
    jumps.push(by)
    clock.now()
  })
  return {
    clock,
    jumps,
    wall: () => wall,
    pass(ms: number) {
      wall += ms
      monotonic += ms
      return clock.now()
    },
    set(by: number) {
      wall += by
      return clock.now()
    },
  }
}

describe('a steady clock', () => {
  it('is the machine’s clock while that runs', () => {
    const it = machine()
    assert.equal(it.clock.now(), START)
    assert.equal(it.pass(1234), START + 1234)
    assert.deepEqual(it.jumps, [])
  })

  it('goes on from where it was when the machine’s clock is set back an hour, and says so once', () => {
    const it = machine()
    assert.equal(it.set(-HOUR), START)
    assert.equal(it.pass(60_000), START + 60_000)
    assert.deepEqual(it.jumps, [-HOUR])
  })

  it('goes ahead with it, and comes back with it', () => {
    const it = machine()
    assert.equal(it.set(HOUR), START + HOUR)
    assert.equal(it.pass(60_000), START + HOUR + 60_000)
    assert.equal(it.set(-HOUR), START + 60_000)
    assert.deepEqual(it.jumps, [HOUR, -HOUR])
  })

  it('takes a clock that stayed ahead as right: what it then loses again is a jump back', () => {
    const it = machine()
    it.set(HOUR)
    for (let minute = 0; minute < 12; minute++) it.pass(60_000)
    assert.equal(it.set(-HOUR), START + HOUR + 12 * 60_000)
  })

  it('believes the machine again where a trusted peer agrees with it, and not where it does not', () => {
    const it = machine()
    it.set(-HOUR)
    it.clock.agree(START)
    assert.equal(it.clock.now(), START)
    it.clock.agree(it.wall() + 1000)
    assert.equal(it.clock.now(), START - HOUR)
    it.clock.agree(Number.NaN)
    assert.equal(it.pass(1000), START - HOUR + 1000)
  })

  it('never goes back by itself but to where it would be without the jump', () => {
    const step = fc.oneof(
      fc.record({ pass: fc.integer({ min: 0, max: 300_000 }) }),
      fc.record({ set: fc.integer({ min: -2 * HOUR, max: 2 * HOUR }) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const it = machine()
        let passed = 0
        for (const each of steps) {
          const now = 'pass' in each ? it.pass(each.pass) : it.set(each.set)
          if ('pass' in each) passed += each.pass
          assert.ok(now >= START + passed)
          assert.ok(now >= it.wall())
        }
      }),
    )
  })
})
