import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { canonicalJson, parseJson } from '../src/index.ts'
import { StrictParser } from '../src/strict-json.ts'

const code = (code: string): { code: string } => ({ code })

// RFC 8785 (JCS), section 3.2.2 and 3.2.3: the RFC's own sample input and output.
test('canonical JSON: the sample of RFC 8785 section 3.2.2', () => {
  const input = `{
    "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
    "string": "\\u20ac$\\u000F\\u000aA'\\u0042\\u0022\\u005c\\\\\\"\\/",
    "literals": [null, true, false]
  }`
  const expected =
    '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],' +
    '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
  assert.equal(canonicalJson(JSON.parse(input)), expected)
})

test('canonical JSON: members in the order of RFC 8785 section 3.2.3', () => {
  const sorted = canonicalJson({
    '\u20ac': 'Euro Sign',
    '\r': 'Carriage Return',
    '\ufb33': 'Hebrew Letter Dalet With Dagesh',
    '1': 'One',
    '\ud83d\ude00': 'Emoji: Grinning Face',
    '\u0080': 'Control',
    '\u00f6': 'Latin Small Letter O With Diaeresis',
  })
  const order = [...sorted.matchAll(/:"([^"]+)"/g)].map(([, value]) => value)
  assert.deepEqual(order, [
    'Carriage Return',
    'One',
    'Control',
    'Latin Small Letter O With Diaeresis',
    'Euro Sign',
    'Emoji: Grinning Face',
    'Hebrew Letter Dalet With Dagesh',
  ])
})

// RFC 8785 appendix B: IEEE 754 bits → text.
test('canonical JSON: numbers of RFC 8785 appendix B', () => {
  const rows: readonly (readonly [string, string])[] = [
    ['0000000000000000', '0'],
    ['8000000000000000', '0'],
    ['0000000000000001', '5e-324'],
    ['8000000000000001', '-5e-324'],
    ['7fefffffffffffff', '1.7976931348623157e+308'],
    ['ffefffffffffffff', '-1.7976931348623157e+308'],
    ['4340000000000000', '9007199254740992'],
    ['c340000000000000', '-9007199254740992'],
    ['4430000000000000', '295147905179352830000'],
    ['44b52d02c7e14af5', '9.999999999999997e+22'],
    ['44b52d02c7e14af6', '1e+23'],
    ['44b52d02c7e14af7', '1.0000000000000001e+23'],
    ['444b1ae4d6e2ef4e', '999999999999999700000'],
    ['444b1ae4d6e2ef4f', '999999999999999900000'],
    ['444b1ae4d6e2ef50', '1e+21'],
    ['3eb0c6f7a0b5ed8c', '9.999999999999997e-7'],
    ['3eb0c6f7a0b5ed8d', '0.000001'],
    ['41b3de4355555553', '333333333.3333332'],
    ['41b3de4355555554', '333333333.33333325'],
    ['41b3de4355555555', '333333333.3333333'],
    ['41b3de4355555556', '333333333.3333334'],
    ['41b3de4355555557', '333333333.33333343'],
    ['becbf647612f3696', '-0.0000033333333333333333'],
    ['43143ff3c1cb0959', '1424953923781206.2'],
  ]
  for (const [bits, text] of rows) {
    assert.equal(canonicalJson(Buffer.from(bits, 'hex').readDoubleBE()), text)
  }
})

test('canonical JSON refuses what JSON cannot hold', () => {
  const cycle: Record<string, unknown> = {}
  cycle['self'] = cycle
  for (const value of [
    NaN,
    Infinity,
    1n,
    () => 1,
    Symbol('x'),
    undefined,
    '\ud800',
    { '\udc00': 1 },
    cycle,
    [1n],
  ]) {
    assert.throws(() => canonicalJson(value), code('SP_JSON_UNREPRESENTABLE'))
  }
  assert.equal(canonicalJson({ b: undefined, a: 1 }), '{"a":1}')
})

test('canonical JSON is a fixed point, whatever the order of members was', () => {
  fc.assert(
    fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
      let text: string
      try {
        text = canonicalJson(value)
      } catch {
        return
      }
      assert.equal(canonicalJson(JSON.parse(text)), text)
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)))
      assert.equal(canonicalJson(reversed(value)), text)
    }),
  )
})

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([key, member]) => [key, reversed(member)]),
  )
}

