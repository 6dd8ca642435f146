import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import { isValidIBAN } from 'ibantools'
import { createRedactor, createVault, KnownValues, standIns } from '../src/index.ts'
import type { Kind, StandIns } from '../src/index.ts'
import { checkedKind } from '../src/forms/checked.ts'
import { luhn } from '../src/recognise/checksums.ts'

const key = Buffer.alloc(32, 5)
const nothing = { isTaken: () => false }
const inForm = (): StandIns => standIns(createVault(key), nothing)
const escaped = (value: string): string => JSON.stringify(value).slice(1, -1)
const of = (one: StandIns, kind: Kind, value: string): string => {
  const text = one.of(kind, value)
  assert.ok(text !== undefined)
  return text
}
const layoutOf = (text: string): string =>
  text.replaceAll(/\d/g, '9').replaceAll(/[a-z]/g, 'a').replaceAll(/[A-Z]/g, 'A')

const CARDS = ['4111 1111 1111 1111', '378282246310005', '6011-1111-1111-1117', '3530111333300000']
const IBANS = [
  'DE89 3704 0044 0532 0130 00',
  'GB59IFUE40226315499137',
  'FR1420041010050500013M02606',
]
const PHONES = {
  '(415) 555-2671': /^\([2-9]\d\d\) 555-01\d\d$/,
  '415-555-2671': /^[2-9]\d\d-555-01\d\d$/,
  '+1 415 555 2671': /^\+1 [2-9]\d\d 555 01\d\d$/,
  '+44 7911 123456': /^\+44 7700 900\d\d\d$/,
  '+44 20 7123 4567': /^\+44 16 3296 0\d{3}$/,
  '+49 30 12345678': /^\+49 (?:30 23125|69 90009|40 66969|22 14710|89 99998)\d{3}$/,
  '+33 6 12 34 56 78': /^\+33 6 39 98 \d\d \d\d$/,
  '0033 1 42 34 56 78': /^0033 1 99 00 \d\d \d\d$/,
}
const VALUES: readonly (readonly [Kind, string])[] = [
  ...CARDS.map((value) => ['CARD', value] as const),
  ...IBANS.map((value) => ['IBAN', value] as const),
  ...Object.keys(PHONES).map((value) => ['PHONE', value] as const),
  ['EMAIL', 'Ann.Lee+x@bank.example.com'],
  ['EMAIL', 'a@b.co'],
  ['IP', '106.31.73.20'],
  ['IP', '106.31.73.20/24'],
  ['IP', '6e40:4041:c617:e898:c11:40d2:c669:2eb4'],
  ['MAC', '00:1B:44:11:3A:B7'],
  ['URL', 'https://example.com/a?b=1'],
  ['WALLET', '1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2'],
  ['WALLET', 'bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq'],
  ['ID', '853-37-1694'],
  ['ID', '44051401359'],
  ['ID', 'RSSMRA85T10A562S'],
  ['ACCOUNT', '021000021'],
  ['DATE', '1990-03-12'],
  ['DATE', '12.03.1990'],
]

