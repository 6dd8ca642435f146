/** Bounds and shapes of inputs: what is shown is a request that the input takes, and what it does not take is no difference. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { readInput } from '@sallyport/decide'
import type { Declaration, InputSchema, InputType } from '@sallyport/network'
import { diff } from '../src/index.ts'
import { literalsOf } from '../src/diff/literals.ts'
import { Chance, randomRequest } from '../src/diff/search.ts'
import { declaration, forbid, INPUT, network, permit } from './support/bank.ts'
import { confirmed, inputOf } from './support/confirmed.ts'

type List = Extract<InputType, { type: 'set' }>

/** A declaration whose only operation takes these lists in place of `tags` and `parts`. */
function listing(texts: readonly string[], tags: Partial<List>, parts: Partial<List> = {}) {
  const [system] = network(1).systems
  const [operation] = system?.operations ?? []
  assert.ok(system && operation)
  const given = (items: InputType, over: Partial<List>) =>
    ({ schema: { type: 'set', items, maxItems: 12, ...over }, required: true }) as const
  const word = { type: 'string', maxLength: 8 } as const
  const members = { ...INPUT.members, tags: given(word, tags), parts: given(word, parts) }
  const input = { ...INPUT, members }
  return declaration(texts, { systems: [{ ...system, operations: [{ ...operation, input }] }] })
}

test('a counterexample has the items that its list must have, and what has fewer is no difference', async () => {
  const only = 'context.input.tags.containsAny(["a"])'
  const shown = async (minItems: number) => {
    const next = listing([permit(only)], { minItems })
    const report = await confirmed(listing([permit('false')], { minItems }), next)
    assert.equal(report.newlyAllowed.length, 1)
    const { tags } = inputOf(report.newlyAllowed[0])
    assert.ok(Array.isArray(tags) && tags.includes('a'))
    return tags.length
  }
  for (const minItems of [1, 2, 5, 8]) assert.equal(await shown(minItems), minItems)
  const verdict = async (condition: string, tags: Partial<List>) => {
    const next = listing([permit('false'), permit(condition)], tags)
    return (await confirmed(listing([permit('false')], tags), next)).verdict
  }
  assert.equal(await verdict('context.input.tags.isEmpty()', { minItems: 1 }), 'equivalent')
  assert.equal(await verdict('context.input.tags.isEmpty()', {}), 'differs')
  const within = '["a", "b"].containsAll(context.input.tags)'
  assert.equal(await verdict(within, { minItems: 3 }), 'equivalent')
  assert.equal(await verdict(within, { minItems: 2 }), 'differs')
  const items = { type: 'string', maxLength: 1, enum: ['a', 'b', 'c'] } as const
  assert.equal(await verdict('true', { items, minItems: 3 }), 'differs')
  assert.equal(await verdict('true', { items, minItems: 4 }), 'equivalent')
})

test('a list that has to hold another, of which both have a least number of items', async () => {
  const holds = 'context.input.tags.containsAll(context.input.parts)'
  const apart = '!context.input.tags.containsAny(["a"]) && !context.input.parts.containsAny(["b"])'
  const found = async (most: number, parts: number) => {
    const [all, least] = [{ maxItems: most }, { minItems: parts }]
    const report = await confirmed(
      listing([permit('false')], all, least),
      listing([permit(`${holds} && ${apart}`)], all, least),
    )
    return report.verdict
  }
  assert.equal(await found(4, 4), 'differs')
  assert.equal(await found(3, 4), 'equivalent')
})

test('a changed least number of items is found at the boundary, and one that is too long to encode is never proven', async () => {
  const least = (minItems: number) => listing([permit('true')], { minItems })
  // The deciders take inputs as read: here the reading differs.
  const wider = await diff({ old: least(3), new: least(2) })
  assert.deepEqual(wider.newlyDenied, [])
  assert.equal((inputOf(wider.newlyAllowed[0])['tags'] as string[]).length, 2)
  const narrower = await diff({ old: listing([permit('true')], {}), new: least(1) })
  assert.deepEqual(narrower.newlyAllowed, [])
  assert.deepEqual(inputOf(narrower.newlyDenied[0])['tags'], [])
  const long = (condition: string) => listing([permit(condition)], { minItems: 50, maxItems: 60 })
  const undecided = await confirmed(long('false'), long('context.input.urgent'))
  assert.equal(undecided.verdict, 'undecided')
  assert.match(undecided.undecided[0]?.why ?? '', /a list of 50 items or more/)
  assert.equal((await confirmed(long('true'), long('true || false'))).verdict, 'equivalent')
})

