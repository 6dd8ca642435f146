import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseNetwork } from '@sallyport/network'
import type { HttpBinding, Operation, Problem } from '@sallyport/network'
import { MINIMAL } from './minimal.ts'

type Json = Record<string, unknown>

/** Operations of a description that is not our own, by the names in it. */
function imported(
  document: Json | string,
  names: readonly string[],
): { readonly operations: readonly Operation[]; readonly problems: readonly Problem[] } {
  const operations = names.map((name) => `      ${name}: { kind: write }`).join('\n')
  const yaml = MINIMAL.replace(
    / {4}operations:\n {6}pay:\n[^]*?(?=datasets:)/,
    `    operations:\n${operations}\n`,
  )
    .replace('operations: [pay]', `operations: [${names.join(', ')}]`)
    .replace(/limits:[^]*$/, '')
  const text = typeof document === 'string' ? document : JSON.stringify(document)
  const { network, problems } = parseNetwork(yaml, { file: 'n.yaml', readFile: () => text })
  return { operations: network?.systems[0]?.operations ?? [], problems }
}

const importedWell = (document: Json | string, names: readonly string[]): readonly Operation[] => {
  const { operations, problems } = imported(document, names)
  assert.deepEqual(problems, [])
  assert.deepEqual(
    operations.map(({ name }) => name),
    names,
  )
  return operations
}

const doc = (paths: Json, schemas: Json = {}, version = '3.0.3'): Json => ({
  openapi: version,
  info: { title: 't', version: '1' },
  paths,
  components: { schemas },
})
const ref = (name: string): Json => ({ $ref: `#/components/schemas/${name}` })
const body = (schema: Json, ...types: readonly string[]): Json => ({
  required: true,
  content: Object.fromEntries(
    (types.length === 0 ? ['application/json'] : types).map((type) => [type, { schema }]),
  ),
})
const path = (name: string): Json => ({
  name,
  in: 'path',
  required: true,
  schema: { type: 'string', maxLength: 128 },
})
const header = (name: string, required: boolean): Json => ({
  name,
  in: 'header',
  required,
  schema: { type: 'string', maxLength: 40 },
})
const text = (maxLength = 35): Json => ({ type: 'string', maxLength })
const object = (properties: Json, required: readonly string[] = []): Json => ({
  type: 'object',
  properties,
  required,
})
const FORM = 'application/x-www-form-urlencoded'
const PARTS = 'multipart/form-data'
const FILE: Json = { type: 'string', format: 'binary' }
const posted = (schema: Json, type: string, encoding: Json = {}, version = '3.0.3'): Json => {
  const requestBody = { required: true, content: { [type]: { schema, encoding } } }
  return doc({ '/x': { post: { operationId: 'x', requestBody } } }, {}, version)
}
const bindingOf = (operation: Operation | undefined): HttpBinding => {
  assert.ok(operation?.binding.kind === 'http')
  return operation.binding
}

