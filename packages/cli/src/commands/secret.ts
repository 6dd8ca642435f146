import type { Command } from 'commander'
import type { JsonValue } from '@sallyport/base'
import { SallyportError } from '@sallyport/base'
import { adminClient } from '../admin.ts'
import { csv } from '../csv.ts'
import { createOutput, table, utc } from '../output.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'
import { list, members, numberOf, textOf } from '../shape.ts'
import type { Members } from '../shape.ts'
import { givenValue } from '../value.ts'
import type { ValueOptions } from '../value.ts'

/** Secrets, leases and keys. Values come from standard input or a file, and never stand on a command line. */
export function addSecret(program: Command): void {
  const secret = program
    .command('secret')
    .description('secrets, leases of accounts, keys and certificates')
  addValues(secret)
  addVersions(secret)
  addRotations(secret)
  addLeases(secret.command('lease').description('what instances hold for a time'))
  addTransit(secret.command('transit').description('keys that others use and never see'))
  addRegister(secret)
}

const command = (parent: Command, name: string, description: string): Command =>
  parent.command(name).description(description).addOption(dataOption()).addOption(jsonOption())

function addValues(secret: Command): void {
  command(secret, 'list', 'declared secrets, without their values')
    .argument('[prefix]')
    .action(async (prefix: string | undefined, options: CommonOptions) => {
      const query = prefix === undefined ? '' : `?prefix=${encodeURIComponent(prefix)}`
      await shown(
        options,
        `/api/secrets${query}`,
        ['path', 'version', 'written', 'owner', 'use'],
        (row) => [
          textOf(row.path),
          textOf(row.current),
          timeOf(row.writtenAt),
          textOf(row.owner),
          textOf(row.use),
        ],
      )
    })
  command(
    secret,
    'get',
    'print a secret that the declaration lets this machine read (`local: true`)',
  )
    .argument('<path>')
    .option('--at <version>', 'another version than the current one')
    .action(async (path: string, options: CommonOptions & { at?: string }) => {
      const out = createOutput(options.json === true)
      const version = options.at === undefined ? {} : { version: whole(options.at) }
      const answer = await adminClient(dataDir(options)).post('/api/secrets/read', {
        path,
        ...version,
      })
      const row = members(answer)
      if (!out.json && row.encoding === 'base64') {
        process.stdout.write(Buffer.from(textOf(row.value), 'base64'))
      } else out.data(answer, () => textOf(row.value))
    })
  command(secret, 'put', 'store a new version, read from standard input or a file')
    .argument('<path>')
    .option('--file <file>', 'where the value is; default: standard input')
    .option('--raw', 'keep a line end at the end')
    .option('--cas <version>', 'only where this is the current version (0: where there is none)')
    .option('--key-id <id>', 'what its provider calls it, so that a rotation can end it')
    .action(
      async (
        path: string,
        options: CommonOptions & ValueOptions & { cas?: string; keyId?: string },
      ) => {
        await acted(options, '/api/secrets/write', {
          path,
          ...givenValue(options),
          ...(options.cas === undefined ? {} : { cas: whole(options.cas) }),
          ...(options.keyId === undefined ? {} : { keyId: options.keyId }),
        })
      },
    )
}

function addVersions(secret: Command): void {
  command(secret, 'versions', 'versions of a secret, newest first')
    .argument('<path>')
    .action(async (path: string, options: CommonOptions) => {
      const address = `/api/secrets/versions?path=${encodeURIComponent(path)}`
      await shown(options, address, ['version', 'state', 'written', 'by'], (row) => [
        textOf(row.version),
        textOf(row.state),
        timeOf(row.createdAt),
        textOf(row.createdBy),
      ])
    })
  for (const [what, description] of [
    ['delete', 'take versions away from readers'],
    ['undelete', 'give deleted versions back'],
    ['destroy', 'destroy the values of versions for good'],
  ] as const) {
    command(secret, what, description)
      .argument('<path>')
      .argument('<version...>')
      .action(async (path: string, versions: readonly string[], options: CommonOptions) => {
        await acted(options, `/api/secrets/${what}`, { path, versions: versions.map(whole) })
      })
  }
}

function addRotations(secret: Command): void {
  command(secret, 'rotate', 'replace a key of an upstream, with an overlap')
    .argument('<path>')
    .requiredOption('--reason <text>', 'why; one that speaks of exposure shortens the overlap')
    .option(
      '--file <file>',
      'the new key, where its provider gives keys to people only; `-` is standard input',
    )
    .action(async (path: string, options: CommonOptions & { reason: string; file?: string }) => {
      const { reason, file } = options
      const given =
        file === undefined ? {} : { value: givenValue(file === '-' ? {} : { file }).value }
      await acted(options, '/api/secrets/rotate', { path, reason, ...given })
    })
  command(secret, 'rotations', 'replacements of keys, newest first').action(
    async (options: CommonOptions) => {
      const head = ['id', 'path', 'step', 'started', 'reason', 'remark']
      await shown(options, '/api/secrets/rotations', head, (row) => [
        textOf(row.id),
        textOf(row.path),
        textOf(row.step),
        timeOf(row.startedAt),
        textOf(row.reason),
        textOf(row.error),
      ])
    },
  )
}

