import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { createRedactor, KnownValues } from '../src/index.ts'
import { WordTrie } from '../src/word-trie.ts'
import { hashOfCodes, hashOfText } from '../src/words.ts'

interface Word {
  readonly text: string
  readonly start: number
  readonly end: number
}

const wordsOf = (text: string): Word[] =>
  [...text.matchAll(/[\p{L}\p{N}]+/gu)].map(({ 0: word, index }) => ({
    text: word.toLowerCase().normalize('NFC'),
    start: index,
    end: index + word.length,
  }))

/** The slow way: every value at every word; what overlaps is one. */
function slowly(text: string, values: readonly string[]): string {
  const words = wordsOf(text)
  const found = new Uint8Array(text.length + 1)
  const joined = new Uint8Array(text.length + 1)
  for (const value of values) {
    const wanted = wordsOf(value).map((word) => word.text)
    if (wanted.join('').length < 4) continue
    for (let i = 0; i + wanted.length <= words.length; i++) {
      const here = words.slice(i, i + wanted.length)
      const fits = here.every(
        ({ text: word, start }, k) =>
          word === wanted[k] && (k === 0 || start - (here[k - 1]?.end ?? 0) <= 6),
      )
      const start = here[0]?.start ?? 0
      const end = here.at(-1)?.end ?? 0
      if (!fits) continue
      found.fill(1, start, end)
      joined.fill(1, start, end - 1)
    }
  }
  let out = ''
  for (let i = 0; i < text.length; i++) {
    if (found[i] === 0) out += text.charAt(i)
    else if (joined[i] === 0) out += '<RECORD>'
  }
  return out
}

describe('words of values', () => {
  const word = fc.constantFrom(...'Ann ann ANN Lee lee Leeds An 41 4111 JosÉ josé Ä1 x'.split(' '))
  const sign = fc.constantFrom(' ', ', ', '-', '\n', '       ', '/', '. ', ' ')
  const text = fc
    .array(fc.tuple(word, sign), { maxLength: 40 })
    .map((parts) => parts.flat().join(''))
  const values = fc.array(
    fc.array(word, { minLength: 1, maxLength: 3 }).map((all) => all.join(' ')),
    { maxLength: 6 },
  )

  it('are found as the slow way finds them, whatever the pieces', () => {
    let found = 0
    fc.assert(
      fc.property(text, values, fc.array(fc.nat({ max: 9 })), (whole, noted, sizes) => {
        const known = new KnownValues()
        for (const value of noted) known.note(value, () => true)
        const redactor = createRedactor({
          find: { groups: [] },
          known,
          replace: (kind) => `<${kind}>`,
        })
        const stream = redactor.stream()
        let out = ''
        let at = 0
        for (const size of sizes) {
          out += stream.push(whole.slice(at, at + size))
          at += size
        }
        out += stream.push(whole.slice(at)) + stream.end()
        if (out !== whole) found++
        assert.equal(out, slowly(whole, noted))
      }),
      { numRuns: 2000 },
    )
    assert.ok(found > 200, String(found))
  })

  it('are found however many meet in one place of the index', () => {
    const trie = new WordTrie<true>()
    const meeting: string[] = []
    // The index has 64 places in the beginning.
    for (let i = 0; meeting.length < 30; i++) {
      if ((hashOfText(`w${i}`) & 63) === 5) meeting.push(`w${i}`)
    }
    const codesOf = (word: string): Uint16Array =>
      Uint16Array.from(word, (c) => c.toUpperCase().charCodeAt(0))
    const at = (word: string): string | undefined => {
      const codes = codesOf(word)
      return trie.wordAt(codes, 0, word.length, hashOfCodes(codes, 0, word.length))?.text
    }
    for (const word of meeting) trie.insert([word], () => true)
    for (const word of meeting) assert.equal(at(word), word)
    const [gone = '', ...left] = meeting
    for (const _step of trie.change(() => undefined));
    assert.equal(at(gone), undefined)
    for (const word of left) trie.insert([word], () => true)
    assert.equal(at(gone), undefined)
    for (const word of left) assert.equal(at(word), word)
  })
})

it('what a word is taken for does not depend on the words before it', () => {
  const redactor = createRedactor({
    find: { groups: ['names'] },
    replace: (kind) => `<${kind}>`,
  })
  const letters = 'bdfgklmnprsvwz'
  const words = Array.from({ length: 4 * 14 ** 3 }, (_one, i) => {
    const at = (k: number): string => letters.charAt(Math.floor(i / 4 / 14 ** k) % 14)
    return `${'SPTM'.charAt(i % 4)}a${at(0)}e${at(1)}${at(2)}`
  })
  // No names, and as long: some of them fall in a place where one of those was.
  const ordinary =
    'Ticket Person Market Street Friend League Doctor Master Nature Number Letter Member Moment Museum Nation Person Planet Player Police Prince Public School Season Second Secret Senior Series Silver Single Sister Social Spirit Summer System Target Travel Valley Vision'.split(
      ' ',
    )
  const texts = [...words, ...ordinary, 'The', 'Jumping', 'Account', 'Mr', 'Ann', 'January'].map(
    (word) => `we saw ${word} again`,
  )
  const forth = texts.map((text) => redactor.redact(text))
  const back = texts.toReversed().map((text) => redactor.redact(text))
  assert.deepEqual(back.toReversed(), forth)
  const names = forth.slice(0, words.length)
  assert.deepEqual(
    names.filter((text) => text !== 'we saw <NAME> again'),
    [],
  )
  for (const word of ordinary) assert.ok(forth.includes(`we saw ${word} again`), word)
  assert.deepEqual(forth.slice(-6), [
    'we saw The again',
    'we saw <NAME> again',
    'we saw Account again',
    'we saw Mr again',
    'we saw <NAME> again',
    'we saw January again',
  ])
})