test('a changed greatest number of items is found just above it, and where that is too long to encode never proven equal', async () => {
  const most = (maxItems: number) => listing([permit('true')], { maxItems })
  for (const [more, fewer] of [
    [2, 1],
    [10, 5],
    [1000, 15],
  ] as const) {
    const wider = await diff({ old: most(fewer), new: most(more) })
    assert.deepEqual([wider.newlyDenied, wider.undecided], [[], []])
    assert.equal((inputOf(wider.newlyAllowed[0])['tags'] as string[]).length, fewer + 1)
  }
  const narrower = await diff({ old: most(4), new: most(3) })
  assert.deepEqual(narrower.newlyAllowed, [])
  assert.equal((inputOf(narrower.newlyDenied[0])['tags'] as string[]).length, 4)
  const long = await diff({ old: most(16), new: most(1000) })
  assert.equal(long.verdict, 'undecided')
  assert.match(long.undecided[0]?.why ?? '', /a list of more than 16 items/)
  assert.equal((await diff({ old: most(1000), new: most(1000) })).verdict, 'equivalent')
  // What else differs is shown all the same.
  const when = (condition: string, maxItems: number) => listing([permit(condition)], { maxItems })
  const few = 'context.input.amount * 3 == 213 || context.input.tags.contains("a")'
  const more = `${few} || (context.input.amount * 7 == 707 && context.input has memo && context.input.memo == "xyz")`
  const two = await diff({ old: when(few, 16), new: when(more, 1000) })
  const [shown] = two.newlyAllowed
  assert.deepEqual([shown?.found, inputOf(shown)['amount']], ['solver', 101])
  const none = 'context.input.tags.isEmpty()'
  assert.equal((await diff({ old: when(none, 5), new: when(none, 10) })).verdict, 'equivalent')
})

test('a list that has to hold another, which is longer than it was', async () => {
  const holds = 'context.input.tags.containsAll(context.input.parts)'
  const apart = '!context.input.tags.containsAny(["a"]) && !context.input.parts.containsAny(["b"])'
  const of = (maxItems: number) => listing([permit(`${holds} && ${apart}`)], {}, { maxItems })
  const report = await diff({ old: of(3), new: of(4) })
  assert.equal(report.newlyAllowed.length, 1)
  assert.deepEqual([report.newlyDenied, report.undecided], [[], []])
})

test('requests of the search have as many items as their lists must have', () => {
  const chance = new Chance('least')
  const { network: bank } = listing([], { minItems: 3 }, { minItems: 2, maxItems: 2 })
  const [operation] = bank.systems[0]?.operations ?? []
  assert.ok(operation)
  const literals = literalsOf([])
  const who = { instance: 'i', agent: 'clerk', system: 'core', operation: 'op0' }
  const type = { ...who, input: operation.input, literals, labels: [], operators: [] }
  const seen = new Set<number>()
  for (let i = 0; i < 200; i++) {
    const { tags, parts } = readInput(operation.input, randomRequest(type, chance).call.input)
    assert.ok(Array.isArray(tags) && Array.isArray(parts))
    seen.add(tags.length)
    assert.equal(parts.length, 2)
  }
  assert.deepEqual(
    [...seen].toSorted((a, b) => a - b),
    [3, 4, 5, 6],
  )
})

test('each record that policies look for in a list has room in it', async () => {
  const items: InputType = {
    type: 'record',
    members: { a: { schema: { type: 'long', minimum: 0, maximum: 9 }, required: true } },
  }
  for (const condition of [
    'context.input.tags.containsAll([{a: 1}, {a: 2}, {a: 3}])',
    'context.input.tags == [{a: 1}, {a: 2}, {a: 3}]',
    [1, 2, 3].map((a) => `context.input.tags.contains({a: ${a}})`).join(' && '),
  ]) {
    const old = listing([permit('false')], { items })
    const report = await confirmed(old, listing([permit(condition)], { items }))
    assert.equal((inputOf(report.newlyAllowed[0])['tags'] as unknown[]).length, 3, condition)
  }
})