/** What parseJson must refuse although JSON.parse takes it. */
function forbidden(value: unknown): boolean {
  if (typeof value === 'number') return Number.isInteger(value) && !Number.isSafeInteger(value)
  if (typeof value === 'string') return !value.isWellFormed()
  if (typeof value !== 'object' || value === null) return false
  return Object.entries(value).some(
    ([key, member]) => key === '__proto__' || !key.isWellFormed() || forbidden(member),
  )
}

test('strict JSON agrees with JSON.parse on what it accepts', () => {
  let accepted = 0
  fc.assert(
    fc.property(
      fc.json({ noUnicodeString: false }),
      fc.constantFrom(undefined, 1, '\t'),
      (json, indent) => {
        const oracle: unknown = JSON.parse(json)
        const text = JSON.stringify(oracle, undefined, indent)
        if (forbidden(oracle)) {
          assert.throws(() => parseJson(text))
          return
        }
        assert.deepEqual(parseJson(text), oracle)
        assert.deepEqual(parseJson(Buffer.from(text)), oracle)
        accepted++
      },
    ),
    { numRuns: 500 },
  )
  assert.ok(accepted > 100, `${accepted} of 500 were compared`)
})

test('strict JSON refuses every text that JSON.parse refuses', () => {
  const pieces = '{ } [ ] , : " "a" 1 - 0 . e + true null nul \\ \\u00 // NaN 01 1. .5'.split(' ')
  const fragment = fc.constantFrom(...pieces, ' ', '\n', '\u00a0', '\ufeff', '\u0001', "'")
  fc.assert(
    fc.property(fc.array(fragment, { maxLength: 8 }), (parts) => {
      const text = parts.join('')
      let oracle: unknown
      let valid = true
      try {
        oracle = JSON.parse(text)
      } catch {
        valid = false
      }
      if (!valid) assert.throws(() => parseJson(text), /JSON/)
      else {
        try {
          assert.deepEqual(parseJson(text), oracle)
        } catch (error) {
          assert.match(
            String((error as { code?: unknown }).code),
            /DUPLICATE|NUMBER|UNICODE|FORBIDDEN/,
          )
        }
      }
    }),
    { numRuns: 3000 },
  )
})

test('the quick way takes and refuses what the strict parser does, and says the same', () => {
  const scalar = fc.constantFrom(
    ...'1 0 -0 1e2 1.5 9007199254740991 9007199254740992 1e400 1e-400 0e-9 -1.99999999999999999999 3.0000000000000000 4503599627370497.5 0.30000000000000004 20e-1 25e-1 true null "" "a" "\\"" "\\\\" "\\\\\\":" "{:" "\\ud83d" "\\ud83d\\ude00" "é" "\\u0000"'.split(
      ' ',
    ),
    '"\ud83d"',
    '"\ud83d\ude00 : {"',
  )
  const name = fc.constantFrom(
    ...'"a" "b" "\\u0061" "" "__proto__" "\\u005f_proto__" "toString" "1" "a:" "\\ud83d"'.split(
      ' ',
    ),
  )
  const { tree } = fc.letrec<{ tree: string }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4 },
      scalar,
      fc.array(tie('tree'), { maxLength: 3 }).map((items) => `[${items.join(', ')}]`),
      fc
        .array(fc.tuple(name, tie('tree')), { maxLength: 4 })
        .map((members) => `{${members.map((member) => member.join(':')).join(',\n')}}`),
    ),
  }))
  const text = fc
    .tuple(
      tree,
      fc.nat(),
      fc.option(fc.constantFrom(...'" : { } [ ] , \\ 1 e'.split(' '), ' ', ''), { freq: 2 }),
    )
    .map(([whole, at, other]) => {
      if (other === null) return whole
      const place = at % (whole.length + 1)
      return whole.slice(0, place) + other + whole.slice(place + 1)
    })
  const said = (read: () => unknown): unknown => {
    try {
      const value = read()
      return { value, written: JSON.stringify(value) }
    } catch (error) {
      return (error as Error).message
    }
  }
  let accepted = 0
  const seen = new Set<string>()
  fc.assert(
    fc.property(text, (whole) => {
      const strict = said(() => new StrictParser(whole).parse())
      assert.deepEqual(
        said(() => parseJson(whole)),
        strict,
      )
      if (typeof strict !== 'string') accepted++
      else seen.add(strict.replaceAll(/\d+/g, 'N'))
    }),
    { numRuns: 6000 },
  )
  assert.ok(accepted > 500, `${accepted} accepted`)
  assert.equal(seen.size, 5, [...seen].join())
})

