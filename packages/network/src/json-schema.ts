import { attestorsSchema, attestSchema } from './attestation.ts'
import { federationSchema } from './federation.ts'
import { backchannelPingSchema } from './notification.ts'
import { a2aSchema } from './a2a.ts'
import { llmSchema } from './llm.ts'
import { opaqueSchema } from './opaque.ts'
import { postgresSchema } from './postgres.ts'
import {
  DESCRIPTION,
  integer,
  list,
  name,
  CALLER,
  NAME,
  named,
  object,
  oneOf,
  OWNER,
  text,
} from './schema-parts.ts'
import type { Schema } from './schema-parts.ts'
import { databasesSchema, secretsSchema, transitSchema } from './secrets-schema.ts'
import { ENFORCEMENT_ABILITIES } from './types.ts'

const FIELD_NAME = '^(?!__)[A-Za-z_][A-Za-z0-9_-]{0,62}$'
const OPERATION_NAME = '^[A-Za-z_][A-Za-z0-9_-]{0,126}$'

const ROLES = ['viewer', 'responder', 'approver', 'admin']
const CLASSES = ['public', 'internal', 'confidential', 'restricted']
const CRITICALITY = oneOf(
  'What its loss or misuse would cost.',
  ['low', 'medium', 'high', 'critical'],
  'medium',
)
const QUALIFIED = {
  type: 'string',
  pattern: '^[a-z][a-z0-9-]{0,62}\\.[A-Za-z_][A-Za-z0-9_-]{0,126}$',
}
const TAGS = list(
  'What policies and labels call it: `pii`, `sar`, `untrusted` (written by outsiders).',
  {
    type: 'string',
    pattern: NAME,
  },
)
const CLASS = oneOf('How bad it is when the wrong eyes see it.', CLASSES)

const ATTRIBUTES = {
  type: 'object',
  description:
    'Facts that policies read as `principal.agent.attributes` or `resource.attributes`: texts, whole numbers, true or false, lists of texts.',
  propertyNames: { pattern: '^(?!__)[A-Za-z_][A-Za-z0-9_]{0,62}$' },
  maxProperties: 50,
  additionalProperties: {
    type: ['string', 'integer', 'boolean', 'array'],
    maxLength: 256,
    minimum: Number.MIN_SAFE_INTEGER,
    maximum: Number.MAX_SAFE_INTEGER,
    maxItems: 200,
    uniqueItems: true,
    items: { type: 'string', maxLength: 256 },
  },
}

const settings = object('How long things live. Every value has a safe default.', [], {
  svidTtlSeconds: integer('Life of an identity; renewal starts at half of it.', 10, 86_400, 900),
  stalenessSeconds: integer('How long a gateway goes on without the control plane.', 1, 3600, 300),
  strictStalenessSeconds: integer('The same for writes and restricted data.', 1, 3600, 30),
  riskTtlSeconds: integer('After this a risk score is stale.', 1, 3600, 60),
  staleRisk: integer('The risk that policies read when it is stale.', 0, 100, 50),
  quarantineAtRisk: integer(
    'The detector quarantines from this risk on; absent means never.',
    1,
    100,
  ),
  approvalTtlSeconds: integer('How long an approval may be decided and used.', 10, 86_400, 900),
  timeZone: {
    type: 'string',
    pattern: '^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$',
    maxLength: 64,
    description:
      'IANA time zone, e.g. `Europe/Berlin`; policies then read `context.time.local` too.',
  },
  shadowMinutes: integer(
    'How long a changed declaration must be decided by in shadow before it can come into force; absent means not at all.',
    0,
    525_600,
  ),
  sessionMinutes: integer(
    'How long an operator’s session lasts at most; absent means 480.',
    1,
    1440,
  ),
  sessionIdleMinutes: integer('How long it lasts unused; absent means 15.', 1, 480),
  sessionBinding: oneOf(
    'What a session is bound to beside its cookie: the browser (default), or its network address too.',
    ['browser', 'address'],
  ),
  recoveryMinutes: integer(
    'How long a second operator’s word for a sign-in by code holds; absent means 10.',
    1,
    60,
  ),
  breakGlassMinutes: integer('How long break-glass lasts; absent means 30.', 1, 240),
  breakGlassReviewHours: integer(
    'After this a break-glass that nobody else has reviewed is overdue; absent means 24.',
    1,
    720,
  ),
})

const roles = (description: string): Schema => list(description, { type: 'string', enum: ROLES }, 1)

