import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import {
  checkPolicies,
  closeCedar,
  EntityStore,
  loadPolicySet,
  prepareContext,
  splitPolicies,
} from '../src/index.ts'
import type { EntityJson, Request } from '../src/index.ts'
import { SliceMemo } from '../src/slice-memo.ts'
import { Slice } from '../src/slice-memo.ts'

after(closeCedar)

const when = (body: string): string => `permit(principal, action, resource) when { ${body} };`
const load = (body: string) => loadPolicySet({ policies: [{ id: 'p', source: when(body) }] })
const uid = (type: string, id: string) => ({ type, id })
const NOBODY = EntityStore.from([])
const code = 'SP_CEDAR_VALUE'
const ask = (context: unknown, principal: unknown = uid('U', 'a')): Request =>
  // Hostile callers are not held by types.
  ({ principal, action: uid('Action', 'a'), resource: uid('U', 'b'), context }) as Request

describe('texts that look alike', () => {
  it('are different texts: nothing is folded, trimmed or normalised', async () => {
    const pairs: [string, string][] = [
      ['é', 'e\u0301'],
      ['a', 'а'],
      ['admin', 'admin\u200b'],
      ['admin', '\u202enimda'],
      ['a', '\ufeffa'],
      ['fi', '\ufb01'],
      ['K', '\u212a'],
      ['ab', 'a\u0000b'],
      ['a', 'A'],
      ['a', 'a '],
    ]
    const set = await loadPolicySet({
      policies: pairs.map(([one], i) => ({
        id: `p${i}`,
        source: `permit(principal == U::"${one}", action, resource) when { context.s == "${one}" };`,
      })),
    })
    for (const [one, other] of pairs) {
      const decide = (id: string, s: string) =>
        set.decide(ask({ s }, uid('U', id)), NOBODY).decision
      assert.equal(decide(one, one), 'allow', one)
      assert.equal(decide(other, one), 'deny', other)
      assert.equal(decide(one, other), 'deny', other)
    }
  })

  it('are no identifiers outside ASCII, and hidden characters are no spaces', async () => {
    for (const hidden of ['\u200b', '\u202e', '\u00ad', '\u0430', 'é', '\ufe0f', '\u0000']) {
      const policies = [{ id: 'p', source: when(`context.a${hidden} == 1`) }]
      await assert.rejects(loadPolicySet({ policies }), { code: 'SP_CEDAR_SYNTAX' }, hidden)
      const { ok } = await checkPolicies({ policies })
      assert.equal(ok, false)
    }
    assert.equal((await load('context.a == 1')).decide(ask({ a: 1 }), NOBODY).decision, 'allow')
  })
})

describe('escapes that are none', () => {
  it('in a schema, too, are answered with a diagnostic where there are few, and refused where there are many', async () => {
    const schema = (escape: string): string =>
      `entity U; action "${escape}" appliesTo { principal: U, resource: U };`
    const check = (text: string) => checkPolicies({ policies: [], schema: text })
    for (const escape of ['\\u{', '\\q', '\\x9', '\\*']) {
      assert.equal((await check(schema(escape.repeat(16)))).ok, false, escape)
      await assert.rejects(check(schema(escape.repeat(5000))), { code: 'SP_CEDAR_LIMIT' }, escape)
    }
    assert.equal((await check(schema('\\u{41}'.repeat(5000)))).ok, true)
  })

  it('are refused before the parser, which takes quadratic time for them', async () => {
    const none = ['\\u{', '\\q', '\\xff', '\\u{1234567}', '\\u{d800}', '\\u{ffffff}', '\\*', '\r']
    for (const escape of none) {
      const few = { id: 'p', source: when(`context.s == "${escape.repeat(16)}"`) }
      const many = { id: 'p', source: when(`context.s == "${escape.repeat(5000)}"`) }
      const note = { id: 'p', source: `@a("${escape.repeat(5000)}") ${when('true')}` }
      // A few are the parser's to point at.
      assert.equal((await checkPolicies({ policies: [few] })).ok, false)
      await assert.rejects(checkPolicies({ policies: [many] }), { code: 'SP_CEDAR_LIMIT' })
      await assert.rejects(loadPolicySet({ policies: [note] }), { code: 'SP_CEDAR_LIMIT' })
    }
    const valid = String.raw`\n\r\t\0\\\'\"\x41\u{e9}`.repeat(1000)
    const stars = String.raw`\*`.repeat(1000)
    const set = await load(`context.s == "${valid}" && "${'*'.repeat(1000)}" like "${stars}"`)
    const text = '\n\r\t\0\\\'"A\u00e9'.repeat(1000)
    assert.equal(set.decide(ask({ s: text }), NOBODY).decision, 'allow')
  })
})