describe('API descriptions in the shape of those of banks', () => {
  it('payments with consents: headers, nested objects, JSON beside signed bodies', () => {
    const amount = object(
      {
        Amount: { type: 'string', pattern: '^\\d{1,13}\\.\\d{1,5}$' },
        Currency: { type: 'string', pattern: '^[A-Z]{3,3}$' },
      },
      ['Amount', 'Currency'],
    )
    const account = object({ SchemeName: text(), Identification: text(256), Name: text(70) }, [
      'SchemeName',
      'Identification',
    ])
    const schemas = {
      Amount: amount,
      Account: account,
      Initiation: {
        allOf: [
          object({ InstructionIdentification: text(), InstructedAmount: ref('Amount') }, [
            'InstructedAmount',
          ]),
          object({ CreditorAccount: ref('Account'), DebtorAccount: ref('Account') }, [
            'CreditorAccount',
          ]),
        ],
        description: 'What is to be paid.',
      },
      Consent: {
        ...object(
          { Data: object({ Initiation: ref('Initiation') }, ['Initiation']), Risk: object({}) },
          ['Data', 'Risk'],
        ),
        additionalProperties: false,
      },
    }
    const fapi = [
      header('x-idempotency-key', true),
      header('x-jws-signature', true),
      header('x-fapi-auth-date', false),
      header('Authorization', true),
    ]
    const types = ['application/json; charset=utf-8', 'application/json', 'application/jose+jwe']
    const [consent, read] = importedWell(
      doc(
        {
          '/domestic-payment-consents': {
            parameters: fapi,
            post: { operationId: 'CreateConsents', requestBody: body(ref('Consent'), ...types) },
          },
          '/domestic-payment-consents/{ConsentId}': {
            parameters: [path('ConsentId')],
            get: { operationId: 'GetConsent' },
          },
        },
        schemas,
      ),
      ['CreateConsents', 'GetConsent'],
    )
    assert.deepEqual(bindingOf(consent).parameters, {
      'x-idempotency-key': 'header',
      'x-jws-signature': 'header',
      'x-fapi-auth-date': 'header',
      Data: 'body',
      Risk: 'body',
    })
    const data = consent?.input.members['Data']?.schema
    assert.ok(data?.type === 'record')
    const initiation = data.members['Initiation']?.schema
    assert.ok(initiation?.type === 'record')
    assert.deepEqual(
      Object.entries(initiation.members).map(([name, { required }]) => [name, required]),
      [
        ['InstructionIdentification', false],
        ['InstructedAmount', true],
        ['CreditorAccount', true],
        ['DebtorAccount', false],
      ],
    )
    assert.deepEqual(bindingOf(read).parameters, { ConsentId: 'path' })
  })

  it('accounts known by one of several references, and products in the path', () => {
    const schemas = {
      reference: {
        oneOf: [
          object({ iban: { type: 'string', pattern: '^[A-Z]{2}\\d{2}' } }, ['iban']),
          object({ bban: text(), currency: { type: 'string', maxLength: 3 } }, ['bban']),
        ],
      },
    }
    const [pay] = importedWell(
      doc(
        {
          '/v1/{payment-service}/{payment-product}': {
            post: {
              operationId: 'initiatePayment',
              parameters: [
                path('payment-service'),
                path('payment-product'),
                header('X-Request-ID', true),
                header('PSU-IP-Address', true),
              ],
              requestBody: body(object({ creditor: ref('reference'), name: text() }, ['creditor'])),
            },
          },
        },
        schemas,
        '3.1.0',
      ),
      ['initiatePayment'],
    )
    const creditor = pay?.input.members['creditor']?.schema
    assert.ok(creditor?.type === 'record')
    assert.deepEqual(Object.keys(creditor.members), ['iban', 'bban', 'currency'])
    assert.ok(Object.values(creditor.members).every(({ required }) => !required))
    assert.equal(creditor.variants?.fits, 'one')
    assert.equal(creditor.variants?.of.length, 2)
  })

  it('a body that is one of several, each with what path and headers take', () => {
    const iban = { ...text(), 'x-sallyport-token-of': 'payments.iban' }
    const shapes = [object({ iban }, ['iban']), object({ card: text() }, ['card'])]
    for (const type of ['application/json', 'application/x-www-form-urlencoded']) {
      const [pay] = importedWell(
        doc({
          '/pay/{id}': {
            post: {
              operationId: 'pay',
              parameters: [path('id'), header('X-Request-ID', true)],
              requestBody: body({ oneOf: shapes }, type),
            },
          },
        }),
        ['pay'],
      )
      const input = pay?.input
      assert.deepEqual(Object.keys(input?.members ?? {}), ['id', 'X-Request-ID', 'iban', 'card'])
      assert.equal(input?.members['iban']?.required, false)
      assert.equal(input?.variants?.fits, 'one')
      // Of the kind that the field’s tokens have, in the shape as in the whole.
      for (const { members } of [input, input?.variants?.of[0] ?? input]) {
        const { schema } = members['iban'] ?? {}
        assert.equal(schema?.type === 'string' ? schema.tokenOf : '', 'account')
      }
      assert.deepEqual(
        input?.variants?.of.map(({ members }) =>
          Object.entries(members).map(([name, { required }]) => [name, required]),
        ),
        ['iban', 'card'].map((name) => [
          ['id', true],
          ['X-Request-ID', true],
          [name, true],
        ]),
      )
    }
  })

  it('parts that are one of several, each with its files', () => {
    const kinds = ['invoice', 'receipt'].map((kind) =>
      object({ file: FILE, [kind]: text() }, ['file', kind]),
    )
    const encoding = { file: { contentType: 'application/pdf' } }
    const [operation] = importedWell(posted({ oneOf: kinds }, PARTS, encoding), ['x'])
    assert.deepEqual(bindingOf(operation).body, { kind: 'parts', files: ['file'] })
    const shapes = [operation?.input, ...(operation?.input.variants?.of ?? [])]
    assert.equal(shapes.length, 3)
    for (const shape of shapes) {
      const { schema } = shape?.members['file'] ?? {}
      assert.ok(schema?.type === 'record')
      const type = schema.members['type']?.schema
      assert.equal(type?.type === 'string' ? type.pattern : '', '^(?:application/pdf)$')
    }
  })

  it('null in both versions, members that may be more, and variants told apart by a text', () => {
    const schemas = {
      Card: object({ kind: text(), number: text() }, ['kind', 'number']),
      Bank: object({ kind: text(), iban: text() }, ['kind', 'iban']),
      Method: {
        oneOf: [ref('Card'), ref('Bank')],
        discriminator: {
          propertyName: 'kind',
          mapping: { card: '#/components/schemas/Card', bank: 'Bank' },
        },
      },
    }
    const pinned = { ...schemas }
    const document = (version: string, nothing: Json): Json =>
      doc(
        {
          '/link/token/create': {
            post: {
              operationId: 'linkTokenCreate',
              requestBody: body({
                ...object(
                  { name: { ...text(), ...nothing }, user: ref('User'), method: ref('Method') },
                  ['user'],
                ),
                additionalProperties: true,
              }),
            },
          },
        },
        { ...pinned, User: object({ id: text() }, ['id']) },
        version,
      )
    for (const given of [
      document('3.0.3', { nullable: true }),
      document('3.1.0', { type: ['string', 'null'] }),
      document('3.1.0', {
        type: undefined,
        maxLength: undefined,
        oneOf: [text(), { type: 'null' }],
      }),
    ]) {
      // A pinned member has to fit what it is declared as.
      const { operations, problems } = imported(given, ['linkTokenCreate'])
      assert.deepEqual(problems, [])
      const members = operations[0]?.input.members
      assert.deepEqual(members?.['name'], {
        schema: { type: 'string', maxLength: 35 },
        required: false,
      })
      const method = members?.['method']?.schema
      assert.ok(method?.type === 'record')
      const kind = method.members['kind']?.schema
      assert.ok(kind?.type === 'string')
      assert.deepEqual(kind.enum, ['card', 'bank'])
    }
  })

  it('choices that null is one of, lists without doubles, objects that say nothing but their members', () => {
    const given = object(
      {
        direction: { type: 'string', nullable: true, enum: ['in', 'out', null] },
        permissions: { type: 'array', uniqueItems: true, items: text() },
        options: { properties: { count: { type: 'integer' } } },
      },
      ['permissions'],
    )
    const document = doc({ '/x': { post: { operationId: 'x', requestBody: body(given) } } })
    const [operation] = importedWell(document, ['x'])
    const { direction, permissions, options } = operation?.input.members ?? {}
    assert.partialDeepStrictEqual(direction?.schema, { type: 'string', enum: ['in', 'out'] })
    assert.partialDeepStrictEqual(permissions?.schema, { type: 'set' })
    assert.partialDeepStrictEqual(options?.schema, { type: 'record' })
  })

  it('lists that must have something in them, and none that no list satisfies', () => {
    const list = (bounds: Json): Json => {
      const given = object({ list: { type: 'array', items: text(), ...bounds } }, ['list'])
      return doc({ '/x': { post: { operationId: 'x', requestBody: body(given) } } })
    }
    const of = (bounds: Json): unknown =>
      importedWell(list(bounds), ['x'])[0]?.input.members['list']?.schema
    const items = { type: 'string', maxLength: 35 }
    assert.deepEqual(of({ minItems: 2, maxItems: 9 }), {
      ...{ type: 'set', items },
      ...{ minItems: 2, maxItems: 9 },
    })
    assert.partialDeepStrictEqual(of({ minItems: 1 }), { minItems: 1, maxItems: 1000 })
    assert.partialDeepStrictEqual(of({ minItems: 5, maxItems: 5 }), { minItems: 5, maxItems: 5 })
    // What says nothing is not carried, so that variants with and without it agree.
    assert.deepEqual(of({ minItems: 0, maxItems: 9 }), { type: 'set', items, maxItems: 9 })
    const merged = { allOf: [{ minItems: 3 }, { maxItems: 4 }] }
    assert.partialDeepStrictEqual(of(merged), { minItems: 3, maxItems: 4 })
    const refused = [
      { minItems: 6, maxItems: 5 },
      ...[{ minItems: -1 }, { minItems: 1.5 }, { minItems: '1' }, { minItems: null }],
      ...[{ minItems: 1001 }, { allOf: [{ minItems: 1 }, { minItems: 2 }] }],
    ]
    for (const bounds of refused) {
      const { problems } = imported(list(bounds), ['x'])
      assert.deepEqual(
        problems.map(({ code }) => code),
        ['SP_NETWORK_INPUT'],
        JSON.stringify(bounds),
      )
    }
  })

  it('numbers that are whole by their words, and those that are not as decimals', () => {
    const number = (schema: Json): Json => {
      const given = object({ n: schema }, ['n'])
      return doc({ '/x': { post: { operationId: 'x', requestBody: body(given) } } })
    }
    const of = (schema: Json): unknown =>
      importedWell(number(schema), ['x'])[0]?.input.members['n']?.schema
    const bounds = { minimum: 1, maximum: 9 }
    const long = { type: 'long', ...bounds }
    assert.deepEqual(of({ type: 'number', multipleOf: 1, ...bounds }), long)
    assert.deepEqual(of({ type: 'integer', multipleOf: 1, ...bounds }), long)
    const most = 99_999_999_999.9999
    const decimal = { type: 'decimal', minimum: -most, maximum: most }
    for (const [schema, type] of [
      [{}, decimal],
      [{ format: 'double' }, decimal],
      [{ multipleOf: 0.01 }, { ...decimal, step: 0.01 }],
      [{ multipleOf: 2 }, { ...decimal, step: 2 }],
      [bounds, { type: 'decimal', ...bounds }],
      [
        { minimum: 0.01, maximum: 99.995 },
        { ...decimal, minimum: 0.01, maximum: 99.995 },
      ],
      // No input lies between a bound and its neighbour.
      [
        { exclusiveMinimum: 0, maximum: 1 },
        { ...decimal, minimum: 0.0001, maximum: 1 },
      ],
      [
        { minimum: 0, exclusiveMinimum: true },
        { ...decimal, minimum: 0.0001 },
      ],
      [
        { minimum: 5, exclusiveMinimum: 1 },
        { ...decimal, minimum: 5 },
      ],
      [{ exclusiveMaximum: 1 }, { ...decimal, maximum: 0.9999 }],
      // Out of reach, and so no bound.
      [{ minimum: -1e15, maximum: 999_999_999_999.99 }, decimal],
    ] as const) {
      assert.deepEqual(of({ type: 'number', ...schema }), type, JSON.stringify(schema))
    }
    for (const schema of [
      { type: 'number', multipleOf: 0.00001 },
      { type: 'number', multipleOf: 0 },
      { type: 'number', multipleOf: -1 },
      { type: 'number', multipleOf: '0.01' },
      { type: 'number', minimum: 0.00001 },
      { type: 'number', minimum: 1e12 },
      { type: 'number', maximum: -1e12 },
      { type: 'number', minimum: 2, maximum: 1 },
      { type: 'number', exclusiveMinimum: 1, maximum: 1 },
      { type: 'number', enum: [1, 2] },
      { type: 'integer', multipleOf: 2 },
      { type: 'integer', multipleOf: 0.5 },
      { type: 'number', multipleOf: 1, minimum: 0.5 },
    ]) {
      const { problems } = imported(number(schema), ['x'])
      assert.deepEqual(
        problems.map(({ code }) => code),
        ['SP_NETWORK_INPUT'],
        JSON.stringify(schema),
      )
    }
  })

  it('counts of members that say no more than the members themselves, and no others', () => {
    const counted = (counts: Json, schema = object({ a: text(), b: text() }, ['a'])): Json => {
      const given = object({ o: { ...schema, ...counts } }, ['o'])
      return doc({ '/x': { post: { operationId: 'x', requestBody: body(given) } } })
    }
    const plain = importedWell(counted({}), ['x'])[0]?.input
    for (const counts of [
      { minProperties: 0 },
      { minProperties: 1 },
      { maxProperties: 2 },
      { minProperties: 1, maxProperties: 100 },
      { additionalProperties: true, maxProperties: 2 },
    ]) {
      assert.deepEqual(importedWell(counted(counts), ['x'])[0]?.input, plain)
    }
    const parts = { allOf: [{ maxProperties: 2 }, object({ a: text() }), object({ b: text() })] }
    importedWell(counted({}, parts), ['x'])
    for (const counts of [
      { minProperties: 2 },
      { maxProperties: 1 },
      { maxProperties: 0 },
      ...[{ minProperties: -1 }, { maxProperties: 2.5 }, { maxProperties: '2' }],
      // Of all members together, not of those that stand beside it.
      { allOf: [{ ...object({ c: text() }), maxProperties: 2 }] },
      { oneOf: [object({ a: text() })], maxProperties: 1, properties: undefined },
    ]) {
      const { problems } = imported(counted(counts), ['x'])
      assert.deepEqual(
        problems.map(({ code }) => code),
        ['SP_NETWORK_INPUT'],
        JSON.stringify(counts),
      )
    }
  })

  it('standing orders, whose remittance information nests twelve deep and no deeper', () => {
    const nested = (levels: number): Json => {
      let schema: Json = text()
      for (let i = 0; i < levels; i++)
        schema = i % 2 === 0 ? { type: 'array', items: schema } : object({ in: schema })
      return object({ top: schema })
    }
    const document = (levels: number): Json =>
      doc({ '/x': { post: { operationId: 'x', requestBody: body(nested(levels)) } } })
    importedWell(document(11), ['x'])
    const { problems } = imported(document(12), ['x'])
    assert.match(problems[0]?.message ?? '', /nests deeper than 12/)
  })

  it('paths that overlap: each knows where the others are', () => {
    const get = (operationId: string, ...names: readonly string[]): Json => ({
      get: { operationId, parameters: names.map(path) },
    })
    const overlapping = doc({
      '/accounts/{id}': get('one', 'id'),
      '/accounts/export': get('export'),
      '/accounts/{id}/all': get('all', 'id'),
      '/accounts/mine/{what}': get('mine', 'what'),
      '/other/{id}': get('other', 'id'),
    })
    const names = ['one', 'export', 'all', 'mine', 'other']
    assert.deepEqual(
      importedWell(overlapping, names).map((operation) => bindingOf(operation).shadowedBy),
      [
        ['/accounts/export'],
        undefined,
        ['/accounts/mine/{what}'],
        ['/accounts/{id}/all'],
        undefined,
      ],
    )
    const same = doc({ '/accounts/{id}': get('one', 'id'), '/accounts/{key}': get('two', 'key') })
    const { problems } = imported(same, ['one', 'two'])
    assert.deepEqual(
      problems.map(({ code }) => code),
      ['SP_NETWORK_OPENAPI', 'SP_NETWORK_OPENAPI'],
    )
  })

  const single = (schema: Json, schemas: Json = {}): Json =>
    doc({ '/x': { post: { operationId: 'x', requestBody: body(schema) } } }, schemas)
  const refused: Readonly<Record<string, Json>> = {
    'a body of another type': doc({
      '/x': { post: { operationId: 'x', requestBody: body(object({}), 'application/xml') } },
    }),
    'a form whose list has commas': posted(object({ a: { type: 'array', items: text() } }), FORM, {
      a: { explode: false },
    }),
    'a form with an object that has no brackets': posted(object({ a: object({}) }), FORM),
    'a form in a style of URLs': posted(object({ a: text() }), FORM, {
      a: { style: 'pipeDelimited' },
    }),
    'a file inside of an object': posted(object({ a: object({ file: FILE }) }), PARTS),
    'a file of types that are none': posted(object({ file: FILE }), PARTS, {
      file: { contentType: 'a/(.*' },
    }),
    'a reference that leaves the document': single({ $ref: 'https://evil.example/x.json' }),
    'a reference to a file': single({ $ref: './other.yaml#/X' }),
    'references in a circle': single(ref('A'), { A: ref('B'), B: ref('A') }),
    'a schema inside itself': single(ref('A'), { A: object({ a: ref('A') }) }),
    'parts that contain each other': single(ref('A'), { A: { allOf: [ref('A')] } }),
    'parts that contradict each other': single({ allOf: [object({}), { type: 'string' }] }),
    'a choice of texts and objects': single(object({ a: { oneOf: [text(), object({})] } })),
    'a choice with one member of two types': single({
      oneOf: [object({ a: text() }), object({ a: { type: 'boolean' } })],
    }),
    'a map': single({ type: 'object', additionalProperties: { type: 'string' } }),
    'choices in choices': single(ref('A'), {
      A: { oneOf: Array.from({ length: 16 }, () => object({ a: ref('A') })) },
    }),
    'parts of parts': single(
      ref('A0'),
      Object.fromEntries(
        Array.from({ length: 9 }, (_, i) => [
          `A${i}`,
          { allOf: Array.from({ length: 32 }, () => (i === 8 ? object({}) : ref(`A${i + 1}`))) },
        ]),
      ),
    ),
    'a header that frames': doc({
      '/x': { post: { operationId: 'x', parameters: [header('Transfer-Encoding', true)] } },
    }),
    'a header of ours': doc({
      '/x': { post: { operationId: 'x', parameters: [header('Sallyport-Mandate', true)] } },
    }),
    'a header that says of which trace a call is': doc({
      '/x': { post: { operationId: 'x', parameters: [header('traceparent', true)] } },
    }),
    'a header that vendors fill': doc({
      '/x': { post: { operationId: 'x', parameters: [header('TraceState', true)] } },
    }),
    'a header with two spellings': doc({
      '/x': { post: { operationId: 'x', parameters: [header('x_key', true)] } },
    }),
  }
  for (const [what, document] of Object.entries(refused)) {
    it(`refuses ${what}, and says where`, () => {
      const { operations, problems } = imported(document, ['x'])
      assert.equal(operations.length, 0)
      assert.equal(problems.length, 1, JSON.stringify(problems))
      assert.match(problems[0]?.code ?? '', /^SP_NETWORK_(?:INPUT|OPENAPI)$/)
      assert.equal(problems[0]?.span.file, 'bank.yaml')
      assert.ok((problems[0]?.span.column ?? 0) > 1)
    })
  }

  it('reads hundreds of operations, of which few are declared, and points at the one that is wrong', () => {
    const paths: Json = {}
    for (let i = 0; i < 600; i++) {
      paths[`/v1/things${i}/{id}`] = {
        get: {
          operationId: `get${i}`,
          parameters: [path('id')],
          responses: { 200: { description: 'ok' } },
        },
        post: {
          operationId: `post${i}`,
          parameters: [path('id')],
          requestBody: body(
            object(i === 431 ? { a: { type: 'number', multipleOf: 1e-7 } } : { a: ref('Big') }),
          ),
        },
      }
    }
    const big = object(Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`m${i}`, text()])))
    const document = JSON.stringify(doc(paths, { Big: big }), undefined, 2)
    importedWell(document, ['get0', 'post599', 'post3'])
    const { problems } = imported(document, ['post431'])
    assert.equal(problems.length, 1)
    const [{ span }] = problems as [Problem]
    const lines = document.split('\n')
    assert.match(lines[span.line - 1] ?? '', /"post": \{/)
    assert.match(lines[span.line] ?? '', /"post431"/)
  })

  it(
    'ends soon with 100,000 operations, and with what only looks like JSON',
    { timeout: 60_000 },
    () => {
      const paths = Object.fromEntries(
        Array.from({ length: 100_000 }, (_, i) => [
          `/v1/a${i}/{id}`,
          { get: { operationId: `o${i}` } },
        ]),
      )
      const { problems } = imported(doc(paths), ['o99999'])
      assert.match(problems[0]?.message ?? '', /no parameter describes/)
      assert.equal(
        imported(`{ a: &x [1], b: *x }`, ['x']).problems[0]?.code,
        'SP_NETWORK_YAML_FEATURE',
      )
      assert.equal(
        imported('{"openapi":"3.0.3","openapi":"3.1.0"}', ['x']).problems[0]?.code,
        'SP_NETWORK_DUPLICATE_KEY',
      )
      const deep = `{"openapi":"3.0.3","paths":${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}}`
      assert.ok(imported(deep, ['x']).problems.length > 0)
    },
  )
})