test('duplicate members are refused, also when spelled differently or nested', () => {
  for (const text of [
    '{"a":1,"a":1}',
    '{"a":1,"\\u0061":2}',
    '[{"b":{"a":1,"c":2,"a":3}}]',
    '{"":1,"":2}',
  ]) {
    assert.throws(() => parseJson(text), code('SP_JSON_DUPLICATE_KEY'))
  }
  assert.deepEqual(parseJson('{"a":{"a":1},"b":{"a":2}}'), { a: { a: 1 }, b: { a: 2 } })
})

test('`__proto__` is refused however it is spelled; names of Object.prototype are plain members', () => {
  for (const text of ['{"__proto__":{}}', '{"\\u005f_proto__":1}', '[{"x":{"__proto__":null}}]']) {
    assert.throws(() => parseJson(text), code('SP_JSON_FORBIDDEN_KEY'))
  }
  const parsed = parseJson('{"constructor":1,"toString":2,"hasOwnProperty":3}')
  assert.deepEqual(Object.entries(parsed as object), [
    ['constructor', 1],
    ['toString', 2],
    ['hasOwnProperty', 3],
  ])
})

test('depth is bounded before anything recurses', () => {
  const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
  assert.doesNotThrow(() => parseJson(nested(64)))
  assert.throws(() => parseJson(nested(65)), code('SP_JSON_TOO_DEEP'))
  assert.throws(() => parseJson('{"a":'.repeat(200_000)), code('SP_JSON_TOO_DEEP'))
  assert.throws(() => parseJson('['.repeat(500_000)), code('SP_JSON_TOO_DEEP'))
  assert.doesNotThrow(() => parseJson(JSON.stringify(['[[[['.repeat(100)])))
  assert.doesNotThrow(() => parseJson(JSON.stringify(['\\"[[['.repeat(100)])))
  assert.throws(() => parseJson('[[1]]', { maxDepth: 1 }), code('SP_JSON_TOO_DEEP'))
})

test('size is bounded in bytes, not characters', () => {
  assert.equal(parseJson('"€€"', { maxBytes: 8 }), '€€')
  assert.throws(() => parseJson('"€€"', { maxBytes: 7 }), code('SP_JSON_TOO_LARGE'))
  assert.throws(() => parseJson(Buffer.alloc(1_048_577, 0x20)), code('SP_JSON_TOO_LARGE'))
})

test('numbers that a double does not hold as written are refused', () => {
  for (const text of [
    '9007199254740992',
    '-9007199254740992',
    '1e400',
    '-1e999',
    '1e16',
    '123456789012345678901',
  ]) {
    assert.throws(() => parseJson(text), code('SP_JSON_NUMBER'))
  }
  for (const text of [
    '01',
    '1.',
    '.5',
    '+1',
    '-',
    '0x10',
    '1e',
    '--1',
    'Infinity',
    'NaN',
    '1_000',
  ]) {
    assert.throws(() => parseJson(text), code('SP_JSON_SYNTAX'))
  }
  assert.equal(parseJson('9007199254740991'), Number.MAX_SAFE_INTEGER)
  assert.equal(parseJson('-0.5e1'), -5)
  assert.equal(parseJson('0.1'), 0.1)
})

