import assert from 'node:assert/strict'
import { afterEach, it } from 'node:test'
import { ACCOUNT, startWorld } from './support/world.ts'
import type { World } from './support/world.ts'

let world: World | undefined

afterEach(async () => {
  await world?.close()
  world = undefined
})

it('holds an instance to its pace, refused calls included, and no other instance', async () => {
  world = await startWorld({ settings: { maxCallsPerSecond: 1, maxCallBurst: 10 } })
  const path = `/bank/v1/accounts/${ACCOUNT.id}`
  const fast = world.agent('reader')
  const answers = await Promise.all(
    Array.from({ length: 30 }, () => fast.ask({ path: '/bank/v1/no-such-operation' })),
  )
  const paced = answers.filter(({ status }) => status === 429)
  assert.ok(paced.length >= 15, `${paced.length} of 30 were held back`)
  assert.ok(answers.some(({ status }) => status === 403))
  for (const { body } of paced) assert.equal((body as { code: string }).code, 'SP_OVERLOADED')
  const records = world.plane.records().filter(({ kind }) => kind === 'decision')
  assert.ok(records.length <= 15, `${records.length} records for 30 calls`)
  // The positive control: another instance, at the same moment.
  assert.equal((await world.agent('reader', 'other').ask({ path })).status, 200)
})