const identityProvider = object(
  'Who else says who somebody is (OpenID Connect). Its sessions read and narrow.',
  ['issuer', 'clientId', 'groups'],
  {
    issuer: {
      type: 'string',
      // Plain http only where nobody else can listen: the machine itself.
      pattern:
        '^(https://[^\\s/?#@]+|http://(localhost|127\\.0\\.0\\.1|\\[::1\\])(:[0-9]{1,5})?)(/[^\\s?#]*)?$',
      maxLength: 512,
      description: 'Exactly as its tokens have it.',
    },
    clientId: text('What it knows this console as.', 256),
    clientSecretFile: text(
      'A file on the machine of the control plane (0600), absolute or below the data directory; absent means a public client.',
      256,
    ),
    groups: object('What its groups are given here.', ['claim', 'map'], {
      claim: {
        type: 'string',
        pattern: '^[A-Za-z_][A-Za-z0-9_:./-]{0,127}$',
        description: 'The member of the ID token that lists groups.',
      },
      map: {
        type: 'object',
        description: 'Group → roles. Whoever is in none of them does not get in.',
        propertyNames: { minLength: 1, maxLength: 256 },
        maxProperties: 500,
        additionalProperties: roles('What the group is given.'),
      },
    }),
    maxRole: oneOf('Nobody has more than this by a group.', ROLES, 'responder'),
    disabled: {
      type: 'boolean',
      description: 'Ends its sessions, and opens none.',
      default: false,
    },
  },
)

const enforcementPoint = object(
  'It may ask the control plane for decisions (AuthZEN) about the systems it fronts.',
  ['systems'],
  {
    systems: list('Names under `systems`.', { type: 'string', pattern: NAME }, 1),
    can: list('What it can do; a decision that needs more is a denial.', {
      type: 'string',
      enum: ENFORCEMENT_ABILITIES,
    }),
  },
)

const upstream: Schema = {
  description:
    'Where the gateway forwards to: a declared service (mTLS) or an address outside (TLS, pinned name; for the protocol opaque, with a reason, plain TCP).',
  oneOf: [
    object('A service of this network.', ['service', 'port'], {
      service: name('A name under `services`.'),
      port: integer('TCP port; a run may override it.', 1, 65_535),
    }),
    object('A system outside the network.', ['url', 'serverName'], {
      url: {
        type: 'string',
        pattern: '^(https|postgres|tls)://[^\\s/?#@]+(/[^\\s?#]*)?$',
        maxLength: 512,
        description: '`https://host[:port][/base]`, `postgres://host[:port]`, or `tls://host:port`',
      },
      serverName: {
        type: 'string',
        pattern: '^[A-Za-z0-9.-]{1,253}$',
        description: 'The DNS name its certificate must carry.',
      },
      caFile: text(
        'A PEM file beside network.yaml: the only CA accepted. Absent means the platform’s roots.',
        256,
      ),
      credential: object('What the gateway adds; callers never see it.', ['header', 'secret'], {
        header: {
          type: 'string',
          pattern: "^[a-z0-9!#$%&'*+.^_`|~-]{1,64}$",
          description: 'Header name, lower case.',
        },
        secret: name('Name of the secret that the gateway holds.'),
        scheme: {
          type: 'string',
          pattern: '^[A-Za-z][A-Za-z0-9-]{0,31}$',
          description: 'Put before the secret, e.g. `Bearer`.',
        },
        as: oneOf('How the secret is written: as the user name of Basic authentication, say.', [
          'basic-user',
        ]),
      }),
    }),
    object(
      'A program that the gateway runs (protocol mcp, over standard input and output).',
      ['command'],
      {
        command: {
          type: 'string',
          pattern: '^/[^\\s]*$',
          maxLength: 512,
          description: 'Absolute path; no shell reads it.',
        },
        args: {
          type: 'array',
          description: 'Its arguments, each as it is.',
          maxItems: 64,
          items: { type: 'string', maxLength: 4096 },
        },
        env: {
          type: 'object',
          description: 'All of its environment. No secrets: the declaration is read by many.',
          propertyNames: { pattern: '^[A-Za-z_][A-Za-z0-9_]{0,63}$' },
          maxProperties: 64,
          additionalProperties: { type: 'string', maxLength: 4096 },
        },
      },
    ),
    object(
      'A system that speaks plain TCP (protocol opaque): whoever is at its address is taken for it.',
      ['url', 'plaintext'],
      {
        url: {
          type: 'string',
          pattern: '^tcp://[^\\s/?#@]+$',
          maxLength: 512,
          description: '`tcp://host:port`',
        },
        plaintext: {
          ...text('Why, in words, it has to do without TLS.'),
          pattern: '\\S\\s+\\S',
        },
      },
    ),
  ],
}

