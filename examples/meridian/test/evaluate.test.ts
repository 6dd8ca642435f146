import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { evaluateAmlsim, evaluateSeeds } from '../src/evaluate.ts'

test('on seeds it was developed on, the finder finds most rings and invents few', () => {
  const results = evaluateSeeds([1, 2, 3])
  for (const result of results) {
    assert.ok(result.found >= 7, `seed ${result.seed}: ${result.found} of ${result.present}`)
    assert.ok(result.falseRings <= 1)
    assert.ok(result.accounts.f1 > result.threshold.f1)
  }
})

const sample = join(process.env['SALLYPORT_DATA'] ?? '../shared/data', 'amlsim')
const absent = existsSync(join(sample, 'transactions.csv'))
  ? false
  : 'the AMLSim sample is not here'

test(
  'on the AMLSim sample, the finder beats a threshold on high values',
  { skip: absent },
  async () => {
    const result = await evaluateAmlsim(sample)
    assert.equal(result.transactions, 120_558)
    assert.ok(result.finder.precision > 0.95)
    assert.ok(result.finder.recall > 0.6)
    assert.ok(result.finder.f1 > 2 * result.thresholdAbove.f1)
  },
)
