/** The parts of which a projection of a stream is made, one by one, against what reads a whole text. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseJson, SallyportError } from '@sallyport/base'
import { cutCharacter, is, isSpace, isWord } from '../src/stream/bytes.ts'
import { FACTOR, KeyTable, SEED } from '../src/stream/keys.ts'
import { checkNumber, StringScanner } from '../src/stream/strings.ts'

const refused = (code: string) => (error: unknown) =>
  error instanceof SallyportError && error.code === code && error.message.length > 10

describe('bytes', () => {
  it('are blank, or of a word, as RFC 8259 says', () => {
    for (let byte = 0; byte < 256; byte++) {
      const letter = String.fromCharCode(byte)
      assert.equal(isSpace(byte), ' \t\r\n'.includes(letter), letter)
      assert.equal(isWord(byte), /[0-9a-z.+\-E]/.test(letter), letter)
    }
  })

  it('are a word only if all of it is there, and nothing else', () => {
    const text = Buffer.from('xtruex')
    assert.equal(is(text, 1, 5, 'true'), true)
    for (const [start, end] of [
      [0, 4],
      [1, 4],
      [1, 6],
      [2, 6],
    ] as const) {
      assert.equal(is(text, start, end, 'true'), false)
    }
    assert.equal(is(Buffer.from('trux'), 0, 4, 'true'), false)
  })

  it('that end in a character which is not whole are found, and no others', () => {
    for (const character of [
      'a',
      '\u007f',
      '\u0080',
      'é',
      '\u07ff',
      '\u0800',
      '€',
      '\uffff',
      '😀',
    ]) {
      const bytes = Buffer.from(character)
      for (const before of ['', 'a', 'é', '😀', 'aaaa']) {
        for (let length = 0; length <= bytes.length; length++) {
          const text = Buffer.concat([Buffer.from(before), bytes.subarray(0, length)])
          const expected = length === bytes.length ? 0 : length
          assert.equal(cutCharacter(text), expected, `${before}${character} to ${length}`)
        }
      }
    }
    // What begins nowhere is not waited for.
    for (const length of [1, 2, 3, 4]) {
      assert.equal(cutCharacter(Buffer.alloc(length, 0x80)), 0)
      assert.equal(cutCharacter(Buffer.concat([Buffer.from('a'), Buffer.alloc(length, 0xbf)])), 0)
    }
  })
})

describe('strings', () => {
  const accepted = (text: string): boolean => {
    try {
      parseJson(Buffer.from(`"${text}"`))
      return true
    } catch {
      return false
    }
  }

  const TEXTS = [
    ...['', 'a', 'é😀', '\\"', '\\\\', '\\/', '\\b\\f\\n\\r\\t', '\\u0041', '\\u00e9', '\\uFFFF'],
    ...['\\uabcd\\uABCD', '\\ud83d\\ude00', '\\uD83D\\uDE00', '\\udbff\\udfff', '\\ud800\\udc00'],
    ...[
      '\\x',
      '\\a',
      '\\ ',
      '\\u',
      '\\u004',
      '\\u00g1',
      '\\u00 1',
      '\\u00`1',
      '\\u00G1',
      '\\u/000',
    ],
    ...['\\u:000', '\\u@000', '\\ud83d', '\\ud83dx', '\\ud83d\\n', '\\ud83d\\u0041', '\\ude00'],
    ...[
      '\\ud83d\\ud83d',
      '\\ud83d\\ud83d\\ude00',
      '\\ude00\\ud83d',
      '\\udbff',
      '\\udc00',
      '\\udfff',
    ],
    ...[
      '\\ud83d\\ude00\\ude00',
      '\\ud7ff',
      '\\ue000',
      '\u0000',
      '\u001f',
      'a\nb',
      '\u007f',
      '\u0020',
    ],
  ]

  it('are accepted as a whole text’s are, wherever they are cut', () => {
    for (const text of TEXTS) {
      const bytes = Buffer.from(`${text}"`)
      for (let cut = 0; cut <= bytes.length; cut++) {
        const scanner = new StringScanner()
        scanner.begin()
        let end = -1
        try {
          end = scanner.scan(bytes, 0, cut)
          if (end < 0) end = scanner.scan(bytes, cut, bytes.length)
        } catch (error) {
          assert.ok(error instanceof SallyportError)
          assert.match(error.code, /^SP_JSON_(SYNTAX|UNICODE)$/)
          assert.ok(error.message.length > 10)
        }
        assert.equal(end >= 0, accepted(text), `${text} cut at ${cut}`)
        if (end < 0) continue
        assert.equal(end, bytes.length - 1)
        assert.equal(scanner.escaped, text.includes('\\'))
      }
    }
  })

  it('say nothing of the escapes of the one before', () => {
    const scanner = new StringScanner()
    scanner.scan(Buffer.from('\\n"'), 0, 3)
    assert.equal(scanner.escaped, true)
    scanner.begin()
    assert.equal(scanner.escaped, false)
  })
})

it('numbers are accepted as a whole text’s are', () => {
  const parts = ['', '-', '+']
  const wholes = ['', '0', '00', '01', '7', '10', '123456789012345', '9007199254740991']
  const more = ['9007199254740992', '9007199254740993', '1234567890123456', '/', ':', '1 ']
  const fractions = [
    '',
    '.',
    '.0',
    '.5',
    '.05',
    '.x',
    '.99999999999999999999',
    '.00000000000000000001',
  ]
  const exponents = [
    '',
    'e',
    'E',
    'e5',
    'E5',
    'e+5',
    'e-5',
    'E-0',
    'e+',
    'e308',
    'e309',
    'e-400',
    'e5.0',
    'x',
  ]
  for (const sign of parts) {
    for (const whole of [...wholes, ...more]) {
      for (const fraction of fractions) {
        for (const exponent of exponents) {
          const text = `${sign}${whole}${fraction}${exponent}`
          let holds = true
          try {
            // Nothing but the number: what stands around it is not its own.
            assert.equal(typeof parseJson(Buffer.from(text)), 'number')
            holds = text.trim() === text
          } catch {
            holds = false
          }
          const padded = Buffer.from(`9${text}9`)
          const check = (): void => {
            checkNumber(padded, 1, padded.length - 1)
          }
          if (holds) assert.doesNotThrow(check, text)
          else assert.throws(check, /^.{10,}/, text)
        }
      }
    }
  }
  assert.throws(() => {
    checkNumber(Buffer.from('1e400'), 0, 5)
  }, refused('SP_JSON_NUMBER'))
  assert.throws(() => {
    checkNumber(Buffer.from('9007199254740993'), 0, 16)
  }, refused('SP_JSON_NUMBER'))
})

describe('names', () => {
  const find = (table: KeyTable, name: string): number => {
    const text = Buffer.from(`<${name}>`)
    let hash = SEED
    for (const byte of Buffer.from(name)) hash = (Math.imul(hash, FACTOR) + byte) | 0
    return table.find(text, 1, text.length - 1, hash)
  }

  it('have a number each, in the order in which they come, however many there are', () => {
    const table = new KeyTable()
    const names = Array.from({ length: 700 }, (_, i) => (i === 3 ? '' : `name ${i} é`))
    for (const [i, name] of names.entries()) {
      assert.equal(i % 2 === 0 ? find(table, name) : table.idOf(name), i)
      assert.equal(table.size, i + 1)
    }
    for (const [i, name] of names.entries()) {
      assert.equal(find(table, name), i)
      assert.equal(table.idOf(name), i)
      assert.equal(table.nameOf(i), name)
      assert.equal(table.lengthOf(i), Buffer.byteLength(name))
    }
    assert.equal(table.size, names.length)
  })

  it('of the same hash are told apart', () => {
    const table = new KeyTable()
    for (const [i, name] of ['one', 'two', 'twos', 'tw'].entries()) {
      const text = Buffer.from(name)
      assert.equal(table.find(text, 0, text.length, 5), i)
      assert.equal(table.find(text, 0, text.length, 5), i)
    }
  })

  it('are copied with their table, and go their own way from there', () => {
    const table = new KeyTable()
    table.idOf('a')
    table.idOf('b')
    table.follows(0, 1)
    const copy = new KeyTable(table)
    assert.equal(copy.size, 2)
    assert.equal(copy.idOf('b'), 1)
    assert.equal(copy.follower(0, Buffer.from('b"'), 0), 1)
    copy.idOf('c')
    assert.equal(table.size, 2)
    assert.equal(table.idOf('d'), 2)
    assert.equal(copy.nameOf(2), 'c')
  })

  it('are guessed by the one before, where they stand there again', () => {
    const table = new KeyTable()
    const [a, b] = [table.idOf('first'), table.idOf('second')]
    const text = Buffer.from('"second":"secund":"second')
    assert.equal(table.follower(a, text, 1), -1)
    table.follows(a, b)
    assert.equal(table.follower(a, text, 1), b)
    assert.equal(table.follower(b, text, 1), -1)
    assert.equal(table.follower(a, text, 2), -1)
    assert.equal(table.follower(a, text, 10), -1)
    // Not whole in this piece: its quote is still to come.
    assert.equal(table.follower(a, text, 19), -1)
    // The first is a name as well as any.
    table.follows(b, a)
    assert.equal(table.follower(b, Buffer.from('first"'), 0), a)
  })

  it('that fall together on purpose are refused in time, not looked for for ever', () => {
    const table = new KeyTable()
    assert.throws(() => {
      for (let i = 0; i < 300; i++) {
        const text = Buffer.from(`n${i}`)
        table.find(text, 0, text.length, 5)
      }
    }, refused('SP_JSON_TOO_LARGE'))
    assert.equal(table.size, 256)
  })
})