describe('stand-ins that keep a form', () => {
  it('have the places of figures, letters and signs, and pass no check', () => {
    const one = inForm()
    for (const [kind, value] of VALUES) {
      const text = of(one, kind, value)
      assert.notEqual(text, value)
      assert.ok(!text.includes('_'), text)
      if (!['EMAIL', 'IP', 'URL', 'MAC'].includes(kind)) {
        assert.equal(layoutOf(text), layoutOf(value))
      }
      assert.equal(checkedKind(text), undefined, text)
      assert.equal(checkedKind(text.replaceAll(/\W/g, '')), undefined, text)
    }
  })

  it('a card of the same scheme fails Luhn, however many are drawn', () => {
    const one = inForm()
    fc.assert(
      fc.property(fc.constantFrom('4', '5', '6', '34', '37'), fc.nat(), (scheme, n) => {
        const length = scheme.length === 2 ? 15 : 16
        const value = scheme + String(n).padStart(length - scheme.length, '7')
        const text = of(one, 'CARD', value)
        assert.ok(text.startsWith(scheme) && text.length === length && !luhn(text), text)
      }),
    )
  })

  it('an IBAN of the same country has check digits that none has, and fails the sum', () => {
    for (const value of IBANS) {
      const text = of(inForm(), 'IBAN', value)
      assert.match(text, new RegExp(`^${value.slice(0, 2)}(?:00|01|99)`))
      const compact = text.replaceAll(' ', '')
      assert.ok(!isValidIBAN(compact), text)
      // The sum alone, as many check it: 01 and 98 are one to it.
      const figures = (compact.slice(4) + compact.slice(0, 4)).replaceAll(/[A-Z]/g, (c) =>
        String(c.charCodeAt(0) - 55),
      )
      assert.notEqual(BigInt(figures) % 97n, 1n)
    }
  })

  it('not one of many IBANs passes the sum by chance', () => {
    const one = inForm()
    for (let i = 0; i < 1000; i++) {
      const text = of(one, 'IBAN', `DE89${String(i).padStart(18, '7')}`)
      const figures = `${text.slice(4)}1314${text.slice(2, 4)}`
      assert.notEqual(BigInt(figures) % 97n, 1n, text)
    }
  })

  it('an identity number passes no check of another country either', () => {
    const one = inForm()
    for (let i = 0; i < 300; i++) {
      const text = of(one, 'ID', `853-37-${String(1000 + i)}`)
      assert.equal(checkedKind(text), undefined, text)
      assert.equal(checkedKind(text.replaceAll('-', '')), undefined, text)
    }
  })

  it('telephone numbers are of those that are kept for films', () => {
    for (const [value, expected] of Object.entries(PHONES)) {
      assert.match(of(inForm(), 'PHONE', value), expected)
    }
    for (const value of ['+46 8 928 571 38', '+49 30 1234567', '0171 1234567', '+44 20 7123 456']) {
      assert.match(of(inForm(), 'PHONE', value), /^PHONE_/)
    }
  })

  it('telephone numbers of North America are of places: of no others are any kept for films', () => {
    const one = inForm()
    for (let i = 0; i < 2000; i++) {
      const last = String(i).padStart(4, '0')
      for (const before of ['+1 212 333 ', '(212) 333-', '001 212 333 ']) {
        const text = of(one, 'PHONE', `${before}${last}`)
        assert.doesNotMatch(
          text.replaceAll(/\D/g, ''),
          /^(?:00)?1?(?:\d00|\d11|8(?:22|33|44|55|66|77|8\d)|5(?:2\d|33|44|66|77|88)|710|6(?:22|33|44|55|77|88))55501\d\d$/,
        )
      }
    }
  })

  it('show nothing of what stands beside letters and figures but how numbers are grouped', () => {
    const vault = createVault(key)
    const one = standIns(vault, nothing)
    of(one, 'CARD', '4111 1111 1111 1111')
    for (const [kind, value] of [
      // Values of systems are whatever somebody wrote there.
      ['RECORD', '+1 212-555-1234 Иван Петров'],
      ['PHONE', '+49 30 12345678 (働く)'],
      // What was found beside one another and overlaps is one value, the second time too.
      ['CARD', '4111 1111 1111 1111 Иванов'],
      ['RECORD', '4111 1111 1111 1111 Иванов'],
      ['CARD', '５４００ 0000 0000 0000'],
      ['CARD', '5400_0000_0000_0000'],
      ['CARD', '5400    0000    0000    0000'],
      ['IP', 'fe80::1%vault7'],
      ['IP', '10.0.0.1 Иванов'],
    ] as const) {
      const text = of(one, kind, value)
      assert.match(text, /^[A-Z]+_[0-9A-Z]{12}$/, value)
      assert.equal(one.restore(text), value)
    }
    fc.assert(
      fc.property(
        fc.constantFrom<Kind>('CARD', 'IBAN', 'PHONE', 'ID', 'ACCOUNT', 'IP', 'MAC', 'RECORD'),
        fc.constantFrom(...VALUES.map(([, value]) => value)),
        fc.string({ unit: 'grapheme', minLength: 1, maxLength: 4 }),
        fc.nat(40),
        (kind, value, strange, at) => {
          const place = at % (value.length + 1)
          const text = of(one, kind, value.slice(0, place) + strange + value.slice(place))
          assert.match(text, /^[ -~\u00a0\u2009\u202f\u2010-\u2013]*$/)
        },
      ),
      { numRuns: 2000 },
    )
  })

  it('leave nothing of a name that stands so close to a number that both are one', () => {
    const known = new KnownValues()
    known.note('1111 Иванов Пётр', () => true)
    const one = inForm()
    const redactor = createRedactor({
      find: { groups: ['identifiers'] },
      known: one.finding(known),
      replace: (kind, value) => one.of(kind, value),
    })
    const text = 'first 4111 1111 1111 1111, then 4111 1111 1111 1111 Иванов Пётр'
    const said = redactor.redact(text)
    assert.doesNotMatch(said, /Иванов|Пётр/)
    assert.equal(one.restore(said), text)
  })

  it('addresses lead nowhere', () => {
    const one = inForm()
    assert.match(
      of(one, 'EMAIL', 'Ann.Lee+x@bank.example.com'),
      /^[A-Z][a-z]{2}\.[A-Z][a-z]{2}\+[a-z]@[a-z0-9]{8}\.invalid$/,
    )
    assert.match(of(one, 'EMAIL', 'a@b.co'), /^[a-z]@[a-z0-9]{7}\.invalid$/)
    assert.match(of(one, 'URL', 'http://bank.example/me'), /^http:\/\/[a-z0-9]{12}\.invalid$/)
    assert.match(of(one, 'IP', '10.1.2.3/8'), /^198\.1[89]\.[12]\d\d\.[12]\d\d\/8$/)
    assert.match(of(one, 'IP', 'fe80::1'), /^2001:db8(?::[0-9a-f]{4}){6}$/)
    assert.match(of(one, 'MAC', '00-1b-44-11-3a-b7'), /^[0-9]6-[0-9][a-f]-/)
  })

  it('of a date are days on which nobody is born yet', () => {
    assert.match(of(inForm(), 'DATE', '1990-03-12'), /^2[2-9]\d\d-[01]\d-[0-2]\d$/)
    for (const value of ['12/31/1985', '31.12.1985']) {
      const [a = 0, b = 0, year = 0] = of(inForm(), 'DATE', value).split(/\W/).map(Number)
      assert.ok(a >= 1 && a <= 12 && b >= 1 && b <= 12 && year >= 2200)
    }
    assert.match(of(inForm(), 'DATE', 'March 12, 1990'), /^DATE_/)
  })

  it('are words where there is no form, or nothing of it is nobody’s for sure', () => {
    const one = inForm()
    for (const [kind, value] of [
      ['NAME', 'Ann Lee'],
      ['SECRET', 'hunter2hunter2'],
      ['PLATE', 'B-AB 1234'],
      ['BIC', 'DEUTDEFF500'],
      ['ACCOUNT', '12345678'],
      ['ID', 'AB1234567'],
      ['WALLET', `0x${'ab'.repeat(20)}`],
      ['RECORD', 'Blue Boar'],
    ] as const) {
      assert.match(of(one, kind, value), new RegExp(`^${kind}_[0-9A-Z]{12}$`), value)
    }
    // A value that was read and is an account besides.
    assert.match(of(one, 'RECORD', IBANS[1] ?? ''), /^GB(?:00|01|99)[A-Z]{4}\d{14}$/)
    assert.match(of(one, 'RECORD', 'bob@example.com'), /@.*\.invalid$/)
  })

  it('are the same for the same value, however it is grouped, and nobody’s without the key', () => {
    const one = inForm()
    const spaced = of(one, 'CARD', '4111 1111 1111 1111')
    assert.equal(of(one, 'CARD', '4111111111111111'), spaced.replaceAll(' ', ''))
    assert.equal(of(one, 'RECORD', '4111-1111-1111-1111'), spaced.replaceAll(' ', '-'))
    assert.equal(of(inForm(), 'CARD', '4111 1111 1111 1111'), spaced)
    const other = standIns(createVault(Buffer.alloc(32, 6)), nothing)
    assert.notEqual(other.of('CARD', '4111 1111 1111 1111'), spaced)
    assert.equal(other.restore(spaced), spaced)
  })

  it('differ for different values, and where one is taken another is drawn', () => {
    const vault = createVault(key)
    const one = standIns(vault, nothing)
    const numbers = Array.from({ length: 600 }, (_, i) => `+44 7911 ${String(i).padStart(6, '0')}`)
    const texts = numbers.map((value) => of(one, 'PHONE', value))
    assert.equal(new Set(texts).size, numbers.length)
    assert.ok(texts.filter((text) => text.startsWith('+44 7700 900')).length > 590)
    numbers.forEach((value, i) => assert.equal(one.restore(texts[i] ?? ''), value))

    const first = of(inForm(), 'CARD', '4111111111111111')
    const second = standIns(createVault(key), { isTaken: (text) => text === first })
    const drawn = of(second, 'CARD', '4111111111111111')
    assert.notEqual(drawn, first)
    assert.ok(!luhn(drawn))
    // What the session said before stands in for nothing.
    const said = createVault(key)
    said.token('RECORD', first)
    assert.notEqual(standIns(said, nothing).of('CARD', '4111111111111111'), first)
  })

  it('come to an end where every one is taken: then a word stands there', () => {
    const vault = createVault(key)
    const one = standIns(vault, nothing)
    const started = performance.now()
    const texts = Array.from({ length: 3000 }, (_, i) =>
      of(one, 'PHONE', `+44 7911 ${String(i).padStart(6, '0')}`),
    )
    assert.equal(new Set(texts).size, texts.length)
    const words = texts.filter((text) => text.startsWith('PHONE_'))
    assert.ok(words.length >= 2000 && words.length < 2200, String(words.length))
    assert.ok(performance.now() - started < 5000)
    assert.throws(
      () => {
        const small = createVault(key, { maxEntries: 3 })
        small.hold()
        for (const value of CARDS) standIns(small, nothing).of('CARD', value)
      },
      { code: 'SP_REDACT_FULL' },
    )
  })
})