const operation = object('One thing a caller can ask of the system.', ['kind'], {
  kind: oneOf('Whether it changes anything.', ['read', 'write']),
  description: text('Replaces the description that was imported.'),
  from: {
    type: 'string',
    minLength: 1,
    maxLength: 512,
    description:
      'operationId, `package.Service/Method`, tool name, `resource:URI`, `template:URI`, `prompt:NAME`, `mcp:SERVICE`, skill or `TABLE.select` (insert, update, delete) where it differs from the name here.',
  },
  subject: {
    type: 'string',
    pattern: FIELD_NAME,
    description: 'The input that names the person or account concerned.',
  },
  returns: {
    type: 'object',
    description: 'Path in the response → data set, or `public`. What no path covers is dropped.',
    propertyNames: {
      pattern: '^(\\$|[A-Za-z_][A-Za-z0-9_-]*(\\[\\])?(\\.[A-Za-z_][A-Za-z0-9_-]*(\\[\\])?)*)$',
    },
    additionalProperties: { type: 'string', pattern: NAME },
  },
  content: name('The data set that content blocks are read as (protocol mcp).'),
  hosts: list('Hosts that a person may be sent to (`mcp:elicitation`).', {
    type: 'string',
    pattern: '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$',
  }),
})

/** The member of a system that describes what can be asked of it, by protocol. */
const DESCRIBED_BY = {
  http: 'openapi',
  grpc: 'descriptors',
  mcp: 'tools',
  a2a: 'a2a',
  postgres: 'postgres',
  llm: 'llm',
  opaque: 'opaque',
} as const

const systemParts = {
  description: DESCRIPTION,
  owner: OWNER,
  segment: name('A name under `segments`.'),
  criticality: CRITICALITY,
  protocol: oneOf('How it is spoken to.', Object.keys(DESCRIBED_BY)),
  postgres: postgresSchema,
  llm: llmSchema,
  a2a: a2aSchema,
  opaque: opaqueSchema,
  openapi: text('OpenAPI 3 document beside network.yaml (protocol http).', 256),
  descriptors: text(
    'Descriptor set beside network.yaml, as `protoc --include_imports --descriptor_set_out` writes it (protocol grpc).',
    256,
  ),
  tools: text('`tools/list` result beside network.yaml (protocol mcp).', 256),
  pins: text(
    'What the server itself lists, as accepted (protocol mcp); what it lists otherwise later stops.',
    256,
  ),
  upstream,
  operations: named(
    'What callers may ask; nothing else of the API is reachable.',
    operation,
    OPERATION_NAME,
  ),
  attributes: ATTRIBUTES,
  onBehalfOf: oneOf('Calls must carry a token that a person gave the caller.', ['person']),
}

const system: Schema = {
  ...object(
    'Something agents call.',
    ['owner', 'segment', 'protocol', 'upstream', 'operations'],
    systemParts,
  ),
  allOf: Object.entries(DESCRIBED_BY).map(([protocol, key]) => ({
    if: { properties: { protocol: { const: protocol } }, required: ['protocol'] },
    // oxlint-disable-next-line unicorn/no-thenable -- a JSON Schema keyword in data that is never awaited
    then: {
      required: [key],
      properties: Object.fromEntries(
        [...Object.values(DESCRIBED_BY), ...(protocol === 'mcp' ? [] : ['pins'])]
          .filter((other) => other !== key)
          .map((other) => [other, false]),
      ),
    },
  })),
}

const field: Schema = {
  oneOf: [
    CLASS,
    object('One member of a record.', ['class'], {
      class: CLASS,
      tags: TAGS,
      mask: oneOf('How it looks when masked.', ['full', 'last4', 'first1', 'year'], 'full'),
      dataset: name('The data set of the objects that it holds.'),
      token: name('Fields with the same word give the same token for the same value.'),
    }),
  ],
}

