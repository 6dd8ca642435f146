import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { createRedactor, KnownValues } from '../src/index.ts'
import type { Group } from '../src/index.ts'

const GROUPS: readonly Group[] = ['identifiers', 'secrets']
const replace = (kind: string): string => `<${kind}>`
const redactor = createRedactor({ find: { groups: GROUPS }, replace })
const redact = (text: string): string => redactor.redact(text)

const inPieces = (one: typeof redactor, text: string, size: number): string => {
  const stream = one.stream()
  let out = ''
  for (let i = 0; i < text.length; i += size) out += stream.push(text.slice(i, i + size))
  return out + stream.end()
}

describe('identifiers', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['card 4111 1111 1111 1111, gone', 'card <CARD>, gone'],
    ['pay to GB59 IFUE 4022 6315 4991 37 now', 'pay to <IBAN> now'],
    ['{"iban":"DE89370400440532013000","n":1}', '{"iban":"<IBAN>","n":1}'],
    ['mail Ann.Lee+x@bank.example.com.', 'mail <EMAIL>.'],
    ['call +46 (0)8 928 571 38 or (415) 555-0132 x4587', 'call <PHONE> or <PHONE>'],
    ['from 106.31.73.20 and 6e40:4041:c617:e898:c11:40d2:c669:2eb4', 'from <IP> and <IP>'],
    ['see https://example.com/a?b=1, please', 'see <URL>, please'],
    ['SSN 853-37-1694', 'SSN <ID>'],
    ['NINO AB123456 C', 'NINO <ID>'],
    ['codice fiscale RSSMRAULRMMHMLNT', 'codice fiscale <ID>'],
    ['BIC DEUTDEFF500 it is', 'BIC <BIC> it is'],
    ['born 12/31/1985 in', 'born <DATE> in'],
    ['born March 12, 1990, in', 'born <DATE>, in'],
    ['DOB 12 March, 1990', 'DOB <DATE>'],
    ['geboren 3rd of September 1985', 'geboren <DATE>'],
    ['"birth":"Sep. 3 1985"', '"birth":"<DATE>"'],
    ['geboren am 12. März 1990 in Bonn', 'geboren am <DATE> in Bonn'],
    ['Geburtsdatum: 1. Jan. 1985', 'Geburtsdatum: <DATE>'],
    ['geb. 3.Dezember 1985', 'geb. <DATE>'],
    ['geboren am 12. Maerz 1990', 'geboren am <DATE>'],
    ['née le 1er février 1990 à Lyon', 'née le <DATE> à Lyon'],
    ['date de naissance : 14 août 1971', 'date de naissance : <DATE>'],
    ['naissance 14 aou\u0302t 1971', 'naissance <DATE>'],
    ['nacida el 12 de marzo de 1990 en Lima', 'nacida el <DATE> en Lima'],
    ['nacimiento: 3 de septiembre del 2001', 'nacimiento: <DATE>'],
    ['nacido el 3 ago. 1990', 'nacido el <DATE>'],
    ['nato il 1° gennaio 1990 a Roma', 'nato il <DATE> a Roma'],
    ['data di nascita 12 luglio 1990', 'data di nascita <DATE>'],
    ['geboren op 12 maart 1990 te Gent', 'geboren op <DATE> te Gent'],
    ['geboortedatum: 5 mrt. 1960', 'geboortedatum: <DATE>'],
    ['nascido em 1º de março de 1990', 'nascido em <DATE>'],
    ['data de nascimento: 12 de outubro de 1990', 'data de nascimento: <DATE>'],
    ['urodzona 12 października 1990 r.', 'urodzona <DATE> r.'],
    ['data urodzenia: 1 stycznia 1990', 'data urodzenia: <DATE>'],
    ['ur. 3 sierpnia 1990', 'ur. <DATE>'],
    ['data urodzenia: 3 wrzesnia 1990', 'data urodzenia: <DATE>'],
    ['NATO met on 12 July 2023', 'NATO met on 12 July 2023'],
    ['nacido el 3 ago 5 1990', 'nacido el 3 ago 5 1990'],
    ['passport number is C01X00T41', 'passport number is <ID>'],
    ['to 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2', 'to <WALLET>'],
    ['\\nDE89370400440532013000\\n', '\\n<IBAN>\\n'],
  ]
  for (const [text, expected] of cases) {
    it(text, () => {
      assert.equal(redact(text), expected)
      for (const size of [1, 2, 7]) assert.equal(inPieces(redactor, text, size), expected)
    })
  }

  it('what only looks alike stays', () => {
    for (const text of [
      'version 1.2.3 of 2024-05-21, ticket 4711',
      'std::cout << MyClass::toString; // node.js and index.ts',
      'the meeting is on 12/31/2025 at 10:30, 1,250.00 EUR, 99.5 %',
      'a commit 8f953371d3e85eddb89b05ed6b9e680791055315 of 120 lines',
      'the order of words is ordinary, and password is one of them',
    ]) {
      assert.equal(redact(text), text)
    }
  })
})

