import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import type { Declaration, EnforcementAbility, Network, Operation } from '@sallyport/network'
import { diff } from '../src/index.ts'
import type { DiffReport } from '../src/index.ts'
import { Solver } from '../src/diff/solver.ts'
import { Terms } from '../src/diff/terms.ts'
import { declaration, forbid, INPUT, network, permit } from './support/bank.ts'
import { confirmed, inputOf } from './support/confirmed.ts'

const MILLION = 'context.input.amount <= 1000000'
const FIELDS =
  'permit (principal, action == Action::"field.read", resource) when { resource.class <= 1 };'

const both = (old: readonly string[], next: readonly string[]): Promise<DiffReport> =>
  confirmed(declaration(old), declaration(next))

test('a raised threshold is found at its very boundary, and only there', async () => {
  const report = await both([permit(MILLION)], [permit('context.input.amount <= 2000000')])
  assert.equal(report.verdict, 'differs')
  assert.equal(inputOf(report.newlyAllowed[0])['amount'], 1_000_001)
  assert.deepEqual(report.newlyDenied, [])
  const [{ counterexample } = assert.fail('nothing found')] = report.newlyAllowed
  assert.equal(counterexample.old.decision, 'deny')
  assert.deepEqual(counterexample.new.policies, ['p0'])
  assert.deepEqual([counterexample.session.risk, counterexample.session.labels], [0, []])
})

test('an off-by-one is found: the one amount there is', async () => {
  const report = await both([permit(MILLION)], [permit('context.input.amount < 1000000')])
  assert.deepEqual(report.newlyAllowed, [])
  assert.equal(inputOf(report.newlyDenied[0])['amount'], 1_000_000)
})

test('a forbid that is gone is found, with what it forbade', async () => {
  const bound = forbid('context.session.labels.contains("untrusted") && context.input.urgent')
  const report = await both([permit(MILLION), bound], [permit(MILLION)])
  const [found] = report.newlyAllowed
  assert.deepEqual(found?.counterexample.session.labels, ['untrusted'])
  assert.equal(inputOf(found)['urgent'], true)
  assert.deepEqual(found.counterexample.old.policies, ['p1'])
  assert.deepEqual(report.newlyDenied, [])
})

test('another order, other words, a policy that concerns nobody: proven equal', async () => {
  const a = permit('context.input.amount <= 10 || context.input.urgent')
  const b = forbid('context.risk >= 60')
  const report = await both(
    [a, b],
    [
      forbid('!(context.risk < 60)'),
      permit('context.input.urgent'),
      permit('!(context.input.amount + 1 > 11)'),
      'permit (principal in Agent::"other", action, resource);',
    ],
  )
  assert.equal(report.verdict, 'equivalent')
  assert.ok(report.bySolver > 0)
  assert.equal(report.proven, report.questions)
})

test('a condition that no request can meet makes no difference', async () => {
  const report = await both(
    [permit(MILLION)],
    [
      permit(MILLION),
      permit('context.input.amount > 9000000000000000'),
      permit('context.risk > 100'),
    ],
  )
  assert.equal(report.verdict, 'equivalent')
})

test('a permit that overflows is no permit, and a forbid that overflows denies', async () => {
  const over = 'context.input.amount + 9223372036854775807 > 0'
  const report = await both([permit('true')], [permit('true'), forbid(`${over} && false`)])
  assert.deepEqual(report.newlyAllowed, [])
  assert.equal(inputOf(report.newlyDenied[0])['amount'], 1)
  const none = await both([permit('context.input.amount <= 0')], [permit(over)])
  assert.equal(none.newlyAllowed.length, 0)
})

test('an absent member is an error where it is read, and none where it is asked for', async () => {
  const asked = 'context.input has memo && context.input.memo like "gift*card"'
  const report = await both([permit('false')], [permit(asked)])
  const memo = inputOf(report.newlyAllowed[0])['memo']
  assert.match(String(memo), /^gift.*card$/u)
  const same = await both(
    [permit(asked)],
    [permit(`if context.input has memo then context.input.memo like "gift*card" else false`)],
  )
  assert.equal(same.verdict, 'equivalent')
})

