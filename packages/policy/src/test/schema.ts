const NAME = '^[a-z][a-z0-9-]{0,62}$'

type Schema = Readonly<Record<string, unknown>>

const text = (description: string, maxLength = 200): Schema => ({
  type: 'string',
  minLength: 1,
  maxLength,
  description,
})
const names = (description: string, maxItems = 100): Schema => ({
  type: 'array',
  description,
  items: text('A name.', 128),
  maxItems,
  uniqueItems: true,
})
const oneOrMore = (description: string): Schema => ({
  description,
  oneOf: [text('One.', 256), { ...names('Several.'), minItems: 1 }],
})
const object = (
  description: string,
  properties: Readonly<Record<string, Schema>>,
  required: readonly string[] = [],
): Schema => ({ type: 'object', description, additionalProperties: false, properties, required })
const list = (description: string, items: Schema): Schema => ({ type: 'array', description, items })

const CALL = {
  type: 'string',
  pattern: '^[a-z][a-z0-9-]{0,62}\\.[A-Za-z_][A-Za-z0-9_-]{0,126}$',
  description: '`SYSTEM.OPERATION`.',
}
const INPUT = {
  type: 'object',
  description:
    'The input, as the caller sends it. It is read as a gateway reads it: what the operation does not declare is refused.',
}

/** What a call is made with. */
const SITUATION = {
  agent: { type: 'string', pattern: NAME, description: 'Who calls.' },
  instance: {
    type: 'string',
    pattern: '^[A-Za-z0-9_-]{1,63}$',
    description: 'Which of its instances. Default: `test`.',
  },
  call: CALL,
  input: INPUT,
  labels: names('What the session has touched. Beside `first`: what it must have by then.'),
  risk: {
    type: 'integer',
    minimum: 0,
    maximum: 100,
    description: 'How oddly the instance behaves. Default: 0.',
  },
  approvals: names('Operators who approved exactly this call.', 16),
  time: text(
    'When, as an ISO 8601 instant with its offset: `2026-03-02T09:30:00+01:00`. Default: `2026-01-05T12:00:00Z`, a Monday.',
    40,
  ),
  source: text('The IP address that the call comes from. Default: not known.', 64),
  first: list(
    'Calls that the same instance made before. Each must be allowed; their labels are what the session has.',
    object('A call.', { call: CALL, input: INPUT }, ['call']),
  ),
}

/** Codes that a row may expect: those of decisions, and those of inputs that are refused before one. */
const CODES = [
  'SP_ALLOWED',
  'SP_DENIED_FORBIDDEN',
  'SP_DENIED_NOT_PERMITTED',
  'SP_DENIED_PARTIAL',
  'SP_DENIED_POLICY_ERROR',
  'SP_NEEDS_APPROVAL',
  'SP_NO_FLOW',
  'SP_INPUT_MISSING',
  'SP_INPUT_TYPE',
  'SP_INPUT_UNKNOWN',
  'SP_INPUT_VALUE',
]

/** How it shall end. */
const EXPECTATION = {
  code: { type: 'string', enum: CODES, description: 'The code of the outcome.' },
  decision: {
    type: 'string',
    enum: ['allow', 'deny', 'needs'],
    description: 'The outcome, where the exact code does not matter.',
  },
  needs: {
    type: 'integer',
    minimum: 0,
    maximum: 3,
    description: 'How many approvals the caller is told to get.',
  },
  why: oneOrMore(
    'Policies that decide it. Where nothing permits the call: permits that would, if the rest of them held.',
  ),
  projection: {
    type: 'object',
    description:
      '`DATASET.FIELD` → how it leaves. Of an allow; fields not named are not looked at.',
    propertyNames: { pattern: '^[a-z][a-z0-9-]{0,62}\\.[A-Za-z_][A-Za-z0-9_-]{0,62}$' },
    additionalProperties: { type: 'string', enum: ['whole', 'mask', 'tokenise', 'drop'] },
  },
  limits: names('Ids of the limits that count the call: these and no others. Of an allow.'),
}

const USE = oneOrMore('Rows under `named` that this one starts from, the later over the earlier.')
const TAGS = names('For whoever selects rows: `--tag`.')
const PARTIAL = { ...SITUATION, ...EXPECTATION, tags: TAGS }
const NAMED = text('What the row shows, in a few words.')
const COLUMN =
  '^(name|use|agent|instance|call|labels|risk|approvals|time|source|first|code|decision|needs|why|projection|limits|tags|input|input\\.[A-Za-z_][A-Za-z0-9_-]{0,62})$'

/** JSON Schema (draft 2020-12) of the files that `policy test` reads. */
export const testsJsonSchema: Schema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'https://sallyport.dev/schema/tests.schema.json',
  title: 'Sallyport policy tests',
  ...object('Calls and how they shall end.', {
    network: text(
      'The declaration, relative to this file. Default: `network.yaml` beside it.',
      256,
    ),
    defaults: object('What every row starts from.', PARTIAL),
    named: {
      type: 'object',
      description: 'Parts of rows, to be named by `use`.',
      propertyNames: { pattern: NAME },
      additionalProperties: object('Part of a row.', PARTIAL),
    },
    rows: list('One call a row.', object('A call.', { name: NAMED, use: USE, ...PARTIAL })),
    tables: list(
      'Rows that differ in a few members.',
      object(
        'A table; what it sets beside its columns holds for each of its rows.',
        {
          name: NAMED,
          use: USE,
          ...PARTIAL,
          columns: {
            ...list('Members of a row, or `input.MEMBER`.', { type: 'string', pattern: COLUMN }),
            minItems: 1,
            maxItems: 50,
            uniqueItems: true,
          },
          rows: list('One cell a column; `null` leaves the member out.', {
            type: 'array',
            description: 'Cells.',
            items: {},
            minItems: 1,
            maxItems: 50,
          }),
        },
        ['columns', 'rows'],
      ),
    ),
  }),
}
