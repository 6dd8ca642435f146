import type { Command } from 'commander'
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
}

function describe(view: JsonValue): string {
  const { rootNotAfter, belowRoot, generations } = members(view)
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
  ].join('\n')
}
