import { DESCRIPTION, integer, list, name, NAME, named, object, oneOf } from './schema-parts.ts'
import { OWNER, text } from './schema-parts.ts'
import type { Schema } from './schema-parts.ts'

/** A path of secrets: segments of letters, digits, `.`, `_` and `-`, none of them `.` or `..`. */
const SEGMENT = '(?!\\.\\.?(?:/|$))[A-Za-z0-9._-]{1,64}'
const PATH = `^${SEGMENT}(?:/${SEGMENT}){0,7}$`
/** The same, or everything below it. */
const PATTERN = `^${SEGMENT}(?:/${SEGMENT}){0,6}(?:/\\*|/${SEGMENT})?$`

const path = (description: string): Schema => ({ type: 'string', pattern: PATH, description })
/** A name as PostgreSQL has them: anything but NUL, at most 63 bytes (counted when it is checked). */
const identifier = (description: string): Schema => ({
  type: 'string',
  pattern: '^[^\\u0000]{1,63}$',
  description,
})
const agents = (description: string): Schema => list(description, { type: 'string', pattern: NAME })

const grant = object('What an account may do with one table.', ['table', 'columns', 'actions'], {
  schema: identifier('Default: public.'),
  table: identifier('A table, by its exact name.'),
  columns: list(
    'Columns that can be read, written or both, by their exact names.',
    identifier('A column.'),
    1,
  ),
  actions: list(
    'What can be done with them; delete concerns whole rows.',
    { type: 'string', enum: ['select', 'insert', 'update', 'delete'] },
    1,
  ),
  rows: {
    type: 'object',
    description: 'Column → value: only rows that have all of these. Absent means all rows.',
    minProperties: 1,
    maxProperties: 16,
    propertyNames: { pattern: '^[^\\u0000]{1,63}$' },
    additionalProperties: {
      type: ['string', 'integer', 'boolean'],
      maxLength: 256,
      minimum: Number.MIN_SAFE_INTEGER,
      maximum: Number.MAX_SAFE_INTEGER,
    },
  },
})

const account = object('The account that each instance of an agent gets.', ['grants'], {
  ttlSeconds: integer('How long it lives unless renewed.', 10, 3600, 900),
  maxTtlSeconds: integer('How long it lives at most.', 10, 86_400, 3600),
  maxConnections: integer('Sessions at a time.', 1, 100, 2),
  statementTimeoutMs: integer('How long a statement may take.', 1, 3_600_000, 5000),
  grants: list('What it may do, and nothing else.', grant, 1),
})

/** `databases` of network.yaml. */
export const databasesSchema: Schema = named(
  'PostgreSQL databases in which each instance of an agent has an account of its own, for a short time.',
  object('A database.', ['owner', 'host', 'database', 'admin', 'accounts'], {
    description: DESCRIPTION,
    owner: OWNER,
    host: {
      type: 'string',
      pattern: '^(/[^\\u0000]{0,200}|[A-Za-z0-9._:-]{1,253})$',
      description: 'A DNS name, an address, or the folder of a Unix socket.',
    },
    port: integer('TCP port.', 1, 65_535, 5432),
    database: identifier('Its name on the server.'),
    tls: object('How the server is known. Required unless it is on this machine.', ['caFile'], {
      caFile: text('A PEM file beside network.yaml: the only CA accepted.', 256),
      serverName: {
        type: 'string',
        pattern: '^[A-Za-z0-9.-]{1,253}$',
        description: 'The DNS name its certificate must carry; default: the host.',
      },
    }),
    admin: object('Who makes the accounts; its password is a secret.', ['user', 'secret'], {
      user: identifier('A role that may create roles and owns what it grants.'),
      secret: path('Path of the secret that is its password.'),
    }),
    login: oneOf(
      'How agents sign in: with a certificate of their own key, or with a password that is good for a minute.',
      ['certificate', 'password'],
      'certificate',
    ),
    accounts: named('Agent → account.', account),
  }),
)

const httpCall = (description: string): Schema =>
  object(description, ['path'], {
    method: oneOf('HTTP method.', ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'], 'POST'),
    path: {
      type: 'string',
      pattern: '^/[^\\s#]{0,500}$',
      description: 'Below `url`; `{name}` is replaced by a parameter, `{id}` by the key’s id.',
    },
    body: text('JSON; `{name}`, `{id}` and `{label}` inside its strings are replaced.', 4000),
    authorization: oneOf('Whose credential it carries.', ['admin', 'new', 'old'], 'admin'),
  })

const rotation = object('How it is replaced.', ['kind', 'url', 'everySeconds'], {
  kind: oneOf('Whose API makes keys.', ['http', 'openai', 'anthropic', 'airtable']),
  url: {
    type: 'string',
    pattern: '^https?://[^\\s/?#@]+(/[^\\s?#]*)?$',
    maxLength: 512,
    description: '`https://host[:port][/base]`; plain http on loopback only.',
  },
  caFile: text('A PEM file beside network.yaml: the only CA accepted.', 256),
  everySeconds: integer('Its age at which it is replaced.', 60, 315_360_000),
  graceSeconds: integer('How long the old one stays valid.', 1, 2_592_000, 300),
  admin: path('Path of the secret that may make and revoke keys.'),
  parameters: {
    type: 'object',
    description: 'What the API wants to know beside, e.g. a project id.',
    maxProperties: 16,
    propertyNames: { pattern: '^[a-z][A-Za-z0-9]{0,31}$' },
    additionalProperties: { type: 'string', maxLength: 256 },
  },
  header: {
    type: 'string',
    pattern: "^[a-z0-9!#$%&'*+.^_`|~-]{1,64}$",
    description: 'Where credentials travel (kind http); default: authorization, after `Bearer`.',
  },
  create: httpCall('Makes a key (kind http).'),
  secretAt: text('JSON pointer to the key in the answer (kind http).', 128),
  idAt: text('JSON pointer to its id in the answer (kind http).', 128),
  verify: httpCall('Succeeds with a valid key (kind http).'),
  revoke: httpCall('Ends a key by its id (kind http).'),
  list: httpCall('Lists keys, to find one that a crash left behind (kind http).'),
  itemsAt: text('JSON pointer to the keys in that list (kind http).', 128),
  labelAt: text('JSON pointer to its label in a listed key (kind http).', 128),
})

/** `secrets` of network.yaml. */
export const secretsSchema: Schema = named(
  'Path, or everything below one (`path/*`) → who may read it. The narrowest entry decides; what none names nobody reads.',
  object('Secrets of one owner and use.', ['owner', 'use'], {
    owner: OWNER,
    use: text('What it is for.', 256),
    agents: agents('Agents that read it.'),
    services: agents('Services that read it.'),
    operators: list('Operators that read it, signed in with a passkey.', name('An operator.')),
    local: {
      type: 'boolean',
      default: false,
      description: 'Whether the administrator of the machine reads it over the admin socket.',
    },
    maxVersions: integer('Versions kept; older ones are destroyed.', 1, 100, 10),
    rotation,
  }),
  PATTERN,
)

/** `transit` of network.yaml. */
export const transitSchema: Schema = named(
  'Keys that others use and never see: encryption and signatures as a service.',
  object('A key.', ['owner', 'use', 'type'], {
    owner: OWNER,
    use: text('What it is for.', 256),
    type: oneOf('What it can do.', ['aes256-gcm', 'ed25519']),
    users: named(
      'Agent or service → what it may do.',
      list(
        'Acts.',
        { type: 'string', enum: ['encrypt', 'decrypt', 'rewrap', 'sign', 'verify'] },
        1,
      ),
    ),
  }),
)
