import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MandateMemory } from '../src/calls/mandate-memory.ts'
import type { Remembered } from '../src/calls/mandate-memory.ts'

/** Only what is kept by: the rest is the verifier's. */
const one = (caller: string, id: string, size = 100): Remembered =>
  ({ caller, mandate: { id }, size }) as unknown as Remembered

describe('the memory of verified mandates', () => {
  it('is a share a caller: nobody makes another’s be forgotten', () => {
    const memory = new MandateMemory()
    memory.remember(one('honest', 'mine'))
    for (let n = 0; n < 10_000; n++) memory.remember(one('hostile', `m${n}`))
    assert.ok(memory.recall('honest', 'mine'))
    // The newest of the other, and no more than its share.
    assert.ok(memory.recall('hostile', 'm9999'))
    assert.equal(memory.recall('hostile', 'm9900'), undefined)
    // What one caller presented says nothing of another's.
    assert.equal(memory.recall('hostile', 'mine'), undefined)
  })

  it('is bounded for all of them together, at the cost of who has the most', () => {
    const memory = new MandateMemory()
    memory.remember(one('honest', 'mine'))
    for (let caller = 0; caller < 100; caller++) {
      for (let n = 0; n < 64; n++) memory.remember(one(`colluding ${caller}`, `m${n}`))
    }
    assert.ok(memory.recall('honest', 'mine'))
    let kept = 0
    for (let caller = 0; caller < 100; caller++) {
      for (let n = 0; n < 64; n++) if (memory.recall(`colluding ${caller}`, `m${n}`)) kept++
    }
    assert.ok(kept < 2048 && kept > 1900, `${kept} are kept`)
  })

  it('is bounded by what chains weigh, and what was used last stays', () => {
    const memory = new MandateMemory()
    memory.remember(one('honest', 'mine', 30_000))
    for (let n = 0; n < 20; n++) {
      memory.remember(one('honest', `m${n}`, 30_000))
      assert.ok(memory.recall('honest', 'mine'))
    }
    assert.equal(memory.recall('honest', 'm0'), undefined)
    assert.ok(memory.recall('honest', 'm19'))
    memory.forget('honest', 'mine')
    assert.equal(memory.recall('honest', 'mine'), undefined)
  })
})
