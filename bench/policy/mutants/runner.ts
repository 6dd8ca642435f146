import { registerHooks } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { InstrumenterContext, MutantCoverage, StrykerOptions } from '@stryker-mutator/api/core'
import { commonTokens, declareClassPlugin, PluginKind, tokens } from '@stryker-mutator/api/plugin'
import {
  determineHitLimitReached,
  DryRunStatus,
  MutantRunStatus,
  TestStatus,
} from '@stryker-mutator/api/test-runner'
import type {
  DryRunResult,
  MutantRunOptions,
  MutantRunResult,
  TestResult,
  TestRunner,
  TestRunnerCapabilities,
} from '@stryker-mutator/api/test-runner'
import { collect } from './declared.ts'
import type { Declared } from './declared.ts'
import './no-shrinking.ts'

const STAND_IN = pathToFileURL(join(import.meta.dirname, 'declared.ts')).href
registerHooks({
  resolve: (specifier, context, next) =>
    specifier === 'node:test' ? { url: STAND_IN, shortCircuit: true } : next(specifier, context),
})

/** Loadings of test files are never freed by Node; a process that has made so many is replaced. */
const LOADS = 400

/** What a test file does while it is loaded, and in its hooks, is a test like any other. */
const LOADING = 'loaded'
const idOf = (file: string, test: string): string => `${file} › ${test}`

/** What instrumented sources read and write, each of it unset where it is not wanted. */
type Context = {
  -readonly [Key in keyof InstrumenterContext]: InstrumenterContext[Key] | undefined
}

type Failure = { readonly by: string; readonly why: string }

/**
 * Runs mutants in a process that goes on: starting Node and loading the modules for each took most of the time, and code that
 * has run is fast. A failure counts only if the same test passes at once without the mutant; what a mutant leaves behind in the process
 * can therefore not make a later one look found. It can make one look missed, which only lowers the score.
 */
class MutantRunner implements TestRunner {
  static inject = tokens(commonTokens.options)
  readonly #files: readonly string[]
  readonly #sources: readonly string[]
  readonly #loaded = new Map<string, Declared>()
  #loads = 0

  constructor(options: StrykerOptions) {
    // Ours, beside Stryker's own options.
    const { mutants } = options as unknown as { mutants: { testFiles: readonly string[] } }
    this.#files = mutants.testFiles
    this.#sources = options.mutate.filter((one) => !/[!*]/.test(one))
  }

  capabilities(): TestRunnerCapabilities {
    return { reloadEnvironment: false }
  }

