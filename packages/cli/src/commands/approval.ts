import type { Command } from 'commander'
import { SallyportError } from '@sallyport/base'
import { adminClient } from '../admin.ts'
import { createOutput, table, utc } from '../output.ts'
import { list, members, numberOf, textOf } from '../shape.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'

export function addApproval(program: Command): void {
  const approval = program.command('approval').description('calls that wait for a person')

  approval
    .command('list')
    .description('approvals that are asked for')
    .option('--status <status>', 'pending, approved, denied, expired or used')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions & { status?: string }) => {
      const out = createOutput(options.json === true)
      const query = options.status ? `?status=${encodeURIComponent(options.status)}` : ''
      const approvals = list(await adminClient(dataDir(options)).get(`/api/approvals${query}`))
      out.data(approvals, (rows) =>
        rows.length === 0
          ? 'nothing waits'
          : table(
              ['id', 'status', 'agent', 'operation', 'asked', 'expires'],
              rows
                .map(members)
                .map((row) => [
                  textOf(row.id),
                  textOf(row.status),
                  textOf(row.agent),
                  `${textOf(row.system)}.${textOf(row.operation)}`,
                  utc(numberOf(row.requestedAt)),
                  utc(numberOf(row.expiresAt)),
                ]),
            ),
      )
    })

  approval
    .command('show')
    .description('one approval, with the exact arguments that a signature would cover')
    .argument('<id>')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (id: string, options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const path = `/api/approvals/${encodeURIComponent(id)}`
      out.data(await adminClient(dataDir(options)).get(path), (value) =>
        JSON.stringify(value, null, 2),
      )
    })

  for (const verb of ['approve', 'deny'] as const) {
    approval
      .command(verb)
      .description(`open the console where a passkey can ${verb} it`)
      .argument('<id>')
      .addOption(dataOption())
      .addOption(jsonOption())
      .action(async (id: string, options: CommonOptions) => {
        const admin = adminClient(dataDir(options))
        const row = members(await admin.get(`/api/approvals/${encodeURIComponent(id)}`))
        const health = members(await admin.get('/api/health'))
        throw new SallyportError(
          'SP_NEEDS_PASSKEY',
          `approval \`${textOf(row.id)}\` needs a passkey: this command cannot sign for a person`,
          { fix: `open ${textOf(health.console)}/approvals/${encodeURIComponent(id)}` },
        )
      })
  }
}
