/**
 * Pairs of random inputs and policies over them: what is proven equal, no request distinguishes, neither by how its input is read nor by
 * how it is decided.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { loadPolicySet } from '@sallyport/cedar'
import type { CedarJson } from '@sallyport/cedar'
import { createDecider, readInput } from '@sallyport/decide'
import type { Decider } from '@sallyport/decide'
import { deriveSchema } from '@sallyport/network'
import type { Declaration, InputMember, InputSchema, InputType } from '@sallyport/network'
import { diff } from '../src/index.ts'
import { Chance } from '../src/diff/search.ts'
import { declaration, forbid, network, permit } from './support/bank.ts'

const PAIRS = 4
const ROUNDS = Number(process.env['DIFF_ROUNDS'] ?? 1)
const SEED = process.env['DIFF_SEED'] ?? 'a2'
const REQUESTS = 1500

/** Of every call that both allow, fields leave more openly. */
const FIELDS = ['mask', 'read'].map(
  (how) => `permit (principal, action == Action::"field.${how}", resource);`,
) as [string, string]

const WORDS = ['', 'a', 'b', 'ab', 'c'] as const
const PATTERNS = ['^a', 'b$', '^[ab]*$', '^(?:a|b)?$', '^(?!a)', '^[^a]', 'a{1,2}', '.'] as const

function randomType(chance: Chance, depth: number): InputType {
  switch (chance.next(depth > 0 ? 7 : 4)) {
    case 0:
      return { type: 'boolean' }
    case 1: {
      const minimum = chance.next(3) - 1
      const bounds = { minimum, maximum: minimum + chance.next(4) }
      if (chance.next(2) === 0) return { type: 'long', ...bounds }
      return { type: 'decimal', ...bounds, ...(chance.next(2) === 0 ? { step: 0.5 } : {}) }
    }
    case 2:
    case 3: {
      const kind = chance.next(3)
      const values = WORDS.filter(() => chance.next(2) === 0)
      return {
        ...{ type: 'string', maxLength: 1 + chance.next(2) },
        ...(kind === 0 ? { pattern: chance.of(PATTERNS, '.') } : {}),
        ...(kind === 1 ? { enum: values.length > 0 ? values : ['a'] } : {}),
      }
    }
    case 4:
      return randomRecord(chance, depth - 1)
    default: {
      const maxItems = 1 + chance.next(4)
      const minItems = chance.next(maxItems + 1)
      const items = randomType(chance, depth - 1)
      return { type: 'set', items, maxItems, ...(minItems > 0 ? { minItems } : {}) }
    }
  }
}

const NAMES = ['x', 'y', 'z'] as const

function randomRecord(chance: Chance, depth: number): InputSchema {
  const members: Record<string, InputMember> = {}
  for (const name of NAMES) {
    if (chance.next(3) > 0) {
      members[name] = { schema: randomType(chance, depth), required: chance.next(2) === 0 }
    }
  }
  return varied(members, chance)
}

/** With the same members, of which several shapes may each demand some. */
function varied(members: InputSchema['members'], chance: Chance): InputSchema {
  const names = Object.keys(members)
  if (names.length < 2 || chance.next(3) > 0) return { type: 'record', members }
  const open = Object.fromEntries(
    Object.entries(members).map(([name, { schema }]) => [name, { schema, required: false }]),
  )
  const shape = (): InputSchema => {
    const own = Object.entries(open).filter(() => chance.next(4) > 0)
    const wanted = own.map(([name, { schema }]): [string, InputMember] => [
      name,
      { schema, required: chance.next(2) === 0 },
    ])
    return { type: 'record', members: Object.fromEntries(wanted) }
  }
  const fits = chance.next(2) === 0 ? 'one' : 'any'
  return { type: 'record', members: open, variants: { fits, of: [shape(), shape()] } }
}

