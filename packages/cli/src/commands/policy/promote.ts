import { resolve } from 'node:path'
import type { Command } from 'commander'
import { SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { adminClient } from '../../admin.ts'
import type { AdminClient } from '../../admin.ts'
import { createOutput, table, utc } from '../../output.ts'
import { dataDir, dataOption, jsonOption } from '../../options.ts'
import type { CommonOptions } from '../../options.ts'
import { list, members, numberOf, textOf } from '../../shape.ts'
import type { Members } from '../../shape.ts'

/** From a file to what is in force: propose, shadow, read the report, and then two operators sign, in the console. */
export function addPromotion(policy: Command): void {
  policy
    .command('propose')
    .description('check a declaration and keep it for signing; nothing changes in force')
    .argument('[network]', 'the declaration', 'network.yaml')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (file: string, options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const { loadDeclaration } = await import('@sallyport/network')
      const declaration = await loadDeclaration({ networkFile: resolve(file) })
      const admin = adminClient(dataDir(options))
      out.data(await admin.post('/api/declaration/propose', { declaration }), (value) => {
        const { digest, diff } = members(value)
        const changes = list(diff).map(members)
        return [
          `proposed   ${textOf(digest)}`,
          ...changes.map(({ path, change }) => `  ${textOf(change).padEnd(8)} ${textOf(path)}`),
          `next: sallyport policy shadow ${textOf(digest).slice(0, 12)}`,
        ].join('\n')
      })
    })

  policy
    .command('shadow')
    .description('decide every call by a proposal too, without effect, and count what differs')
    .argument('[digest]', 'of a proposal, or its beginning')
    .option('--stop', 'take whatever is in shadow out of it')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (digest: string | undefined, options: CommonOptions & { stop?: boolean }) => {
      const out = createOutput(options.json === true)
      const admin = adminClient(dataDir(options))
      if (options.stop === true) {
        out.data(await admin.post('/api/declaration/shadow/stop', {}), () => 'nothing is in shadow')
        return
      }
      const chosen = await choose(admin, digest)
      out.data(await admin.post('/api/declaration/shadow', { digest: chosen }), () =>
        [
          `in shadow  ${chosen}`,
          `next: sallyport policy shadow-report ${chosen.slice(0, 12)}`,
        ].join('\n'),
      )
    })

  policy
    .command('shadow-report')
    .description('what a proposal would have decided otherwise while it was in shadow')
    .argument('[digest]', 'of a proposal, or its beginning; the one in shadow where left out')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (digest: string | undefined, options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const admin = adminClient(dataDir(options))
      const chosen = await choose(admin, digest)
      out.data(await admin.get(`/api/declaration/${chosen}/shadow`), reportText)
    })

  policy
    .command('promote')
    .description('say where operators sign a proposal into force')
    .argument('[digest]', 'of a proposal, or its beginning')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (digest: string | undefined, options: CommonOptions) => {
      const admin = adminClient(dataDir(options))
      const chosen = await choose(admin, digest)
      const proposal = (await proposals(admin)).find((each) => textOf(each.digest) === chosen)
      const health = members(await admin.get('/api/health'))
      const { minutes, required } = members(proposal?.shadow)
      const signed = list(proposal?.signed).map(textOf)
      const left = Math.max(0, numberOf(required) - numberOf(minutes))
      throw new SallyportError(
        'SP_NEEDS_PASSKEY',
        `\`${chosen.slice(0, 12)}\` needs passkeys: this command cannot sign for a person`,
        {
          detail: `${signed.length} of ${textOf(proposal?.quorum)} have signed${signed.length > 0 ? ` (${signed.join(', ')})` : ''}${left > 0 ? `; ${left} more minutes of shadow before the last may` : ''}`,
          fix: `different operators sign at ${textOf(health.console)}/network?section=changes`,
        },
      )
    })
}

async function proposals(admin: AdminClient): Promise<readonly Members[]> {
  return list(await admin.get('/api/declaration/proposals')).map(members)
}

/**
 * The proposal that a digest, or the beginning of one, names; without one, the one in shadow, or the only one.
 *
 * @throws SallyportError `SP_DECLARATION_UNKNOWN`
 */
async function choose(admin: AdminClient, digest: string | undefined): Promise<string> {
  const all = await proposals(admin)
  const shadowed = all.filter(({ shadow }) => textOf(members(shadow).stage) === 'shadow')
  const matching =
    digest === undefined
      ? shadowed.length > 0
        ? shadowed
        : all
      : all.filter((each) => textOf(each.digest).startsWith(digest))
  const [only] = matching
  if (only && matching.length === 1) return textOf(only.digest)
  throw new SallyportError(
    'SP_DECLARATION_UNKNOWN',
    digest === undefined
      ? 'it is not clear which proposal is meant'
      : `no one proposal begins with \`${digest.slice(0, 64)}\``,
    {
      detail: `proposed are ${all.map((each) => textOf(each.digest).slice(0, 12)).join(', ') || 'none'}`,
      fix: 'name one by its digest, or propose a file with `sallyport policy propose`',
    },
  )
}

function reportText(value: JsonValue): string {
  const report = members(value)
  const counts = members(report.counts)
  const running = textOf(report.stage) === 'shadow'
  const rows = list(report.changes).flatMap((change) => {
    const { from, to, calls, examples } = members(change)
    const kind = `${textOf(from).toUpperCase()} → ${textOf(to).toUpperCase()}`
    return [
      [kind, textOf(calls), '', ''],
      ...list(examples)
        .map(members)
        .map((example) => [
          '',
          '',
          `${textOf(example.agent)} ${textOf(example.system)}.${textOf(example.operation)}`,
          `${textOf(example.decisionId)} ${textOf(members(example.shadow).code)}`,
        ]),
    ]
  })
  return [
    `${running ? 'in shadow ' : 'draft     '} ${textOf(report.digest)}`,
    ...(running ? [`since      ${utc(numberOf(report.since))}, by ${textOf(report.by)}`] : []),
    `minutes    ${textOf(report.minutes)} of ${textOf(report.required)} required`,
    `agreed     ${textOf(counts.agreed)}; not compared ${textOf(counts.notCompared)}`,
    `widens     ${textOf(counts.denyToAllow)} DENY → ALLOW`,
    `narrows    ${textOf(counts.allowToDeny)} ALLOW → DENY`,
    `approvals  ${textOf(counts.needsChanged)} changed; otherwise ${textOf(counts.otherwise)}`,
    ...(rows.length === 0 ? [] : ['', table(['change', 'calls', 'call', 'decision'], rows)]),
  ].join('\n')
}
