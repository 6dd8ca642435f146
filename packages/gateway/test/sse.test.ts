import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { EventReader } from '../src/edge/sse.ts'

const TEXT =
  ': comment\n\ndata: {"a":"ä€😀"}\r\n\r\nevent: x\nid: 1\ndata: one\ndata: two\n\ndata\n\ndata:no blank\rdata:  two\r\rretry: 1\n\ndata: last\n\n'
const EVENTS = ['{"a":"ä€😀"}', 'one\ntwo', '', 'no blank\n two', 'last']

describe('event streams', () => {
  it('are read the same wherever they are split', () => {
    const bytes = Buffer.from(TEXT)
    for (let i = 0; i <= bytes.length; i++) {
      for (const j of [i, Math.min(i + 1, bytes.length), bytes.length]) {
        const reader = new EventReader(1000)
        const events = [bytes.subarray(0, i), bytes.subarray(i, j), bytes.subarray(j)].flatMap(
          (piece) => reader.push(piece),
        )
        assert.deepEqual(events, EVENTS, `${i} ${j}`)
      }
    }
  })
  it('are refused when an event is too long or not UTF-8', () => {
    assert.throws(
      () => new EventReader(10).push(Buffer.from('data: 0123456789abc\n\n')),
      RangeError,
    )
    assert.throws(() => new EventReader(10).push(Buffer.from('data: 0123456789abc')), RangeError)
    const many = 'data: 1234\n'.repeat(4)
    assert.throws(() => new EventReader(10).push(Buffer.from(many)), RangeError)
    assert.throws(() => new EventReader(10).push(Buffer.from([0xff, 0x0a])), TypeError)
  })
})
