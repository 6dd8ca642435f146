import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { chanceOf } from './support/near-http.ts'
import { nearAnswer, readLean, readLlhttp, STRICTER } from './support/near-answer.ts'

const SAMPLES = Number(process.env['SALLYPORT_H1_SAMPLES'] ?? 4000)
const SEED = Number(process.env['SALLYPORT_H1_SEED'] ?? 20_261_126)

describe('answers of HTTP/1.1, read by our codec and by llhttp', () => {
  it('are read the same by both, wherever ours takes them', async () => {
    const chance = chanceOf(SEED)
    let taken = 0
    let refused = 0
    const stricter = new Map<string, string>()
    for (let i = 0; i < SAMPLES; i++) {
      const { method, bytes, pieces } = nearAnswer(chance)
      const lean = await readLean(method, pieces)
      const llhttp = await readLlhttp(method, pieces)
      const context = `${method} ${JSON.stringify(bytes.toString('latin1'))}, seed ${SEED}`
      const unsplit = await readLean(method, [bytes])
      // Whether something stands behind an answer is known only if it came with it.
      if (unsplit.reason !== 'behind-the-answer') {
        assert.deepEqual({ ...lean, reason: '' }, { ...unsplit, reason: '' }, context)
      }
      if (lean.whole) {
        taken++
        assert.deepEqual(lean, llhttp, context)
      } else {
        refused++
        if (llhttp.whole) stricter.set(lean.reason, context)
      }
    }
    const unlisted = [...stricter].filter(([reason]) => !Object.hasOwn(STRICTER, reason))
    assert.deepEqual(unlisted, [])
    // It reached what it is to try.
    assert.ok(taken > SAMPLES / 10 && refused > SAMPLES / 10, `${taken} taken, ${refused} refused`)
  })

  for (const [reason, entry] of Object.entries(STRICTER)) {
    it(`are refused though llhttp takes them: ${reason}`, async () => {
      const pieces = [entry.example].flat().map((piece) => Buffer.from(piece, 'latin1'))
      const lean = await readLean('GET', pieces)
      assert.deepEqual([lean.whole, lean.reason], [false, reason])
      assert.equal((await readLlhttp('GET', pieces)).whole, true, entry.why)
    })
  }
})