function addLeases(lease: Command): void {
  command(lease, 'list', 'leases, newest first')
    .option('--ended', 'those that have ended too')
    .action(async (options: CommonOptions & { ended?: boolean }) => {
      const head = ['lease', 'state', 'expires', 'resource', 'account', 'holder']
      await shown(options, `/api/leases?ended=${options.ended === true}`, head, (row) => [
        textOf(row.id),
        textOf(row.state),
        timeOf(row.expiresAt),
        textOf(row.resource) || textOf(row.kind),
        textOf(row.account),
        textOf(row.holder),
      ])
    })
  command(lease, 'end', 'end a lease and all below it, with the sessions that are open')
    .argument('<lease>')
    .requiredOption('--reason <text>', 'why')
    .action(async (id: string, options: CommonOptions & { reason: string }) => {
      await acted(options, '/api/leases/end', { lease: id, reason: options.reason })
    })
  command(
    lease,
    'authority',
    'the certificate that database servers trust clients by (`ssl_ca_file`)',
  ).action(async (options: CommonOptions) => {
    const out = createOutput(options.json === true)
    const answer = await adminClient(dataDir(options)).get('/api/databases/authority')
    out.data(answer, () => textOf(members(answer).certificate).trimEnd())
  })
}

function addTransit(transit: Command): void {
  command(transit, 'list', 'keys, with the versions that are accepted').action(
    async (options: CommonOptions) => {
      await shown(
        options,
        '/api/transit',
        ['key', 'type', 'newest', 'oldest', 'owner', 'use'],
        (row) => [
          textOf(row.name),
          textOf(row.type),
          textOf(row.newest),
          textOf(row.minDecrypt),
          textOf(row.owner),
          textOf(row.use),
        ],
      )
    },
  )
  command(transit, 'rotate', 'a new version, for what is encrypted and signed from now on')
    .argument('<key>')
    .action(async (name: string, options: CommonOptions) => {
      await acted(options, '/api/transit/rotate', { name })
    })
  command(transit, 'min-version', 'the oldest version with which anything still opens')
    .argument('<key>')
    .argument('<version>')
    .action(async (name: string, version: string, options: CommonOptions) => {
      await acted(options, '/api/transit/min-version', { name, version: whole(version) })
    })
}

const COLUMNS = [
  ...['kind', 'name', 'owner', 'use', 'algorithm', 'createdAt', 'ageDays', 'expiresAt'],
  ...['rotateBy', 'state', 'heldBy', 'exportable'],
]
const TIMES = new Set(['createdAt', 'expiresAt', 'rotateBy'])

function addRegister(secret: Command): void {
  command(secret, 'register', 'every key and certificate, with age, owner, use and expiry')
    .option('--csv', 'as comma-separated values')
    .action(async (options: CommonOptions & { csv?: boolean }) => {
      const cell = (row: Members, name: string): string =>
        TIMES.has(name) ? timeOf(row[name]) : textOf(row[name])
      if (options.csv === true) {
        if (options.json === true) {
          throw new SallyportError('SP_USAGE_OPTION', 'one of --json and --csv, not both')
        }
        const rows = list(await adminClient(dataDir(options)).get('/api/register')).map(members)
        const cells = rows.map((row) => COLUMNS.map((name) => cell(row, name)))
        process.stdout.write(csv([COLUMNS, ...cells]))
        return
      }
      const head = ['kind', 'name', 'state', 'age', 'expires', 'owner', 'held by', 'use']
      await shown(options, '/api/register', head, (row) => [
        textOf(row.kind),
        textOf(row.name),
        textOf(row.state),
        row.ageDays === null ? '' : `${textOf(row.ageDays)} d`,
        timeOf(row.expiresAt),
        textOf(row.owner),
        textOf(row.heldBy),
        textOf(row.use),
      ])
    })
}

/** Reads a list and shows it as a table. */
async function shown(
  options: CommonOptions,
  address: string,
  head: readonly string[],
  cells: (row: Members) => string[],
): Promise<void> {
  const out = createOutput(options.json === true)
  const rows = list(await adminClient(dataDir(options)).get(address))
  out.data(rows, (all) => (all.length === 0 ? 'none' : table(head, all.map(members).map(cells))))
}

/** Acts, and says on standard error that it was done. */
async function acted(options: CommonOptions, address: string, body: unknown): Promise<void> {
  const out = createOutput(options.json === true)
  const answer = await adminClient(dataDir(options)).post(address, body)
  out.data(answer, (value) => {
    const { version, id, step } = members(value)
    if (version !== undefined) return `version ${textOf(version)}`
    return id === undefined ? 'done' : `${textOf(id)}  ${textOf(step)}`
  })
}

const timeOf = (value: JsonValue | undefined): string =>
  typeof value === 'number' ? utc(numberOf(value)) : ''

function whole(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text)
  throw new SallyportError('SP_USAGE_OPTION', `\`${text.slice(0, 40)}\` is no version`, {
    fix: 'write a whole number',
  })
}
