import type { SourceSpan } from '@sallyport/base'
import type { Report } from './check.ts'
import { COLUMN_TYPES } from './postgres-types.ts'
import type {
  ColumnType,
  PostgresBinding,
  PostgresSystem,
  PostgresTable,
} from './postgres-types.ts'
import { didYouMean } from './problem.ts'
import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import { integer, list, name, named, object, oneOf, text } from './schema-parts.ts'
import type { Schema } from './schema-parts.ts'
import type { InputMember, InputSchema, InputType, Network, PolicySource } from './types.ts'

/** Lower case, so that a quoted and an unquoted spelling are the same name. */
const IDENTIFIER = '^[a-z_][a-z0-9_]{0,62}$'
const identifier = (description: string): Schema => ({
  type: 'string',
  pattern: IDENTIFIER,
  description,
})

/** `postgres` of a system in network.yaml. */
export const postgresSchema: Schema = object(
  'The database and the tables of it that callers may name (protocol postgres).',
  ['database', 'user', 'secret', 'tables'],
  {
    database: identifier('Its name on the server.'),
    user: identifier('The role that the gateway signs in with.'),
    secret: name('Name of the secret that is its password.'),
    statementTimeoutMs: integer('How long a statement may take.', 1, 600_000, 5000),
    tables: named(
      'What callers call it → a table. Its columns are what leaves, and nothing beside them.',
      object('A table.', ['dataset', 'key', 'columns'], {
        schema: identifier('Default: public.'),
        table: identifier('Its name in the database; default: the name here.'),
        dataset: name('The data set whose fields its columns are.'),
        key: identifier('The column that names a row.'),
        columns: named('Column → its type.', oneOf('PostgreSQL type.', COLUMN_TYPES), IDENTIFIER),
        maxRows: integer('Rows that one statement may return.', 1, 1_000_000, 1000),
        rows: list(
          'Cedar files beside network.yaml with policies of `Action::"row.read"`; absent means all rows.',
          text('A path.', 256),
          1,
        ),
      }),
      IDENTIFIER,
    ),
  },
)

export interface RawPostgres {
  readonly database: string
  readonly user: string
  readonly secret: string
  readonly statementTimeoutMs?: number
  readonly tables: Readonly<
    Record<
      string,
      {
        readonly schema?: string
        readonly table?: string
        readonly dataset: string
        readonly key: string
        readonly columns: Readonly<Record<string, ColumnType>>
        readonly maxRows?: number
        readonly rows?: readonly string[]
      }
    >
  >
}

/** @param read the text of a file beside the declaration; where there is none it has been reported */
export function resolvePostgres(
  raw: RawPostgres,
  pointer: string,
  read: (file: string, pointer: string) => string,
): PostgresSystem {
  return {
    database: raw.database,
    user: raw.user,
    secret: raw.secret,
    statementTimeoutMs: raw.statementTimeoutMs ?? 5000,
    tables: Object.entries(raw.tables).map(([given, table]): PostgresTable => {
      const place = `${pointer}/tables/${escapePointer(given)}/rows`
      return {
        name: given,
        schema: table.schema ?? 'public',
        table: table.table ?? given,
        dataset: table.dataset,
        key: table.key,
        columns: table.columns,
        maxRows: table.maxRows ?? 1000,
        ...(table.rows && {
          // One file may hold several policies; they are split, and named, when they are compiled.
          rows: table.rows.map((file, i): PolicySource => ({
            id: file,
            source: read(file, `${place}/${i}`),
            file,
            line: 1,
          })),
        }),
      }
    }),
  }
}

const ACTIONS = ['select', 'insert', 'update', 'delete'] as const

/** What can be done with declared tables: `TABLE.ACTION`, as operations import it. */
export function tableOperations({ tables }: PostgresSystem): {
  readonly names: readonly string[]
  find(name: string): { binding: PostgresBinding; input: InputSchema; dataset: string }
} {
  const known = new Map(
    tables.flatMap((table) =>
      ACTIONS.map((action) => [
        `${table.name}.${action}`,
        {
          binding: { kind: 'postgres' as const, action, table: table.name },
          input: inputOf(table, action),
          dataset: table.dataset,
        },
      ]),
    ),
  )
  return {
    names: [...known.keys()],
    find: (found) => {
      const operation = known.get(found)
      if (!operation) throw new TypeError(`no operation ${found}`)
      return operation
    },
  }
}

