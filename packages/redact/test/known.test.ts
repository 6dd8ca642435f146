import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { createRedactor, KnownValues } from '../src/index.ts'
import type { KnownSource } from '../src/index.ts'

const replace = (kind: string): string => `<${kind}>`
const redactorOf = (known: KnownSource): ReturnType<typeof createRedactor> =>
  createRedactor({ find: { groups: [] }, known, replace })

interface Place {
  readonly start: number
  readonly end: number
}

/** Every value at every word, compared one by one; places that overlap are one. */
function naive(text: string, values: Iterable<string>): Place[] {
  const wordsOf = (of: string): { text: string; start: number; end: number }[] =>
    [...of.matchAll(/[A-Za-z]+/g)].map(({ 0: word, index }) => ({
      text: word.toLowerCase(),
      start: index,
      end: index + word.length,
    }))
  const words = wordsOf(text)
  const places: Place[] = []
  for (const value of values) {
    const wanted = wordsOf(value)
    for (let i = 0; i + wanted.length <= words.length; i++) {
      if (wanted.some((word, j) => word.text !== words[i + j]?.text)) continue
      const [first, last] = [words[i], words[i + wanted.length - 1]]
      if (first && last) places.push({ start: first.start, end: last.end })
    }
  }
  const joined: Place[] = []
  for (const place of places.toSorted((a, b) => a.start - b.start)) {
    const last = joined.at(-1)
    if (last && place.start < last.end) {
      joined.splice(-1, 1, { start: last.start, end: Math.max(last.end, place.end) })
    } else joined.push(place)
  }
  return joined
}

// Few words, so that values begin, end and stand inside each other.
const word = fc.constantFrom('aaaa', 'Bbbb', 'aaaab')
const value = fc.array(word, { minLength: 1, maxLength: 6 }).map((words) => words.join(' '))
const text = fc.array(fc.oneof(word, fc.constant('cc')), { maxLength: 40 }).map((w) => w.join(', '))

describe('known values are found as a plain search finds them', () => {
  it('whatever they share, and in whatever pieces the text comes', () => {
    fc.assert(
      fc.property(fc.array(value, { maxLength: 12 }), text, fc.nat(), (values, whole, at) => {
        const known = new KnownValues()
        for (const one of values) known.note(one, () => true)
        const redactor = redactorOf(known)
        const found = redactor.find(whole).map(({ start, end }) => ({ start, end }))
        assert.deepEqual(found, naive(whole, values))
        const stream = redactor.stream()
        const cut = at % (whole.length + 1)
        const out = stream.push(whole.slice(0, cut)) + stream.push(whole.slice(cut)) + stream.end()
        assert.equal(out, redactor.redact(whole))
      }),
      { numRuns: 2000 },
    )
  })

  it('while values come, go and change between texts', () => {
    const act = fc.record({ what: fc.constantFrom('note', 'forget', 'mark'), value, whole: text })
    fc.assert(
      fc.property(fc.array(act, { maxLength: 20 }), (acts) => {
        const known = new KnownValues<{ name: string; wanted: boolean }>()
        const wanted = known.where((about) => about.wanted)
        const model = new Map<string, boolean>()
        for (const { what, value: one, whole } of acts) {
          const name = one.toLowerCase()
          if (what === 'forget') {
            for (const _step of known.forget((about) => (about.name === name ? undefined : about)));
            model.delete(name)
          } else {
            known.note(one, () => ({ name, wanted: what === 'note' }))
            model.set(name, what === 'note')
          }
          const found = (source: KnownSource): Place[] =>
            redactorOf(source)
              .find(whole)
              .map(({ start, end }) => ({ start, end }))
          assert.deepEqual(found(known), naive(whole, model.keys()))
          const held = [...model].filter(([, holds]) => holds).map(([key]) => key)
          assert.deepEqual(found(wanted), naive(whole, held))
          assert.equal(known.size, model.size)
        }
      }),
      { numRuns: 500 },
    )
  })
})

it('what holds of a value is asked of every value that stands in a text, shorter ones too', () => {
  const known = new KnownValues<string>()
  for (const one of ['Ann Lee Jones', 'Lee Jones', 'Jones', 'Bob Ray']) known.note(one, () => one)
  const asked: string[] = []
  const source = known.where((about) => {
    asked.push(about)
    return false
  })
  assert.equal(
    redactorOf(source).redact('ann lee jones, ann lee jones'),
    'ann lee jones, ann lee jones',
  )
  assert.deepEqual(asked.toSorted(), ['Ann Lee Jones', 'Jones', 'Lee Jones'])
})

it('a value that is forgotten makes room', () => {
  const known = new KnownValues<string>({ maxValues: 2 })
  for (const one of ['first', 'second']) assert.ok(known.note(one, () => one))
  for (const _step of known.forget((about) => (about === 'first' ? undefined : about)));
  assert.ok(known.note('third one', () => ''))
  assert.equal(redactorOf(known).redact('first second third one'), 'first <RECORD> <RECORD>')
  assert.equal(
    known.note('fourth', () => ''),
    false,
  )
})

// Steps, not time: with every word of the text in every value that it continues they would grow with the product of both.
describe('the work grows with the length of the text, whatever is known', () => {
  const word = (n: number): string => `w${n.toString(36).padStart(3, '0')}`
  const many = Array.from({ length: 400 }, (_, i) => word(i))
  const cases: readonly (readonly [string, readonly string[], string])[] = [
    ['one word again and again', [`${'a '.repeat(1000)}b`], 'a '],
    ['values inside values', Array.from({ length: 400 }, (_, i) => 'a '.repeat(i + 4)), 'a '],
    ['ends of one value', many.map((_, i) => many.slice(i).join(' ')), `${many.join(' ')} `],
    [
      'values that part at their last word',
      Array.from({ length: 400 }, (_, i) => `${'a '.repeat(i + 4)}${word(i)}`),
      'a ',
    ],
  ]
  for (const [what, values, piece] of cases) {
    it(what, () => {
      const known = new KnownValues()
      for (const one of values) assert.ok(known.note(one, () => true))
      const redactor = redactorOf(known.where(() => false))
      const words = 40_000
      const text = piece.repeat(words / piece.trim().split(' ').length)
      // The first time makes the links, once for each node.
      redactor.redact(text)
      const before = known.steps
      assert.equal(redactor.redact(text), text)
      assert.ok(known.steps - before <= 4 * words, `${known.steps - before} steps`)
      assert.ok(before <= 4 * words + 4 * values.join(' ').split(' ').length, `${before} steps`)
    })
  }

  it('values that overlap without end are not held for ever', () => {
    const known = new KnownValues()
    known.note('aa aa aa', () => true)
    const redactor = redactorOf(known)
    const text = `so ${'aa '.repeat(40_000)}it is`
    const whole = redactor.redact(text)
    assert.match(whole, /^so (?:<RECORD>){2,8} it is$/)
    const stream = redactor.stream()
    let out = ''
    let held = 0
    for (let i = 0; i < text.length; i += 7) {
      const piece = stream.push(text.slice(i, i + 7))
      held = piece === '' ? held + 7 : 0
      assert.ok(held <= 33_000)
      out += piece
    }
    assert.equal(out + stream.end(), whole)
  })
})
