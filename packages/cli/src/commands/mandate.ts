import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import { parseJson, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { adminClient } from '../admin.ts'
import { EXIT } from '../exit.ts'
import { createOutput, table, utc } from '../output.ts'
import { list, members, numberOf, textOf } from '../shape.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'

const MAX_DRAFT = 65_536

export function addMandate(program: Command): void {
  const mandate = program.command('mandate').description('task grants')

  mandate
    .command('list')
    .description('mandates that the control plane holds, newest first')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const mandates = list(await adminClient(dataDir(options)).get('/api/mandates'))
      out.data(mandates, (rows) =>
        rows.length === 0
          ? 'there are none'
          : table(
              ['id', 'status', 'from', 'to', 'used', 'until', 'task'],
              rows.map(members).map((row) => {
                const said = members(row.statement)
                return [
                  textOf(row.id),
                  textOf(row.status),
                  textOf(said.delegator),
                  textOf(said.delegate),
                  `${numberOf(row.used)}/${numberOf(said.uses)}`,
                  utc(numberOf(said.expiresAt)),
                  textOf(said.task),
                ]
              }),
            ),
      )
    })

  mandate
    .command('show')
    .description('one mandate, exactly as it was signed')
    .argument('<id>')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (id: string, options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const path = `/api/mandates/${encodeURIComponent(id)}`
      out.data(await adminClient(dataDir(options)).get(path), (value) =>
        JSON.stringify(value, null, 2),
      )
    })

  mandate
    .command('grant')
    .description('check a mandate and say where a passkey can sign it')
    .argument('<file>', 'JSON: delegate, task, grants, uses, lifetimeSeconds')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (file: string, options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const admin = adminClient(dataDir(options))
      const checked = await admin.post('/api/mandates/check', draftIn(file))
      const health = members(await admin.get('/api/health'))
      out.data(checked, (value) => JSON.stringify(value, null, 2))
      out.note(
        `giving it needs a passkey, which this command has not: sign it at ${textOf(health.console)}/mandates/give`,
      )
      process.exitCode = EXIT.pending
    })

  mandate
    .command('revoke')
    .description('end a mandate and everything below it, at every gateway')
    .argument('<id>')
    .requiredOption('--reason <text>', 'why')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (id: string, options: CommonOptions & { reason: string }) => {
      const out = createOutput(options.json === true)
      const path = `/api/mandates/${encodeURIComponent(id)}/revoke`
      const value = await adminClient(dataDir(options)).post(path, { reason: options.reason })
      out.data(value, (done) => `revoked ${textOf(members(done).id)}`)
    })
}

function draftIn(file: string): JsonValue {
  try {
    return parseJson(readFileSync(file), { maxBytes: MAX_DRAFT })
  } catch (cause) {
    throw new SallyportError('SP_CONFIG_MANDATE', `\`${file}\` holds no mandate`, {
      fix: 'write a JSON object with delegate, task, grants, uses and lifetimeSeconds: docs/identity/mandates.md',
      cause,
    })
  }
}