/** JSON Schema (draft 2020-12) of `network.yaml`; its structure only: references are checked by `parseNetwork`. */
export const networkJsonSchema: Schema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'https://sallyport.dev/schema/network.schema.json',
  title: 'Sallyport network declaration',
  ...object(
    'Agents, systems, data and the flows between them. What is not declared does not happen.',
    ['name', 'trustDomain', 'segments', 'agents', 'operators', 'systems', 'flows'],
    {
      name: name('The network’s name.'),
      trustDomain: {
        type: 'string',
        pattern: '^[a-z0-9]([a-z0-9.-]{0,253}[a-z0-9])?$',
        description: 'SPIFFE trust domain.',
      },
      quorum: integer('Operators who must sign what widens access.', 1, 16, 2),
      settings,
      segments: named(
        'Zones.',
        object('A zone.', ['owner'], { description: DESCRIPTION, owner: OWNER }),
      ),
      agents: named(
        'Agents. Each is a kind of which many instances may run.',
        object('An agent.', ['owner', 'segment'], {
          description: DESCRIPTION,
          owner: OWNER,
          segment: name('A name under `segments`.'),
          criticality: CRITICALITY,
          roles: list('Roles that policies refer to.', { type: 'string', pattern: NAME }),
          attributes: ATTRIBUTES,
          attest: attestSchema,
          tokenBinding: oneOf(
            'Access tokens of it are bound to the certificate that they were asked with (RFC 8705), and end with its renewal.',
            ['certificate'],
          ),
          backchannelPing: backchannelPingSchema,
        }),
      ),
      attestors: attestorsSchema,
      federation: federationSchema,
      operators: named(
        'People. Their keys are enrolled, not declared.',
        object('A person.', ['displayName', 'roles'], {
          displayName: text('As others know them.', 128),
          roles: roles('What the person may do.'),
          identities: list(
            'Who the person is at identity providers.',
            object('One account.', ['provider', 'subject'], {
              provider: name('A name under `identityProviders`.'),
              subject: text('Its `sub` there.', 255),
            }),
          ),
          breakGlass: object(
            'What the person may have for a short while, with a reason, an alarm and a review.',
            ['roles'],
            { roles: roles('Roles beside the usual ones. The quorum stays what it is.') },
          ),
        }),
      ),
      identityProviders: named('Where people may sign in from.', identityProvider),
      services: named(
        'Workloads of our own that serve systems.',
        object('A service.', ['owner', 'segment'], {
          description: DESCRIPTION,
          owner: OWNER,
          segment: name('A name under `segments`.'),
          enforcementPoint,
          responder: {
            const: true,
            description: 'It may cut agents and instances off; it lets nobody back in.',
          },
        }),
      ),
      systems: named('Systems and their operations.', system),
      datasets: named(
        'What responses hold, field by field. A field that is not named never leaves.',
        object('Records of one shape.', ['system', 'owner', 'fields'], {
          description: DESCRIPTION,
          system: name('The system that returns it.'),
          owner: OWNER,
          fields: named('Field → class, or more.', field, FIELD_NAME),
        }),
      ),
      flows: list(
        'Declared paths. A call outside all of them is denied whatever policies say.',
        object('A path.', ['from', 'to', 'operations', 'purpose'], {
          id: {
            type: 'string',
            pattern: '^[a-z][a-z0-9-]{0,126}$',
            description: 'Default: FROM-to-TO.',
          },
          from: {
            type: 'string',
            pattern: CALLER,
            description: 'An agent, or `NAME@TRUST-DOMAIN` of a federated one.',
          },
          to: name('A system.'),
          operations: list(
            'Operations of that system.',
            { type: 'string', pattern: OPERATION_NAME },
            1,
          ),
          purpose: name('Why; policies can read it.'),
        }),
      ),
      limits: named(
        'Ceilings over time, counted across all gateways.',
        object('A ceiling.', ['agents', 'operations', 'windowSeconds'], {
          description: DESCRIPTION,
          agents: list('Agents counted.', { type: 'string', pattern: CALLER }, 1),
          operations: list('`SYSTEM.OPERATION`.', QUALIFIED, 1),
          windowSeconds: integer('Length of the window.', 1, 604_800),
          maxCalls: integer('Calls in a window.', 1, 1_000_000_000),
          maxSum: object('Sum of an input in a window.', ['input', 'max'], {
            input: {
              type: 'string',
              pattern: FIELD_NAME,
              description: 'A number among the inputs.',
            },
            max: integer('In the input’s own unit.', 0, Number.MAX_SAFE_INTEGER),
          }),
        }),
      ),
      databases: databasesSchema,
      secrets: secretsSchema,
      transit: transitSchema,
    },
  ),
}
