/**
 * Pairs of random policy sets: what is proven equal, no request distinguishes; what is said to differ, the deciders decide
 * differently. Several pairs share one declaration, one for each of its operations.
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { loadPolicySet } from '@sallyport/cedar'
import { createDecider } from '@sallyport/decide'
import type { Decider } from '@sallyport/decide'
import { deriveSchema } from '@sallyport/network'
import { diff } from '../src/index.ts'
import { literalsOf } from '../src/diff/literals.ts'
import type { Request, RequestType } from '../src/diff/request.ts'
import { Chance, randomRequest } from '../src/diff/search.ts'
import { declaration, INPUT, network } from './support/bank.ts'

const PAIRS = 8
const ROUNDS = Number(process.env['DIFF_ROUNDS'] ?? 1)
const SEED = process.env['DIFF_SEED'] ?? 'sallyport'
const REQUESTS = 400

const LONGS = ['0', '1', '-1', '10', '11', '100', '1000000', '9223372036854775807']
const TEXTS = ['"a"', '"b"', '"EUR"', '"a-1"', '"x\\u{e9}"']

function condition(chance: Chance, depth: number): string {
  const inner = (): string => condition(chance, depth - 1)
  const kind = depth <= 0 ? 9 : chance.next(12)
  if (kind < 2) return `(${inner()} && ${inner()})`
  if (kind < 4) return `(${inner()} || ${inner()})`
  if (kind === 4) return `!(${inner()})`
  if (kind === 5) return `(if ${inner()} then ${inner()} else ${inner()})`
  return chance.of(ATOMS, ATOMS[0] ?? never)(chance)
}

const never = (): string => 'false'
const long = (chance: Chance): string => chance.of(LONGS, '0')
const text = (chance: Chance): string => chance.of(TEXTS, '"a"')
const order = (chance: Chance): string => chance.of(['<', '<=', '>', '>=', '==', '!='], '==')
const amount = (chance: Chance): string => {
  const plain = 'context.input.amount'
  return chance.of(
    [
      plain,
      plain,
      `(${plain} + ${long(chance)})`,
      `(${plain} * ${chance.next(5)})`,
      `(-${plain} - 1)`,
    ],
    plain,
  )
}
const set = (chance: Chance): string =>
  chance.of(['context.input.tags', `[${text(chance)}, "b"]`], '["a"]')

const ATOMS: readonly ((chance: Chance) => string)[] = [
  (c) => `${amount(c)} ${order(c)} ${long(c)}`,
  (c) => `${amount(c)} ${order(c)} ${long(c)}`,
  (c) => `context.input.ref ${c.of(['==', '!='], '==')} ${text(c)}`,
  (c) => `context.input.ref like "${c.of(['*', 'a*', '*1', 'a*b*', '*-*'], '*')}"`,
  (c) => `(context.input has memo && context.input.memo ${c.of(['==', '!='], '==')} ${text(c)})`,
  (c) => `(context.input has memo && context.input.memo like "*${c.of(['a', '\\*', 'b*'], 'a')}")`,
  () => 'context.input.urgent',
  (c) => `context.input.currency == ${text(c)}`,
  (c) => `context.input.tags.contains(${c.of([text(c), 'context.input.ref'], '"a"')})`,
  (c) => `${set(c)}.${c.of(['containsAll', 'containsAny'], 'containsAll')}(${set(c)})`,
  (c) => `context.input.tags == [${text(c)}]`,
  () => 'context.input.tags.isEmpty()',
  () => '(context.input has parts && context.input.parts.contains(context.risk))',
  (c) => `(context.input has parts && [1, ${c.next(3)}].containsAll(context.input.parts))`,
  (c) => `context.session.labels.contains("${c.of(['pii', 'untrusted', 'none'], 'pii')}")`,
  () => 'context.input.tags.containsAll(context.session.labels)',
  (c) => `context.evidence.approvals ${order(c)} ${c.next(3)}`,
  () => 'context.evidence.approvers.contains("olga")',
  (c) => `context.risk ${order(c)} ${c.next(101)}`,
  (c) => `context.risk + context.input.amount ${order(c)} ${long(c)}`,
  (c) => `context.time.hour ${order(c)} ${c.next(25)}`,
  (c) => `context.time.weekday ${order(c)} ${c.next(9)}`,
  (c) => `context.time.date ${c.of(['==', '!='], '==')} "2026-0${c.next(10)}-01"`,
  (c) => `context.time.date like "20${c.next(10)}*-1${c.next(3)}-*"`,
  (c) => `(context has source && context.source.isInRange(ip("10.0.0.0/${8 + c.next(25)}")))`,
  () => '(context has source && (context.source.isIpv6() || context.source.isLoopback()))',
  (c) =>
    `principal in ${c.of(['Agent::"clerk"', 'Agent::"other"', 'Role::"writer"'], 'Agent::"clerk"')}`,
  () => 'resource.criticality == "critical"',
  (c) => `context.purpose == "${c.of(['aml', 'else'], 'aml')}"`,
]

function policies(chance: Chance, operation: string): string[] {
  return Array.from({ length: 1 + chance.next(3) }, (_, i) => {
    const effect = i === 0 || chance.next(2) === 0 ? 'permit' : 'forbid'
    const head = `${effect} (principal, action == Action::"core.${operation}", resource)`
    return `${head} when { ${condition(chance, 3)} };`
  })
}

/** The same set, another one, or one with a small change; and fields that depend on something. */
function pair(chance: Chance, operation: string): [string[], string[]] {
  const old = policies(chance, operation)
  if (chance.next(4) === 0) return [old, policies(chance, operation)]
  const next = chance.next(2) === 0 ? old.toReversed() : [...old]
  const more = policies(chance, operation).slice(0, 1)
  const at = chance.next(next.length)
  if (chance.next(3) > 0) next.splice(at, chance.next(2), ...more)
  else next[at] = (next[at] ?? '').replace(/ \d+/, (n) => ` ${Number(n) + 1}`)
  return [old, next]
}

