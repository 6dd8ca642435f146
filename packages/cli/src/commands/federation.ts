import type { Command } from 'commander'
import type { JsonValue } from '@sallyport/base'
import { adminClient } from '../admin.ts'
import { EXIT } from '../exit.ts'
import { createOutput, table, utc } from '../output.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'
import type { CommonOptions } from '../options.ts'
import { list, members, numberOf, textOf } from '../shape.ts'

export function addFederation(program: Command): void {
  const federation = program
    .command('federation')
    .description('other trust domains: their bundles, and their agents that may call')

  federation
    .command('list')
    .description('each declared trust domain, what is held of it, and who may call')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const view = await adminClient(dataDir(options)).get('/api/federation')
      createOutput(options.json === true).data(view, describe)
    })

  federation
    .command('refresh')
    .description('fetch the bundle of a trust domain now; gateways fetch by themselves')
    .argument('<trust-domain>')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (trustDomain: string, options: CommonOptions) => {
      const admin = adminClient(dataDir(options))
      const view = await admin.post('/api/federation/refresh', { trustDomain })
      createOutput(options.json === true).data(view, describe)
    })

  federation
    .command('explain')
    .description('say in one line whether gateways let an identity in, and if not, why not')
    .argument('<spiffe-id>')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (id: string, options: CommonOptions) => {
      const path = `/api/federation/explain?id=${encodeURIComponent(id)}`
      const answer = await adminClient(dataDir(options)).get(path)
      createOutput(options.json === true).data(answer, (value) => {
        const { code, text } = members(value)
        return `${textOf(text)} [${textOf(code)}]`
      })
      if (textOf(members(answer).code) !== 'SP_ALLOWED') process.exitCode = EXIT.denied
    })
}

function describe(view: JsonValue): string {
  const domains = list(view).map(members)
  if (domains.length === 0) return 'no other trust domain is declared'
  const rows = domains.map((one) => [
    textOf(one.trustDomain),
    textOf(one.state),
    one.fetchedAt === undefined ? 'never' : utc(numberOf(one.fetchedAt)),
    textOf(one.failure),
  ])
  const agents = domains.flatMap((one) => list(one.agents).map(members))
  return [
    table(['trust domain', 'state', 'bundle fetched', 'last failure'], rows),
    ...(agents.length === 0
      ? ['no agent of theirs may call']
      : [
          table(
            ['agent', 'state', 'path', 'owner', 'until', 'purpose'],
            agents.map((one) =>
              [one.name, one.state, one.path, one.owner, one.until, one.purpose].map(textOf),
            ),
          ),
        ]),
  ].join('\n')
}
