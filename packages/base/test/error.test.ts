import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  errorCode,
  newId,
  renderError,
  SallyportError,
  sha256Hex,
  systemClock,
} from '../src/index.ts'

test('an error renders place, code, why and fix; a foreign one its stack', () => {
  const error = new SallyportError('SP_TEST', 'it broke', {
    detail: 'a wire came loose',
    fix: 'tighten it',
    span: { file: 'network.yaml', line: 3, column: 7 },
  })
  assert.equal(
    renderError(error),
    'network.yaml:3:7: it broke [SP_TEST]\n  why: a wire came loose\n  fix: tighten it',
  )
  assert.equal(renderError(new SallyportError('SP_TEST', 'it broke')), 'it broke [SP_TEST]')
  assert.match(renderError(new TypeError('boom')), /TypeError: boom\n/)
  assert.equal(renderError('text'), 'text')
  assert.equal(errorCode(error), 'SP_TEST')
  assert.equal(errorCode(new TypeError('boom')), 'SP_INTERNAL')
})

test('the detail of an error is never part of its message', () => {
  const error = new SallyportError('SP_TEST', 'refused', {
    detail: 'threshold 10000',
    cause: new Error('x'),
  })
  assert.equal(String(error), 'SallyportError: refused')
  assert.ok(error.cause instanceof Error)
})

test('ids are ordered by time, distinct and of one form', () => {
  fc.assert(
    fc.property(fc.nat(4e12), fc.nat(4e12), (a, b) => {
      const [first, second] = [newId('dec', Math.min(a, b)), newId('dec', Math.max(a, b))]
      assert.match(first, /^dec_[0-9a-hjkmnp-tv-z]{26}$/)
      if (a !== b) assert.ok(first < second)
      assert.notEqual(first, second)
    }),
  )
  assert.equal(new Set(Array.from({ length: 10_000 }, () => newId('x', 1))).size, 10_000)
})

test('sha256Hex: FIPS 180-4 vector, and bytes as text', () => {
  const abc = 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
  assert.equal(sha256Hex('abc'), abc)
  assert.equal(sha256Hex(Buffer.from('abc')), abc)
})

test('the monotonic clock never goes back', () => {
  let last = systemClock.monotonic()
  for (let i = 0; i < 1000; i++) {
    const next = systemClock.monotonic()
    assert.ok(next >= last)
    last = next
  }
  assert.ok(Math.abs(systemClock.now() - Date.now()) < 1000)
})
