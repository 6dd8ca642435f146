import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { indexOf } from '../src/search.ts'
import { Random } from './vocabulary.ts'

describe('searching a text of the caller', () => {
  it('finds what the built-in finds', () => {
    const random = new Random(7)
    let found = 0
    for (let round = 0; round < 3000; round++) {
      const letters = (length: number): string =>
        Array.from({ length }, () =>
          random.chance(0.9) ? 'a' : random.chance(0.9) ? 'b' : '😀',
        ).join('')
      const text = letters(random.below(600))
      const start = random.below(text.length + 1)
      // Half of the parts come from the text, so that there is something to find.
      const part = random.chance(0.5)
        ? text.slice(start, start + random.below(200))
        : letters(random.below(90))
      const from = random.below(text.length + 2)
      const expected = text.indexOf(part, from)
      assert.equal(indexOf(text, part, from), expected, JSON.stringify([text, part, from]))
      if (expected >= 0 && part.length > 64) found++
    }
    assert.ok(found > 100, `only ${found} long parts were found`)
  })

  it('takes no longer for what the built-in needs half a minute for', () => {
    const half = 'a'.repeat(15_000)
    const text = 'a'.repeat(1_000_000)
    assert.equal(indexOf(text, `${half}b${half}`, 0), -1)
    assert.equal(indexOf(`${text}b${half}`, `${half}b${half}`, 0), 985_000)
  })
})