describe('requests and entities that are no plain data', () => {
  const throwing = {
    get x(): never {
      throw new Error('from a getter')
    },
  }
  const trap = new Proxy(
    {},
    {
      ownKeys() {
        throw new Error('from a proxy')
      },
    },
  )
  const refused: [string, unknown][] = [
    ['a getter that throws', throwing],
    ['a getter that throws, deep down', { a: [throwing] }],
    ['a proxy that throws', trap],
    ['a list', []],
    ['a text', 'text'],
    ['null', null],
    ['nothing', undefined],
    ['a map', new Map()],
    ['a list with a hole', { x: Array.from<number>({ length: 3 }).fill(1, 0, 1) }],
    ['a list of four billion holes', { x: Object.assign([], { length: 2 ** 32 - 1 }) }],
    ['an infinity', { x: Number.POSITIVE_INFINITY }],
  ]
  for (const [name, context] of refused) {
    it(`refuses ${name} as a context`, async () => {
      const set = await load('true')
      assert.throws(() => set.decide(ask(context), NOBODY), { code })
      // What `ask` takes is typed; this is the same hostile value.
      assert.throws(() => prepareContext(context as Request['context']), { code })
      assert.equal(set.decide(ask({}), NOBODY).decision, 'allow')
    })
  }

  it('refuses principals that are none', async () => {
    const set = await load('true')
    const none = [undefined, null, 5, 'U::"a"', {}, { type: 'U' }, { type: 'U', id: 7 }]
    for (const principal of [
      ...none,
      uid('', 'a'),
      uid('U ', 'a'),
      uid('é', 'a'),
      uid('if', 'a'),
    ]) {
      assert.throws(() => set.decide(ask({}, principal ?? null), NOBODY), { code })
    }
    assert.throws(() => set.decide({ ...ask({}), principal: throwing as never }, NOBODY), { code })
    assert.equal(set.decide(ask({}, uid('N::U', '')), NOBODY).decision, 'allow')
  })

  it('counts shared parts each time they occur, so that few objects cannot unfold into many', async () => {
    let shared: unknown = 1
    for (let i = 0; i < 40; i++) shared = { a: shared, b: shared }
    const set = await load('true')
    assert.throws(() => set.decide(ask({ shared }), NOBODY), { code })
    const entity = { uid: uid('U', 'a'), attrs: { shared }, parents: [] }
    assert.throws(() => EntityStore.from([entity as unknown as EntityJson]), { code })
    const wide = Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`k${i}`, i]))
    assert.equal(set.decide(ask(wide), NOBODY).decision, 'allow')
  })

  it('refuses entities that are none, with a code', () => {
    const whole = { uid: uid('U', 'a'), attrs: {}, parents: [] }
    assert.equal(EntityStore.from([whole]).size, 1)
    const broken = [
      null,
      {},
      { ...whole, uid: null },
      { ...whole, parents: undefined },
      { ...whole, parents: 'U' },
      { ...whole, parents: [null] },
      { ...whole, attrs: null },
      { ...whole, attrs: [] },
      { ...whole, tags: null },
      { ...whole, attrs: throwing },
    ]
    for (const entity of broken) {
      assert.throws(() => EntityStore.from([entity as EntityJson]), { code })
    }
    const action = { uid: uid('Action', 'a'), attrs: {}, parents: [uid('U', 'a')] }
    assert.throws(() => EntityStore.from([action]), { code: 'SP_CEDAR_ENTITIES' })
  })
})

