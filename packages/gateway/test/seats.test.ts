/** What is kept of sessions whose calls are counted: all that call now, and not all that ever did. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Refusal } from '../src/refusal.ts'
import { Requests } from '../src/serve/requests.ts'
import type { RequestParts } from '../src/serve/requests.ts'
import { DEFAULT_SETTINGS } from '../src/settings.ts'
import type { GatewaySettings } from '../src/settings.ts'

setFlagsFromString('--expose-gc')
// The flag makes it there.
const collect = runInNewContext('gc') as () => void

/** More than are remembered. */
const MANY = 3000

describe('sessions whose calls are counted', () => {
  let now = 0
  const requests = (over: Partial<GatewaySettings> = {}): Requests => {
    const settings = { ...DEFAULT_SETTINGS, maxInFlight: 100_000, ...over }
    // Counting in and out asks nobody else.
    const parts = { settings, clock: { now: () => now, monotonic: () => now } }
    return new Requests(parts as unknown as RequestParts)
  }
  const session = (i: number): string => `spiffe://test.example/agent/a${i}/i1`
  const isRefused = (run: () => unknown): boolean => {
    try {
      run()
      return false
    } catch (error) {
      assert.ok(error instanceof Refusal)
      assert.equal(error.code, 'SP_OVERLOADED')
      return true
    }
  }

  it('one that is busy keeps its count, however many come and go; one that was forgotten begins at none', () => {
    const made = requests({ maxInFlightPerInstance: 2 })
    const busy = session(0)
    const leave = [made.enter(busy), made.enter(busy)]
    assert.ok(isRefused(() => made.enter(busy)))
    for (let turn = 0; turn < 2; turn++) {
      // All at once, so that each has a seat of its own; then all go.
      const others = Array.from({ length: MANY }, (_, i) => made.enter(session(i + 1)))
      assert.equal(made.inFlight, MANY + 2)
      assert.ok(isRefused(() => made.enter(busy)))
      for (const go of others) go()
      assert.equal(made.inFlight, 2)
      assert.ok(isRefused(() => made.enter(busy)))
      now += 60_000
    }
    // Of what was forgotten, a seat is as good as new: two and no more.
    for (const i of [1, MANY / 2, MANY]) {
      const mine = [made.enter(session(i)), made.enter(session(i))]
      assert.ok(isRefused(() => made.enter(session(i))))
      for (const go of mine) go()
    }
    leave.pop()?.()
    const again = made.enter(busy)
    assert.ok(isRefused(() => made.enter(busy)))
    again()
    for (const go of leave) go()
    assert.equal(made.inFlight, 0)
  })

  it('one call of a session does not take another’s seat away while it lasts', () => {
    const made = requests({ maxInFlightPerInstance: 2 })
    const others = Array.from({ length: MANY }, (_, i) => made.enter(session(i + 1)))
    const one = made.enter(session(0))
    const two = made.enter(session(0))
    one()
    const three = made.enter(session(0))
    assert.ok(isRefused(() => made.enter(session(0))))
    for (const go of [two, three, ...others]) go()
    assert.equal(made.inFlight, 0)
  })

  it('those that have gone take no memory', () => {
    const made = requests()
    const name = 'x'.repeat(8 * 1024)
    const used = (): number => {
      collect()
      return process.memoryUsage().heapUsed
    }
    /** Sessions that each call once and do not come back; where all are there at once, none of them finds room left. */
    const pass = (from: number, count: number): void => {
      for (let at = from; at < from + count; at += MANY) {
        // A text of its own for each, not a part of one.
        const names = Array.from({ length: MANY }, (_, i) =>
          Buffer.from(`spiffe://test.example/agent/a${at + i}/${name}`).toString(),
        )
        const others = names.map((one) => made.enter(one))
        for (const go of others) go()
        now += 600_000
      }
    }
    pass(0, MANY)
    const before = used()
    pass(MANY, 10 * MANY)
    const grown = used() - before
    // All of them would be 240 MB.
    assert.ok(grown < 40 * 1024 * 1024, `${Math.round(grown / 1024 / 1024)} MB more`)
  })
})
