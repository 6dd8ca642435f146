import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  durationSince,
  offset,
  parseDatetime,
  parseDecimal,
  parseDuration,
  toDate,
  toTime,
} from '../src/chrono.ts'
import { DatetimeValue, DurationValue } from '../src/value.ts'

const MAX = 2n ** 63n - 1n
const MIN = -(2n ** 63n)

describe('datetimes', () => {
  // What JavaScript's own clock makes of the same instant.
  const taken: [text: string, instant: string][] = [
    ['2024-01-01', '2024-01-01T00:00:00.000Z'],
    ['1970-01-01', '1970-01-01T00:00:00.000Z'],
    ['0001-01-01', '0001-01-01T00:00:00.000Z'],
    ['0099-12-31', '0099-12-31T00:00:00.000Z'],
    ['9999-12-31', '9999-12-31T00:00:00.000Z'],
    ['2024-02-29', '2024-02-29T00:00:00.000Z'],
    ['2000-02-29', '2000-02-29T00:00:00.000Z'],
    ['2024-02-20T23:59:59Z', '2024-02-20T23:59:59.000Z'],
    ['2024-02-20T23:59:59.987Z', '2024-02-20T23:59:59.987Z'],
    ['1969-12-31T23:59:59.999Z', '1969-12-31T23:59:59.999Z'],
    ['2024-02-20T01:02:03+0130', '2024-02-19T23:32:03.000Z'],
    ['2024-02-20T01:02:03-0130', '2024-02-20T02:32:03.000Z'],
    ['2024-02-20T01:02:03.004-0000', '2024-02-20T01:02:03.004Z'],
    ['2024-02-20T01:02:03.004+2359', '2024-02-19T01:03:03.004Z'],
    ['2024-12-01T00:00:00-2359', '2024-12-01T23:59:00.000Z'],
  ]
  for (const [text, instant] of taken) {
    it(`reads ${text}`, () => assert.equal(parseDatetime(text).ms, Date.parse(instant)))
  }

  const malformed = [
    '',
    '2024',
    '2024-1-01',
    '2024-01-1',
    '224-01-01',
    '02024-01-01',
    '+2024-01-01',
    '2024-01-01 ',
    ' 2024-01-01',
    '2024-01-01T',
    '2024-01-01Z',
    '2024-01-01T00:00Z',
    '2024-01-01T00:00:00',
    '2024-01-01t00:00:00Z',
    '2024-01-01T00:00:00z',
    '2024-01-01 00:00:00Z',
    '2024-01-01T0:00:00Z',
    '2024-01-01T00:0:00Z',
    '2024-01-01T00:00:0Z',
    '2024-01-01T00:00:00.Z',
    '2024-01-01T00:00:00.1Z',
    '2024-01-01T00:00:00.1234Z',
    '2024-01-01T00:00:00+01:30',
    '2024-01-01T00:00:00+130',
    '2024-01-01T00:00:00+01300',
    '2024-01-01T00:00:00Z+0130',
    '20a4-01-01',
    'x'.repeat(100),
  ]
  for (const text of malformed) {
    it(`refuses \`${text.slice(0, 40)}\` as no datetime`, () => {
      assert.throws(() => parseDatetime(text), {
        name: 'EvaluationError',
        message: `\`${text.slice(0, 60)}\` is not a datetime`,
      })
    })
  }

  const never = [
    '2023-02-29',
    '1900-02-29',
    '2024-02-30',
    '2024-04-31',
    '2024-13-01',
    '2024-00-01',
    '2024-01-00',
    '2024-01-32',
    '2024-01-01T24:00:00Z',
    '2024-01-01T00:60:00Z',
    '2024-01-01T00:00:60Z',
    '2024-01-01T00:00:00+2400',
    '2024-01-01T00:00:00-0060',
  ]
  for (const text of never) {
    it(`refuses ${text}, which never was`, () => {
      assert.throws(() => parseDatetime(text), {
        name: 'EvaluationError',
        message: `\`${text}\` is not a datetime that exists`,
      })
    })
  }

  const DAY = 86_400_000n
  it('split into a day and a time of day, before 1970 too', () => {
    const instants = [0n, 1n, DAY - 1n, DAY, DAY + 1n, 20_000n * DAY, MAX].flatMap((n) => [n, -n])
    for (const ms of [...instants.filter((n) => n >= MIN + DAY), MIN + DAY]) {
      const time = ((ms % DAY) + DAY) % DAY
      const at = new DatetimeValue(Number.isSafeInteger(Number(ms)) ? Number(ms) + 0 : ms)
      assert.ok(Object.is(toTime(at).ms, Number(time)), `time of ${ms}`)
      const date = ms - time
      const expected = Number.isSafeInteger(Number(date)) ? Number(date) : date
      assert.ok(Object.is(toDate(at).ms, expected), `date of ${ms}`)
    }
    // The day on which 64 bits begin has no midnight.
    assert.throws(() => toDate(new DatetimeValue(MIN)), { message: 'overflow in `toDate`' })
    assert.equal(toTime(new DatetimeValue(MIN)).ms, Number(((MIN % DAY) + DAY) % DAY))
  })

  it('move by a duration and tell the duration between two', () => {
    const at = (ms: number | bigint) => new DatetimeValue(ms)
    const by = (ms: number | bigint) => new DurationValue(ms)
    assert.deepEqual(offset(at(5), by(-7)), at(-2))
    assert.deepEqual(durationSince(at(5), at(7)), by(-2))
    assert.deepEqual(offset(at(MAX), by(MIN)), at(-1))
    assert.throws(() => offset(at(MAX), by(1)), { message: 'overflow in `offset`' })
    assert.throws(() => durationSince(at(MIN), at(1)), { message: 'overflow in `durationSince`' })
  })
})

