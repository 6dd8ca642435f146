import assert from 'node:assert/strict'
import { it } from 'node:test'
import { Roster } from '../src/index.ts'

it('a roster has what was added and not removed, whatever came and went', () => {
  const roster = new Roster<{ n: number }>()
  const there = new Map<number, { n: number }>()
  for (let n = 0; n < 5000; n++) {
    const [oldest] = there
    if (oldest && (n % 3 === 0 || there.size > 40)) {
      roster.remove(oldest[0])
      there.delete(oldest[0])
    }
    const item = { n }
    const place = roster.add(item)
    assert.ok(!there.has(place), 'nobody is put where somebody is')
    there.set(place, item)
    assert.equal(roster.size, there.size)
  }
  assert.deepEqual(new Set(roster), new Set(there.values()))
  for (const [place] of there) roster.remove(place)
  assert.equal(roster.size, 0)
  assert.deepEqual([...roster], [])
})

it('what is removed while it is looked through is not met any more', () => {
  const roster = new Roster<{ name: string }>()
  const [a, b] = ['a', 'b', 'c'].map((name) => roster.add({ name }))
  const met: string[] = []
  for (const { name } of roster) {
    met.push(name)
    if (name === 'a' && a !== undefined && b !== undefined)
      for (const place of [a, b]) roster.remove(place)
  }
  assert.deepEqual(met, ['a', 'c'])
})