/** The same with one thing changed somewhere, as Cedar types it. */
function changedType(type: InputType, chance: Chance): InputType {
  switch (type.type) {
    case 'long': {
      const maximum = Math.max(type.minimum, type.maximum + chance.next(3) - 1)
      return { ...type, maximum }
    }
    case 'string': {
      const { enum: values, ...open } = type
      if (values && chance.next(2) === 0)
        return chance.next(2) === 0
          ? open
          : { ...type, enum: [...new Set([...values.slice(1), 'b'])] }
      if (chance.next(2) === 0) return { ...type, maxLength: 1 + chance.next(3) }
      return { ...type, pattern: chance.of(PATTERNS, '.') }
    }
    case 'set': {
      if (chance.next(3) === 0) return { ...type, items: changedType(type.items, chance) }
      const maxItems = Math.max(1, type.maxItems + chance.next(3) - 1)
      const minItems = Math.min(maxItems, chance.next(3))
      const { minItems: _, ...rest } = type
      return { ...rest, maxItems, ...(minItems > 0 ? { minItems } : {}) }
    }
    case 'decimal': {
      const { step, ...open } = type
      const kind = chance.next(4)
      if (kind === 0) return step === undefined ? { ...open, step: 0.5 } : open
      if (kind === 1) return { ...open, step: 0.25 }
      return { ...type, maximum: Math.max(type.minimum, type.maximum + (chance.next(3) - 1) / 4) }
    }
    case 'record':
      return changedRecord(type, chance)
    default:
      return type
  }
}

function changedRecord(type: InputSchema, chance: Chance): InputSchema {
  const names = Object.keys(type.members)
  if (type.variants && chance.next(2) === 0) {
    if (chance.next(2) === 0) return { type: 'record', members: type.members }
    const fits = type.variants.fits === 'one' ? 'any' : 'one'
    return { ...type, variants: { ...type.variants, fits } }
  }
  const name = chance.of(names, '')
  const member = type.members[name]
  if (!member || type.variants) return type
  const next = { ...member, schema: changedType(member.schema, chance) }
  return { ...type, members: { ...type.members, [name]: next } }
}

type Path = { readonly text: string; readonly type: InputType; readonly guard: string }

/** What policies can read of an input, and what has to be there for it. */
function pathsOf(type: InputSchema, text = 'context.input', guard = ''): Path[] {
  return Object.entries(type.members).flatMap(([name, { schema, required }]) => {
    const own = required ? guard : `${guard}${text} has ${name} && `
    const path = { text: `${text}.${name}`, type: schema, guard: own }
    return schema.type === 'record' ? [path, ...pathsOf(schema, path.text, own)] : [path]
  })
}

function literal(type: InputType, chance: Chance): string {
  switch (type.type) {
    case 'boolean':
      return chance.of(['true', 'false'], 'true')
    case 'long':
      return String(chance.next(5) - 1)
    case 'decimal':
      return `decimal("${((chance.next(17) - 4) / 4).toFixed(2)}")`
    case 'string':
      return JSON.stringify(chance.of(WORDS, 'a'))
    case 'set':
      return `[${Array.from({ length: 1 + chance.next(3) }, () => literal(type.items, chance)).join(', ')}]`
    case 'record': {
      const members = Object.entries(type.members)
        .filter(([, { required }]) => required || chance.next(2) === 0)
        .map(([name, { schema }]) => `${name}: ${literal(schema, chance)}`)
      return `{${members.join(', ')}}`
    }
  }
}

function atom(paths: readonly Path[], chance: Chance): string {
  const path = paths[chance.next(paths.length)]
  if (!path)
    return chance.of(['context.risk > 3', 'context.session.labels.contains("pii")'], 'true')
  const { text, type, guard } = path
  const held = (inner: string, more = ''): string => `(${guard}${more}${inner})`
  const alike = paths.filter(
    (one) =>
      one.type.type === type.type &&
      JSON.stringify(kindOf(one.type)) === JSON.stringify(kindOf(type)),
  )
  const other = alike[chance.next(alike.length)] ?? path
  const same = (operator: string): string =>
    chance.next(2) === 0
      ? held(`${text} ${operator} ${literal(type, chance)}`)
      : held(`${text} ${operator} ${other.text}`, other.guard)
  switch (type.type) {
    case 'boolean':
      return held(text)
    case 'long':
      return same(chance.of(['<', '<=', '==', '!=', '>'], '=='))
    case 'decimal': {
      const other_ = chance.next(2) === 0 ? literal(type, chance) : other.text
      const compare = chance.of(['lessThan', 'lessThanOrEqual', 'greaterThan', '=='], '==')
      const both = other_ === other.text ? other.guard : ''
      return held(compare === '==' ? `${text} == ${other_}` : `${text}.${compare}(${other_})`, both)
    }
    case 'string':
      return chance.next(3) === 0
        ? held(`${text} like "${chance.of(['*', 'a*', '*b', '*a*', ''], '*')}"`)
        : same(chance.of(['==', '!='], '=='))
    case 'set': {
      const kind = chance.next(6)
      if (kind === 0) return held(`${text}.isEmpty()`)
      if (kind === 1) return same(chance.of(['==', '!='], '=='))
      if (kind === 2) {
        const items = paths.filter(
          (one) => JSON.stringify(kindOf(one.type)) === JSON.stringify(kindOf(type.items)),
        )
        const item = items[chance.next(items.length)]
        return item && chance.next(2) === 0
          ? held(`${text}.contains(${item.text})`, item.guard)
          : held(`${text}.contains(${literal(type.items, chance)})`)
      }
      const operator = chance.of(['containsAll', 'containsAny'], 'containsAll')
      const constant = literal(type, chance)
      if (kind === 3) return held(`${text}.${operator}(${constant})`)
      if (kind === 4) return held(`${constant}.${operator}(${text})`)
      return held(`${text}.${operator}(${other.text})`, other.guard)
    }
    default:
      return same(chance.of(['==', '!='], '=='))
  }
}

