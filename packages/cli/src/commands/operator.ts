import type { Command } from 'commander'
import { adminClient } from '../admin.ts'
import { createOutput, table, utc } from '../output.ts'
import { list, members, numberOf, textOf } from '../shape.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'

/** People: who is signed in, and what had to be told about them. */
export function addOperator(program: Command): void {
  const operator = program.command('operator').description('people and their sessions')

  operator
    .command('sessions')
    .description('who is signed in, newest first')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const sessions = list(await adminClient(dataDir(options)).get('/api/sessions'))
      createOutput(options.json === true).data(sessions, (rows) =>
        rows.length === 0
          ? 'nobody is signed in'
          : table(
              ['id', 'operator', 'by', 'from', 'last used', 'ends'],
              rows.map(members).map((row) => {
                const ends = Math.min(numberOf(row.expiresAt), numberOf(row.idleAt))
                return [
                  textOf(row.id),
                  textOf(row.operator),
                  textOf(row.method),
                  textOf(row.address),
                  utc(numberOf(row.lastUsed)),
                  utc(ends),
                ]
              }),
            ),
      )
    })

  operator
    .command('revoke-session')
    .description('end a session and its event streams at once')
    .argument('<id>', 'as `operator sessions` lists it')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (id: string, options: CommonOptions) => {
      const path = `/api/sessions/${encodeURIComponent(id)}/revoke`
      await adminClient(dataDir(options)).post(path, {})
      createOutput(options.json === true).data({ id, ended: true }, () => `ended ${id}`)
    })

  operator
    .command('alarms')
    .description('reused sessions and codes, recoveries and break-glass, newest first')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const alarms = list(await adminClient(dataDir(options)).get('/api/alarms'))
      createOutput(options.json === true).data(alarms, (rows) =>
        rows.length === 0
          ? 'no alarms'
          : table(
              ['at', 'kind', 'operator', 'what'],
              rows
                .map(members)
                .map((row) => [
                  utc(numberOf(row.at)),
                  textOf(row.kind),
                  textOf(row.operator),
                  textOf(row.text),
                ]),
            ),
      )
    })

  operator
    .command('break-glass')
    .description('who took emergency roles, and what waits for a review')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const broken = list(await adminClient(dataDir(options)).get('/api/break-glass'))
      createOutput(options.json === true).data(broken, (rows) =>
        rows.length === 0
          ? 'nobody broke the glass'
          : table(
              ['id', 'operator', 'opened', 'ends', 'review', 'reason'],
              rows.map(members).map((row) => {
                const by = textOf(members(row.review).by)
                const state = by === '' ? (row.overdue === true ? 'overdue' : 'waits') : by
                return [
                  textOf(row.id),
                  textOf(row.operator),
                  utc(numberOf(row.openedAt)),
                  utc(numberOf(row.endsAt)),
                  row.open === true ? 'open' : state,
                  textOf(row.reason),
                ]
              }),
            ),
      )
    })
}