describe('answers of one JSON text a line', () => {
  const answering = (responses: unknown): Json =>
    doc({ '/o': { get: { operationId: 'o', responses } } })
  const linesOf = (responses: unknown) =>
    bindingOf(importedWell(answering(responses), ['o'])[0]).lines
  const content = (...types: readonly string[]): Json => ({
    content: Object.fromEntries(types.map((type) => [type, {}])),
  })

  it('are those that successful responses declare', () => {
    const types = ['application/json', 'Application/X-NDJSON; charset=utf-8', 'application/jsonl']
    const declared = ['application/jsonl', 'application/x-ndjson']
    assert.deepEqual(linesOf({ '200': content(...types) }), declared)
    assert.deepEqual(linesOf({ '2XX': content('application/x-ndjson') }), ['application/x-ndjson'])
    const components = { responses: { R: content('application/x-ndjson') } }
    const at = { ...answering({ '200': { $ref: '#/components/responses/R' } }), components }
    assert.deepEqual(bindingOf(importedWell(at, ['o'])[0]).lines, ['application/x-ndjson'])
  })
  it('are none of other responses, and none where it cannot be told', () => {
    const circle = { $ref: '#/paths/~1o/get/responses/200' }
    for (const responses of [
      { '200': content('application/json', 'text/csv') },
      { '400': content('application/x-ndjson') },
      { '200': circle },
      { '200': 'x' },
      [],
      undefined,
    ]) {
      assert.equal(linesOf(responses), undefined)
    }
  })
})

