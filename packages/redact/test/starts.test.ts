import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { createRedactor } from '../src/index.ts'
import { americas } from '../src/recognise/americas.ts'
import { asia } from '../src/recognise/asia.ts'
import { contact } from '../src/recognise/contact.ts'
import { dates, month } from '../src/recognise/dates.ts'
import { europe } from '../src/recognise/europe.ts'
import { payment } from '../src/recognise/payment.ts'
import { Dispatch } from '../src/recognise/recogniser.ts'
import type { Recogniser } from '../src/recognise/recogniser.ts'
import { secrets } from '../src/recognise/secrets.ts'

const ALL = [
  ...[...secrets, ...payment, ...contact, ...americas, ...europe, ...asia, ...dates],
  month,
]

/** What stands around a match is asked for by the pattern itself: a generator of texts knows nothing of it. */
function withoutLooks(source: string): string {
  const inner = String.raw`(?:[^()\\[\]]|\\.|\[(?:[^\]\\]|\\.)*\])`
  const look = new RegExp(
    String.raw`\(\?<?[!=](?:${inner}|\((?:${inner}|\(${inner}*\))*\))*\)`,
    'g',
  )
  for (let before = ''; before !== source;) {
    before = source
    source = source.replaceAll(look, '')
  }
  return source
}

/** A group that is to come again comes as anything that it may be: what does not come as it was does not match. */
function withoutReferences(source: string): string {
  const groups = [...source.matchAll(/\((?!\?)([^()]*)\)/g)].map(([, group = '']) => group)
  return source.replaceAll(/\\([1-9])/g, (_all, number: string) => groups[Number(number) - 1] ?? '')
}

const BLANKS = /[\s\u00a0]+/g
/** What cuts a text into words that are looked at by themselves; in what somebody calls a password, these alone. */
const CUTS = /["{}[\]<>|;`\\]/
const ENDS = /["\\]|[,;{}[\]<>|`](?:$|[,;{}[\]<>|`]{7})/

/** What has to stand before some of them. */
const BEFORE: Readonly<Record<string, readonly string[]>> = {
  labelled: ['secret: ', 'PWD=', '"api_key":"'],
  month: ['in ', 'until '],
  ph_mobile_number: ['\n', '+'],
  tr_phone_number: ['\n', '+'],
}

/** Those that are one for whoever asks for one by itself. */
const FOUND_AS: Readonly<Record<string, string>> = { phone_plain: 'phone', month: 'date' }

/** Texts that a pattern may match, whole. */
function matching({ pattern }: Recogniser): fc.Arbitrary<string> {
  const source = withoutReferences(withoutLooks(pattern.source))
  return fc
    .stringMatching(new RegExp(`^(?:${source})$`))
    .map((text) => text.replaceAll(BLANKS, ' '))
}

/** Whether it is one of those that are tried at the first word of a text. */
function isTried(recogniser: Recogniser, text: string): boolean {
  const [word = ''] = /^\w+/.exec(text) ?? []
  const make = /^\d+$/.test(word) ? 0 : /^[^\d]+$/.test(word) ? 1 : /^\d/.test(word) ? 3 : 2
  const behind = (at: number): number => (at < text.length ? text.charCodeAt(at) : 0)
  const [next, second] = [behind(word.length), behind(word.length + 1)]
  const tried = new Dispatch([recogniser]).at(make, word.length, word.charCodeAt(0), next, second)
  const codes = Uint16Array.from(text, (one) => one.charCodeAt(0))
  const place = { codes, start: 0, end: word.length, limit: text.length }
  const length = /^[!-~]*/.exec(text)?.[0].length ?? 0
  return (
    tried.length === 1 &&
    recogniser.quick?.(place) !== false &&
    (recogniser.token === undefined || (length >= recogniser.token && /\d/.test(text)))
  )
}

const isCut = (id: string, text: string): boolean => (id === 'labelled' ? ENDS : CUTS).test(text)

describe('where recognisers are tried', () => {
  for (const recogniser of ALL) {
    const { id, pattern, token, holds } = recogniser
    const before = BEFORE[id] ?? ['\n']
    it(`${id}: at every word at which its pattern matches`, () => {
      let tried = 0
      const redactor = createRedactor({ find: { only: FOUND_AS[id] ?? id }, replace: () => '<>' })
      fc.assert(
        fc.property(matching(recogniser), fc.constantFrom(...before), (text, first) => {
          pattern.lastIndex = first.length
          fc.pre(/^\w/.test(text) && pattern.test(`${first}${text}\n`))
          fc.pre(pattern.lastIndex === first.length + text.length)
          // Of how much stands there, and of a figure in it, whoever asks for that is told.
          fc.pre(token === undefined || holds?.(text) !== false)
          tried++
          if ((holds === undefined || holds(text) === true) && !isCut(id, text)) {
            assert.notEqual(
              redactor.redact(`a ${first}${text}`).indexOf(text),
              2 + first.length,
              JSON.stringify(text),
            )
          }
          assert.ok(isTried(recogniser, text), JSON.stringify(text))
        }),
        { numRuns: 300, maxSkipsPerRun: 100 },
      )
      assert.equal(tried, 300)
    })
  }
})
