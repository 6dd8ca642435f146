import { closeCedar } from '@sallyport/cedar'
import { dense } from './policy/dense.ts'
import { sharing } from './policy/shared.ts'
import { hotRequests, sparseSet } from './policy/sparse.ts'
import type { Sparse } from './policy/sparse.ts'
import { percentileOf, timeDecisions } from './policy/timing.ts'
import { whole } from './policy/whole.ts'
import { statefulOracle } from '../packages/cedar/test/oracle.ts'
import { bounded, median, stated } from './row.ts'
import type { Row } from './row.ts'

/**
 * Decisions of `@sallyport/cedar` beside cedar-wasm in the same run. Every figure is the median of five
 * runs (see `timeDecisions`); how figures grow with the policies is told in processor time, which neighbours on the
 * machine cannot inflate on one side only. CASL and casbin would be new dependencies and are not measured.
 */
export async function run(args: readonly string[]): Promise<readonly Row[]> {
  const rows: Row[] = []
  try {
    for (const [name, part] of Object.entries(PARTS)) {
      if (args.length === 0 || args.includes(name)) rows.push(...(await part()))
    }
    return rows
  } finally {
    await closeCedar()
  }
}

const PARTS: Readonly<Record<string, () => Promise<readonly Row[]>>> = {
  sparse: sparseRows,
  dense: denseRows,
  sharing: sharingRows,
  whole,
}

async function sparseRows(): Promise<Row[]> {
  const memo = await sparseSet(1000)
  const walk = await sparseSet(1000, 0)
  const [memo10, walk10] = [await sparseSet(10_000), await sparseSet(10_000, 0)]
  const measure = (set: Sparse, hot: number) => timeDecisions(hotRequests(set, hot).typed)
  const [noMemo, withMemo] = [measure(walk, 1000), measure(memo, 1000)]
  const [idle, idleMemo] = [measure(walk10, 1000), measure(memo10, 1000)]
  const [spread, spreadMemo] = [measure(walk10, 10_000), measure(memo10, 10_000)]
  const { typed, plain, entities } = hotRequests(memo, 1000)
  const one = '1,000 sparse policies, typed context, 2,000 hot triples'
  const wasmUs = timeWasm(memo.policies, entities, plain.requests)
  return [
    bounded(`${one}, no slice memo`, noMemo.us, 'µs', '<=', 1.2),
    stated('the same, processor time', noMemo.cpuUs, 'µs'),
    bounded(`${one}, slice memo`, withMemo.us, 'µs', '<=', 0.25),
    stated('the same, processor time', withMemo.cpuUs, 'µs'),
    stated('the same, p99 of single decisions, clock included', percentileOf(typed, 0.99), 'µs'),
    stated('the same, context as JSON on every call', timeDecisions(plain).us, 'µs'),
    bounded(
      '9,000 policies more that apply to nobody, no memo',
      idle.cpuUs / noMemo.cpuUs,
      '×',
      '<=',
      1.5,
    ),
    bounded('the same, memo', idleMemo.cpuUs / withMemo.cpuUs, '×', '<=', 1.5),
    bounded(
      '10,000 policies, triples spread over all (2,000 deciding, not 1,000), no memo',
      spread.cpuUs / noMemo.cpuUs,
      '×',
      '<=',
      1.5,
    ),
    bounded('the same, memo', spreadMemo.cpuUs / withMemo.cpuUs, '×', '<=', 1.5),
    bounded(
      'cedar-wasm (stateful) against the memo, 1,000 policies',
      wasmUs / withMemo.us,
      '×',
      '>=',
      3000,
    ),
    bounded('loading 1,000 policies cold, parse and compile', memo.loadMs, 'ms', '<=', 1000),
    stated('the same, processor time of all threads', memo.loadCpuMs, 'ms'),
  ]
}

async function denseRows(): Promise<Row[]> {
  const { us, cpuUs } = timeDecisions(await dense())
  return [
    bounded('42 candidates a request, 1,000 hot slices', us, 'µs', '<=', 3),
    stated('the same, processor time', cpuUs, 'µs'),
  ]
}

async function sharingRows(): Promise<Row[]> {
  const rows: Row[] = []
  for (const name of ['gdrive', 'github', 'tinytodo'] as const) {
    const { us } = timeDecisions(await sharing(name))
    rows.push(bounded(`shape of OOPSLA ${name}, 50 entities of a kind`, us, 'µs', '<=', 1))
  }
  return rows
}

function timeWasm(
  policies: Sparse['policies'],
  entities: ReturnType<typeof hotRequests>['entities'],
  requests: ReturnType<typeof hotRequests>['plain']['requests'],
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
