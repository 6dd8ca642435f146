import type { Command } from 'commander'
import { SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { adminClient } from '../admin.ts'
import { createOutput, table, utc } from '../output.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'
import type { CommonOptions } from '../options.ts'
import { list, members, numberOf, textOf } from '../shape.ts'

export function addCa(program: Command): void {
  const ca = program
    .command('ca')
    .description('the signing authority below the trust root, and its successors')

  ca.command('show')
    .description('what signs now, what is prepared, what is still trusted')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const view = await adminClient(dataDir(options)).get('/api/ca')
      createOutput(options.json === true).data(view, describe)
    })

  ca.command('prepare')
    .description('make the next signing certificate now, and go on signing with the present one')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const view = await adminClient(dataDir(options)).post('/api/ca/prepare', {})
      createOutput(options.json === true).data(view, describe)
    })

  ca.command('activate')
    .description('sign with the prepared certificate from now on')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const view = await adminClient(dataDir(options)).post('/api/ca/activate', {})
      createOutput(options.json === true).data(view, describe)
    })

  addRoot(ca)
}

/** What changes the root itself. What has to be signed with passkeys is signed in the console. */
function addRoot(ca: Command): void {
  const root = ca
    .command('root')
    .description('successors of the trust root, which operators sign in the console')
  const act = (name: string, description: string, note?: string): void => {
    root
      .command(name)
      .description(description)
      .addOption(dataOption())
      .addOption(jsonOption())
      .action(async (options: CommonOptions) => {
        const out = createOutput(options.json === true)
        const view = await adminClient(dataDir(options)).post(`/api/ca/root/${name}`, {})
        if (note !== undefined) out.note(note)
        out.data(view, (value) => describeRoots(members(value).roots))
      })
  }
  act(
    'prepare',
    'make the key and the certificate of a new root, which nobody trusts yet',
    'nobody trusts it until a quorum of admins has signed it with their passkeys, in the console',
  )
  act('cancel', 'forget a new root that is not trusted yet')
  act('activate', 'sign below the new root, once everybody can know it')
  root
    .command('retire')
    .description('end trust in a root, once everything below it has ended')
    .argument('[fingerprint]', 'as `ca show` lists it, or how it begins; the one before by default')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (fingerprint: string | undefined, options: CommonOptions) => {
      if (fingerprint !== undefined && !/^[0-9a-f]{8,64}$/.test(fingerprint)) {
        throw new SallyportError(
          'SP_USAGE_VALUE',
          `\`${fingerprint}\` is no fingerprint of a root`,
          {
            fix: 'give 8 of its 64 hexadecimal digits at least',
          },
        )
      }
      const body = fingerprint === undefined ? {} : { fingerprint }
      const view = await adminClient(dataDir(options)).post('/api/ca/root/retire', body)
      createOutput(options.json === true).data(view, (value) => describeRoots(members(value).roots))
    })
}

function describeRoots(roots: JsonValue | undefined): string {
  return table(
    ['root', 'state', 'valid until', 'signed', 'waits until'],
    list(roots)
      .map(members)
      .map((row) => [
        textOf(row['fingerprint']).slice(0, 16),
        textOf(row['state']),
        row['notAfter'] === undefined ? '' : utc(numberOf(row['notAfter'])),
        row['quorum'] === undefined
          ? ''
          : `${list(row['signed']).length} of ${numberOf(row['quorum'])}`,
        row['waitsUntil'] === undefined ? '' : utc(numberOf(row['waitsUntil'])),
      ]),
  )
}

function describe(view: JsonValue): string {
  const { rootNotAfter, belowRoot, generations, roots } = members(view)
  return [
    `trust root valid until ${utc(numberOf(rootNotAfter))}`,
    ...(belowRoot === true ? [] : ['the root signs SVIDs itself']),
    table(
      ['id', 'state', 'prepared', 'valid until'],
      list(generations)
        .map(members)
        .map((row) => [
          textOf(row['id']),
          textOf(row['state']),
          utc(numberOf(row['preparedAt'])),
          utc(numberOf(row['notAfter'])),
        ]),
    ),
    ...(roots === undefined ? [] : ['', describeRoots(roots)]),
  ].join('\n')
}