describe('dates', () => {
  for (const groups of [['dates'], ['dates', 'names'], ['identifiers', 'dates']] as const) {
    it(`are found with ${groups.join(' and ')} asked for, a month in plain words too`, () => {
      const one = createRedactor({ find: { groups }, replace })
      for (const [text, expected] of [
        ['it was paid in March and again', 'it was paid in <DATE> and again'],
        ['on March 12, 1990, or Oct. 3rd, 2001.', 'on <DATE>, or <DATE>.'],
        ['due by 2026-11-05 or 3rd of May', 'due by <DATE> or <DATE>'],
        ['they march in step, may they', 'they march in step, may they'],
      ] as const) {
        assert.equal(one.redact(text), expected)
      }
    })
  }
})

describe('secrets', () => {
  const token = 'abcdefghijklmnopqrstuvwxyz0123456789'
  const key = ['-----BEGIN RSA PRIVATE KEY-----', 'MIIEow', 'Zm9v', '-----END RSA PRIVATE KEY-----']
  const cases: readonly (readonly [string, string])[] = [
    [`use ghp_${token} for it`, 'use <SECRET> for it'],
    [`OPENAI_API_KEY=sk-proj-${token}`, 'OPENAI_API_KEY=<SECRET>'],
    ['and glsoat-SK3aba112000000198742637541', 'and <SECRET>'],
    ['id AKIAIOSFODNN7EXAMPLE', 'id <SECRET>'],
    ['password: hunter2-blue', 'password: <SECRET>'],
    // It may begin with a sign, and have one after every character.
    ['password: q!7#Kd-x2?', 'password: <SECRET>'],
    ['pwd=$("hunter2-blue', 'pwd=$("<SECRET>'],
    ['password: P@ss,w0rd!;a[b], and so', 'password: <SECRET>], and so'],
    ['DB_PASSWORD=ab,1xyz;99 next', 'DB_PASSWORD=<SECRET> next'],
    ['{"password":"a{b}|c<1>","user":"u12"}', '{"password":"<SECRET>>","user":"u12"}'],
    ['words: P@ss,w0rd!;a[b], and so', 'words: P@ss,w0rd!;a[b], and so'],
    ['{"client_secret":"a1b2c3d4e5f6"}', '{"client_secret":"<SECRET>"}'],
    [`Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.${token}`, 'Bearer <SECRET>'],
    [`a\n${key.join('\n')}\nb`, 'a\n<SECRET>\nb'],
    [JSON.stringify({ key: key.join('\n') }), '{"key":"<SECRET>"}'],
    // It is a key until the contrary is seen.
    [`a ${key.slice(0, 3).join('\n')}`, 'a <SECRET>'],
    ['-----BEGIN CERTIFICATE----- MIIB', '-----BEGIN CERTIFICATE----- MIIB'],
  ]
  for (const [text, expected] of cases) {
    it(text.slice(0, 60), () => {
      assert.equal(redact(text), expected)
      for (const size of [1, 2, 7]) assert.equal(inPieces(redactor, text, size), expected)
    })
  }

  it('one that does not end is refused, not passed on in parts', () => {
    const long = `a -----BEGIN PRIVATE KEY----- ${'QUFB\n'.repeat(10_000)}`
    assert.throws(() => redact(long), { code: 'SP_REDACT_ENDLESS' })
    assert.equal(redact(`Bearer a1${'b'.repeat(1500)} c`), 'Bearer <SECRET> c')
    assert.throws(() => redact(`Bearer a1${'b'.repeat(4000)} c`), { code: 'SP_REDACT_ENDLESS' })
  })
})

