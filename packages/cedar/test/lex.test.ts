import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { liftIntegers, restoreInteger } from '../src/est.ts'
import { boundPolicy, boundSchema, POLICY_LIMITS, tokenise } from '../src/lex.ts'
import { Slicer } from '../src/slicer.ts'

const spelled = (text: string) =>
  tokenise(text).map(({ kind, start, end }) => `${kind} ${text.slice(start, end)}`)

describe('tokens', () => {
  const cut: [text: string, tokens: string[]][] = [
    ['', []],
    [' \t\r\n\ufeff ', []],
    ['// all comment', []],
    ['a // b\nc', ['word a', 'word c']],
    ['a // b\rc', ['word a', 'word c']],
    ['a//', ['word a']],
    ['a / b', ['word a', 'punctuation /', 'word b']],
    ['_a9 b', ['word _a9', 'word b']],
    ['a9Z_', ['word a9Z_']],
    ['9a', ['number 9', 'word a']],
    ['007', ['number 007']],
    ['"a b"', ['string "a b"']],
    ['"a\\"b" c', ['string "a\\"b"', 'word c']],
    ['"\\\\" "x"', ['string "\\\\"', 'string "x"']],
    ['"a\nb"', ['string "a\nb"']],
    ['"a\\\nb"', ['string "a\\\nb"']],
    ['""', ['string ""']],
    ['"// no" a', ['string "// no"', 'word a']],
    ['"open', ['punctuation "', 'word open']],
    ['"open\\"', ['punctuation "', 'word open', 'punctuation \\', 'punctuation "']],
    ['::==!=<=>=&&||', ['::', '==', '!=', '<=', '>=', '&&', '||'].map((p) => `punctuation ${p}`)],
    [':=!<>&|', ':=!<>&|'.split('').map((p) => `punctuation ${p}`)],
    ['é', ['punctuation é']],
    ['a.b', ['word a', 'punctuation .', 'word b']],
    ['\n', []],
    ['@id("x")', ['punctuation @', 'word id', 'punctuation (', 'string "x"', 'punctuation )']],
  ]
  for (const [text, tokens] of cut) {
    it(`of ${JSON.stringify(text)}`, () => assert.deepEqual(spelled(text), tokens))
  }
})

describe('bounds of a policy', () => {
  const refused = (text: string, code: string, message: string): void =>
    assert.throws(() => boundPolicy('p', text), { code, message })

  it('gives the tokens of what it takes', () => {
    const text = 'permit(principal, action, resource);'
    assert.deepEqual(boundPolicy('p', text), tokenise(text))
  })

  it('takes 65,536 characters and no more', () => {
    assert.equal(POLICY_LIMITS.policyLength, 65_536)
    assert.deepEqual(boundPolicy('p', ' '.repeat(65_536)), [])
    refused(
      ' '.repeat(65_537),
      'SP_CEDAR_LIMIT',
      'policy `p` has 65537 characters, the limit is 65536',
    )
  })

  it('takes whole characters only', () => {
    boundPolicy('p', '"😀"')
    refused('"\ud800"', 'SP_CEDAR_SYNTAX', 'policy `p` has an unpaired surrogate')
  })

  for (const [open = '', close = ''] of ['()', '[]', '{}'].map((pair) => pair.split(''))) {
    it(`counts what is open of ${open}${close}: 40 and no more`, () => {
      boundPolicy('p', open.repeat(40) + close.repeat(40))
      boundPolicy('p', (open + close).repeat(100))
      refused(open.repeat(41), 'SP_CEDAR_LIMIT', 'policy `p` nests deeper than 40')
      boundPolicy('p', `"${open.repeat(100)}"`)
      boundPolicy('p', `// ${open.repeat(100)}`)
    })
  }

  for (const operator of '&& || + - * ! == != < <= > >= . if in like has is'.split(' ')) {
    it(`counts ${operator}: 500 and no more`, () => {
      boundPolicy('p', `a ${operator} `.repeat(500))
      refused(
        `a ${operator} `.repeat(501),
        'SP_CEDAR_LIMIT',
        'policy `p` has more than 500 operators',
      )
    })
  }

  it('counts neither words, numbers, texts nor punctuation as operators', () => {
    boundPolicy('p', 'a 1 "if" "&&" , ; : '.repeat(600))
  })

  const proto = [
    '__proto__',
    '"__proto__"',
    '"\\u{5f}_proto__"',
    '"\\x5f_proto__"',
    '"_\\u{00005F}proto_\\x5F"',
    '"\\u{5f}\\u{5f}\\u{70}\\u{72}\\u{6f}\\u{74}\\u{6f}\\u{5f}\\u{5f}"',
  ]
  for (const word of proto) {
    it(`refuses the name ${word}`, () => {
      refused(`a ${word}`, 'SP_CEDAR_SYNTAX', 'policy `p` uses the name `__proto__`')
    })
  }
  const near = [
    '__proto',
    '_proto__',
    'x__proto__',
    '__proto__x',
    '"x__proto__"',
    '"__proto__x"',
    '"\\u{5f5}_proto__"',
    '"\\u{80}__proto__"',
    '"\\xff__proto__"',
    '"\\u{1f600}"',
    '"\\u{}_proto__"',
  ]
  for (const word of near) {
    it(`takes the name ${word}`, () => assert.equal(boundPolicy('p', word).length, 1))
  }
})

