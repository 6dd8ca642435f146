import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { evaluateAmlsim, evaluateSeeds, HELD_SEEDS } from '@sallyport/example-meridian'
import { stated } from '../row.ts'
import type { Row } from '../row.ts'

/** The ring finder by itself: held seeds of the generator, and the AMLSim sample beside plain thresholds. */
export async function benchDetection(note: (text: string) => void): Promise<Row[]> {
  note('ring finder on ten held seeds')
  const seeds = evaluateSeeds(HELD_SEEDS)
  const sum = (pick: (seed: (typeof seeds)[number]) => number): number =>
    seeds.reduce((total, seed) => total + pick(seed), 0)
  const mean = (pick: (seed: (typeof seeds)[number]) => number): number => sum(pick) / seeds.length
  const rows = [
    stated(
      'held seeds: rings found',
      sum(({ found }) => found),
      `of ${sum(({ present }) => present)}`,
    ),
    stated(
      'held seeds: false rings',
      sum(({ falseRings }) => falseRings),
      'rings',
    ),
    stated(
      'held seeds: precision by account, finder',
      mean(({ accounts }) => accounts.precision),
      '',
    ),
    stated(
      'held seeds: recall by account, finder',
      mean(({ accounts }) => accounts.recall),
      '',
    ),
    stated(
      'held seeds: precision by account, best threshold',
      mean(({ threshold }) => threshold.precision),
      '',
    ),
    stated(
      'held seeds: recall by account, best threshold',
      mean(({ threshold }) => threshold.recall),
      '',
    ),
  ]
  const dir = join(process.env.SALLYPORT_DATA ?? '../shared/data', 'amlsim')
  if (!existsSync(dir)) {
    note(`no AMLSim sample at ${dir}: its rows are left out`)
    return rows
  }
  note('ring finder on the AMLSim sample')
  const sample = await evaluateAmlsim(dir)
  for (const [name, { precision, recall, f1 }] of [
    ['finder', sample.finder],
    ['best threshold above', sample.thresholdAbove],
    ['best threshold below', sample.thresholdBelow],
  ] as const) {
    rows.push(
      stated(`AMLSim: precision by account, ${name}`, precision, ''),
      stated(`AMLSim: recall by account, ${name}`, recall, ''),
      stated(`AMLSim: F1 by account, ${name}`, f1, ''),
    )
  }
  return rows
}