it('in whatever pieces a text comes, what is found is the same', () => {
  const parts = [
    'password: ',
    'pwd=',
    '"secret":"',
    'is',
    ' ',
    ',',
    ', ',
    '[',
    '];',
    '"',
    '\\n',
    ':',
    '=',
    '.',
  ]
  const words = [
    'ab',
    'aB1',
    '7',
    '12',
    'March',
    'Sep.',
    '1990',
    'x9!k#2',
    'ann@bank.example',
    '長',
  ]
  const everything = createRedactor({
    find: { groups: ['identifiers', 'secrets', 'dates', 'names'] },
    replace,
  })
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...parts, ...words), { maxLength: 20 }), (some) => {
      const text = some.join('')
      for (const one of [redactor, everything]) {
        const whole = one.redact(text)
        for (let i = 0; i <= text.length; i++) {
          const stream = one.stream()
          const out = stream.push(text.slice(0, i)) + stream.push(text.slice(i)) + stream.end()
          assert.equal(out, whole, `split at ${i}`)
        }
        assert.equal(inPieces(one, text, 1), whole)
      }
    }),
    { numRuns: 500 },
  )
})

describe('known values', () => {
  const known = new KnownValues()
  for (const value of ['Ann Lee', 'José Álvarez', '12 Elm Street', 'acct-00417', '李小龙先生']) {
    known.note(value, () => true)
  }
  for (const value of ["O'Brien & Sons", 'Blue ------------ Boar', 'CORP\\nancy', '5% %41bc']) {
    known.note(value, () => true)
  }
  const one = createRedactor({ find: { groups: [] }, known, replace })

  it('are found whatever their case, spacing and escapes', () => {
    for (const [text, expected] of [
      ['call Ann Lee now', 'call <RECORD> now'],
      ['ANN  LEE', '<RECORD>'],
      ['ann\nlee, ann_lee', '<RECORD>, <RECORD>'],
      ['{"n":"Jos\\u00e9 \\u00c1lvarez"}', '{"n":"<RECORD>"}'],
      ['{"n":"x\\nAnn Lee\\nSue"}', '{"n":"x\\n<RECORD>\\nSue"}'],
      ['at 12, Elm street.', 'at <RECORD>.'],
      ['?q=Ann%20Lee&r=12%2c+Elm+Street', '?q=<RECORD>&r=<RECORD>'],
      ['100%25 of Ann%', '100%25 of Ann%'],
      ['ACCT-00417/ACCT 00417', '<RECORD>/<RECORD>'],
      ['我是李小龙先生的朋友', '我是<RECORD>的朋友'],
      ["of O'Brien & Sons.", 'of <RECORD>.'],
      ['{"n":"O\\u0027Brien \\u0026 Sons"}', '{"n":"<RECORD>"}'],
      ['?n=O%27Brien%20%26%20Sons', '?n=<RECORD>'],
      ['O\\u0027Brien, O\\u00e9', 'O\\u0027Brien, O\\u00e9'],
    ] as const) {
      assert.equal(one.redact(text), expected)
      for (const size of [1, 3]) assert.equal(inPieces(one, text, size), expected)
    }
  })

  it('are found as they are, whatever signs they hold', () => {
    for (const value of ['Blue ------------ Boar', 'CORP\\nancy', '5% %41bc']) {
      for (const text of [value, JSON.stringify(value).slice(1, -1)]) {
        assert.equal(one.redact(`at ${text}, now`), 'at <RECORD>, now')
        for (const size of [1, 3]) {
          assert.equal(inPieces(one, `at ${text}, now`, size), 'at <RECORD>, now')
        }
      }
    }
  })

  it('are not found inside other words', () => {
    for (const text of ['Joann Lee', 'Ann Leeds', 'Ann', 'Lee Ann', 'Ann of all people: Lee']) {
      assert.equal(one.redact(text), text)
    }
  })

  it('the longest counts, and one inside an identifier is part of it', () => {
    const more = new KnownValues()
    for (const value of ['Ann Lee', 'Ann Lee Jones', 'example']) more.note(value, () => true)
    const both = createRedactor({ find: { groups: GROUPS }, known: more, replace })
    assert.equal(both.redact('Ann Lee Jones'), '<RECORD>')
    assert.equal(both.redact('Ann Lee Jo'), '<RECORD> Jo')
    assert.equal(both.redact('to bob@example.com'), 'to <RECORD>')
  })

  it('one that had no room makes it say so for good', () => {
    const small = new KnownValues({ maxValues: 1 })
    small.note('abc', () => true)
    small.note('first', () => true)
    small.note('first', () => true)
    assert.deepEqual([small.size, small.overflowed], [1, false])
    small.note('second', () => true)
    assert.deepEqual([small.size, small.overflowed], [1, true])
  })

  it('values that are added while a stream goes on are found from there on', () => {
    const growing = new KnownValues()
    growing.note('Ann Lee', () => true)
    const stream = createRedactor({ find: { groups: [] }, known: growing, replace }).stream()
    let out = stream.push('Bob Ray and ')
    growing.note('Bob Ray', () => true)
    out += stream.push('Bob Ray')
    assert.equal(out + stream.end(), 'Bob Ray and <RECORD>')
  })
})

