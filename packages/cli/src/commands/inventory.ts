import { Option } from 'commander'
import type { Command } from 'commander'
import { adminClient } from '../admin.ts'
import { createOutput, table, utc } from '../output.ts'
import { list, members, numberOf, textOf } from '../shape.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'

/** `sallyport inventory`: what is declared and used, and what is used and not declared. */
export function addInventory(program: Command): void {
  const inventory = program
    .command('inventory')
    .description('what is declared, who answers for it, and when it was last used')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const value = await adminClient(dataDir(options)).get('/api/inventory')
      out.data(value, (rows) =>
        table(
          ['kind', 'name', 'owner', 'class', 'calls', 'last used'],
          list(rows)
            .map(members)
            .map((row) => [
              textOf(row.kind),
              textOf(row.name),
              textOf(row.owner),
              textOf(row.class),
              textOf(row.calls),
              row.last === null ? 'never' : utc(numberOf(row.last)),
            ]),
        ),
      )
    })

  inventory
    .command('diff')
    .description('what traffic asked for and nobody declared, with what would declare it')
    .addOption(
      new Option('--kind <kind>', 'of one kind only').choices([
        ...['caller', 'operation', 'field', 'destination', 'flow'],
      ]),
    )
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (own: { kind?: string }, command: Command) => {
      // Options that the command above it has as well are read there.
      const options = command.optsWithGlobals<CommonOptions>()
      const out = createOutput(options.json === true)
      const value = list(await adminClient(dataDir(options)).get('/api/inventory/drift'))
      const wanted = value.filter(
        (row) => own.kind === undefined || textOf(members(row).kind) === own.kind,
      )
      out.data(wanted, (rows) =>
        rows.length === 0
          ? 'nothing that is not declared was asked for'
          : rows.map(members).map(shown).join('\n\n'),
      )
    })
}

function shown(row: ReturnType<typeof members>): string {
  const system = textOf(row.system)
  const by = textOf(row.by)
  const seen = `${textOf(row.calls)} × from ${utc(numberOf(row.first))} to ${utc(numberOf(row.last))}`
  const head = `${textOf(row.kind)}  ${system === '' ? '' : `${system}: `}${textOf(row.name)}`
  return [
    head,
    `  ${seen}${by === '' ? '' : `, by ${by}`}`,
    ...textOf(row.suggestion)
      .trimEnd()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => `    ${line}`),
  ].join('\n')
}