describe('bounds of a schema', () => {
  const bound = (text: string): Promise<void> => boundSchema(text, new Slicer())

  it('are its length, its brackets and whole characters', async () => {
    const most = POLICY_LIMITS.totalLength / 4
    await bound(' '.repeat(most))
    await assert.rejects(bound(' '.repeat(most + 1)), {
      code: 'SP_CEDAR_LIMIT',
      message: `the schema has ${most + 1} characters`,
    })
    await bound('entity "😀";')
    await assert.rejects(bound('entity "\ud800";'), {
      code: 'SP_CEDAR_SYNTAX',
      message: 'the schema has an unpaired surrogate',
    })
    for (const [open = '', close = ''] of ['()', '[]', '{}', '<>'].map((pair) => pair.split(''))) {
      await bound(open.repeat(40) + close.repeat(40))
      await bound(`a ${open} b ${close} `.repeat(100))
      await bound(`"${open.repeat(100)}"`)
      await assert.rejects(bound(`${open} `.repeat(41)), {
        code: 'SP_CEDAR_LIMIT',
        message: 'the schema nests deeper than 40',
      })
    }
  })

  it('are kept in slices, between which others have their turn', async () => {
    let turns = 0
    const timer = setInterval(() => turns++, 0)
    const long = bound('entity A; '.repeat(100_000))
    await long
    clearInterval(timer)
    assert.ok(turns > 2, `${turns} turns`)
  })
})

describe('large integers', () => {
  const lift = (source: string) => liftIntegers(source, tokenise(source))
  const MAX = Number.MAX_SAFE_INTEGER

  it('leave a policy without any as it is', () => {
    const source = `1 == ${MAX} && "9007199254740993" == a // 9007199254740993`
    assert.deepEqual(lift(source), { source, integers: new Map() })
  })

  it('get a stand-in each that the policy does not use', () => {
    const source = `9007199254740992 + ${MAX} == 9223372036854775808 - ${MAX - 2}; x`
    const { source: text, integers } = lift(source)
    assert.equal(text, `${MAX - 1} + ${MAX} == ${MAX - 3} - ${MAX - 2}; x`)
    assert.deepEqual(
      [...integers],
      [
        [MAX - 1, 9_007_199_254_740_992n],
        [MAX - 3, 9_223_372_036_854_775_808n],
      ],
    )
    assert.deepEqual([...lift('9007199254740993').integers], [[MAX, 9_007_199_254_740_993n]])
  })

  it('are put back with their sign, and others left alone', () => {
    const integers = new Map([[MAX, 2n ** 63n]])
    assert.equal(restoreInteger(MAX, integers), 2n ** 63n)
    assert.equal(restoreInteger(-MAX, integers), -(2n ** 63n))
    assert.equal(restoreInteger(MAX - 1, integers), MAX - 1)
    assert.equal(restoreInteger(-5, integers), -5)
    assert.equal(restoreInteger(0, integers), 0)
  })
})

