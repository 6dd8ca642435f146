import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { indexNetwork } from '@sallyport/network'
import { createTokeniser } from '@sallyport/redact'
import fc from 'fast-check'
import { planProjection, project, ProjectionStream } from '../src/index.ts'
import type { FieldTreatment, Projection, ProjectionPlan } from '../src/index.ts'
import { network } from './fixture.ts'

/** `STREAM_TRIALS=100000` takes more random answers, and a mutation run fewer. */
const TRIALS = Number(process.env['STREAM_TRIALS'] ?? 1250)
/** Of an answer that is longer than what may be held of one. */
const MEGABYTES = Number(process.env['STREAM_MEGABYTES'] ?? 40)

const index = indexNetwork(network)
const tokeniser = createTokeniser(new Uint8Array(32).fill(7))
const MAX_DEPTH = 64

interface Result {
  readonly value: unknown
  readonly released: unknown
}

type Returns = Readonly<Record<string, string>>

/** As an answer is told: of nothing, `{}`; a zero has no sign in JSON. */
const told = (value: JsonValue | undefined): unknown => JSON.parse(JSON.stringify(value ?? {}))

function buffered(text: Buffer, returns: Returns, projection: Projection): Result | undefined {
  let body: JsonValue
  try {
    body = parseJson(text, { maxDepth: MAX_DEPTH })
  } catch {
    return undefined
  }
  const { value, released } = project(body, returns, projection, index, tokeniser)
  return { value: told(value), released }
}

/** Cuts a text at the places given; each piece is handed over in memory that is overwritten afterwards. */
function streamed(
  text: Buffer,
  cuts: readonly number[],
  returns: Returns,
  projection: Projection,
): Result | undefined {
  const plan = planProjection(returns, projection, index)
  const first = through(text, cuts, plan)
  // One that is used again says the same.
  assert.deepEqual(through(text, cuts.slice(1), plan), first)
  assert.ok(plan.spare.length <= (first === undefined ? 0 : 1))
  return first
}

function through(text: Buffer, cuts: readonly number[], plan: ProjectionPlan): Result | undefined {
  const stream = ProjectionStream.of(plan, tokeniser)
  const out: Buffer[] = []
  try {
    let from = 0
    for (const to of [...cuts.toSorted((a, b) => a - b), text.length]) {
      const piece = Buffer.from(text.subarray(from, to))
      out.push(Buffer.from(stream.push(piece)))
      piece.fill(0x21)
      from = to
    }
    out.push(Buffer.from(stream.finish()))
  } catch (error) {
    assert.ok(error instanceof SallyportError, String(error))
    return undefined
  }
  // What leaves is strict JSON itself.
  const { released } = stream
  stream.free()
  return { value: told(parseJson(Buffer.concat(out))), released }
}

const PROJECTION: Projection = {
  account: { id: 'tokenise', name: 'drop', pan: 'mask', balance: 'whole', payments: 'whole' },
  payment: { amount: 'whole', memo: 'whole', to: 'tokenise' },
}
const RETURNS: readonly Returns[] = [
  { 'items[]': 'account', total: 'public' },
  { $: 'account' },
  { '$[]': 'payment' },
  { $: 'public' },
  { 'items[][]': 'public', 'total.deep.x': 'account', 'total.deep.y': 'public' },
  { 'a.b': 'account', a: 'payment' },
  {},
]
const NAMES = [
  ...['items', 'total', 'id', 'name', 'pan', 'balance', 'payments', 'amount', 'memo', 'to'],
  ...['deep', 'x', 'y', 'a', 'b', 'extra', '', 'ä', '\u{1f600}', 'a"b', 'constructor'],
]

const texts = fc.oneof(
  { arbitrary: fc.string({ unit: 'binary', maxLength: 12 }), weight: 20 },
  {
    arbitrary: fc.constantFrom(
      '4111 1111 1111 1234',
      '2026-11-26',
      'Ann Lee',
      '\u2028',
      '{"a":1}',
      '\\',
      '"',
    ),
    weight: 20,
  },
  { arbitrary: fc.string({ minLength: 4090, maxLength: 4100 }), weight: 1 },
)
const numbers = fc.oneof(
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).filter((n) => !Number.isInteger(n)),
  fc.constantFrom(0, -0, 1e15, 123456789012345),
)
const { value: values } = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 6, withCrossShrink: true },
    fc.oneof(texts, numbers, fc.boolean(), fc.constant(null)),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom(...NAMES), tie('value'), { maxKeys: 6 }),
    fc.dictionary(fc.constantFrom(...NAMES), tie('value'), { maxKeys: 6 }),
  ),
}))

