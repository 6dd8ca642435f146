import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { globSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { delimiter, join, matchesGlob } from 'node:path'
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
 * removed, all run. A run that is stopped loses the few files it was at, and goes on there the next time.
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

/** Sources that one run of Stryker takes: it writes down what came of them at its end only. */
const FILES_A_RUN = 12

async function scoreOf(name: Mutated): Promise<Row[]> {
  const tally = new Map<string, number>()
  const sources = sourcesOf(name)
  for (let at = 0; at < sources.length; at += FILES_A_RUN) {
    const { files } = await stryker(name, sources.slice(at, at + FILES_A_RUN))
    for (const [path, { source, mutants }] of Object.entries(files)) {
      if (readFileSync(join(ROOT, path), 'utf8') !== source) {
        throw new Error(`\`${path}\` changed while its mutants ran`)
      }
      for (const { status } of mutants) tally.set(status, (tally.get(status) ?? 0) + 1)
    }
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

/** Paths below the root. */
function sourcesOf(name: Mutated): string[] {
  // Our own file, in the schema that it names.
  const { mutate } = JSON.parse(readFileSync(join(ROOT, `stryker.${name}.json`), 'utf8')) as {
    readonly mutate: readonly string[]
  }
  const not = mutate.filter((glob) => glob.startsWith('!')).map((glob) => glob.slice(1))
  return mutate
    .filter((glob) => !glob.startsWith('!'))
    .flatMap((glob) => globSync(glob, { cwd: ROOT }))
    .filter((path) => !not.some((glob) => matchesGlob(path, glob)))
    .toSorted()
}

async function stryker(name: Mutated, sources: readonly string[]): Promise<Report> {
  const file = join(REPORTS, `${name}.json`)
  rmSync(file, { force: true })
  const which = createHash('sha256').update(sources.join('\n')).digest('hex').slice(0, 8)
  const incremental = join(REPORTS, `${name}-${stampOf(name)}-${which}.json`)
  const options = ['--incrementalFile', incremental, '--concurrency', CONCURRENCY]
  const mutate = ['--mutate', sources.join(',')]
  const child = spawn('stryker', ['run', `stryker.${name}.json`, ...mutate, ...options], {
    cwd: ROOT,
    env: {
      ...process.env,
      PATH: [join(ROOT, 'node_modules/.bin'), process.env['PATH']].join(delimiter),
      // Mutants of what runs while modules load start Node anew: stripped and compiled modules are kept between.
      NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/mutation'),
      // Few random policy sets for each mutant; the tables are whole.
      CEDAR_TRIALS: '4',
      STREAM_TRIALS: '60',
      STREAM_MEGABYTES: '2',
      SALLYPORT_DATA: join(ROOT, 'no-corpus'),
    },
    // The rows are what belongs on stdout.
    stdio: ['ignore', process.stderr, process.stderr],
  })
  await new Promise<void>((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code) => {
      if (code === 0) resolve()
      else reject(new Error(`Stryker ended with ${code}`))
    })
  })
  // Written by the run above, in the schema that its reporter follows.
  return JSON.parse(readFileSync(file, 'utf8')) as Report
}

/** Changes with everything that Stryker does not compare when it takes over the outcome of the last run. */
function stampOf(name: Mutated): string {
  const hash = createHash('sha256').update(process.version)
  const runner = join(import.meta.dirname, 'mutants')
  const files = [
    join(ROOT, `stryker.${name}.json`),
    ...readdirSync(runner).map((file) => join(runner, file)),
  ]
  for (const file of files.toSorted()) hash.update(readFileSync(file))
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