const treatment = (chance: Chance): string => {
  const action = chance.of(['read', 'mask', 'tokenise'], 'read')
  const bound = `context.risk ${order(chance)} ${chance.next(101)} || resource.class <= ${chance.next(3)}`
  return `permit (principal, action == Action::"field.${action}", resource) when { ${bound} };`
}

const allows = (decider: Decider, { call, session }: Request): boolean =>
  decider.decide(call, session).decision === 'allow'

test('random pairs: proofs hold for every request tried, and counterexamples are ones', async (t) => {
  const counts = { allowed: 0, denied: 0, equal: 0, fields: 0, undecided: 0, bySolver: 0, found: 0 }
  for (let round = 0; round < ROUNDS; round++) {
    const chance = new Chance(`${SEED} ${round}`)
    const names = Array.from({ length: PAIRS }, (_, i) => `op${i}`)
    const pairs = await Promise.all(names.map((name) => validPair(chance, name)))
    const fields = [treatment(chance), treatment(chance)]
    const changed = chance.next(2) === 0 ? fields : [treatment(chance), ...fields.slice(1)]
    const old = declaration([...pairs.flatMap(([a]) => a), ...fields], {}, PAIRS)
    const next = declaration([...pairs.flatMap(([, b]) => b), ...changed], {}, PAIRS)
    const report = await diff({ old, new: next })
    for (const { why } of report.undecided) t.diagnostic(why)
    const [a, b] = [
      await createDecider({ declaration: old }),
      await createDecider({ declaration: next }),
    ]
    for (const { counterexample } of report.newlyAllowed) {
      assert.ok(!allows(a, counterexample) && allows(b, counterexample))
    }
    for (const { counterexample } of report.newlyDenied) {
      assert.ok(allows(a, counterexample) && !allows(b, counterexample))
    }
    const schema = deriveSchema(old.network)
    const sets = [old, next].map((one) => loadPolicySet({ policies: one.policies, schema }))
    const literals = literalsOf((await Promise.all(sets)).flatMap((one) => [...one.policies()]))
    for (const name of names) {
      const operation = `core.${name}`
      const of = (list: readonly { operation: string }[]): boolean =>
        list.some((one) => one.operation === operation)
      const undecided = report.undecided.filter((one) => one.operation === operation)
      const said = {
        allowed: of(report.newlyAllowed) || undecided.some((u) => u.question === 'newly allowed'),
        denied: of(report.newlyDenied) || undecided.some((u) => u.question === 'newly denied'),
        more: of(report.fieldsMoreOpen) || undecided.some((u) => u.question === 'fields more open'),
        less: of(report.fieldsLessOpen) || undecided.some((u) => u.question === 'fields less open'),
      }
      if (!said.allowed && !said.denied) counts.equal++
      const type: RequestType = {
        ...{ agent: 'clerk', instance: 'spiffe://bank.test/agent/clerk/any', system: 'core' },
        ...{ operation: name, input: INPUT, literals, operators: ['olga'] },
        labels: ['account', 'pii', 'untrusted'],
      }
      for (let i = 0; i < REQUESTS; i++) {
        const request = randomRequest(type, chance)
        const [x, y] = [allows(a, request), allows(b, request)]
        const shown = JSON.stringify([pairs[names.indexOf(name)], request])
        if (!x && y) assert.ok(said.allowed, `newly allowed, and said not to be: ${shown}`)
        if (x && !y) assert.ok(said.denied, `newly denied, and said not to be: ${shown}`)
        if (!x || !y) continue
        const [p, q] = [a, b].map((one) => one.decide(request.call, request.session).projection)
        if (JSON.stringify(p) !== JSON.stringify(q)) {
          assert.ok(said.more || said.less, `other fields, and said not to be: ${shown}`)
        }
      }
    }
    counts.allowed += report.newlyAllowed.length
    counts.denied += report.newlyDenied.length
    counts.fields += report.fieldsMoreOpen.length + report.fieldsLessOpen.length
    counts.undecided += report.undecided.length
    counts.bySolver += report.bySolver
    counts.found += [...report.newlyAllowed, ...report.newlyDenied].filter(
      ({ found }) => found === 'solver',
    ).length
  }
  t.diagnostic(JSON.stringify(counts))
  // A run in which nothing was proven or nothing found would show nothing.
  assert.ok(counts.allowed + counts.denied > 0 && counts.found > 0, 'nothing was found')
  assert.ok(counts.equal > 0 && counts.bySolver > 0, 'nothing was proven')
})

/** Cedar's validator refuses conditions that can only be true or false by type; those are drawn again. */
async function validPair(chance: Chance, operation: string): Promise<[string[], string[]]> {
  const schema = deriveSchema(network(PAIRS))
  for (;;) {
    const drawn = pair(chance, operation)
    const texts = drawn.flat().map((source, i) => ({ id: `p${i}`, source }))
    try {
      await loadPolicySet({ policies: texts, schema })
      return drawn
    } catch {
      continue
    }
  }
}