  async dryRun(): Promise<DryRunResult> {
    const coverage: MutantCoverage = { static: {}, perTest: {} }
    const context = stryker()
    context.mutantCoverage = coverage
    // What runs when a source is loaded belongs to no test; a mutant of it needs a process of its own.
    for (const source of this.#sources) await import(pathToFileURL(resolve(source)).href)
    const tests: TestResult[] = []
    for (const file of this.#files) {
      const report = async (name: string, run: () => unknown): Promise<void> => {
        const id = idOf(file, name)
        context.currentTestId = id
        const started = performance.now()
        const failure = await failureOf(run)
        context.currentTestId = undefined
        const result = { id, name: id, fileName: file, timeSpentMs: performance.now() - started }
        tests.push(
          failure === undefined
            ? { ...result, status: TestStatus.Success }
            : { ...result, status: TestStatus.Failed, failureMessage: failure },
        )
      }
      await report(LOADING, async () => {
        const declared = await this.#load(file)
        this.#loaded.set(file, declared)
        for (const step of declared.before) await step()
      })
      const declared = this.#loaded.get(file)
      for (const { name, run } of declared?.tests ?? []) await report(name, run)
      context.currentTestId = idOf(file, LOADING)
      for (const step of declared?.after ?? []) await step()
      context.currentTestId = undefined
    }
    return { status: DryRunStatus.Complete, tests, mutantCoverage: coverage }
  }

  async mutantRun(options: MutantRunOptions): Promise<MutantRunResult> {
    const { testFilter, activeMutant, hitLimit, mutantActivation } = options
    // Stryker starts another process, and asks again.
    if (this.#loads > LOADS) throw new Error('this process has loaded enough')
    const context = stryker()
    context.mutantCoverage = undefined
    context.hitCount = hitLimit === undefined ? undefined : 0
    context.hitLimit = hitLimit
    const wanted = testFilter && new Set(testFilter)
    let nrOfTests = 0
    for (const file of this.#files) {
      const here = [...(wanted ?? [])].filter((id) => id.startsWith(idOf(file, '')))
      if (wanted !== undefined && here.length === 0) continue
      const whole = wanted === undefined || wanted.has(idOf(file, LOADING))
      const chosen = whole ? undefined : wanted
      const fixed = mutantActivation === 'static'
      let declared = this.#loaded.get(file)
      if (!whole && declared === undefined) {
        declared = await this.#load(file)
        this.#loaded.set(file, declared)
      }
      activate(context, activeMutant.id)
      let failure = await this.#run(file, whole ? undefined : declared, chosen)
      if (!fixed) activate(context, undefined)
      const limit = determineHitLimitReached(context.hitCount, hitLimit)
      if (limit) return { status: MutantRunStatus.Timeout, reason: limit.reason ?? 'hit limit' }
      nrOfTests += whole ? (declared?.tests.length ?? 1) : here.length
      if (failure === undefined) continue
      if (!fixed)
        failure = await this.#confirmed(
          file,
          whole ? undefined : declared,
          failure,
          context,
          activeMutant.id,
        )
      if (failure === undefined) continue
      return {
        status: MutantRunStatus.Killed,
        killedBy: [failure.by],
        failureMessage: failure.why,
        nrOfTests,
      }
    }
    return { status: MutantRunStatus.Survived, nrOfTests }
  }

  /** What of a failure is the mutant's doing: one that its test has without it, too, is looked at again in the whole file, loaded anew. */
  async #confirmed(
    file: string,
    declared: Declared | undefined,
    failure: Failure,
    context: Context,
    mutant: string,
  ): Promise<Failure | undefined> {
    const again = await this.#run(file, declared, declared && new Set([failure.by]))
    if (again === undefined) return failure
    activate(context, mutant)
    const whole = await this.#run(file, undefined, undefined)
    activate(context, undefined)
    if (whole === undefined) return undefined
    if ((await this.#run(file, undefined, undefined)) === undefined) return whole
    throw new Error(`\`${again.by}\` fails without a mutant here: ${again.why}`)
  }

  /** Runs the chosen tests of a file up to the first that fails; loads it anew where no loading of it is given. */
  async #run(
    file: string,
    loaded: Declared | undefined,
    chosen: ReadonlySet<string> | undefined,
  ): Promise<Failure | undefined> {
    let declared: Declared | undefined = loaded
    const opening = await failureOf(async () => {
      declared ??= await this.#load(file)
      for (const step of declared.before) await step()
    })
    const failed = async (): Promise<Failure | undefined> => {
      if (opening !== undefined) return { by: idOf(file, LOADING), why: opening }
      for (const { name, run } of declared?.tests ?? []) {
        const by = idOf(file, name)
        if (chosen !== undefined && !chosen.has(by)) continue
        const why = await failureOf(run)
        if (why !== undefined) return { by, why }
      }
      return undefined
    }
    const failure = await failed()
    const closing = await failureOf(async () => {
      for (const step of declared?.after ?? []) await step()
    })
    if (failure !== undefined || closing === undefined) return failure
    return { by: idOf(file, LOADING), why: closing }
  }

  async #load(file: string): Promise<Declared> {
    const { href } = pathToFileURL(resolve(file))
    const declared = await collect(() => import(`${href}?loading=${this.#loads++}`))
    const names = new Set(declared.tests.map(({ name }) => name))
    if (names.size < declared.tests.length) throw new Error(`two tests of ${file} have one name`)
    return declared
  }
}

async function failureOf(run: () => unknown): Promise<string | undefined> {
  try {
    await run()
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** Where instrumented sources look for the mutant to be, and leave what they covered. */
function stryker(): Context {
  const scope = globalThis as { __stryker__?: Context }
  return (scope.__stryker__ ??= {})
}

/** Threads that tests start read it from their environment. */
function activate(context: Context, mutant: string | undefined): void {
  context.activeMutant = mutant
  if (mutant === undefined) delete process.env['__STRYKER_ACTIVE_MUTANT__']
  else process.env['__STRYKER_ACTIVE_MUTANT__'] = mutant
}

export const strykerPlugins: readonly unknown[] = [
  declareClassPlugin(PluginKind.TestRunner, 'mutants', MutantRunner),
]

export const strykerValidationSchema: object = {
  properties: {
    mutants: {
      description: 'What runs mutants here.',
      type: 'object',
      properties: { testFiles: { type: 'array', items: { type: 'string' } } },
    },
  },
}