describe('bodies that are forms', () => {
  it('are typed as JSON is, with lists and with names in brackets', () => {
    const schema = object({
      amount: { type: 'integer' },
      expand: { type: 'array', items: text() },
      card: object({ number: text() }, ['number']),
    })
    const encoding = { card: { style: 'deepObject', explode: true } }
    const [form] = importedWell(posted(schema, FORM, encoding), ['x'])
    const [json] = importedWell(posted(schema, 'application/json'), ['x'])
    assert.deepEqual(form?.input, json?.input)
    assert.deepEqual(bindingOf(form).body, { kind: 'form', deep: ['card'] })
    assert.equal(bindingOf(json).body, undefined)
  })
  it('give way to JSON, where that is taken too', () => {
    const both = body(object({ a: text() }), FORM, 'application/json')
    const [operation] = importedWell(
      doc({ '/x': { post: { operationId: 'x', requestBody: both } } }),
      ['x'],
    )
    assert.equal(bindingOf(operation).body, undefined)
  })
  it('have files whose name, type, length and digest are input', () => {
    const files = { type: 'array', items: { contentMediaType: 'application/pdf' } }
    const schema = object({ file: { ...FILE, maxLength: 1000 }, files, note: text() }, ['file'])
    const encoding = { file: { contentType: 'application/pdf, image/*' } }
    const [operation] = importedWell(posted(schema, PARTS, encoding, '3.1.0'), ['x'])
    assert.deepEqual(bindingOf(operation).body, { kind: 'parts', files: ['file', 'files'] })
    const members = operation?.input.members ?? {}
    const file = members['file']?.schema
    assert.ok(file?.type === 'record')
    assert.deepEqual(file.members['size']?.schema, { type: 'long', minimum: 0, maximum: 1000 })
    const type = file.members['type']?.schema
    assert.ok(type?.type === 'string')
    const fits = (text: string) => new RegExp(type.pattern ?? '', 'u').test(text)
    assert.deepEqual(
      ['application/pdf', 'image/png', 'image/', 'text/html', 'application/pdfx'].map(fits),
      [true, true, false, false, false],
    )
    assert.equal(members['files']?.schema.type, 'set')
    assert.deepEqual(members['note']?.schema, { type: 'string', maxLength: 35 })
  })
})

