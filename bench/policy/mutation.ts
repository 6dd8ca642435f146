import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { delimiter, join } from 'node:path'
import { bounded, stated } from '../row.ts'
import type { Row } from '../row.ts'

const ROOT = join(import.meta.dirname, '../..')
const REPORTS = join(ROOT, 'reports/mutation')

const CONCURRENCY = process.env['MUTATION_CONCURRENCY'] ?? String(availableParallelism())

/** Packages that the tests of a mutated one load as they are. */
const BELOW = { cedar: ['base'], decide: ['base', 'cedar', 'network', 'redact'] } as const

type Mutated = keyof typeof BELOW
const isMutated = (name: string): name is Mutated => Object.hasOwn(BELOW, name)

/** A report in the mutation testing report schema, as far as it is read here. */
interface Report {
  readonly files: Readonly<
    Record<
      string,
      { readonly source: string; readonly mutants: readonly { readonly status: string }[] }
    >
  >
}

/**
 * Runs Stryker over the sources as they are and gives the mutation scores: of the mutants that ran, how many the tests found
 * (killed, or never ended). Mutants that neither they nor the tests have changed since keep the outcome of the last run; `reports/`
 * removed, all run. Takes minutes of an idle machine, and hours of a busy one.
 *
 * @param args names of packages; none means all. `MUTATION_CONCURRENCY` says how many mutants run at once, where not one a
 *   processor
 */
export async function mutation(args: readonly string[] = []): Promise<readonly Row[]> {
  const unknown = args.find((name) => !isMutated(name))
  if (unknown !== undefined) throw new Error(`\`${unknown}\` is not a package that is mutated`)
  const names = args.length === 0 ? (['decide', 'cedar'] as const) : args.filter(isMutated)
  const rows: Row[] = []
  for (const name of names) rows.push(...(await scoreOf(name)))
  return rows
}

async function scoreOf(name: Mutated): Promise<Row[]> {
  const file = join(REPORTS, `${name}.json`)
  rmSync(file, { force: true })
  await stryker(name)
  // Written by the run above, in the schema that its reporter follows.
  const report = JSON.parse(readFileSync(file, 'utf8')) as Report
  const tally = new Map<string, number>()
  for (const [path, { source, mutants }] of Object.entries(report.files)) {
    if (readFileSync(join(ROOT, path), 'utf8') !== source) {
      throw new Error(`\`${path}\` changed while its mutants ran`)
    }
    for (const { status } of mutants) tally.set(status, (tally.get(status) ?? 0) + 1)
  }
  const count = (...statuses: readonly string[]): number =>
    statuses.reduce((sum, status) => sum + (tally.get(status) ?? 0), 0)
  const found = count('Killed', 'Timeout')
  const missed = count('Survived', 'NoCoverage')
  return [
    bounded(`mutation score of ${name}`, (100 * found) / (found + missed), '%', '>=', 85),
    stated(`mutants of ${name} that ran`, found + missed, 'mutants'),
    stated('of these not found', missed, 'mutants'),
    stated('beside these, could not be loaded', count('RuntimeError', 'CompileError'), 'mutants'),
  ]
}

function stryker(name: Mutated): Promise<void> {
  const incremental = join(REPORTS, `${name}-${stampOf(name)}.json`)
  const options = ['--incrementalFile', incremental, '--concurrency', CONCURRENCY]
  const child = spawn('stryker', ['run', `stryker.${name}.json`, ...options], {
    cwd: ROOT,
    env: {
      ...process.env,
      PATH: [join(ROOT, 'node_modules/.bin'), process.env['PATH']].join(delimiter),
      // Each mutant starts Node anew: stripped and compiled modules are kept between.
      NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/mutation'),
      // Few random policy sets for each mutant; the tables are whole.
      CEDAR_TRIALS: '4',
      SALLYPORT_DATA: join(ROOT, 'no-corpus'),
    },
    // The rows are what belongs on stdout.
    stdio: ['ignore', process.stderr, process.stderr],
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code) => {
      if (code === 0) resolve()
      else reject(new Error(`Stryker ended with ${code}`))
    })
  })
}

/** Changes with everything that Stryker does not compare when it takes over the outcome of the last run. */
function stampOf(name: Mutated): string {
  const hash = createHash('sha256').update(process.version)
  hash.update(readFileSync(join(ROOT, `stryker.${name}.json`)))
  for (const folder of [`${name}/test`, ...BELOW[name].map((below) => `${below}/src`)]) {
    const files = readdirSync(join(ROOT, 'packages', folder), { recursive: true }).map(String)
    // The tests themselves are compared.
    for (const file of files.filter((each) => /(?<!\.test)\.ts$/.test(each)).sort()) {
      hash.update(`${folder}/${file}\n`)
      hash.update(readFileSync(join(ROOT, 'packages', folder, file)))
    }
  }
  return hash.digest('hex').slice(0, 12)
}
