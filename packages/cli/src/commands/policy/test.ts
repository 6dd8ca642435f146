import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Option } from 'commander'
import type { Command } from 'commander'
import { errorCode, SallyportError } from '@sallyport/base'
import type { NetworkCoverage, Suite, TestFile, TestReport, TestRun } from '@sallyport/policy'
import { EXIT } from '../../exit.ts'
import { jsonOption } from '../../options.ts'
import { sarifOption, shown, within, writeSarif } from '../../sarif.ts'

const CATEGORY = 'policy-test'

/** The files of a declaration stand in its folder. */
const besideNetwork = (network: string, file: string): string => shown(join(dirname(network), file))

const MAX_FILE_BYTES = 1_048_576

interface TestOptions {
  readonly network?: string
  readonly format: 'text' | 'json' | 'junit' | 'tap'
  readonly json?: boolean
  readonly coverage?: boolean
  readonly minCoverage?: string
  readonly tag?: string
  readonly sarif?: string
}

/** `sallyport policy test`: a matrix of calls and how they shall end, decided as a gateway would. */
export function addTest(policy: Command): void {
  policy
    .command('test')
    .description('decide a matrix of calls and compare it with how they shall end')
    .argument('[files...]', 'files of tests (default: `tests.yaml` beside the declaration)')
    .option('--network <file>', 'the declaration, whatever the files say')
    .addOption(
      new Option('--format <format>', 'how to say it')
        .choices(['text', 'json', 'junit', 'tap'])
        .default('text'),
    )
    .option('--coverage', 'say which parts of which policies were never seen')
    .option('--min-coverage <percent>', 'fail below this coverage (0–100)')
    .option('--tag <tag>', 'only rows with this tag')
    .addOption(sarifOption())
    .addOption(jsonOption())
    .action(async (files: readonly string[], options: TestOptions) => {
      const report = await runFiles(files, options)
      const { testFindings, verdicts } = await import('@sallyport/policy')
      await writeSarif(options.sarif, CATEGORY, testFindings(report, besideNetwork))
      process.stdout.write(`${await render(report, options)}\n`)
      if (verdicts(report).some(({ passed }) => !passed)) process.exitCode = EXIT.failure
    })
}

async function render(report: TestReport, { format, json }: TestOptions): Promise<string> {
  const { jsonReport, junitReport, tapReport, textReport } = await import('@sallyport/policy')
  switch (json === true ? 'json' : format) {
    case 'json':
      return JSON.stringify(jsonReport(report), null, 2)
    case 'junit':
      return junitReport(report)
    case 'tap':
      return tapReport(report)
    default:
      return textReport(report)
  }
}

async function runFiles(names: readonly string[], options: TestOptions): Promise<TestReport> {
  const { readTests } = await import('@sallyport/policy')
  const minCoverage = percentOf(options.minCoverage)
  const chosen = names.length > 0 ? names : [besideDeclaration(options.network)]
  const byNetwork = new Map<string, TestFile[]>()
  // One file under two spellings is one file.
  for (const [file, name] of new Map(chosen.map((name) => [shown(name), name]))) {
    const read = await annotated(options, name, () => readTests(readText(name), file))
    const network = options.network ?? join(dirname(name), read.network ?? 'network.yaml')
    const rows = read.rows.filter(
      ({ tags }) => options.tag === undefined || tags.includes(options.tag),
    )
    byNetwork.set(network, [...(byNetwork.get(network) ?? []), { ...read, rows }])
  }
  const suites: Suite[] = []
  const coverage: NetworkCoverage[] = []
  for (const [networkFile, files] of byNetwork) {
    const run = await annotated(options, networkFile, () => runOn(networkFile, files))
    suites.push(
      ...files.map(({ file }) => ({
        file,
        results: run.results.filter(({ row }) => row.span.file === file),
      })),
    )
    coverage.push({ network: shown(networkFile), report: run.coverage })
  }
  if (suites.every(({ results }) => results.length === 0)) {
    throw new SallyportError('SP_USAGE_OPTION', `no row has the tag \`${options.tag ?? ''}\``, {
      fix: 'leave `--tag` out, or give rows that tag',
    })
  }
  const wanted = options.coverage === true || minCoverage !== undefined
  return { suites, coverage: wanted ? coverage : [], minCoverage }
}

const besideDeclaration = (network = 'network.yaml'): string => join(dirname(network), 'tests.yaml')

function percentOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (/^\d{1,3}(\.\d{1,3})?$/.test(text) && value <= 100) return value
  throw new SallyportError('SP_USAGE_OPTION', `\`${text}\` is no percentage`, {
    fix: 'give `--min-coverage` a number from 0 to 100',
  })
}

/** What cannot be run is annotated too. */
async function annotated<T>(
  { sarif }: TestOptions,
  file: string,
  act: () => T | Promise<T>,
): Promise<T> {
  try {
    return await act()
  } catch (error) {
    const { findingsOf } = await import('@sallyport/policy')
    await writeSarif(sarif, CATEGORY, findingsOf(error, shown(file), within(file)))
    throw error
  }
}

async function runOn(networkFile: string, files: readonly TestFile[]): Promise<TestRun> {
  const { loadDeclaration } = await import('@sallyport/network')
  const { policyFindings, PolicyProblems, runTests } = await import('@sallyport/policy')
  const declaration = await loadDeclaration({ networkFile })
  try {
    return await runTests(files, declaration)
  } catch (error) {
    if (!errorCode(error).startsWith('SP_CEDAR_')) throw error
    // Loading stops at the first problem of the policies; whoever mends them wants all.
    const findings = await policyFindings(declaration)
    const errors = findings.filter(({ level }) => level === 'error')
    throw errors.length > 0 ? new PolicyProblems(errors) : error
  }
}

/** @throws SallyportError `SP_POLICY_TEST_FILE` */
function readText(path: string): string {
  const refuse = (what: string): SallyportError =>
    new SallyportError('SP_POLICY_TEST_FILE', `the file of tests \`${path}\` ${what}`, {
      fix: 'name a YAML file of at most 1 MiB; see docs/policy/testing.md',
    })
  let handle: number
  try {
    // Non-blocking, so that a named pipe put in its place cannot hang the reader.
    handle = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch {
    throw refuse('cannot be read')
  }
  try {
    const stat = fstatSync(handle)
    if (!stat.isFile() || stat.size > MAX_FILE_BYTES) throw refuse('is no file, or too large')
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(handle))
  } catch (error) {
    throw error instanceof SallyportError ? error : refuse('is not readable UTF-8')
  } finally {
    closeSync(handle)
  }
}
