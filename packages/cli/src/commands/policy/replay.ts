import { statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Option } from 'commander'
import type { Command } from 'commander'
import { SallyportError } from '@sallyport/base'
import type { ChangeGroup, ReplayReport, Verdict } from '@sallyport/policy'
import { EXIT } from '../../exit.ts'
import { publicKeyIn } from '../../files.ts'
import { createOutput, utc } from '../../output.ts'
import type { CommonOptions } from '../../options.ts'
import { dataOption, jsonOption } from '../../options.ts'
import { findShard } from '../audit.ts'

interface Flags extends CommonOptions {
  readonly draft: string
  readonly since?: string
  readonly until?: string
  readonly gateway?: string
  readonly key?: string
  readonly allowUnverified?: boolean
  readonly failOn: 'any' | 'widened'
}

/** `sallyport policy replay`: what would have been decided otherwise under a draft. */
export function addReplay(policy: Command): void {
  policy
    .command('replay')
    .description('decide recorded decisions again under a draft declaration')
    .requiredOption('--draft <path>', 'network.yaml of the draft, or its directory')
    .option('--since <time>', 'ISO 8601, or an age such as `30m`, `24h`, `7d`')
    .option('--until <time>', 'the same; decisions from then on are left out')
    .option('--gateway <id>', 'whose log')
    .option('--key <file>', 'public key of the log (PEM), got out of band')
    .option('--allow-unverified', 'replay a log that does not verify all the same')
    .addOption(
      new Option('--fail-on <what>', 'which changes make the exit code 1')
        .choices(['any', 'widened'])
        .default('any'),
    )
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (flags: Flags) => {
      const out = createOutput(flags.json === true)
      const shard = findShard(flags)
      const now = Date.now()
      const since = flags.since === undefined ? undefined : timeOf('--since', flags.since, now)
      const until = flags.until === undefined ? undefined : timeOf('--until', flags.until, now)
      const { loadDeclaration } = await import('@sallyport/network')
      const { replay } = await import('@sallyport/policy')
      const draft = await loadDeclaration({ networkFile: networkFileOf(flags.draft) })
      const startedAt = performance.now()
      const report = await replay({
        gatewayDir: dirname(shard.dir),
        origin: shard.origin,
        publicKey: publicKeyIn(flags.key ?? shard.keyFile),
        draft,
        ...(since === undefined ? {} : { since }),
        ...(until === undefined ? {} : { until }),
        ...(flags.allowUnverified === true ? { allowUnverified: true } : {}),
      })
      const seconds = (performance.now() - startedAt) / 1000
      if (flags.key === undefined) {
        out.note('note: the key came from the same directory as the log; use --key for proof')
      }
      out.note(`${report.decisions} decisions in ${seconds.toFixed(1)} s`)
      out.data(report, text)
      process.exitCode = exitOf(report, flags.failOn)
    })
}

/** A declaration is named by its `network.yaml` or by the directory that holds it. */
export function networkFileOf(path: string): string {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory()
    ? join(path, 'network.yaml')
    : path
}

/** A replay that does not reproduce what was recorded proves nothing, whatever it found. */
function exitOf({ selfCheck, widened, narrowed }: ReplayReport, failOn: string): number {
  if (selfCheck.reproduced < selfCheck.of) return EXIT.verification
  return widened + (failOn === 'any' ? narrowed : 0) > 0 ? EXIT.failure : EXIT.ok
}

const UNITS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/** @throws SallyportError `SP_USAGE_OPTION` */
export function timeOf(option: string, text: string, now: number): number {
  const [, count, unit = ''] = /^(\d{1,9})([smhd])$/.exec(text) ?? []
  if (count !== undefined) return now - Number(count) * (UNITS[unit] ?? Number.NaN)
  const at = /^\d{4}-\d\d-\d\d(?:T[\d:.]+(?:Z|[+-]\d\d:\d\d))?$/.test(text) ? Date.parse(text) : NaN
  if (!Number.isNaN(at)) return at
  throw new SallyportError('SP_USAGE_OPTION', `\`${option} ${text}\` is no time`, {
    fix: 'write `2026-07-01`, `2026-07-01T12:00:00Z`, or an age such as `30m`, `24h`, `7d`',
  })
}

function text(report: ReplayReport): string {
  const { log, selfCheck, notReplayed, decisions, replayed } = report
  const lines = [
    `log        ${log.origin}, ${log.verified ? 'verified' : 'UNVERIFIED'}: ${log.statement}`,
    `decisions  ${decisions} recorded, ${replayed} replayed`,
    `self-check reproduced ${selfCheck.reproduced} of ${selfCheck.of} under the recorded declaration`,
    ...selfCheck.failures.map(({ id, index, why }) => `  NOT REPRODUCED ${id} (${index}): ${why}`),
    ...notReplayed.map(
      ({ reason, count, examples }) =>
        `  not replayed: ${count} ${WHY[reason]}, e.g. ${examples.map(({ id }) => id).join(', ')}`,
    ),
    `unchanged  ${report.unchanged}`,
    `widened    ${report.widened}`,
    `narrowed   ${report.narrowed}`,
  ]
  for (const change of report.changes) lines.push('', ...groupText(change))
  if (report.groupsLeftOut > 0) lines.push('', `… and ${report.groupsLeftOut} more groups`)
  return lines.join('\n')
}

const WHY: Readonly<Record<ReplayReport['notReplayed'][number]['reason'], string>> = {
  'no-operation': 'requests that name no operation',
  erased: 'whose subject was erased',
  'input-truncated': 'whose input the log holds by digest only',
  'input-unreadable': 'whose input does not open',
  'declaration-missing': 'whose declaration the gateway did not keep',
}

function groupText(group: ChangeGroup): string[] {
  const { agent, operation, before, after, count, stopped, firstAt, lastAt, examples } = group
  const same = before.decision === after.decision && group.fields.length > 0
  const change = same ? 'ALLOW, other fields' : `${verdict(before)} → ${verdict(after)}`
  const calls = `${count} call${count === 1 ? '' : 's'}`
  const span = firstAt === lastAt ? utc(firstAt) : `${utc(firstAt)} … ${utc(lastAt)}`
  return [
    `${group.direction.toUpperCase()}  ${change}  ${agent} → ${operation}  ${calls}, ${span}`,
    ...(stopped > 0 ? [`  of them ${stopped} were stopped by something other than policy`] : []),
    ...(same
      ? group.fields.map(({ field, before: a, after: b }) => `  field   ${field}: ${a} → ${b}`)
      : [`  before  ${cause(before)}`, `  after   ${cause(after)}`]),
    `  e.g.    ${examples.map(({ id, index }) => `${id} (${index})`).join(', ')}`,
  ]
}

function verdict({ decision, approvals }: Verdict): string {
  if (decision !== 'needs') return decision.toUpperCase()
  return approvals === 1 ? 'NEEDS an approval' : `NEEDS ${approvals} approvals`
}

const cause = ({ code, policies }: Verdict): string =>
  policies.length === 0 ? code : `${code} by ${policies.join(', ')}`
