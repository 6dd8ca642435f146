import { closeCedar } from '@sallyport/cedar'
import { run as corpus } from './cedar-corpus.ts'
import { run as differential } from './differential.ts'
import { dense } from './policy/dense.ts'
import { loading } from './policy/load.ts'
import { mutation } from './policy/mutation.ts'
import { rivals } from './policy/rivals.ts'
import { sharing } from './policy/shared.ts'
import { hotRequests, sparseSet } from './policy/sparse.ts'
import { percentileOf, timeDecisions } from './policy/timing.ts'
import { whole } from './policy/whole.ts'
import { bounded, stated } from './row.ts'
import type { Row } from './row.ts'

/**
 * Decisions of `@sallyport/cedar` and `decide`, beside other engines in the same run. Every figure is the median of five
 * runs (see `timeDecisions`); how figures grow with the policies is told in processor time, which neighbours on the
 * machine cannot inflate on one side only.
 *
 * @param args names of parts; none means all but those that take tens of minutes (`differential`, `mutation`), `all` means all
 */
export async function run(args: readonly string[]): Promise<readonly Row[]> {
  const known = [...Object.keys(PARTS), ...Object.keys(LONG), 'all']
  const unknown = args.find((name) => !known.includes(name))
  if (unknown !== undefined) {
    throw new Error(`there is no part \`${unknown}\`; there are: ${known.join(', ')}`)
  }
  const asked = (name: string): boolean => args.includes(name) || args.includes('all')
  const rows: Row[] = []
  try {
    for (const [name, part] of Object.entries(PARTS)) {
      if (args.length === 0 || asked(name)) rows.push(...(await part()))
    }
    for (const [name, part] of Object.entries(LONG)) if (asked(name)) rows.push(...(await part()))
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
  rivals,
  loading,
  corpus: () => corpus(),
}

const LONG: Readonly<Record<string, () => Promise<readonly Row[]>>> = {
  differential: () => differential([]),
  mutation: () => mutation(),
}

async function sparseRows(): Promise<Row[]> {
  // One set at a time: others that are alive take part in every garbage collection, and share the processor's caches.
  const measure = async (count: number, hot: number, memo?: number) =>
    timeDecisions(hotRequests(await sparseSet(count, memo), hot).typed)
  const [noMemo, withMemo] = [await measure(1000, 1000, 0), await measure(1000, 1000)]
  const [idle, idleMemo] = [await measure(10_000, 1000, 0), await measure(10_000, 1000)]
  const [spread, spreadMemo] = [await measure(10_000, 10_000, 0), await measure(10_000, 10_000)]
  const { typed, plain } = hotRequests(await sparseSet(1000), 1000)
  const one = '1,000 sparse policies, typed context, 2,000 hot triples'
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
