import { inChildren, serve } from '../packages/cedar/test/children.ts'
import { FEATURES } from '../packages/cedar/test/features.ts'
import { generateTrial } from '../packages/cedar/test/generate.ts'
import { compare } from '../packages/cedar/test/oracle.ts'
import type { TrialResult } from '../packages/cedar/test/oracle.ts'
import { bounded, stated } from './row.ts'
import type { Row } from './row.ts'

const TRIALS = 1_000_000
const SEED = 20_261_123
/** Requests a policy set is asked, in each state of its entities. */
const REQUESTS = 24
const PROCESSES = 2
const SETS_A_CHILD = 400
/** One set in so many is also explained, and its stores are compared with ones built anew. */
const WHOLE_EVERY = 16

interface SetResult extends TrialResult {
  readonly policies: number
  readonly features: readonly string[]
}

/**
 * Random policy sets (one to sixty policies, templates, links, a hierarchy that changes) decided by `@sallyport/cedar` and by
 * cedar-wasm: decision, reasons and ids of failing policies. One trial is one request decided by both.
 *
 * @param args `[TRIALS] [--seed SEED]`; the same two give the same trials
 */
export async function run(args: readonly string[]): Promise<readonly Row[]> {
  const { trials, seed } = readArgs(args)
  process.stderr.write(`seed ${seed}, ${trials} trials\n`)
  const total = { sets: 0, policies: 0, decided: 0, allowed: 0, forbidden: 0, failing: 0 }
  const features = new Set<string>()
  let differences = 0
  let undecided = 0
  let told = 0
  await inChildren<SetResult>({
    module: import.meta.filename,
    args: [],
    indexes: enough(trials, seed),
    processes: PROCESSES,
    perChild: SETS_A_CHILD,
    hangMs: 600_000,
    onResult(index, result) {
      total.sets++
      total.policies += result.policies
      for (const name of ['decided', 'allowed', 'forbidden', 'failing'] as const) {
        total[name] += result[name]
      }
      for (const feature of result.features) features.add(feature)
      differences += result.differences.length
      for (const difference of result.differences.slice(0, 3)) {
        process.stderr.write(`differs: set ${index}: ${JSON.stringify(difference)}\n`)
      }
      if (total.decided - told >= 20_000) {
        told = total.decided
        process.stderr.write(`${told} trials, ${differences} differences\n`)
      }
    },
    onLost({ index, why, detail }) {
      undecided++
      process.stderr.write(`set ${index} ${why}: ${detail}\n`)
    },
  })
  const share = (count: number): number => (100 * count) / total.decided
  const missing = [...FEATURES.keys()].filter((name) => !features.has(name))
  if (missing.length > 0) process.stderr.write(`never generated: ${missing.join(', ')}\n`)
  return [
    stated('seed', seed, ''),
    bounded('requests decided by both', total.decided, 'trials', '>=', trials),
    bounded('differences in decision, reasons or error ids', differences, 'trials', '=', 0),
    bounded('policy sets that either could not decide', undecided, 'sets', '=', 0),
    stated('policy sets', total.sets, 'sets'),
    stated('policies and template links in them', total.policies, 'policies'),
    bounded('forms of the language that occurred', features.size, 'forms', '=', FEATURES.size),
    bounded('allowed', share(total.allowed), '% of trials', '>=', 5),
    stated('denied by no permit', share(total.decided - total.allowed - total.forbidden), '%'),
    bounded('denied by a forbid', share(total.forbidden), '% of trials', '>=', 5),
    bounded('with a policy that fails', share(total.failing), '% of trials', '>=', 5),
  ]
}

function readArgs(args: readonly string[]): { trials: number; seed: number } {
  let [trials, seed] = [TRIALS, SEED]
  for (let at = 0; at < args.length; at++) {
    const arg = args[at] ?? ''
    const value = Number(arg === '--seed' ? args[++at] : arg)
    if (!Number.isSafeInteger(value) || value < 1) throw new Error(`not a number: \`${arg}\``)
    if (arg === '--seed') seed = value
    else trials = value
  }
  return { trials, seed }
}

/** The seeds of as many sets as make up the trials. */
function* enough(trials: number, seed: number): Generator<number> {
  for (let planned = 0, at = seed; planned < trials; at++) {
    const { requests, changes } = generateTrial(at, REQUESTS)
    planned += requests.length * (changes.length + 1)
    yield at
  }
}

const unseen = new Map(FEATURES)

async function decideSet(seed: number): Promise<SetResult> {
  const trial = generateTrial(seed, REQUESTS)
  const { policies, templates = [], links = [] } = trial.input
  const features: string[] = []
  for (const { source } of [...policies, ...templates]) {
    for (const [name, pattern] of unseen) {
      if (!pattern.test(source)) continue
      features.push(name)
      unseen.delete(name)
    }
  }
  const result = await compare(trial, seed % WHOLE_EVERY === 0)
  return { ...result, policies: policies.length + links.length, features }
}

// Run by itself, this module is one of its own children.
if (import.meta.main) serve(decideSet)
