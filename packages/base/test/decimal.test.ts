import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { fromTenThousandths, MAX_DECIMAL, parseJson, tenThousandths } from '../src/index.ts'
import { StrictParser } from '../src/strict-json.ts'

const MOST = 10 ** 15 - 1

/** The decimal as anybody writes it. */
function written(scaled: number): string {
  const digits = String(Math.abs(scaled)).padStart(5, '0')
  const text = `${digits.slice(0, -4)}.${digits.slice(-4)}`
  return scaled < 0 ? `-${text}` : text
}

describe('decimals of four places', () => {
  const any = fc.oneof(
    fc.integer({ min: -MOST, max: MOST }),
    fc.integer({ min: MOST - 100_000, max: MOST }),
    fc.integer({ min: -100_000, max: 100_000 }),
  )

  it('are found exactly, whatever double is the nearest to them', () => {
    fc.assert(
      fc.property(any, (scaled) => {
        const value = Number(written(scaled))
        assert.equal(tenThousandths(value), scaled)
        assert.ok(Object.is(fromTenThousandths(scaled), scaled === 0 ? 0 : value))
      }),
      { numRuns: 20_000 },
    )
    assert.equal(tenThousandths(MAX_DECIMAL), MOST)
    assert.ok(Object.is(tenThousandths(-0), 0))
  })

  it('are no others: neither the next double, nor more places, nor more digits', () => {
    const doubles = new Float64Array(1)
    const bits = new BigInt64Array(doubles.buffer)
    fc.assert(
      fc.property(any, fc.constantFrom(-1n, 1n), (scaled, step) => {
        if (scaled === 0) return
        doubles[0] = Number(written(scaled))
        bits[0] = (bits[0] ?? 0n) + step
        assert.equal(tenThousandths(doubles[0]), undefined)
      }),
    )
    for (const value of [0.1 + 0.2, 0.00005, 1e-7, 5e-324, 1e11, -1e11, 1e300, NaN, Infinity]) {
      assert.equal(tenThousandths(value), undefined, String(value))
    }
  })

  it('are what was written, digit for digit, where JSON is held to that', () => {
    const noise = fc.stringMatching(/^\d{0,22}$/)
    fc.assert(
      fc.property(any, noise, fc.integer({ min: -3, max: 3 }), (scaled, more, shift) => {
        // The point somewhere else, and an exponent that puts it back.
        const text = `${written(scaled)}${more}${shift === 0 ? '' : `e${shift}`}`
        const value = Number(text)
        const said = (read: () => unknown): unknown => {
          try {
            return read()
          } catch (error) {
            return (error as { code: string }).code
          }
        }
        const exact = said(() => parseJson(` [${text}] `, { exactDecimals: true }))
        const strict = said(() => new StrictParser(`[${text}]`, true).parse())
        assert.deepEqual(exact, strict, text)
        const short = tenThousandths(value)
        if (short === undefined || exact === 'SP_JSON_NUMBER') return
        // In whole numbers: what is written, times ten to the places that it has, is that decimal times the same.
        const [mantissa = '', exponent = '0'] = text.split('e')
        const [whole = '', fraction = ''] = mantissa.split('.')
        const places = BigInt(fraction.length + 10)
        const digits = BigInt(whole + fraction) * 10n ** BigInt(10 + Number(exponent))
        assert.equal(digits * 10_000n, BigInt(short) * 10n ** places, text)
      }),
      { numRuns: 5000 },
    )
    for (const text of [
      '0.10000000000000001',
      '0.1000000000000000055511151231257827',
      '99999999999.99990000001',
      '1000000000000000000001e-22',
      '10000000000000000.5e-17',
    ]) {
      assert.throws(
        () => parseJson(text, { exactDecimals: true }),
        { code: 'SP_JSON_NUMBER' },
        text,
      )
      // Many a printer of doubles writes so: an answer is not refused for it.
      assert.equal(parseJson(text), Number(text))
    }
    for (const text of [
      '0.1',
      '0.100000000000000000000',
      '1e-1',
      '0.30000000000000004',
      '12.5e1',
    ]) {
      assert.equal(parseJson(text, { exactDecimals: true }), Number(text), text)
    }
  })
})