describe('taking them back', () => {
  it('in whatever groups a model writes them, each figure in its place', () => {
    const one = inForm()
    const card = of(one, 'CARD', '4111 1111 1111 1111')
    const iban = of(one, 'IBAN', 'DE89 3704 0044 0532 0130 00')
    const phone = of(one, 'PHONE', '+44 7911 123456')
    assert.equal(one.restore(`(${card.replaceAll(' ', '')})`), '(4111111111111111)')
    assert.equal(one.restore(card.replaceAll(' ', '-')), '4111-1111-1111-1111')
    assert.equal(one.restore(card.replaceAll(' ', '\u00a0')), '4111\u00a01111\u00a01111\u00a01111')
    assert.equal(one.restore(iban.replaceAll(' ', '')), 'DE89370400440532013000')
    assert.equal(one.restore(phone.replaceAll(' ', '')), '+447911123456')
    assert.equal(one.restore(`{"card":${card.replaceAll(' ', '')}}`), '{"card":4111111111111111}')
  })

  it('not inside another number, and after an escape all the same', () => {
    const one = inForm()
    const card = of(one, 'CARD', '4111111111111111')
    for (const text of [`1${card}`, `${card}1`, card.slice(1), card.slice(0, -1)]) {
      assert.equal(one.restore(text), text)
    }
    const mail = of(one, 'EMAIL', 'bob@example.com')
    assert.equal(one.restore(`x${mail}`), `x${mail}`)
    assert.equal(one.restore(`\\n${mail}${mail}`), '\\nbob@example.combob@example.com')
    for (const before of ['\\n', '\\u00e9', '%20', 'n', '#', 'X9 ']) {
      assert.equal(one.restore(`${before}${card}.`), `${before}4111111111111111.`)
    }
  })

  it('the unsplit result, wherever an answer is cut', () => {
    const one = inForm()
    const parts = VALUES.map(([kind, value]) => of(one, kind, value))
    const name = of(one, 'NAME', 'Zoë "Z" Lee')
    const text = `${parts.join(', ')}; ${name}${name} "\\u00e9${parts[1] ?? ''}" ${(parts[0] ?? '').replaceAll(' ', '')} ${(parts[3] ?? '').slice(0, -2)}`
    for (const write of [undefined, escaped]) {
      const whole = one.restore(text, write)
      for (const [, value] of VALUES) assert.ok(whole.includes(value), value)
      for (let i = 0; i <= text.length; i++) {
        const stream = one.restoring(write)
        const out = stream.push(text.slice(0, i)) + stream.push(text.slice(i)) + stream.end()
        assert.equal(out, whole, `cut at ${i}`)
      }
      for (const size of [1, 3, 7]) {
        const stream = one.restoring(write)
        let out = ''
        for (let i = 0; i < text.length; i += size) out += stream.push(text.slice(i, i + size))
        assert.equal(out + stream.end(), whole)
      }
    }
  })

  it('any texts around them come out as they were, in any pieces', () => {
    const one = inForm()
    const parts = VALUES.map(([kind, value]) => of(one, kind, value))
    const around = fc.constantFrom('', ' ', '1', 'a', '\\u00e', '-', '.', '(', '\n', 'é', ...parts)
    fc.assert(
      fc.property(
        fc.array(fc.oneof(around, fc.string({ maxLength: 6 })), { maxLength: 12 }),
        fc.array(fc.nat(40), { minLength: 1, maxLength: 8 }),
        (texts, sizes) => {
          const text = texts.join('')
          const whole = one.restore(text)
          const stream = one.restoring()
          let out = ''
          for (let at = 0, k = 0; at < text.length; k++) {
            const size = 1 + (sizes[k % sizes.length] ?? 0)
            out += stream.push(text.slice(at, at + size))
            at += size
          }
          assert.equal(out + stream.end(), whole)
        },
      ),
      { numRuns: 2000 },
    )
  })

  it('holds back nothing of what begins like none of them', () => {
    const one = inForm()
    of(one, 'CARD', '4111111111111111')
    const stream = one.restoring()
    assert.equal(stream.push('The customer'), 'The customer')
    assert.equal(stream.push(' is well'), ' is well')
  })

  it('only what went into the request: another vendor’s stays what it is', () => {
    const vault = createVault(key)
    const one = standIns(vault, nothing)
    const card = of(one, 'CARD', '4111111111111111')
    const other = standIns(vault, nothing)
    assert.equal(other.restore(card), card)
    assert.equal(standIns(vault).restore(card), card)
    assert.ok(one.owns(card) && !other.owns(card))
    // A word is everybody's, as ever.
    const word = of(one, 'NAME', 'Ann Lee')
    assert.equal(other.restore(word), 'Ann Lee')
  })
})