describe('answers whose items are labelled', () => {
  const labelled = (given: unknown): Json =>
    doc({ '/o/': { get: { operationId: 'o', 'x-sallyport-labelled': given } } })
  const GIVEN = { items: 'result[].prediction[]', label: 'label', value: 'ocr_text' }

  it('are those that say so, also below a path that ends with a slash', () => {
    const binding = bindingOf(importedWell(labelled(GIVEN), ['o'])[0])
    assert.deepEqual([binding.labelled, binding.path], [GIVEN, '/o/'])
  })
  it('are refused where it cannot be told which', () => {
    for (const wrong of [
      true,
      {},
      { ...GIVEN, items: 'result' },
      { ...GIVEN, items: '$' },
      { ...GIVEN, value: 'label' },
      { ...GIVEN, label: 'a.b' },
      { ...GIVEN, more: 1 },
    ]) {
      const [problem] = imported(labelled(wrong), ['o']).problems
      assert.equal(problem?.code, 'SP_NETWORK_OPENAPI', JSON.stringify(wrong))
    }
  })
})

describe('bodies that are nothing but bytes', () => {
  const raw = (content: Json, parameters: readonly Json[] = [], version = '3.0.3'): Json =>
    doc(
      {
        '/f': { put: { operationId: 'put', parameters, requestBody: { required: true, content } } },
      },
      {},
      version,
    )
  const typed = (content: Json, parameters?: readonly Json[], version?: string) => {
    const [one] = importedWell(raw(content, parameters, version), ['put'])
    assert.ok(one)
    const { body: kind, parameters: places } = one.binding as HttpBinding
    assert.deepEqual([kind, places], [{ kind: 'raw' }, { body: 'body' }])
    const member = one.input.members['body']
    assert.equal(member?.required, true)
    assert.equal(member.schema.type, 'record')
    return member.schema.type === 'record' ? member.schema.members : {}
  }
  const problem = (content: Json, parameters?: readonly Json[]): string =>
    imported(raw(content, parameters), ['put'])
      .problems.map(({ code }) => code)
      .join()

  it('have a type, a size and perhaps a digest', () => {
    const bound = { ...FILE, minLength: 1, maxLength: 5000 }
    const members = typed({
      'application/pdf': { schema: bound },
      'image/*': { schema: bound },
    })
    assert.deepEqual(members['type']?.schema, {
      type: 'string',
      maxLength: 127,
      pattern: '^(?:application/pdf|image/[a-z0-9.+-]+)$',
    })
    assert.deepEqual(members['size']?.schema, { type: 'long', minimum: 1, maximum: 5000 })
    assert.equal(members['sha256']?.required, false)
    // OpenAPI 3.1 needs no schema for it, or says what it is.
    assert.equal(typed({ 'application/octet-stream': {} }, [], '3.1.0')['size']?.required, true)
    const pdf = { type: 'string', contentMediaType: 'application/pdf' }
    typed({ 'application/pdf': { schema: pdf } }, [], '3.1.0')
    assert.deepEqual(typed({ '*/*': { schema: FILE } })['type']?.schema, {
      type: 'string',
      maxLength: 127,
    })
  })
  it('need a digest where the header is a required parameter', () => {
    const members = typed({ 'text/csv': { schema: FILE } }, [header('Content-Digest', true)])
    assert.equal(members['sha256']?.required, true)
    const optional = typed({ 'text/csv': { schema: FILE } }, [header('content-digest', false)])
    assert.equal(optional['sha256']?.required, false)
    const json = { 'application/json': { schema: object({ a: text() }) } }
    assert.equal(problem(json, [header('Content-Digest', true)]), 'SP_NETWORK_OPENAPI')
    importedWell(raw(json, [header('Content-Digest', false)]), ['put'])
  })
  it('are nothing that has members, or several bounds', () => {
    for (const content of [
      { 'application/vnd.a+json': { schema: FILE } },
      { 'text/json': {} },
      { 'multipart/mixed': { schema: FILE } },
      { 'application/xml': { schema: object({ a: text() }) } },
      { 'text/plain': { schema: text() } },
      { 'text/csv; charset=utf-8': { schema: FILE } },
      { 'text/csv': { schema: FILE }, 'text/tab': { schema: { ...FILE, maxLength: 9 } } },
      { 'text/csv': { schema: { ...FILE, maxLength: -1 } } },
      {},
    ]) {
      assert.equal(problem(content), 'SP_NETWORK_OPENAPI', JSON.stringify(content))
    }
  })
})
