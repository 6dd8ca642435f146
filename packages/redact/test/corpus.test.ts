import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createRedactor, KnownValues } from '../src/index.ts'
import type { Group } from '../src/index.ts'
import { PII, score, scoreVectors, sentences } from './support/score.ts'

const skip = PII === undefined ? 'the labelled data is not on this machine' : false
const EVERYTHING: readonly Group[] = ['identifiers', 'secrets', 'dates', 'names']
const name = (kind: string, value: string): string => `<${kind} ${value.length}>`

describe('labelled data', { skip }, () => {
  it('identifiers alone: none leaks, and hardly anything else is touched', () => {
    const found = score(
      createRedactor({ find: { groups: ['identifiers', 'secrets'] }, replace: name }),
    )
    assert.equal(found.structured, 182)
    assert.ok(found.structuredLeaked <= 0.01, String(found.structuredLeaked))
    assert.ok(found.overRedacted <= 0.002, String(found.overRedacted))
    assert.equal(found.cleanTouched, 0)
  })

  it('everything on: names and places too', () => {
    const found = score(createRedactor({ find: { groups: EVERYTHING }, replace: name }))
    assert.equal(found.all, 1400)
    assert.ok(found.structuredLeaked <= 0.01, String(found.structuredLeaked))
    assert.ok(found.leaked <= 0.35, String(found.leaked))
    assert.ok(found.overRedacted <= 0.01, String(found.overRedacted))
  })

  it('each recogniser by itself on the texts that were made for it', () => {
    const { passed, of, failures } = scoreVectors((only) =>
      createRedactor({
        find: only === undefined ? { groups: ['dates', 'names'] } : { only },
        replace: name,
      }),
    )
    assert.equal(of, 1550)
    assert.ok(passed / of >= 0.98, failures.join('\n'))
  })

  it('whatever the pieces a sentence comes in, what comes out is the same', () => {
    const all = sentences()
    const known = new KnownValues()
    for (const { spans } of all.slice(0, 300)) {
      for (const { entity_value: value } of spans) known.note(value, () => true)
    }
    const redactor = createRedactor({ find: { groups: EVERYTHING }, known, replace: name })
    let changed = 0
    for (const { full_text: text } of all) {
      const whole = redactor.redact(text)
      if (whole !== text) changed++
      for (let i = 0; i <= text.length; i++) {
        const stream = redactor.stream()
        const out = stream.push(text.slice(0, i)) + stream.push(text.slice(i)) + stream.end()
        assert.equal(out, whole, `split at ${i}: ${text}`)
      }
      const stream = redactor.stream()
      let out = ''
      for (let i = 0; i < text.length; i++) out += stream.push(text.charAt(i))
      assert.equal(out + stream.end(), whole, `one by one: ${text}`)
    }
    assert.ok(changed > 600)
  })
})