test('a number that is no whole one is never read as one', () => {
  for (const text of [
    '0.99999999999999999999',
    '1.00000000000000000001',
    '-1.99999999999999999999',
    '4503599627370497.5',
    '-4503599627370498.5',
    '1e-400',
    '-2.5E-999999999999999999999',
    '45035996273704975e-1',
    '10000000000000000000000000000000000000001e-40',
    '100000.00000000000000000000001e3',
  ]) {
    for (const whole of [text, `{"a":["1.5",${text}]}`, ` [ ${text}\n] `, `[1,${text},2]`]) {
      assert.throws(() => parseJson(whole), code('SP_JSON_NUMBER'), whole)
    }
  }
  for (const [text, value] of [
    ['1.0', 1],
    ['1.000000000000000000000', 1],
    ['-3.0000000000000000000e0', -3],
    ['1e2', 100],
    ['1.5e1', 15],
    ['0.000000000000000001e18', 1],
    ['10000000000000000000000000000000000000000e-40', 1],
    ['-0', -0],
    ['0.0e-400', 0],
    ['-0e-1', -0],
    // None that anybody takes for whole is refused for its digits.
    ['0.30000000000000004', 0.30000000000000004],
    ['3.14159265358979323846', Math.PI],
    ['5e-324', 5e-324],
    ['2.5e-1', 0.25],
  ] as const) {
    assert.ok(Object.is(parseJson(text), value), text)
    assert.ok(Object.is(new StrictParser(text).parse(), value), text)
  }
  assert.deepEqual(parseJson('["1.99999999999999999999","a-b.c","e-9"]'), [
    '1.99999999999999999999',
    'a-b.c',
    'e-9',
  ])
})

test('whatever a number is read as, it is whole by its digits where it is whole as a double', () => {
  const digits = fc.stringMatching(/^\d{1,20}$/)
  // Many of them next to a whole number, where it matters.
  const near = fc
    .tuple(
      fc.constantFrom('0', '9'),
      fc.integer({ min: 1, max: 24 }),
      fc.stringMatching(/^\d{0,3}$/),
    )
    .map(([digit, times, rest]) => digit.repeat(times) + rest)
  const number = fc
    .tuple(
      fc.boolean(),
      digits,
      fc.oneof(digits, near),
      fc.integer({ min: -45, max: 20 }),
      fc.boolean(),
    )
    .map(([minus, whole, fraction, power, upper]) => {
      const exponent = power > 10 ? 0 : power
      const mantissa = `${whole.replace(/^0+(?=\d)/, '')}.${fraction}`
      return `${minus ? '-' : ''}${mantissa}${exponent === 0 ? '' : `${upper ? 'E' : 'e'}${exponent}`}`
    })
  let refused = 0
  let whole = 0
  const isWholeByDigits = (text: string): boolean => {
    const [, minus = '', int = '', fraction = '', exponent = '0'] =
      /^(-?)(\d+)\.(\d+)(?:[eE](-?\d+))?$/.exec(text) ?? []
    assert.ok(int !== '', `${minus}${text}`)
    const places = fraction.length - Number(exponent)
    return places <= 0 || BigInt(int + fraction) % 10n ** BigInt(places) === 0n
  }
  fc.assert(
    fc.property(number, (text) => {
      const value = Number(text)
      const takes = !Number.isInteger(value)
        ? Number.isFinite(value)
        : Number.isSafeInteger(value) && isWholeByDigits(text)
      if (takes) {
        if (Number.isInteger(value)) whole++
        assert.ok(Object.is(parseJson(text), value), text)
      } else {
        refused++
        assert.throws(() => parseJson(text), code('SP_JSON_NUMBER'), text)
      }
    }),
    { numRuns: 20_000 },
  )
  assert.ok(refused > 500 && whole > 50, `${refused} refused, ${whole} whole`)
})

test('invalid UTF-8 and unpaired surrogates are refused', () => {
  for (const bytes of [
    [0x22, 0xff, 0x22],
    [0x22, 0xc0, 0xaf, 0x22],
    [0x22, 0xed, 0xa0, 0x80, 0x22],
    [0x22, 0xe2, 0x82],
  ]) {
    assert.throws(() => parseJson(Buffer.from(bytes)), code('SP_JSON_UNICODE'))
  }
  for (const text of ['"\\ud800"', '"\\udc00"', '{"\\ud800":1}', '"\\ud800\\u0041"', '"\ud800"']) {
    assert.throws(() => parseJson(text), code('SP_JSON_UNICODE'))
  }
  assert.equal(parseJson('"\\ud83d\\ude00"'), '😀')
  assert.throws(() => parseJson(Buffer.from('\ufeff{}')), code('SP_JSON_SYNTAX'))
})

test('raw control characters and unknown escapes are refused', () => {
  for (const text of ['"\n"', '"\u0000"', '"\t"', '"\\x41"', '"\\u12g4"', "'a'", '"a']) {
    assert.throws(() => parseJson(text), code('SP_JSON_SYNTAX'))
  }
  assert.equal(parseJson('"\\b\\f\\n\\r\\t\\/\\u001f"'), '\b\f\n\r\t/\u001f')
})