/** Shaped like what is declared, so that much of it is kept. */
const payments = fc.record({ amount: numbers, memo: texts, to: texts }, { requiredKeys: [] })
const accounts = fc.record(
  {
    id: fc.oneof(texts, numbers, fc.array(texts)),
    name: texts,
    pan: fc.oneof(texts, values),
    balance: fc.oneof(numbers, fc.array(numbers)),
    payments: fc.oneof(fc.array(payments, { maxLength: 3 }), payments, fc.constant(null)),
    extra: values,
  },
  { requiredKeys: [] },
)
const shaped = fc.oneof(
  fc.record({ items: fc.array(accounts, { maxLength: 4 }), total: numbers, debug: values }),
  accounts,
  fc.array(accounts, { maxLength: 3 }),
  fc.array(payments, { maxLength: 3 }),
)

/** One of the many spellings of a value, chosen by a sequence of numbers. */
function spelled(value: JsonValue, choose: () => number): string {
  const blank = (): string => ['', '', '', ' ', '\n', '\t\r '][choose() % 6] ?? ''
  const text = (given: string): string => {
    const plain = JSON.stringify(given)
    if (choose() % 3 > 0) return plain
    // Every unit escaped.
    const units = Array.from({ length: given.length }, (_, i) => given.charCodeAt(i))
    const hex = units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`)
    return `"${hex.join('')}"`
  }
  const inner = (given: JsonValue): string => {
    if (typeof given === 'string') return text(given)
    if (typeof given === 'number' && Number.isInteger(given) && choose() % 4 === 0) {
      return `${given}.0`.replace('-0.0', '0')
    }
    if (typeof given !== 'object' || given === null) return JSON.stringify(given)
    if (Array.isArray(given)) {
      return `[${blank()}${given.map((item: JsonValue) => inner(item)).join(`${blank()},${blank()}`)}]`
    }
    const members = Object.entries(given).map(
      ([name, member]) => `${blank()}${text(name)}${blank()}:${blank()}${inner(member)}`,
    )
    return `{${members.join(`${blank()},`)}${blank()}}`
  }
  return `${blank()}${inner(value)}${blank()}`
}

const chooser = (choices: readonly number[]): (() => number) => {
  let at = 0
  return () => choices[at++ % choices.length] ?? 0
}

const projections: fc.Arbitrary<Projection> = fc.oneof(
  fc.constant(PROJECTION),
  fc
    .tuple(
      ...network.datasets.map(({ name, fields }) =>
        fc.tuple(
          fc.constant(name),
          fc.dictionary(
            fc.constantFrom(...fields.map((field) => field.name), 'undeclared'),
            fc.constantFrom<FieldTreatment>('whole', 'mask', 'tokenise', 'drop'),
          ),
          fc.integer({ min: 0, max: 3 }),
        ),
      ),
    )
    .map((entries) =>
      Object.fromEntries(
        entries.flatMap(([name, treatments, there]) => (there > 0 ? [[name, treatments]] : [])),
      ),
    ),
)

const cutPlaces = fc.array(fc.nat(1_000_000), { maxLength: 8 })
const choices = fc.array(fc.nat(1000), { minLength: 1, maxLength: 60 })

describe('members that nobody declares', () => {
  const returns = { 'items[]': 'account', total: 'public' }
  const granted: Projection = {
    account: { id: 'tokenise', name: 'drop', pan: 'mask', payments: 'whole' },
    payment: { amount: 'whole' },
  }
  const body = {
    // `name`, `balance` and `memo` are declared, whatever of them leaves.
    items: [
      {
        id: 'a',
        name: 'Ada',
        balance: 1,
        secret: 'x',
        payments: [{ amount: 1, memo: 'm', extra: {} }],
      },
    ],
    total: 2,
    debug: { inner: 1 },
  }
  const expected = ['$.debug', 'account.secret', 'payment.extra']
  const said = (strangers: readonly (readonly [string, string])[]): string[] =>
    strangers.map(([at, name]) => `${at}.${name}`).toSorted()

  it('are told of, and none that is declared, streamed or whole', () => {
    const { strangers } = project(body, returns, granted, index, tokeniser)
    assert.deepEqual(said(strangers), expected)
    const stream = new ProjectionStream(planProjection(returns, granted, index), tokeniser)
    for (const byte of Buffer.from(JSON.stringify(body))) stream.push(Uint8Array.of(byte))
    stream.finish()
    assert.deepEqual(said(stream.strangers), expected)
  })

  it('are few, whatever an answer has', () => {
    const many = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`n${i}`, i]))
    assert.equal(project(many, returns, granted, index, tokeniser).strangers.length, 32)
    const stream = new ProjectionStream(planProjection(returns, granted, index), tokeniser)
    stream.push(Buffer.from(JSON.stringify(many)))
    stream.finish()
    assert.equal(stream.strangers.length, 32)
  })

  it('are told of again by one in some answers', () => {
    const plan = planProjection(returns, granted, index)
    let told = 0
    for (let i = 0; i < 1200; i++) {
      const stream = ProjectionStream.of(plan, tokeniser)
      stream.push(Buffer.from('{"debug":1}'))
      stream.finish()
      told += stream.strangers.length
      stream.free()
    }
    assert.equal(told, 3)
  })
})

describe('projection of a stream', () => {
  it('equals that of the whole, however the text is spelled and cut', () => {
    let kept = 0
    fc.assert(
      fc.property(
        fc.oneof(shaped, values),
        choices,
        cutPlaces,
        fc.constantFrom(...RETURNS),
        projections,
        (value, how, places, returns, projection) => {
          // `undefined` members of optional keys are not there.
          const text = Buffer.from(spelled(value, chooser(how)))
          const cuts = places.map((place) => place % (text.length + 1))
          const whole = buffered(text, returns, projection)
          assert.deepEqual(streamed(text, cuts, returns, projection), whole)
          if (whole && JSON.stringify(whole.value) !== '{}') kept++
        },
      ),
      { numRuns: TRIALS },
    )
    assert.ok(kept > TRIALS / 8, `${kept} of them had something to keep`)
  })

  it('refuses what the whole refuses, and nothing else', () => {
    let refused = 0
    let accepted = 0
    const alphabet = [
      ...Buffer.from('{}[]",:\\u0 19.eE+-tfnalse"dD83\n\0'),
      0xc3,
      0xa4,
      0xed,
      0xa0,
      0xff,
    ]
    fc.assert(
      fc.property(
        fc.oneof(shaped, values),
        choices,
        fc.array(
          fc.record({
            at: fc.nat(1_000_000),
            how: fc.constantFrom('insert', 'replace', 'delete', 'repeat'),
            byte: fc.constantFrom(...alphabet),
          }),
          { maxLength: 3 },
        ),
        cutPlaces,
        fc.constantFrom(...RETURNS),
        (value, how, changes, places, returns) => {
          const bytes = [...Buffer.from(spelled(value, chooser(how)))]
          for (const { at, how: change, byte } of changes) {
            const where = at % (bytes.length + 1)
            if (change === 'insert') bytes.splice(where, 0, byte)
            else if (change === 'replace') bytes.splice(where, 1, byte)
            else if (change === 'delete') bytes.splice(where, 1)
            else bytes.splice(where, 0, ...bytes.slice(where, where + 20))
          }
          const text = Buffer.from(bytes)
          const cuts = places.map((place) => place % (text.length + 1))
          const whole = buffered(text, returns, PROJECTION)
          assert.deepEqual(streamed(text, cuts, returns, PROJECTION), whole)
          if (whole) accepted++
          else refused++
        },
      ),
      { numRuns: 2 * TRIALS },
    )
    assert.ok(Math.min(refused, accepted) > TRIALS / 3, `${refused} refused, ${accepted} accepted`)
  })

  it('comes to the same at every single cut, and byte by byte', () => {
    const text = Buffer.from(
      ' {"items":[{"id":"acc-1","n\\u0061me":"Ada","pan":"4111 1111 1111 1234","balance":-12.5e1,' +
        '"payments":[{"amount":1,"memo":"\\ud83d\\ude00 ä😀 \\"","to":"acc-2","x":{"y":[null]}}]},' +
        '{"balance":[1,true,"x",[2]],"pan":{"deep":1},"id":["a",7,null]}],"total":0.0,"x":{"items":1}} ',
    )
    const whole = buffered(text, RETURNS[0] ?? {}, PROJECTION)
    assert.ok(whole)
    for (let cut = 0; cut <= text.length; cut++) {
      assert.deepEqual(streamed(text, [cut], RETURNS[0] ?? {}, PROJECTION), whole, String(cut))
    }
    const every = Array.from({ length: text.length }, (_, i) => i)
    assert.deepEqual(streamed(text, every, RETURNS[0] ?? {}, PROJECTION), whole)
  })

  const refusedAs = (text: string | Buffer, code: string): void => {
    const stream = new ProjectionStream(
      planProjection(RETURNS[0] ?? {}, PROJECTION, index),
      tokeniser,
    )
    assert.throws(
      () => {
        stream.push(Buffer.from(text as string))
        stream.finish()
      },
      (error: unknown) => error instanceof SallyportError && error.code === code,
      text.toString().slice(0, 60),
    )
  }

  it('refuses names that stand twice, wherever they stand and however they are spelled', () => {
    refusedAs('{"total":1,"total":2}', 'SP_JSON_DUPLICATE_KEY')
    refusedAs('{"total":1,"t\\u006ftal":2}', 'SP_JSON_DUPLICATE_KEY')
    refusedAs('{"other":{"a":{"z":{}},"b":1,"a":2}}', 'SP_JSON_DUPLICATE_KEY')
    refusedAs('{"x":[{"a":1},{"a":1,"b":{"a":1},"a":1}]}', 'SP_JSON_DUPLICATE_KEY')
    refusedAs('{"__pr\\u006fto__":1}', 'SP_JSON_FORBIDDEN_KEY')
    // The same name at two places is no matter.
    assert.ok(streamed(Buffer.from('{"x":[{"a":1},{"a":{"a":1}}],"a":1}'), [], {}, {}))
  })

  it('is bounded: depth, names, parts that must be held', () => {
    const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth)
    assert.ok(streamed(Buffer.from(nested(64)), [], {}, {}))
    refusedAs(nested(65), 'SP_JSON_TOO_DEEP')
    refusedAs('['.repeat(5_000_000), 'SP_JSON_TOO_DEEP')
    const names = (count: number): string =>
      `{${Array.from({ length: count }, (_, i) => `"${i}":0`).join(',')}}`
    assert.ok(streamed(Buffer.from(names(30_000)), [], {}, {}))
    refusedAs(names(40_000), 'SP_JSON_TOO_LARGE')
    // Few enough, and each short enough; what they need together is bounded, too.
    const long = (count: number): string =>
      `{${Array.from({ length: count }, (_, i) => `"${'n'.repeat(10_000)}${i}":0`).join(',')}}`
    assert.ok(streamed(Buffer.from(long(300)), [], {}, {}))
    refusedAs(long(600), 'SP_JSON_TOO_LARGE')
    const stream = new ProjectionStream(planProjection({}, {}, index), tokeniser)
    assert.throws(() => {
      stream.push(Buffer.from('{"'))
      for (let i = 0; i < 1000; i++) stream.push(Buffer.alloc(1000, 0x61))
    }, /too long/)
  })

  it('holds no more of a long answer than of a short one', () => {
    const stream = new ProjectionStream(
      planProjection(RETURNS[0] ?? {}, PROJECTION, index),
      tokeniser,
    )
    stream.push(Buffer.from('{"items":['))
    const item = Buffer.from('{"balance":1,"secret":"xxxxxxxxxxxxxxxxxxxxxxxxxxx"},'.repeat(900))
    const round = (times: number): number => {
      for (let i = 0; i < times; i++) stream.push(item)
      return process.memoryUsage().arrayBuffers
    }
    const early = round(3)
    const rounds = Math.ceil((MEGABYTES * 1e6) / item.length)
    const late = round(rounds)
    assert.ok(late - early < 20_000_000, `${late - early} bytes more`)
    stream.push(Buffer.from('{}]}'))
    stream.finish()
    assert.deepEqual(stream.released, {
      account: { records: (3 + rounds) * 900, maxWholeClass: 'internal' },
    })
  })
})