describe('escapes that are none', () => {
  const policy = (text: string, operator = '=='): string =>
    `permit(principal, action, resource) when { context.a ${operator} "${text}" };`
  const schema = (text: string): string => `entity A { "${text}": Long };`
  const right = [
    ...[
      '\\n',
      '\\r',
      '\\t',
      '\\0',
      '\\\\',
      "\\'",
      '\\"',
      '\\\n',
      '\\x00',
      '\\x41',
      '\\x7F',
      '\\x7a',
    ],
    ...['\\u{41}', '\\u{0}', '\\u{d7ff}', '\\u{e000}', '\\u{10ffff}', '\\u{00_41_}', '\\u{000041}'],
  ]
  const wrong = [
    ...['\\q', '\\N', '\\x80', '\\x4', '\\x4g', '\\xg4', '\\X41', '\\*', '\r', '\\1', '\\U{41}'],
    ...['\\u41', '\\u{}', '\\u{_1}', '\\u{g}', '\\u{d800}', '\\u{dabc}', '\\u{dfff}'],
    ...['\\u{110000}', '\\u{ffffff}', '\\u{0000041}', '\\u{41'],
  ]
  const many = {
    code: 'SP_CEDAR_LIMIT',
    message: 'policy `p` has more than 16 escapes that are none',
  }
  const manyOfSchema = {
    code: 'SP_CEDAR_LIMIT',
    message: 'the schema has more than 16 escapes that are none',
  }

  for (const text of right) {
    it(`${JSON.stringify(text)} is one`, async () => {
      boundPolicy('p', policy(text.repeat(40)))
      boundPolicy('p', policy(text.repeat(40), 'like'))
      await boundSchema(schema(text.repeat(40)), new Slicer())
    })
  }
  for (const text of wrong) {
    it(`${JSON.stringify(text)} is none: sixteen are taken and no more`, async () => {
      // Something between them, lest two make one.
      boundPolicy('p', policy(`${text} `.repeat(16)))
      assert.throws(() => boundPolicy('p', policy(`${text} `.repeat(17))), many)
      await boundSchema(schema(`${text} `.repeat(16)), new Slicer())
      await assert.rejects(boundSchema(schema(`${text} `.repeat(17)), new Slicer()), manyOfSchema)
    })
  }

  it('a star is escaped in a pattern alone', () => {
    boundPolicy('p', policy('\\*'.repeat(40), 'like'))
    assert.throws(() => boundPolicy('p', policy('\\*'.repeat(17))), many)
    const after = `permit(principal, action, resource) when { context.a like "x" && "${'\\*'.repeat(17)}" == "" };`
    assert.throws(() => boundPolicy('p', after), many)
  })

  it('are counted over all texts, and in texts alone', async () => {
    const two = (each: number): string => policy(`${'\\q'.repeat(each)}" == "${'\\q'.repeat(each)}`)
    boundPolicy('p', two(8))
    assert.throws(() => boundPolicy('p', two(9)), many)
    boundPolicy('p', `permit(principal, action, resource); ${'\\q '.repeat(40)}`)
    await boundSchema(`entity A; ${'\\q '.repeat(40)}`, new Slicer())
  })
})

it('what stands in a text is no bracket and no operator', async () => {
  const { depth, operators } = POLICY_LIMITS
  const text = `${'('.repeat(depth + 1)}${' + '.repeat(operators + 1)}`
  boundPolicy('p', `permit(principal, action, resource) when { context.a == "${text}" };`)
  await boundSchema(`entity A { "${'<'.repeat(depth + 1)}": Long };`, new Slicer())
})