const MAX_COLUMNS = 1600
const MAX_TEXT = 65_536
const NAMES: InputType = {
  type: 'set',
  items: { type: 'string', maxLength: 63 },
  maxItems: MAX_COLUMNS,
}

/** What policies read of a statement: which columns, and what they are compared with or set to where that is a plain value. */
function inputOf({ columns }: PostgresTable, action: (typeof ACTIONS)[number]): InputSchema {
  const must = (schema: InputType): InputMember => ({ schema, required: true })
  const values = (): InputMember => ({
    required: true,
    schema: {
      type: 'record',
      members: Object.fromEntries(
        Object.entries(columns).flatMap(([column, type]) => {
          const schema = valueType(type)
          return schema ? [[column, { schema, required: false }]] : []
        }),
      ),
    },
  })
  return {
    type: 'record',
    members: {
      columns: must(NAMES),
      ...(action === 'insert' ? {} : { filters: must(NAMES), where: values() }),
      ...(action === 'insert' || action === 'update'
        ? { written: must(NAMES), set: values() }
        : {}),
      ...(action === 'select'
        ? {
            limit: {
              schema: { type: 'long', minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
              required: false,
            },
          }
        : {}),
    },
  }
}

/** Types whose values have one spelling; what has several is not shown to policies, which would compare spellings. */
function valueType(type: ColumnType): InputType | undefined {
  switch (type) {
    case 'bool':
      return { type: 'boolean' }
    case 'int2':
    case 'int4':
    case 'int8':
      return {
        type: 'long',
        minimum: Number.MIN_SAFE_INTEGER,
        maximum: Number.MAX_SAFE_INTEGER,
      }
    case 'text':
    case 'varchar':
      return { type: 'string', maxLength: MAX_TEXT }
    default:
      return undefined
  }
}

/** What the JSON Schema cannot say of databases behind the gateway. */
export function checkPostgres(network: Network, located: Located, report: Report): void {
  const wrong = (span: SourceSpan, message: string, why: string, fix: string): void => {
    report('SP_NETWORK_REFERENCE', span, message, why, fix)
  }
  for (const system of network.systems) {
    const base = `/systems/${escapePointer(system.name)}`
    if (system.postgres && system.onBehalfOf !== undefined) {
      report(
        'SP_NETWORK_RULE',
        located.at(`${base}/onBehalfOf`),
        `\`${system.name}\` asks for a person’s token, which PostgreSQL’s protocol cannot carry`,
        'no call could ever be made',
        'leave `onBehalfOf` out',
      )
    }
    for (const table of system.postgres?.tables ?? []) {
      const pointer = `${base}/postgres/tables/${escapePointer(table.name)}`
      const dataset = network.datasets.find((set) => set.name === table.dataset)
      if (dataset?.system !== system.name) {
        wrong(
          located.at(`${pointer}/dataset`),
          `there is no data set \`${table.dataset}\` of \`${system.name}\``,
          'the columns of a table are classed as the fields of a data set of its own system',
          'declare the data set, or correct the name',
        )
        continue
      }
      const fields = dataset.fields.map((field) => field.name)
      for (const column of Object.keys(table.columns)) {
        if (fields.includes(column)) continue
        wrong(
          located.keyAt(`${pointer}/columns/${column}`),
          `the data set \`${dataset.name}\` has no field \`${column}\`${didYouMean(column, fields)}`,
          'a column without a class could be shown to anybody',
          'class it as a field of the data set',
        )
      }
      if (!Object.hasOwn(table.columns, table.key)) {
        wrong(
          located.at(`${pointer}/key`),
          `the key \`${table.key}\` is no declared column`,
          'rows are told apart by it',
          'declare it under `columns`',
        )
      }
    }
    for (const { name: operation, binding, kind } of system.operations) {
      if (binding.kind !== 'postgres') continue
      if ((binding.action === 'select') === (kind === 'read')) continue
      report(
        'SP_NETWORK_RULE',
        located.at(`${base}/operations/${escapePointer(operation)}/kind`),
        `\`${operation}\` is \`${kind}\`, but ${binding.action === 'select' ? 'reads' : 'writes'}`,
        'writes are held to stricter rules than reads',
        `state \`kind: ${binding.action === 'select' ? 'read' : 'write'}\``,
      )
    }
  }
}