describe('integers that no double holds', () => {
  const LARGE = ['9007199254740993', '9223372036854775807', '-9223372036854775808']

  it('are exact in policies, contexts, attributes and tags', async () => {
    for (const text of LARGE) {
      const large = BigInt(text)
      const near = large > 0n ? large - 1n : large + 1n
      const set = await load(
        `context.n == ${text} && principal.n == ${text} && principal.getTag("n") == ${text} && [${text}].contains(context.n)`,
      )
      const decide = (context: bigint, attr: bigint, tag: bigint) => {
        const store = EntityStore.from([
          { uid: uid('U', 'a'), attrs: { n: attr }, parents: [], tags: { n: tag } },
        ])
        return set.decide(ask({ n: context }), store).decision
      }
      assert.equal(decide(large, large, large), 'allow', text)
      assert.equal(decide(near, large, large), 'deny')
      assert.equal(decide(large, near, large), 'deny')
      assert.equal(decide(large, large, near), 'deny')
    }
  })
})

describe('a million hostile ids', () => {
  it('leave the memo with no more than its capacity, and the store with what it had', () => {
    const memo = new SliceMemo(1024)
    const slice = new Slice([])
    for (let i = 1; i <= 1_000_000; i++) {
      if (memo.find(-i, i, i % 97) < 0) memo.put(-i, i, i % 97, slice)
    }
    let kept = 0
    for (let i = 1; i <= 1_000_000; i++) if (memo.find(-i, i, i % 97) >= 0) kept++
    assert.ok(kept > 0 && kept <= 1024, `${kept} entries`)
    const store = EntityStore.from([{ uid: uid('U', 'a'), attrs: {}, parents: [] }])
    for (let i = 0; i < 1_000_000; i++) store.findAs(0, uid(`T${i % 1000}`, `x${i}`))
    assert.equal([...store.records()].length, 1)
  })
})

describe('diagnostics', () => {
  const schema =
    'entity U;\naction a appliesTo { principal: U, resource: U, context: { n: Long } };'

  it('point at what is wrong in a syntax error, a type error and a file', async () => {
    const broken = when('context.n = 1')
    const syntax = await checkPolicies({ policies: [{ id: 'p', source: broken }] })
    const [first] = syntax.diagnostics
    assert.equal(first?.policyId, 'p')
    assert.equal(first.start, broken.indexOf('context'))
    const source = when('context.n == "é" || context.n like "x"')
    const typed = await checkPolicies({ policies: [{ id: 'p', source }], schema })
    const [mistyped] = typed.diagnostics.filter(({ severity }) => severity === 'error')
    assert.ok(mistyped?.start !== undefined && mistyped.end !== undefined)
    assert.match(source.slice(mistyped.start, mistyped.end), /context\.n/)
    await assert.rejects(splitPolicies(`${when('true')}\n${broken}`, 'x.cedar'), {
      code: 'SP_CEDAR_SYNTAX',
      span: { file: 'x.cedar', line: 2, column: broken.indexOf('context') + 1 },
    })
  })

  it('point into the schema where that is wrong', async () => {
    const wrong = 'entity Ü;'
    const { ok, diagnostics } = await checkPolicies({ policies: [], schema: `entity V;\n${wrong}` })
    assert.equal(ok, false)
    const [first] = diagnostics
    assert.equal(first?.policyId, undefined)
    assert.equal(first?.start, `entity V;\nentity `.length)
  })
})
