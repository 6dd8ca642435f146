import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { isUnpromising } from '../src/characters.ts'
import { createRedactor, KnownValues } from '../src/index.ts'
import type { Group, Redactor } from '../src/index.ts'

const replace = (kind: string): string => `<${kind}>`

describe('what a look at a text rules out, reading it does not find', () => {
  const word = fc.constantFrom(
    ...'the role tool_calls of Ann Lee March in may OK USA 2026-11-05 a.b node.js e.g. Mr Jones 4711 41 x@y.zz ann@example.com note: http:// DEUTDEFF DEUTDEFF500 AKIA abcdefghijklmno abcdefghijklmnop AKIAABCDEFGHIJKLMNOP -- ----- -----BEGIN RSA PRIVATE KEY----- password secret: hunter2x \\nDE89370400440532013000 \\u0041nn %41nn %20 josé JOSÉ é Ä 日本 BIC swift www.example.com'.split(
      ' ',
    ),
  )
  const sign = fc.constantFrom(' ', ' ', ' ', '', ', ', '-', '\n', '. ', '_', '"', '\\', '%', ':')
  const parts = fc.array(fc.tuple(word, sign), { maxLength: 8 })
  const text = fc.oneof(
    parts.map((all) => all.flat().join('')),
    // One character alone decides.
    fc
      .tuple(
        fc.array(fc.constantFrom('the', 'role', 'of', 'ann'), { maxLength: 6 }),
        fc.nat(30),
        fc.string({ unit: 'binary', maxLength: 2 }),
      )
      .map(([words, at, one]) => {
        const whole = words.join(' ')
        return whole.slice(0, at) + one + whole.slice(at)
      }),
  )
  const noted = fc.array(fc.array(word, { minLength: 1, maxLength: 2 }), { maxLength: 8 })
  const readBy = (redactor: Redactor, whole: string): string => {
    const stream = redactor.stream()
    return stream.push(whole) + stream.end()
  }

  /** Each is found by one thing alone that stands in it. */
  const cases: readonly (readonly [Group, string])[] = [
    ['identifiers', 'bic DEUTDEFF it is'],
    ['identifiers', 'bic DEUTDEFF'],
    ['identifiers', 'bic \\nDEUTDEFF it is'],
    ['identifiers', 'bic a日DEUTDEFF it is'],
    ['identifiers', 'ask ann@x._com for it'],
    ['identifiers', 'ask example.com for it'],
    ['identifiers', 'at http://localhost it is'],
    ['identifiers', 'at dead:beef::cafe it is'],
    ['identifiers', 'the card 4111111111111111'],
    ['secrets', '-----BEGINx aKEY----- Zm-v'],
    ['secrets', 'AKIAABCDEFGHIJKLMNOP'],
    ['names', 'we saw Ann Jones again'],
    ['names', 'we saw Élise Ångström again'],
    ['dates', 'it was paid in March and again'],
  ]
  for (const [group, whole] of cases) {
    it(`${group}: ${whole}`, () => {
      const redactor = createRedactor({ find: { groups: [group] }, replace })
      assert.notEqual(readBy(redactor, whole), whole)
      assert.equal(redactor.redact(whole), readBy(redactor, whole))
    })
  }

  const kinds: readonly (readonly Group[])[] = [
    [],
    ['secrets'],
    ['identifiers', 'secrets'],
    ['dates'],
    ['names', 'identifiers'],
  ]
  for (const groups of kinds) {
    it(`looking for ${groups.join(', ') || 'keys alone'}`, () => {
      let ruledOut = 0
      let found = 0
      const redactor = createRedactor({ find: { groups }, replace })
      const capitals = groups.includes('names') || groups.includes('dates')
      const check = (whole: string): void => {
        const read = readBy(redactor, whole)
        assert.equal(redactor.redact(whole), read)
        assert.equal(redactor.find(whole).length > 0, read !== whole)
        if (isUnpromising(whole, capitals)) ruledOut++
        if (read !== whole) found++
      }
      fc.assert(fc.property(text, check), { numRuns: 4000 })
      // A check of nothing would pass.
      assert.ok(ruledOut > 400, `${ruledOut} ruled out`)
      if (groups.length > 0) assert.ok(found > 50, `${found} found`)
    })
  }

  it('looking for what is known', () => {
    let ruledOut = 0
    let found = 0
    const check = (whole: string, values: readonly string[][]): void => {
      const known = new KnownValues()
      for (const value of values) known.note(value.join(' '), () => true)
      const read = readBy(createRedactor({ find: { groups: [] }, known, replace }), whole)
      // A key is found whatever is looked for.
      const holds = read.includes('<RECORD>')
      if (holds) found++
      if (!known.lacks(whole)) return
      ruledOut++
      assert.ok(!holds, read)
      assert.equal(known.where(() => true).lacks(whole), true)
    }
    fc.assert(fc.property(text, noted, check), { numRuns: 6000 })
    assert.ok(ruledOut > 400, `${ruledOut} ruled out`)
    assert.ok(found > 50, `${found} found`)
    for (const [value, whole] of [
      ['jones', 'ann\\njones'],
      ['jones', 'ann%2fjones'],
      ['josé', 'ann josé'],
      // Its accent by itself, which makes it longer.
      ['josé', 'ann jose\u0301'],
      ['日本 jones', '日本 jones'],
      ['jones', 'ann JONES'],
    ] as const) {
      check(whole, [[value]])
      const known = new KnownValues()
      known.note(value, () => true)
      assert.equal(known.lacks(whole), false, whole)
    }
  })

  it('is no look at all where it rules out nothing: words of protocols are', () => {
    const names = 'role content tool_calls assistant user stop message finish_reason'.split(' ')
    for (const name of names) assert.ok(isUnpromising(name, true), name)
    assert.ok(isUnpromising('You help the analysts of a bank. Be brief, I say.', false))
  })
})
