import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Lane } from '../src/agents/lane.ts'

test('a lane works at so many pieces at once, in order, and says when its line is full', async () => {
  const open: (() => void)[] = []
  const begun: number[] = []
  const lane = new Lane<number>(2, 3, (item) => {
    begun.push(item)
    return new Promise((resolve) => {
      open.push(resolve)
    })
  })
  for (let i = 1; i <= 4; i++) {
    lane.put(i)
    assert.equal(lane.full, false)
  }
  lane.put(5)
  assert.equal(lane.full, true)
  assert.deepEqual(begun, [1, 2])
  open.shift()?.()
  await sleep(0)
  assert.deepEqual(begun, [1, 2, 3])
  assert.equal(lane.full, false)
  while (open.length > 0) {
    open.shift()?.()
    await sleep(0)
  }
  assert.deepEqual(begun, [1, 2, 3, 4, 5])
})