/** The Cedar type. */
function kindOf(type: InputType): unknown {
  if (type.type === 'set') return [kindOf(type.items)]
  if (type.type !== 'record') return type.type
  return Object.entries(type.members)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, { schema, required }]) => [name, kindOf(schema), required])
}

function condition(paths: readonly Path[], chance: Chance, depth: number): string {
  const inner = (): string => condition(paths, chance, depth - 1)
  switch (depth <= 0 ? 9 : chance.next(7)) {
    case 0:
    case 1:
      return `(${inner()} && ${inner()})`
    case 2:
    case 3:
      return `(${inner()} || ${inner()})`
    case 4:
      return `!(${inner()})`
    default:
      return atom(paths, chance)
  }
}

interface Drawn {
  readonly inputs: readonly [InputSchema, InputSchema]
  readonly policies: readonly [readonly string[], readonly string[]]
}

function bank(inputs: readonly InputSchema[], texts: readonly string[]): Declaration {
  const [system] = network(inputs.length).systems
  assert.ok(system)
  const operations = system.operations.map((operation, i) => ({
    ...operation,
    input: inputs[i] ?? operation.input,
  }))
  return declaration(texts, { systems: [{ ...system, operations }] }, inputs.length)
}

async function drawn(chance: Chance, operation: string): Promise<Drawn> {
  for (;;) {
    const input = randomRecord(chance, 2)
    const next = chance.next(2) === 0 ? changedRecord(input, chance) : input
    const paths = pathsOf(input)
    const policies = (): string[] =>
      Array.from({ length: 1 + chance.next(2) }, (_, i) =>
        (i === 0 ? permit : forbid)(condition(paths, chance, 2), operation),
      )
    const old = policies()
    // Often the same in other words, or with a little more.
    const kind = chance.next(4)
    const changed =
      kind === 0
        ? old
        : kind === 1
          ? policies()
          : kind === 2
            ? [...old, permit(condition(paths, chance, 1), operation)]
            : old.map((text) =>
                text.replace(
                  /when \{ (.*) \};$/,
                  (_, given: string) =>
                    `when { (${given}) && (${condition(paths, chance, 0)} || ${given}) };`,
                ),
              )
    try {
      for (const [one, texts] of [
        [input, old],
        [next, changed],
      ] as const) {
        const inputs = Array.from({ length: PAIRS }, () => one)
        const made = bank(inputs, texts)
        await loadPolicySet({ policies: made.policies, schema: deriveSchema(made.network) })
      }
      return { inputs: [input, next], policies: [old, changed] }
    } catch {
      continue
    }
  }
}

