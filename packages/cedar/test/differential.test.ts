import assert from 'node:assert/strict'
import { after, it } from 'node:test'
import { closeCedar } from '../src/index.ts'
import { generateTrial } from './generate.ts'
import { compare } from './oracle.ts'

/** `CEDAR_TRIALS=100000 CEDAR_SEED=7` runs more, elsewhere. */
const TRIALS = Number(process.env['CEDAR_TRIALS'] ?? 100)
const SEED = Number(process.env['CEDAR_SEED'] ?? 20261123)

after(closeCedar)

it(`agrees with cedar-wasm on ${TRIALS} random policy sets`, async () => {
  let allowed = 0
  let failing = 0
  for (let i = 0; i < TRIALS; i++) {
    const trial = generateTrial(SEED + i)
    const result = await compare(trial)
    assert.deepEqual(result.differences, [], `seed ${SEED + i}: ${JSON.stringify(trial.input)}`)
    allowed += result.allowed
    failing += result.failing
  }
  // A generator whose every policy fails, or that never allows, would prove nothing.
  assert.ok(allowed > TRIALS / 4, `only ${allowed} requests were allowed`)
  assert.ok(failing > TRIALS / 4, `only ${failing} decisions met a failing policy`)
})
