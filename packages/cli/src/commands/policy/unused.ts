import { join } from 'node:path'
import type { Command } from 'commander'
import type { UnusedReport } from '@sallyport/policy'
import { publicKeyIn } from '../../files.ts'
import { createOutput, utc } from '../../output.ts'
import type { CommonOptions } from '../../options.ts'
import { dataDir, dataOption, jsonOption } from '../../options.ts'
import { findShards } from '../audit.ts'
import { networkFileOf, timeOf } from './replay.ts'

interface Options extends CommonOptions {
  readonly network?: string
  readonly since?: string
  readonly gateway?: string
  readonly key?: string
}

/** `sallyport policy unused`: what was granted and nobody used. */
export function addUnused(policy: Command): void {
  policy
    .command('unused')
    .description('grants that no recorded decision used: flows, operations and policies')
    .option('--network <path>', 'network.yaml, or its directory (default: of the data directory)')
    .option('--since <time>', 'ISO 8601, or an age such as `30m`, `24h`, `90d`')
    .option('--gateway <id>', 'only this log')
    .option('--key <file>', 'public key of the log (PEM), got out of band')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: Options) => {
      const out = createOutput(options.json === true)
      const shards = findShards(options)
      if (options.key === undefined) {
        out.note('note: the key came from the same directory as the log; use --key for proof')
      }
      const since =
        options.since === undefined ? undefined : timeOf('--since', options.since, Date.now())
      const networkFile = networkFileOf(options.network ?? join(dataDir(options), 'network.yaml'))
      const { loadDeclaration } = await import('@sallyport/network')
      const { unusedGrants } = await import('@sallyport/policy')
      const report = await unusedGrants({
        declaration: await loadDeclaration({ networkFile }),
        logs: shards.map(({ dir, origin, keyFile }) => ({
          dir,
          origin,
          publicKey: publicKeyIn(options.key ?? keyFile),
        })),
        ...(since === undefined ? {} : { since }),
      })
      out.data(report, text)
    })
}

const times = (count: number): string => `${count} time${count === 1 ? '' : 's'}`

function text(report: UnusedReport): string {
  const { decisions, firstAt, lastAt, otherDeclaration, flows, policies } = report
  const span =
    firstAt === undefined || lastAt === undefined ? '' : `, ${utc(firstAt)} … ${utc(lastAt)}`
  const last = (at: number | undefined): string => (at === undefined ? '' : `, last ${utc(at)}`)
  const of = (effect: 'permit' | 'forbid', used: boolean) =>
    policies.filter((each) => each.effect === effect && each.used.count > 0 === used)
  const idle = flows.filter(({ allowed }) => allowed.count === 0)
  const busy = flows.filter(({ allowed }) => allowed.count > 0)
  return [
    `${decisions} decisions${span}`,
    ...(otherDeclaration === 0
      ? []
      : [`${otherDeclaration} of them under another declaration than this one`]),
    '',
    `flows never let through: ${idle.length} of ${flows.length} operations`,
    ...idle.map(
      ({ agent, operation, refused }) =>
        `  ${agent} → ${operation}${refused.count === 0 ? '' : `  (refused ${times(refused.count)}${last(refused.lastAt)})`}`,
    ),
    '',
    `permits that decided nothing: ${of('permit', false).length}`,
    ...of('permit', false).map(({ id }) => `  ${id}`),
    `forbids that stopped nothing: ${of('forbid', false).length}`,
    ...of('forbid', false).map(({ id }) => `  ${id}`),
    '',
    'used',
    ...busy.map(
      ({ agent, operation, allowed }) =>
        `  ${agent} → ${operation}  ${times(allowed.count)}${last(allowed.lastAt)}`,
    ),
    ...[...of('permit', true), ...of('forbid', true)].map(
      ({ id, used }) => `  ${id}  ${times(used.count)}${last(used.lastAt)}`,
    ),
  ].join('\n')
}