describe('durations', () => {
  const taken: [text: string, ms: number | bigint][] = [
    ['0ms', 0],
    ['-0ms', 0],
    ['1ms', 1],
    ['1s', 1000],
    ['1m', 60_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
    ['-1d', -86_400_000],
    ['1d2h3m4s5ms', 93_784_005],
    ['-1d2h3m4s5ms', -93_784_005],
    ['2d5ms', 172_800_005],
    ['1m1ms', 60_001],
    ['10h20s', 36_020_000],
    ['9007199254740993ms', 9_007_199_254_740_993n],
    ['9223372036854775807ms', MAX],
    ['-9223372036854775808ms', MIN],
    ['106751991167d', 9_223_372_036_828_800_000n],
    [`${'0'.repeat(4094)}1d`, 86_400_000],
  ]
  for (const [text, ms] of taken) {
    it(`reads ${text.slice(-30)}`, () => assert.ok(Object.is(parseDuration(text).ms, ms)))
  }

  const refused = [
    '',
    '-',
    '--1d',
    '+1d',
    '1',
    '1w',
    'd',
    'ms',
    '1.5h',
    '1 d',
    ' 1d',
    '1d ',
    'x1d',
    '1dx',
    '1h1d',
    '5ms4s',
    '1ms1d',
    '1s1m',
    '1d1d',
    '1d-1h',
    `${'0'.repeat(4095)}1d`,
  ]
  for (const text of refused) {
    it(`refuses \`${text.slice(-30)}\``, () => {
      assert.throws(() => parseDuration(text), {
        name: 'EvaluationError',
        message: `\`${text.slice(0, 60)}\` is not a duration`,
      })
    })
  }

  for (const text of ['9223372036854775808ms', '-9223372036854775809ms', '106751991168d']) {
    it(`refuses ${text}, which overflows`, () => {
      assert.throws(() => parseDuration(text), { message: `the duration \`${text}\` overflows` })
    })
  }
})

describe('decimals', () => {
  const taken: [text: string, scaled: number | bigint][] = [
    ['0.0', 0],
    ['-0.0', 0],
    ['1.0', 10_000],
    ['-1.5', -15_000],
    ['-0.0001', -1],
    ['1.2345', 12_345],
    ['1.12', 11_200],
    ['001.10', 11_000],
    ['12.3', 123_000],
    ['922337203685477.5807', MAX],
    ['-922337203685477.5808', MIN],
    ['900719925474.0993', 9_007_199_254_740_993n],
  ]
  for (const [text, scaled] of taken) {
    it(`reads ${text}`, () => assert.ok(Object.is(parseDecimal(text).scaled, scaled)))
  }
  const refused = [
    '',
    '1',
    '1.',
    '.1',
    '+1.0',
    '--1.0',
    '1.12345',
    '1e5',
    ' 1.0',
    '1.0 ',
    '1.-1',
    'a.0',
    '1.a',
    'x'.repeat(100),
  ]
  for (const text of refused) {
    it(`refuses \`${text.slice(0, 30)}\``, () => {
      assert.throws(() => parseDecimal(text), {
        name: 'EvaluationError',
        message: `\`${text.slice(0, 60)}\` is not a decimal`,
      })
    })
  }
  for (const text of ['922337203685477.5808', '-922337203685477.5809']) {
    it(`refuses ${text}, which overflows`, () => {
      assert.throws(() => parseDecimal(text), { message: `the decimal \`${text}\` overflows` })
    })
  }
})