describe('a conversation that goes on', () => {
  const find = { groups: ['identifiers', 'secrets'] } as const
  const known = new KnownValues()
  known.note('Blue Boar', () => true)
  const redactorOf = (one: StandIns) =>
    createRedactor({
      find,
      known: one.finding(known),
      replace: (kind, value) => one.of(kind, value),
    })

  it('says the same again, whether it was taken back or not', () => {
    const vault = createVault(key)
    const text = `${VALUES.map(([, value]) => `account, phone, born ${value}`).join(' ; ')} and Blue Boar`
    const first = standIns(vault, nothing)
    const said = redactorOf(first).redact(text)
    for (const [, value] of VALUES) assert.ok(!said.includes(value), value)
    assert.equal(first.restore(said), text)
    const again = standIns(vault, nothing)
    assert.equal(redactorOf(again).redact(text), said)
    const twice = standIns(vault, nothing)
    assert.equal(redactorOf(twice).redact(said), said, 'stand-ins are nothing new')
    assert.equal(twice.restore(said), text, 'and are taken back where they were said again')
  })

  it('words are nothing new either, where names are looked for', () => {
    for (const form of [undefined, nothing]) {
      const vault = createVault(key)
      const naming = (one: StandIns) =>
        createRedactor({
          find: { groups: ['identifiers', 'secrets', 'names', 'dates'] },
          known: one.finding(known),
          replace: (kind, value) => one.of(kind, value),
        })
      const text = 'My name is Anna Schmidt of Blue Boar, mail bob@example.com, passport C01X00T41'
      const said = naming(standIns(vault, form)).redact(text)
      const twice = standIns(vault, form)
      assert.equal(naming(twice).redact(said), said)
      assert.equal(twice.restore(said), text)
      const word = vault.token('NAME', 'Bo')
      for (let i = 0; i <= word.length + 4; i++) {
        const stream = naming(twice).stream()
        const whole = `is ${word}. `
        assert.equal(
          stream.push(whole.slice(0, i)) + stream.push(whole.slice(i)) + stream.end(),
          whole,
        )
      }
      assert.equal(twice.restore(naming(twice).redact(`password: 1-${word}`)), 'password: 1-Bo')
    }
  })

  it('takes no part of one for something else, and nothing that holds one', () => {
    const vault = createVault(key)
    const first = standIns(vault, nothing)
    const card = of(first, 'CARD', '4111 1111 1111 1111')
    const mail = of(first, 'EMAIL', 'bob@example.com')
    for (const text of [`tel ${card} x12`, `account ${card.slice(0, 4)}`, `password: 1-${mail}`]) {
      const next = standIns(vault, nothing)
      const said = redactorOf(next).redact(text)
      const back = next.restore(said)
      assert.ok(!back.includes(card) && !back.includes(mail), back)
    }
  })
})
