import { closeCedar, EntityStore, loadPolicySet, prepareContext } from '@sallyport/cedar'
import type { DecisionRequest, EntityJson, PolicySet, Request } from '@sallyport/cedar'
import { statefulOracle } from '../packages/cedar/test/oracle.ts'
import { bounded, median, percentile, stated } from './row.ts'
import type { Row } from './row.ts'

const RUNS = 5
const TRIPLES = 2000

/** Decisions of `@sallyport/cedar` on sparse policy sets, beside cedar-wasm on the same requests in the same run. */
export async function run(): Promise<readonly Row[]> {
  try {
    const small = await measure(1000)
    const large = await measure(10_000)
    return [
      bounded(
        '1,000 sparse policies, typed context, no memo: mean of the median run',
        small.us,
        'µs',
        '<=',
        1.2,
      ),
      stated('the same, p99 of single decisions', small.p99, 'µs'),
      stated('1,000 sparse policies, context as JSON on every call', small.jsonUs, 'µs'),
      bounded('10,000 sparse policies against 1,000', large.us / small.us, '×', '<=', 1.5),
      bounded(
        'cedar-wasm (stateful) against it, 1,000 policies',
        small.wasmUs / small.us,
        '×',
        '>=',
        3000,
      ),
      bounded('loading 1,000 policies cold, parse and compile', small.loadMs, 'ms', '<=', 1000),
    ]
  } finally {
    await closeCedar()
  }
}

interface Measured {
  readonly us: number
  readonly p99: number
  readonly jsonUs: number
  readonly wasmUs: number
  readonly loadMs: number
}

const uid = (type: string, id: string) => ({ type, id })

/** One policy in `count` applies to a request; each reads two members of the context and an attribute. */
async function measure(count: number): Promise<Measured> {
  const policies = Array.from({ length: count }, (_, i) => ({
    id: `p${i}`,
    source: `permit(principal in Team::"t${i}", action == Action::"op${i % 40}", resource in Zone::"z${i % 10}")
when { context.input.amount <= 100000 && context.risk < 70 && resource.owner == "o${i % 7}" };`,
  }))
  const started = performance.now()
  const set = await loadPolicySet({ policies })
  const loadMs = performance.now() - started
  const entities = makeEntities(count)
  const store = EntityStore.from(entities)
  const context = {
    input: { amount: 50_000, account: 'a-1', memo: 'rent' },
    risk: 10,
    purpose: 'aml',
  }
  const triples = Array.from({ length: TRIPLES }, (_, i) => {
    const k = (i * 7919) % count
    return {
      principal: uid('Agent', `a${k}`),
      action: uid('Action', `op${k % 40}`),
      resource: uid('System', `s${k % 70}`),
    }
  })
  const prepared = prepareContext(context)
  const typed = triples.map((triple) => ({ ...triple, context: prepared }))
  const plain = triples.map((triple) => ({ ...triple, context }))
  requireAllowed(set, typed, store)
  process.stderr.write(`${count} policies loaded in ${loadMs.toFixed(0)} ms\n`)
  return {
    us: time(set, typed, store),
    p99: single(set, typed, store),
    jsonUs: time(set, plain, store),
    wasmUs: count === 1000 ? timeWasm(policies, entities, plain) : Number.NaN,
    loadMs,
  }
}

function makeEntities(count: number): EntityJson[] {
  const agents = Array.from({ length: count }, (_, i): EntityJson => ({
    uid: uid('Agent', `a${i}`),
    attrs: { name: `a${i}` },
    parents: [uid('Team', `t${i}`), uid('Team', 'everyone')],
  }))
  const systems = Array.from({ length: 70 }, (_, i): EntityJson => ({
    uid: uid('System', `s${i}`),
    attrs: { owner: `o${i % 7}` },
    parents: [uid('Zone', `z${i % 10}`)],
  }))
  return [...agents, ...systems]
}

/** A benchmark of the wrong answer is worth nothing. */
function requireAllowed(
  set: PolicySet,
  requests: readonly DecisionRequest[],
  store: EntityStore,
): void {
  for (const request of requests) {
    const { decision, reasons } = set.decide(request, store)
    if (decision !== 'allow' || reasons.length !== 1) throw new Error('the workload is wrong')
  }
}

/** Microseconds a decision, median of several runs. */
function time(set: PolicySet, requests: readonly DecisionRequest[], store: EntityStore): number {
  const runs: number[] = []
  for (let run = 0; run < RUNS + 2; run++) {
    const start = performance.now()
    for (let round = 0; round < 50; round++) {
      for (const request of requests) set.decide(request, store)
    }
    runs.push(((performance.now() - start) * 1000) / (50 * requests.length))
  }
  // The first two warm the compiler up.
  return median(runs.slice(2))
}

function single(set: PolicySet, requests: readonly DecisionRequest[], store: EntityStore): number {
  const times: number[] = []
  for (let round = 0; round < 20; round++) {
    for (const request of requests) {
      const start = process.hrtime.bigint()
      set.decide(request, store)
      times.push(Number(process.hrtime.bigint() - start) / 1000)
    }
  }
  return percentile(times, 0.99)
}

function timeWasm(
  policies: readonly { id: string; source: string }[],
  entities: readonly EntityJson[],
  requests: readonly Request[],
): number {
  const oracle = statefulOracle(policies)
  const all = new Map(entities.map((entity) => [JSON.stringify(entity.uid), entity]))
  const times: number[] = []
  for (const request of requests.slice(0, 60)) {
    // Only what the request needs, so that the comparison is not of entity parsing.
    const needed = [request.principal, request.resource].flatMap(
      (u) => all.get(JSON.stringify(u)) ?? [],
    )
    const start = performance.now()
    const decision = oracle(request, needed)
    times.push((performance.now() - start) * 1000)
    if (decision !== 'allow') throw new Error('the oracle disagrees')
  }
  return median(times)
}