describe('any text', () => {
  const known = new KnownValues()
  for (const value of ['Ann Lee', 'a1 b2', '4111']) known.note(value, () => true)
  const everything = createRedactor({
    find: { groups: ['identifiers', 'secrets', 'dates', 'names'] },
    known,
    replace,
  })
  const words = fc.constantFrom(
    ...'4111 1111 Ann Lee a1 b2 bob@example.com + ( ) - : :: . , ; " \\ \\n {} http:// www. .com GB59IFUE40226315499137 -----BEGIN PRIVATE KEY----- -----END é İ 李 ไทย 😀 DE 136 Mr. the of password'.split(
      ' ',
    ),
  )
  const text = fc
    .array(fc.oneof(words, fc.constantFrom(' ', '\n', '\t', ' '), fc.string()), { maxLength: 40 })
    .map((parts) => parts.join(''))

  it('comes out the same whatever pieces it comes in', () => {
    fc.assert(
      fc.property(text, fc.array(fc.nat({ max: 12 })), (whole, sizes) => {
        const stream = everything.stream()
        let out = ''
        let at = 0
        for (const size of sizes) {
          out += stream.push(whole.slice(at, at + size))
          at += size
        }
        out += stream.push(whole.slice(at)) + stream.end()
        assert.equal(out, everything.redact(whole))
      }),
      { numRuns: 500 },
    )
  })

  it('keeps every character that is in no match, and tells where matches are', () => {
    fc.assert(
      fc.property(text, (whole) => {
        let out = ''
        let at = 0
        for (const { start, end, kind } of everything.find(whole)) {
          assert.ok(start >= at && end > start && end <= whole.length)
          out += whole.slice(at, start) + replace(kind)
          at = end
        }
        assert.equal(out + whole.slice(at), everything.redact(whole))
      }),
      { numRuns: 500 },
    )
  })

  // A text like these takes minutes where the time grows with the square of its length.
  const hostile: readonly (readonly [string, string])[] = [
    ['signs of mailboxes', '@'.repeat(200_000)],
    ['mailboxes without end', 'a@b.'.repeat(60_000)],
    ['digits', '1'.repeat(200_000)],
    ['groups of digits', '1 '.repeat(100_000)],
    ['colons', ':'.repeat(200_000)],
    ['domains', 'a.'.repeat(100_000)],
    ['capitals', 'Aa '.repeat(70_000)],
    ['beginnings of keys', '-----BEGIN '.repeat(20_000)],
    ['a value again and again', 'Ann '.repeat(60_000)],
    ['one long word', 'x'.repeat(200_000)],
    ['quotation marks', '"'.repeat(200_000)],
    ['backslashes', '\\'.repeat(200_000)],
    ['brackets before digits', '('.repeat(100_000) + '1'],
  ]
  for (const [what, whole] of hostile) {
    it(`in linear time: ${what}`, { timeout: 60_000 }, () => {
      const at = inPieces(everything, whole, 4096)
      assert.equal(at, everything.redact(whole))
    })
  }
})

it('a text that is over takes nothing more, and leaves nothing to the next', () => {
  const one = redactor.stream()
  assert.equal(one.push('about bob@example.com ') + one.end(), 'about <EMAIL> ')
  assert.equal(one.end(), '')
  assert.throws(() => one.push('more'), TypeError)
  const [a, b] = [redactor.stream(), redactor.stream()]
  const first = a.push('mail ann@example.com')
  const second = b.push('born on 12/31/1985')
  assert.equal(first + a.end(), 'mail <EMAIL>')
  assert.equal(second + b.end(), 'born on <DATE>')
})

it('a stream holds back nothing that cannot grow into a match', () => {
  const stream = redactor.stream()
  assert.equal(stream.push('The quick brown '), 'The quick brown ')
  assert.equal(stream.push('foxes '), 'foxes ')
  assert.equal(stream.push('4111 1111 '), '')
  assert.equal(stream.push('1111 1111 '), '')
  assert.equal(stream.push('jumped '), '<CARD> jumped ')
  assert.equal(stream.end(), '')
})
