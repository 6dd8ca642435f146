import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createVault, KnownValues, standIns } from '@sallyport/redact'
import type { LlmSystem } from '@sallyport/network'
import { redactPrompt } from '../src/llm/prompt.ts'
import { Taken } from '../src/llm/taken.ts'

const key = Buffer.alloc(32, 4)
const CARD = '4111111111111111'
const known = new KnownValues()
known.note('2500-11-12', () => true)

describe('what stands for itself in a request', () => {
  it('is what it holds, whatever stands between letters and figures', () => {
    const body = { messages: [{ content: 'a 4440 6230-3304 9829, b', n: 1234567812345678 }] }
    const taken = new Taken(() => body, known)
    for (const text of ['4440623033049829', '4440-6230-3304-9829', '1234567812345678']) {
      assert.ok(taken.has(text), text)
    }
    for (const text of ['4440623033049828', '5440623033049829', '1234567812345679']) {
      assert.ok(!taken.has(text), text)
    }
  })

  it('is what anybody is known to have read, whole', () => {
    const taken = new Taken(() => ({}), known)
    assert.ok(taken.has('2500-11-12'))
    assert.ok(!taken.has('2500-11-13'))
  })

  it('stands in for nothing there', () => {
    const llm: LlmSystem = {
      ...{ dialect: 'openai', mayRead: 'internal', above: 'redact', find: ['identifiers'] },
      vendor: {
        ...{ name: 'Acme', region: 'eu', retentionDays: 0 },
        ...{ reviewer: 'olga', reviewed: '2020-01-01', reviewBy: '2999-12-31' },
      },
      ...{ standIns: 'form', answerTags: [], models: [] },
    }
    const said = (content: string): string => {
      const body = { messages: [{ role: 'user', content }] }
      const taken = new Taken(() => body, known)
      const standing = standIns(createVault(key), { isTaken: (text) => taken.has(text) })
      const { body: sent } = redactPrompt(body, { llm, known, standIns: standing })
      return JSON.stringify(sent)
    }
    const [drawn = ''] = /\d{16}/.exec(said(`pay ${CARD}`)) ?? []
    assert.match(drawn, /^4/)
    const [other = '', itself] = said(`pay ${CARD} not ${drawn}`).match(/\d{16}/g) ?? []
    assert.equal(itself, drawn)
    assert.notEqual(other, drawn)
    assert.match(other, /^4/)
  })
})
