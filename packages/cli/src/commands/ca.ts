import type { Command } from 'commander'
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
      const out = createOutput(options.json === true)
      const value = await adminClient(dataDir(options)).get('/api/ca')
      out.data(value, (view) => {
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
      })
    })
}
