/** Bounds and shapes of inputs: what is shown is a request that the input takes, and what it does not take is no difference. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { readInput } from '@sallyport/decide'
import type { Declaration, InputSchema, InputType } from '@sallyport/network'
import { literalsOf } from '../src/diff/literals.ts'
import { Chance, randomRequest } from '../src/diff/search.ts'
import { declaration, forbid, INPUT, network, permit } from './support/bank.ts'
import { confirmed, inputOf } from './support/confirmed.ts'
import { diff } from './support/warm.ts'

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

test('a list has room for all that another has which it is asked to hold, wherever the other has it from', async () => {
  const [tags, parts] = ['context.input.tags', 'context.input.parts']
  const letters = '["a", "b", "c", "d"]'
  const [approvers, labels] = ['context.evidence.approvers', 'context.session.labels']
  const regions = ['x1', 'x2', 'x3', 'x4', 'x5']
  const name = { type: 'string', maxLength: 12 } as const
  // In policies of their own, so that what one list has is not compared with the other.
  for (const [condition, ...apart] of [
    [`${tags}.containsAll(${parts})`, `!${parts}.containsAll(${letters})`],
    [`${tags} == ${parts}`, `!${parts}.containsAll(${letters})`],
    [`(if context.input.urgent then ${tags} else ${parts}).containsAll(${approvers})`],
    [`${tags}.containsAll(${labels})`, `!${labels}.containsAll(${letters})`],
    [`${tags}.containsAll(resource.attributes.regions)`],
  ]) {
    const when = condition ?? ''
    const counted = 'context.evidence.approvals < 4'
    const of = (first: string): Declaration => {
      const texts = [permit(first), ...[...apart, counted].map((one) => forbid(one))]
      const given = listing(texts, { items: name }, { items: name })
      const systems = given.network.systems.map((system) => ({
        ...system,
        attributes: { regions },
      }))
      return { ...given, network: { ...given.network, systems } }
    }
    const report = await confirmed(of('false'), of(when))
    assert.equal(report.newlyAllowed[0]?.found, 'solver', when)
  }
})

test('a list in a list has room for all that it is compared with', async () => {
  const word = { type: 'string', maxLength: 8 } as const
  const items = { type: 'set', items: word, maxItems: 6 } as const
  const held = 'context.input.tags.contains(["a", "b", "c", "d", "e"])'
  const report = await confirmed(
    listing([permit('false')], { items }),
    listing([permit(held)], { items }),
  )
  assert.equal(report.newlyAllowed.length, 1)
})

test('values that the solver has no characters for are not left out', async () => {
  const beyond = '\u{30000}'
  const not = '!context.input.tags.contains("a")'
  for (const items of [
    { type: 'string', maxLength: 2, enum: ['a', beyond] },
    { type: 'string', maxLength: 2, enum: ['a', beyond], pattern: '^.$' },
    { type: 'string', maxLength: 2, pattern: `^[a${beyond}]$` },
  ] as const) {
    const of = (condition: string) => listing([permit(condition)], { items, minItems: 1 })
    const report = await confirmed(of('false'), of(not))
    assert.notEqual(report.verdict, 'equivalent', JSON.stringify(items))
    if ('enum' in items) assert.deepEqual(inputOf(report.newlyAllowed[0])['tags'], [beyond])
    assert.equal((await confirmed(of(not), of(`${not} || false`))).verdict, 'equivalent')
  }
})

test('fields of calls with as many items as only the other side demands are compared', async () => {
  const leaves = (how: string) => `permit (principal, action == Action::"field.${how}", resource);`
  const of = (how: string, minItems: number) => listing([permit('true'), leaves(how)], { minItems })
  const report = await diff({ old: of('mask', 6), new: of('read', 1) })
  assert.equal(report.newlyAllowed.length, 1)
  assert.ok(report.fieldsMoreOpen.length > 1)
  for (const one of report.fieldsMoreOpen)
    assert.equal((inputOf(one)['tags'] as string[]).length, 6)
})

test('a list whose values are all known takes no room from the others, however many it must have', async () => {
  const letters = { type: 'string', maxLength: 1, enum: Array.from('abcdefghij') } as const
  // What has an item of the other is had by it: proven, for every list.
  const [one, other] = ['context.input.tags', 'context.input.parts']
  const had = `${one}.containsAny(${other}) && !${other}.containsAny(${one})`
  const of = (condition: string, tags: Partial<List>) => listing([permit(condition)], tags)
  const proven = async (tags: Partial<List>) =>
    (await confirmed(of('false', tags), of(had, tags))).verdict
  assert.equal(await proven({ items: letters, minItems: 8 }), 'equivalent')
  // Of a list that may have any, that is more than is encoded.
  assert.equal(await proven({ minItems: 8 }), 'undecided')
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
