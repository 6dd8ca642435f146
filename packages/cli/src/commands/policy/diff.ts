import type { Command } from 'commander'
import type { declarationDiff } from '@sallyport/control'
import type { CallFinding, Counterexample, Decided, DiffReport } from '@sallyport/policy'
import { EXIT } from '../../exit.ts'
import { createOutput, utc } from '../../output.ts'
import { duration, jsonOption } from '../../options.ts'
import { networkFileOf } from './replay.ts'

interface Flags {
  readonly bound: string
  readonly wideningOnly?: boolean
  readonly json?: boolean
}

type Structure = ReturnType<typeof declarationDiff>
type Report = DiffReport & { readonly structure: Structure }

/** `sallyport policy diff`: in what two declarations decide differently, by proof. */
export function addDiff(policy: Command): void {
  policy
    .command('diff')
    .description(
      'what a new declaration newly allows and newly denies, with a request that shows it',
    )
    .argument('<old>', 'network.yaml, or its directory')
    .argument('<new>', 'the same')
    .option('--bound <time>', 'how long the solver may take for one question', '10s')
    .option('--widening-only', 'exit with 1 only where something is newly allowed or not proven')
    .addOption(jsonOption())
    .action(async (old: string, next: string, flags: Flags) => {
      const out = createOutput(flags.json === true)
      const boundMs = duration('--bound', flags.bound)
      const { declarationDiff } = await import('@sallyport/control')
      const { loadDeclaration } = await import('@sallyport/network')
      const { diff } = await import('@sallyport/policy')
      const before = await loadDeclaration({ networkFile: networkFileOf(old) })
      const after = await loadDeclaration({ networkFile: networkFileOf(next) })
      const startedAt = performance.now()
      const report = await diff({ old: before, new: after, boundMs })
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
      out.note(
        `${report.questions} questions, ${report.bySolver} of them put to the solver and proven, in ${seconds} s`,
      )
      const whole: Report = {
        ...report,
        structure: machineRead(declarationDiff(before.network, after.network)),
      }
      out.data(whole, text)
      process.exitCode = exitOf(whole, flags.wideningOnly === true)
    })
}

/** What changed in `network.yaml`, without what no machine reads. */
function machineRead(structure: Structure): Structure {
  // Of a declared thing; an input, a path or an attribute that has the name is read by machines.
  return structure.filter(({ path }) => !/\]\.(?:description|displayName)$/.test(path))
}

function exitOf(report: Report, wideningOnly: boolean): number {
  const { verdict, newlyAllowed, fieldsMoreOpen, limits, undecided, structure } = report
  const differs = wideningOnly
    ? newlyAllowed.length > 0 ||
      fieldsMoreOpen.length > 0 ||
      limits.some(({ direction }) => direction === 'widened') ||
      undecided.some(({ question }) => WIDENING.has(question))
    : verdict !== 'equivalent' || structure.length > 0
  return differs ? EXIT.failure : EXIT.ok
}

const WIDENING: ReadonlySet<string> = new Set(['newly allowed', 'fields more open'])

function text(report: Report): string {
  const { questions, proven, bySolver, undecided, limits, structure } = report
  const lines = [
    `old      ${report.old}`,
    `new      ${report.new}`,
    `verdict  ${report.verdict}: ${proven} of ${questions} questions proven equal, ${bySolver} of them by the solver`,
  ]
  for (const one of report.newlyAllowed) lines.push('', ...finding('NEWLY ALLOWED', one))
  for (const one of report.newlyDenied) lines.push('', ...finding('NEWLY DENIED', one))
  for (const [title, fields] of [
    ['FIELD MORE OPEN', report.fieldsMoreOpen],
    ['FIELD LESS OPEN', report.fieldsLessOpen],
  ] as const) {
    for (const one of fields) {
      lines.push('', ...finding(title, one), `  field  ${one.field}: ${one.before} → ${one.after}`)
    }
  }
  if (undecided.length > 0) lines.push('')
  for (const { agent, operation, question, why } of undecided) {
    lines.push(`UNDECIDED  ${question}: ${agent} → ${operation}`, `  why    ${why}`)
  }
  if (limits.length > 0) lines.push('')
  for (const { direction, what, before, after } of limits) {
    lines.push(`${direction.toUpperCase()}  ${what}: ${before} → ${after}`)
  }
  if (structure.length > 0) lines.push('', 'network.yaml:')
  for (const { path, change, before = '', after = '' } of structure) {
    const what = change === 'changed' ? `${before} → ${after}` : before + after
    lines.push(`  ${change.padEnd(7)}  ${path}  ${what}`)
  }
  return lines.join('\n')
}

function finding(
  title: string,
  { agent, operation, found, counterexample }: CallFinding,
): string[] {
  return [
    `${title}  ${agent} → ${operation}${found === 'search' ? '  (found by search)' : ''}`,
    ...requestText(counterexample).map((line) => `  e.g.   ${line}`),
    `  old    ${decided(counterexample.old)}`,
    `  new    ${decided(counterexample.new)}`,
  ]
}

function requestText({ call, session }: Counterexample): string[] {
  const { input, time, source, evidence, instance } = call
  const facts = [
    `at ${utc(time)}`,
    `risk ${session.risk}`,
    `labels ${session.labels.join(', ') || 'none'}`,
    `approved by ${evidence.approvals.join(', ') || 'nobody'}`,
    ...(source === undefined ? [] : [`from ${source}`]),
    ...(instance.endsWith('/any') ? [] : [`as ${instance}`]),
  ]
  return [`input ${JSON.stringify(input)}`, facts.join(', ')]
}

function decided({ decision, code, policies }: Decided): string {
  const by = policies.length === 0 ? '' : ` by ${policies.join(', ')}`
  return `${decision.toUpperCase()} (${code})${by}`
}
