import type { Command } from 'commander'
import { adminClient } from '../admin.ts'
import { createOutput, table, utc } from '../output.ts'
import { list, members, numberOf, textOf } from '../shape.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'

export function addIncident(program: Command): void {
  const incident = program.command('incident').description('what went wrong, as it unfolded')

  incident
    .command('list')
    .description('incidents, newest first')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const incidents = list(await adminClient(dataDir(options)).get('/api/incidents'))
      out.data(incidents, (rows) =>
        rows.length === 0
          ? 'no incidents'
          : table(
              ['id', 'status', 'opened', 'risk', 'subject'],
              rows
                .map(members)
                .map((row) => [
                  textOf(row.id),
                  textOf(row.status),
                  utc(numberOf(row.openedAt)),
                  textOf(row.risk),
                  textOf(row.subject),
                ]),
            ),
      )
    })

  incident
    .command('show')
    .description('one incident and its timeline')
    .argument('<id>')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (id: string, options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const value = await adminClient(dataDir(options)).get(
        `/api/incidents/${encodeURIComponent(id)}`,
      )
      out.data(value, (incidentValue) => {
        const row = members(incidentValue)
        return [
          `${textOf(row.id)}  ${textOf(row.status)}  ${textOf(row.subject)}`,
          ...list(row.timeline)
            .map(members)
            .map((e) => `${utc(numberOf(e.at))}  ${textOf(e.kind).padEnd(12)} ${textOf(e.text)}`),
        ].join('\n')
      })
    })

  incident
    .command('close')
    .description('close an open incident as a false alarm; risk and signals stay')
    .argument('<id>')
    .requiredOption('--reason <text>', 'why it was none')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (id: string, options: CommonOptions & { reason: string }) => {
      const out = createOutput(options.json === true)
      const path = `/api/incidents/${encodeURIComponent(id)}/close`
      const value = await adminClient(dataDir(options)).post(path, { reason: options.reason })
      out.data(value, (done) => `closed ${textOf(members(done).id)}`)
    })
}