/** Values at the bounds of what either side takes. */
function randomValue(type: InputType, chance: Chance): CedarJson {
  switch (type.type) {
    case 'boolean':
      return chance.next(2) === 0
    case 'long':
      return type.minimum - 1 + chance.next(type.maximum - type.minimum + 3)
    case 'decimal':
      // Whole ones among them, and some of which no step is a part.
      return type.minimum - 0.5 + chance.next(8 * (type.maximum - type.minimum) + 8) / 8
    case 'string':
      return chance.of(type.enum && chance.next(2) === 0 ? type.enum : WORDS, 'a')
    case 'set': {
      const items = Array.from({ length: chance.next(type.maxItems + 2) }, () =>
        randomValue(type.items, chance),
      )
      return [...new Map(items.map((item) => [JSON.stringify(item), item])).values()]
    }
    case 'record':
      return Object.fromEntries(
        Object.entries(type.members)
          .filter(([, { required }]) => (required ? chance.next(12) > 0 : chance.next(2) === 0))
          .map(([name, { schema }]) => [name, randomValue(schema, chance)]),
      )
  }
}

const allows = (
  decider: Decider,
  operation: string,
  input: CedarJson,
  labels: readonly string[],
  risk: number,
): boolean => {
  const schema = decider.index.findOperation('core', operation)?.input
  assert.ok(schema)
  try {
    const call = {
      ...{
        instance: 'spiffe://bank.test/agent/clerk/any',
        agent: 'clerk',
        system: 'core',
        operation,
      },
      ...{ input: readInput(schema, input), time: 1_770_000_000_000, evidence: { approvals: [] } },
    }
    return decider.decide(call, { labels, risk }).decision === 'allow'
  } catch {
    return false
  }
}

test('random inputs and policies over them: what is proven, no request that was tried refutes', async (t) => {
  const counts = { equal: 0, solved: 0, found: 0, undecided: 0, allowed: 0 }
  for (let round = 0; round < ROUNDS; round++) {
    const chance = new Chance(`${SEED} ${round}`)
    const names = Array.from({ length: PAIRS }, (_, i) => `op${i}`)
    const pairs: Drawn[] = []
    for (const name of names) pairs.push(await drawn(chance, name))
    const of = (side: 0 | 1): Declaration =>
      bank(
        pairs.map(({ inputs }) => inputs[side]),
        [...pairs.flatMap(({ policies }) => policies[side]), FIELDS[side]],
      )
    const [old, next] = [of(0), of(1)]
    const report = await diff({ old, new: next, boundMs: 3000 }).catch((error: unknown) => {
      assert.fail(
        `${SEED} ${round}: ${String(error)} ${JSON.stringify((error as { detail?: string }).detail)}`,
      )
    })
    const [a, b] = [
      await createDecider({ declaration: old }),
      await createDecider({ declaration: next }),
    ]
    for (const { why } of report.undecided) t.diagnostic(why)
    for (const [i, name] of names.entries()) {
      const said = (question: 'newly allowed' | 'newly denied'): boolean =>
        [
          ...(question === 'newly allowed' ? report.newlyAllowed : report.newlyDenied),
          ...report.undecided.filter((one) => one.question === question),
        ].some((one) => one.operation === `core.${name}`)
      const [more, less] = [said('newly allowed'), said('newly denied')]
      const open = [
        ...report.fieldsMoreOpen,
        ...report.undecided.filter(({ question }) => question === 'fields more open'),
      ].some((one) => one.operation === `core.${name}`)
      if (!more && !less) counts.equal++
      const inputs = pairs[i]?.inputs ?? []
      for (let n = 0; n < REQUESTS; n++) {
        const input = randomValue(inputs[chance.next(2)] ?? { type: 'boolean' }, chance)
        const [labels, risk] = [chance.some(['pii', 'untrusted']), chance.next(6)]
        const [x, y] = [allows(a, name, input, labels, risk), allows(b, name, input, labels, risk)]
        if (x) counts.allowed++
        const shown = (): string => JSON.stringify([round, pairs[i], input, labels, risk])
        if (!x && y && !more) assert.fail(`newly allowed, and said not to be: ${shown()}`)
        if (x && y && !open) assert.fail(`fields more open, and said not to be: ${shown()}`)
        if (x && !y && !less) assert.fail(`newly denied, and said not to be: ${shown()}`)
      }
    }
    counts.solved += report.bySolver
    counts.found += report.newlyAllowed.length + report.newlyDenied.length
    counts.undecided += report.undecided.length
  }
  t.diagnostic(JSON.stringify(counts))
  // A run in which nothing was proven, or nothing allowed, would show nothing.
  assert.ok(counts.equal > 0 && counts.solved > 0 && counts.allowed > 0)
})