test('each attribute that policies look for in a list has room in it', async () => {
  const names = ['ref', 'memo', 'currency', 'other']
  const held = `context.input.tags.containsAll([${names.map((name) => `context.input.${name}`).join(', ')}])`
  // In policies of their own, so that they are no values to look for in the list.
  const apart = names.map((name, i) =>
    forbid(`context.input.${name} != "${['r', 'm', 'EUR', 'o'][i]}"`),
  )
  const word = { schema: { type: 'string', maxLength: 8 }, required: true } as const
  const of = (condition: string): Declaration => {
    const given = listing([permit(condition), ...apart], {})
    const [system] = given.network.systems
    const [operation] = system?.operations ?? []
    assert.ok(system && operation)
    const members = { ...operation.input.members, memo: word, other: word }
    const operations = [{ ...operation, input: { ...operation.input, members } }]
    return { ...given, network: { ...given.network, systems: [{ ...system, operations }] } }
  }
  const report = await confirmed(of('false'), of(held))
  assert.equal((inputOf(report.newlyAllowed[0])['tags'] as unknown[]).length, 4)
})

/** A declaration whose operation takes `to`: of an account, of a card, or where it fits any, of both. */
function addressed(texts: readonly string[], fits: 'one' | 'any'): Declaration {
  const [system] = network(1).systems
  const [operation] = system?.operations ?? []
  assert.ok(system && operation)
  const member = (required: boolean) =>
    ({ schema: { type: 'string', maxLength: 8 }, required }) as const
  const shape = (iban: boolean, card: boolean): InputSchema => ({
    type: 'record',
    members: { iban: member(iban), card: member(card) },
  })
  const variants = { fits, of: [shape(true, false), shape(false, true)] }
  const to = { schema: { ...shape(false, false), variants }, required: true }
  const input = { ...INPUT, members: { ...INPUT.members, to } }
  return declaration(texts, { systems: [{ ...system, operations: [{ ...operation, input }] }] })
}

test('of several shapes a counterexample has one, and what has none is no difference', async () => {
  const verdict = async (condition: string, fits: 'one' | 'any') => {
    const report = await confirmed(
      addressed([permit('false')], fits),
      addressed([permit(condition)], fits),
    )
    const [found] = report.newlyAllowed
    assert.equal(report.verdict, found ? 'differs' : 'equivalent')
    return found && Object.keys(inputOf(found)['to'] ?? {})
  }
  const to = 'context.input.to'
  const [both, none] = [
    `${to} has iban && ${to} has card`,
    `!(${to} has iban) && !(${to} has card)`,
  ]
  assert.deepEqual(await verdict(`!(${to} has iban)`, 'one'), ['card'])
  assert.deepEqual(await verdict(both, 'any'), ['iban', 'card'])
  assert.equal(await verdict(both, 'one'), undefined)
  assert.equal(await verdict(none, 'any'), undefined)
  // Read otherwise, with the same members.
  const [one, any] = [addressed([permit('true')], 'one'), addressed([permit('true')], 'any')]
  const report = await diff({ old: one, new: any })
  assert.deepEqual(Object.keys(inputOf(report.newlyAllowed[0])['to'] ?? {}), ['iban', 'card'])
  assert.equal((await diff({ old: any, new: one })).newlyDenied.length, 1)
})

test('requests of the search have one of the shapes declared', () => {
  const [operation] = addressed([], 'one').network.systems[0]?.operations ?? []
  assert.ok(operation)
  const who = { instance: 'i', agent: 'clerk', system: 'core', operation: 'op0' }
  const given = { input: operation.input, literals: literalsOf([]), labels: [], operators: [] }
  const chance = new Chance('shapes')
  const read = new Set<string>()
  for (let i = 0; i < 100; i++) {
    const { input } = randomRequest({ ...who, ...given }, chance).call
    const shape = Object.keys(input['to'] ?? {}).join()
    // Of both it may be too, which fits two.
    if (shape !== 'iban,card')
      read.add(Object.keys(readInput(operation.input, input)['to'] ?? {}).join())
  }
  assert.deepEqual([...read].toSorted(), ['card', 'iban'])
})
