import assert from 'node:assert/strict'
import { test } from 'node:test'
import { batched } from '../src/domain/batch.ts'

test('what arrives while a batch runs goes into the next one, one item of a key at a time', async () => {
  const batches: string[][] = []
  const ask = batched<string, string>({
    max: 3,
    keyOf: (item) => item[0] ?? '',
    work: async (items) => {
      batches.push([...items])
      await new Promise(setImmediate)
      return items.map((item) => item.toUpperCase())
    },
  })
  const answers = await Promise.all(['a1', 'b1', 'a2', 'c1', 'd1', 'a3', 'e1'].map(ask))
  assert.deepEqual(answers, ['A1', 'B1', 'A2', 'C1', 'D1', 'A3', 'E1'])
  assert.deepEqual(batches, [['a1'], ['b1', 'a2', 'c1'], ['d1', 'e1', 'a3']])
})

test('a batch that fails fails its own items only', async () => {
  let broken = true
  const ask = batched<number, number>({
    max: 2,
    keyOf: String,
    work: async (items) => {
      if (broken) throw new Error('away')
      return items.map((item) => item + 1)
    },
  })
  await assert.rejects(ask(1), /away/)
  broken = false
  assert.equal(await ask(1), 2)
})