const SHOWN = [
  [
    'a source range',
    'context has source && context.source.isInRange(ip("10.1.0.0/16"))',
    /"source":"10\.1\./,
  ],
  ['a hour', 'context.time.hour == 3 && context.time.weekday == 7', /"time"/],
  ['a date', 'context.time.date == "2026-12-24"', /"time":17980[0-9]+/],
  ['dates', 'context.time.date like "2031-*-31"', /"time"/],
  ['a time', 'context.time.epoch > 4000000000 && context.time.minute < 1', /"time":40/],
  ['approvals', 'context.evidence.approvals >= 2', /"approvals":\["[^"]+","[^"]+"\]/],
  ['an approver', 'context.evidence.approvers.contains("olga")', /"approvals":\["olga"\]/],
  [
    'a delegation',
    'context has onBehalfOf && context.onBehalfOf.subject == "operator:olga"',
    /"onBehalfOf":\{"subject":"operator:olga"/,
  ],
  [
    'a payment',
    'context has payment && context.payment.amount == 77 && context.payment.by like "operator:*"',
    /"payment":\{"amount":77,[^}]*"by":"operator:/,
  ],
  [
    'a mandate',
    'context has mandate && context.mandate.depth == 3 && context.mandate.task like "case *"',
    /"mandate":\{[^}]*"depth":3,"task":"case /,
  ],
  [
    'a set',
    'context.input.tags.containsAll(["b", "c"]) && !context.input.tags.contains("a")',
    /"tags":\["[bc]","[bc]"\]/,
  ],
  [
    'a set of numbers',
    'context.input has parts && context.input.parts.contains(77)',
    /"parts":\[77\]/,
  ],
  ['a set and a text', 'context.input.tags.contains(context.input.ref)', /"tags":\["-?[^"]*"\]/],
  ['an empty set', 'context.input.tags.isEmpty() && context.input.ref == "r-1"', /"ref":"r-1"/],
  ['an instance', 'principal == Instance::"spiffe://bank.test/agent/clerk/seven"', /clerk\/seven/],
  ['an enumeration', 'context.input.currency != "EUR"', /"currency":"CHF"/],
] as const

test('what is newly allowed is shown by a request, whatever it is about', async (t) => {
  const old = SHOWN.map((_, i) => permit('context.input.amount < -1000', `op${i}`))
  const more = SHOWN.map(([, wider], i) => permit(wider, `op${i}`))
  const report = await confirmed(
    declaration(old, {}, SHOWN.length),
    declaration([...old, ...more], {}, SHOWN.length),
  )
  assert.equal(report.newlyAllowed.length, SHOWN.length)
  assert.deepEqual([report.newlyDenied, report.undecided], [[], []])
  for (const [i, [what, , check]] of SHOWN.entries()) {
    await t.test(what, () => {
      const found = report.newlyAllowed.find(({ operation }) => operation === `core.op${i}`)
      assert.equal(found?.found, 'solver')
      assert.match(JSON.stringify(found.counterexample), check)
    })
  }
})

test('what a pattern does not let in is no difference', async () => {
  const report = await both([permit('false')], [permit('context.input.ref == "not one"')])
  assert.equal(report.verdict, 'equivalent')
  const long = await both([permit('false')], [permit('context.input.ref like "aaaaaaaaa*"')])
  assert.equal(long.verdict, 'equivalent')
})

test('a field that leaves more openly is found, and one that a call owes masked', async () => {
  const old = [permit(MILLION), FIELDS]
  const tokens =
    'permit (principal, action == Action::"field.tokenise", resource) when { resource.tags.contains("account") && context.risk < 20 };'
  const more = await both(old, [...old, tokens])
  assert.deepEqual(
    more.fieldsMoreOpen.map(({ field, before, after }) => [field, before, after]),
    [['account.id', 'drop', 'tokenise']],
  )
  assert.deepEqual([more.newlyAllowed, more.fieldsLessOpen], [[], []])
  const owing = permit(MILLION).replace('permit', '@obligation("mask:payment.amount")\npermit')
  const less = await both(old, [owing, FIELDS])
  assert.deepEqual(
    less.fieldsLessOpen.map(({ field, before, after }) => [field, before, after]),
    [['payment.amount', 'whole', 'mask']],
  )
  const unmet = permit(MILLION).replace('permit', '@obligation("shred:everything")\npermit')
  assert.equal((await both(old, [unmet, FIELDS])).newlyDenied.length, 1)
})

test('an answer of bytes that may not leave whole is a call that is denied', async () => {
  const bytes = { types: ['application/pdf'], maxBytes: 9 }
  const given = (policies: readonly string[]): Declaration => {
    const { network: plain, ...rest } = declaration(policies)
    return {
      ...rest,
      network: {
        ...plain,
        systems: plain.systems.map((system) => ({
          ...system,
          operations: system.operations.map((one) =>
            one.binding.kind === 'http' ? { ...one, binding: { ...one.binding, bytes } } : one,
          ),
        })),
        datasets: plain.datasets.map((set) => ({
          ...set,
          fields: set.fields.filter(({ name }) => name === 'name' || name === 'amount'),
        })),
      },
    }
  }
  const reads = (least: number): string =>
    `permit (principal, action == Action::"field.read", resource) when { context.risk <= ${least} };`
  const all = permit('true')
  const owing = `@obligation("mask:account.name") ${permit('context.input.urgent')}`
  const wider = await confirmed(given([all, reads(10)]), given([all, reads(20)]))
  assert.equal(wider.newlyAllowed[0]?.counterexample.session.risk, 11)
  assert.equal(wider.newlyAllowed[0].counterexample.old.code, 'SP_DENIED_PARTIAL')
  assert.deepEqual(wider.newlyDenied, [])
  const owed = await confirmed(given([all, reads(100)]), given([all, owing, reads(100)]))
  assert.equal(inputOf(owed.newlyDenied[0])['urgent'], true)
  assert.equal((await confirmed(given([all]), given([all]))).verdict, 'equivalent')
})

test('an instance that policies name is not taken for all the others', async () => {
  const any = 'principal == Instance::"spiffe://bank.test/agent/clerk/any"'
  const report = await both([permit(any)], [permit(`${any} || context.risk < 3`)])
  assert.equal(report.newlyAllowed.length, 1)
  assert.match(report.newlyAllowed[0]?.counterexample.call.instance ?? '', /clerk\/any-other$/)
})

test('a field inside a data set is reached through one that leaves whole', async () => {
  const inner =
    'permit (principal, action == Action::"field.read", resource == Field::"payment.memo");'
  const through =
    'permit (principal, action == Action::"field.read", resource == Field::"account.payments");'
  const none = await both([permit('true')], [permit('true'), inner])
  assert.equal(none.verdict, 'equivalent')
  const report = await both([permit('true')], [permit('true'), inner, through])
  assert.deepEqual(report.fieldsMoreOpen.map(({ field }) => field).toSorted(), [
    'account.payments',
    'payment.memo',
  ])
})

test('what cannot be encoded is undecided, never silently equal, and a search may still find it', async () => {
  const odd = 'context.time.date == context.input.ref'
  // A date has ten characters and this text at most eight, which the encoding does not see.
  const report = await both([permit(MILLION)], [permit(MILLION), permit(odd)])
  assert.equal(report.verdict, 'undecided')
  assert.equal(report.undecided[0]?.question, 'newly allowed')
  assert.match(report.undecided[0].why, /a date compared with another input/)
  // The same unknown on both sides is none.
  const same = await both([permit(odd)], [permit(`${odd} && true`), forbid('false')])
  assert.equal(same.verdict, 'equivalent')
  const met = 'context.input has memo && context.time.date == context.input.memo'
  const found = await both(
    [permit(MILLION)],
    [permit(MILLION), permit(`${met} && context.input.memo == "2031-05-06"`)],
  )
  assert.equal(found.newlyAllowed[0]?.found, 'search')
  assert.equal(inputOf(found.newlyAllowed[0])['memo'], '2031-05-06')
})

test('a question that may take too long hides nothing of the others', async () => {
  const hard = (k: number): string =>
    `context.input.amount * context.input.amount * ${k} - context.input.amount * 77777 == ${k * 3}123457`
  const old = declaration([permit('false'), permit(MILLION, 'op1')], {}, 2)
  const next = declaration(
    [
      permit(`${hard(31)} && context.input.amount > 1000003`),
      permit('context.input.amount <= 5', 'op1'),
    ],
    {},
    2,
  )
  const report = await diff({ old, new: next, boundMs: 1 })
  // In a millisecond a solver finds that the first has no answer, or does not: both are true. The second narrows either way, or is open.
  assert.notEqual(report.verdict, 'equivalent')
  const told = [...report.undecided, ...report.newlyDenied]
  assert.ok(told.some(({ operation }) => operation === 'core.op1'))
})

test('a solver that never answers, breaks or lies is ended, and the question stays open', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sp-solver-'))
  t.after(() => {
    rmSync(dir, { recursive: true, force: true })
  })
  const terms = new Terms()
  for (const [name, text] of [
    ['silent', `process.stdin.resume()`],
    ['broken', `process.exit(3)`],
    ['babble', `console.log('sat')`],
    ['failing', `process.stdin.on('data', () => console.log(JSON.stringify('(error "no")')))`],
  ] as const) {
    const file = join(dir, `${name}.mjs`)
    writeFileSync(file, text)
    const solver = new Solver(1, { file, startMs: 1500 })
    const answer = await solver.solve([terms.variable('a', 'Bool')])
    await solver.close()
    assert.equal(answer.status, 'unknown', name)
  }
})

test('what no request shows is compared too: tags, classes, masks, approvers, upstreams', async () => {
  const over = network(1)
  const [account, payment] = over.datasets
  const [system] = over.systems
  assert.ok(account && payment && system)
  const bare = payment.fields.map((field) => ({ ...field, tags: [], mask: 'last4' as const }))
  const operators = [
    ...over.operators,
    { name: 'omar', displayName: 'O', roles: ['admin' as const] },
  ]
  const upstream = { kind: 'service', service: 'core', port: 9001 } as const
  const report = await diff({
    old: declaration([permit('true')]),
    new: declaration([permit('true')], {
      ...{ operators, datasets: [account, { ...payment, fields: bare }] },
      systems: [{ ...system, upstream }],
    }),
  })
  assert.deepEqual(
    report.limits.map(({ direction, what }) => [direction, what]),
    [
      ['widened', 'operator omar: roles'],
      ['widened', 'field payment.amount: mask'],
      ['widened', 'field payment.memo: tags'],
      ['widened', 'field payment.memo: mask'],
      ['widened', 'system core: upstream'],
    ],
  )
  assert.equal(report.verdict, 'differs')
})

test('local time is undecided, never silently equal: other hours, another zone', async () => {
  const zoned = (texts: readonly string[], timeZone = 'Europe/Zurich'): Declaration =>
    declaration(texts, { settings: { ...network(1).settings, timeZone } })
  const until = (hour: number): string => permit(`context.time.local.hour < ${hour}`)
  const later = await confirmed(zoned([until(9)]), zoned([until(18)]))
  assert.notEqual(later.verdict, 'equivalent')
  const open = [...later.newlyAllowed, ...later.undecided]
  assert.ok(open.length > 0)
  const gone = forbid('context.time.local.weekday > 5 && context.time.local.minute == 17')
  const bare = await confirmed(zoned([permit('true'), gone]), zoned([permit('true')]))
  assert.ok([...bare.newlyAllowed, ...bare.undecided].length > 0)
  const whole = forbid('[context.time].contains(context.time) && context.time.local.hour > 8')
  const compared = await confirmed(zoned([permit('true'), whole]), zoned([permit('true')]))
  assert.ok([...compared.newlyAllowed, ...compared.undecided].length > 0)
  // The same words in another zone are other hours, and said to be.
  const moved = await confirmed(zoned([until(9)]), zoned([until(9)], 'Asia/Tokyo'))
  assert.ok([...moved.newlyAllowed, ...moved.undecided].length > 0)
  assert.deepEqual(
    moved.limits.map(({ direction, what }) => [direction, what]),
    [['widened', 'settings.timeZone']],
  )
  const same = await confirmed(zoned([until(9)]), zoned([`${until(9)} // the same`]))
  assert.equal(same.verdict, 'equivalent')
})

test('a pattern that has no formula is not taken for another one', async () => {
  const patterned = (pattern: string): Declaration => {
    const [system] = network(1).systems
    const [operation] = system?.operations ?? []
    assert.ok(system && operation)
    const ref = { schema: { type: 'string', maxLength: 8, pattern }, required: true } as const
    const input = { ...INPUT, members: { ...INPUT.members, ref } }
    const systems = [{ ...system, operations: [{ ...operation, input }] }]
    return declaration([permit('true')], { systems })
  }
  const [old, looser] = ['^(?!x)[k-z]+$', '^(?!y)[k-z]+$']
  const report = await confirmed(patterned(old), patterned(looser))
  assert.equal(report.verdict, 'undecided')
  assert.match(report.undecided[0]?.why ?? '', /the pattern/)
  assert.equal((await confirmed(patterned(old), patterned(old))).verdict, 'equivalent')
})

/** What a change of the network alone is said to be. */
async function listed(change: Partial<Network>, back: Partial<Network> = {}): Promise<string[]> {
  const report = await diff({
    old: declaration([permit('true')], back),
    new: declaration([permit('true')], change),
  })
  assert.equal(report.verdict, report.limits.length > 0 ? 'differs' : 'equivalent')
  return report.limits.map(({ direction, what }) => `${direction} ${what}`)
}

test('what an answer holds, tokens, enforcement points and shadows are compared', async () => {
  const { systems, services, settings } = network(1)
  const [system] = systems
  const [operation] = system?.operations ?? []
  const [service] = services
  assert.ok(system && operation && service)
  const having = (over: Partial<Operation>): Partial<Network> => ({
    systems: [{ ...system, operations: [{ ...operation, ...over }] }],
  })
  const open = having({ returns: { $: 'account', 'secrets[]': 'public' } })
  assert.deepEqual(await listed(open), ['widened operation core.op0: returns'])
  assert.deepEqual(await listed(having({ subject: 'ref' })), [
    'widened operation core.op0: subject',
  ])
  const schema = { type: 'string', maxLength: 8, pattern: '^[A-Za-z0-9-]+$' } as const
  const ref = { schema: { ...schema, tokenOf: 'account' }, required: true }
  const tokens = having({ input: { ...INPUT, members: { ...INPUT.members, ref } } })
  assert.deepEqual(await listed(tokens), ['widened operation core.op0: tokens restored'])
  assert.deepEqual(await listed({}, tokens), ['narrowed operation core.op0: tokens restored'])
  const pep = (...can: EnforcementAbility[]): Partial<Network> => ({
    services: [{ ...service, enforcementPoint: { systems: ['core'], can } }],
  })
  const what = 'service core: enforcement point'
  assert.deepEqual(await listed(pep('body')), [`widened ${what}`])
  assert.deepEqual(await listed(pep('body', 'project'), pep('body')), [`widened ${what}`])
  assert.deepEqual(await listed(pep('body'), pep('body', 'project')), [`narrowed ${what}`])
  const shadow = (shadowMinutes: number): Partial<Network> => ({
    settings: { ...settings, shadowMinutes },
  })
  assert.deepEqual(await listed({}, shadow(60)), ['widened settings.shadowMinutes'])
  assert.deepEqual(await listed(shadow(5), shadow(60)), ['widened settings.shadowMinutes'])
  assert.deepEqual(await listed(shadow(5)), ['narrowed settings.shadowMinutes'])
  assert.deepEqual(await listed({}), [])
})

test('flows, inputs and limits count', async () => {
  const flows = [{ id: 'f1', from: 'clerk', to: 'core', operations: ['op0'], purpose: 'aml' }]
  const old = declaration([permit('true'), permit('true', 'op1')], { flows }, 2)
  const next = declaration([permit('true'), permit('true', 'op1')], {}, 2)
  const more = await confirmed(old, next)
  assert.deepEqual(
    more.newlyAllowed.map(({ operation }) => operation),
    ['core.op1'],
  )
  assert.deepEqual((await confirmed(next, old)).newlyDenied.length, 1)

  const tighter = network(1)
  const [system] = tighter.systems
  const [operation] = system?.operations ?? []
  assert.ok(system && operation)
  const amount = { schema: { type: 'long', minimum: -1000, maximum: 10 }, required: true } as const
  const input = { ...INPUT, members: { ...INPUT.members, amount } }
  const systems = [{ ...system, operations: [{ ...operation, input }] }]
  const typed = await diff({
    old: declaration([permit('true')]),
    new: declaration([permit('true')], { systems }),
  })
  assert.equal(inputOf(typed.newlyDenied[0])['amount'], 11)
  assert.deepEqual(typed.newlyAllowed, [])

  const limit = {
    ...{ id: 'l', description: '-', agents: ['clerk'], operations: ['core.op0'] },
    ...{ windowSeconds: 60, maxCalls: 10 },
  }
  const raised = await diff({
    old: declaration([permit('true')], { limits: [limit] }),
    new: declaration([permit('true')], { limits: [{ ...limit, maxCalls: 20 }], quorum: 2 }),
  })
  assert.deepEqual(
    raised.limits.map(({ direction, what }) => [direction, what]),
    [
      ['narrowed', 'quorum'],
      ['widened', 'limit l: maxCalls'],
    ],
  )
  assert.equal(raised.verdict, 'differs')
})
