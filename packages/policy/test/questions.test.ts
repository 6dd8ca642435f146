import assert from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { after, describe, test } from 'node:test'
import { closeCedar, EntityStore, extendContext, loadPolicySet } from '@sallyport/cedar'
import type { CedarJson } from '@sallyport/cedar'
import { clockOf, createDecider, fieldContext, sharedContext } from '@sallyport/decide'
import type { Call, SessionState } from '@sallyport/decide'
import { deriveEntities, instanceEntity, loadDeclaration } from '@sallyport/network'
import type { Declaration, Field, InputType } from '@sallyport/network'
import { whatCan, whatIf, whoCan, whoCanText } from '@sallyport/policy'
import type { CallAnswer, Clause, Judgement } from '@sallyport/policy'

after(closeCedar)

const networkFile = fileURLToPath(
  new URL('../../../examples/meridian/network.yaml', import.meta.url),
)
const meridian = await loadDeclaration({ networkFile })

/** Meridian with policies of every awkward kind beside its own. */
const awkward: Declaration = {
  ...meridian,
  policies: [
    ...meridian.policies,
    ...Object.entries({
      instance: `permit(principal == Instance::"spiffe://meridian.example/agent/notifier/1",
        action == Action::"messages.sendMessage", resource) when { context.time.hour >= 8 && context.time.hour < 18 };`,
      source: `forbid(principal in Role::"reader", action, resource)
        when { context has source && context.source.isInRange(ip("10.0.0.0/8")) };`,
      overflow: `forbid(principal, action == Action::"core-banking.placeHold", resource)
        when { context.input.amount * 9223372036854 < 0 };`,
      named: `permit(principal in Agent::"case-manager", action == Action::"case-store.add_note", resource)
        when { context.evidence.approvers.contains("officer") && context.evidence.approvals >= 2 };`,
      unmet: `@obligation("shred") permit(principal in Agent::"sar-drafter", action == Action::"case-store.get_case", resource)
        when { context.risk >= 10 };`,
      never: `forbid(principal in Agent::"sar-filer", action == Action::"case-store.get_sar", resource);`,
      masked: `@obligation("mask:accounts.id") permit(principal in Agent::"monitor",
        action == Action::"core-banking.getAccount", resource) when { context.risk >= 20 };`,
      mask: `permit(principal, action == Action::"field.mask", resource)
        when { context.risk < 30 && context.session.labels.contains("pii") };`,
    }).map(([id, source]) => ({ id, source, file: 'awkward.cedar', line: 1 })),
  ],
}

/** The same where what HTTP answers is bytes: the whole of one is a field of the classes and tags that its records had. */
const inBytes: Declaration = {
  network: {
    ...awkward.network,
    systems: awkward.network.systems.map((system) => ({
      ...system,
      operations: system.operations.map((operation) =>
        operation.binding.kind === 'http'
          ? {
              ...operation,
              binding: {
                ...operation.binding,
                bytes: { types: ['application/pdf'], maxBytes: 9000 },
              },
              returns: { $: `${operation.name}-file` },
            }
          : operation,
      ),
    })),
    datasets: [
      ...awkward.network.datasets,
      ...awkward.network.systems.flatMap(({ name: system, operations }) =>
        operations.flatMap(({ name, binding, returns }) => {
          if (binding.kind !== 'http') return []
          const [of] = Object.values(returns)
          const fields = awkward.network.datasets.find((set) => set.name === of)?.fields ?? []
          const highest = (['restricted', 'confidential', 'internal'] as const).find((one) =>
            fields.some((field) => field.class === one),
          )
          const content: Field = {
            ...{ name: 'content', class: highest ?? 'public', mask: 'full' },
            tags: [...new Set(fields.flatMap(({ tags }) => tags))],
          }
          const set = { name: `${name}-file`, description: '-', system, owner: 'it' }
          return [{ ...set, fields: [content] }]
        }),
      ),
    ],
  },
  policies: [
    ...awkward.policies,
    ...Object.entries({
      files: `permit(principal, action == Action::"field.read", resource == Field::"placeHold-file.content")
        when { context.session.labels.contains("money") || context.evidence.approvals >= 1 };`,
      opened: `permit(principal in Agent::"monitor", action == Action::"field.read", resource)
        when { context.risk < 60 };`,
      whole: `@obligation("mask:listTransactions-file.content") permit(principal in Agent::"monitor",
        action == Action::"core-banking.listTransactions", resource) when { context.risk == 25 };`,
    }).map(([id, source]) => ({ id, source, file: 'files.cedar', line: 1 })),
  ],
}

/** mulberry32 */
function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}

const LABELS = ['untrusted', 'pii', 'sar', 'account', 'contact', 'money']

class Calls {
  readonly #next: () => number
  constructor(seed: number) {
    this.#next = random(seed)
  }
  pick<T>(items: readonly T[]): T {
    const item = items[Math.floor(this.#next() * items.length)]
    assert.ok(item !== undefined)
    return item
  }
  #some<T>(items: readonly T[], p: number): T[] {
    return items.filter(() => this.#next() < p)
  }
  #value(type: InputType): CedarJson {
    switch (type.type) {
      case 'string':
        return this.pick(type.enum ?? ['', 'a', 'case-1'])
      case 'long':
        return this.pick([0, 1, 1_000_000, 1_000_001, 9_000_000_000_000])
      case 'decimal':
        return this.pick([0, 0.01, 1_000_000])
      case 'boolean':
        return this.#next() < 0.5
      case 'set':
        return [this.#value(type.items)]
      case 'record':
        return Object.fromEntries(
          Object.entries(type.members)
            .filter(([, { required }]) => required || this.#next() < 0.5)
            .map(([name, { schema }]) => [name, this.#value(schema)]),
        )
    }
  }
  make(agent: string, system: string, operation: string, input: InputType) {
    const call: Call = {
      instance: `spiffe://meridian.example/agent/${agent}/${this.pick(['1', '2'])}`,
      agent,
      system,
      operation,
      input: this.#value(input) as Call['input'],
      time: Math.floor(this.#next() * 4e12),
      ...(this.#next() < 0.5 ? { source: this.pick(['10.1.2.3', '192.0.2.1', '::1']) } : {}),
      evidence: { approvals: this.#some(['officer', 'second-officer', '?'], 0.3) },
    }
    const risk = this.pick([0, 9, 10, 25, 59, 60, 79, 80, 100])
    const session: SessionState = { labels: this.#some(LABELS, 0.15), risk }
    return { call, session }
  }
}

/** What the conditions of an answer come to for a concrete call: one set of policies holds them all. */
async function evaluator(clauses: readonly Clause[], declaration: Declaration) {
  const texts = [...new Set(clauses.map(({ cedar }) => cedar))]
  const set = await loadPolicySet({
    policies: texts.map((text, i) => ({
      id: `c${i}`,
      source: `permit(principal, action, resource) when { ${text} };`,
    })),
  })
  const resident = EntityStore.from(deriveEntities(declaration.network))
  const stores = new Map<string, EntityStore>()
  const storeOf = (agent: string, instance: string): EntityStore => {
    const store =
      stores.get(instance) ?? resident.with([instanceEntity(declaration.network, agent, instance)])
    stores.set(instance, store)
    return store
  }
  return (call: Call, session: SessionState, purpose: string, field?: string) => {
    const { instance, agent, system, operation } = call
    const approvers = call.evidence.approvals
    const clock = clockOf(declaration.network.settings.timeZone)
    const shared = sharedContext({ call, session, purpose, approvers, clock })
    const name = `${system}.${operation}`
    const answer = set.decide(
      {
        principal: { type: 'Instance', id: instance },
        action: { type: 'Action', id: name },
        resource: field ? { type: 'Field', id: field } : { type: 'System', id: system },
        context: field
          ? fieldContext(shared, name)
          : extendContext(shared.context, { input: call.input }),
      },
      storeOf(agent, instance),
    )
    const failed = answer.errors.map(({ policyId }) => policyId)
    const holds = ({ cedar }: Clause): boolean =>
      answer.reasons.includes(`c${texts.indexOf(cedar)}`)
    const fails = ({ cedar }: Clause): boolean => failed.includes(`c${texts.indexOf(cedar)}`)
    return ({ verdict, ways, stops }: Judgement): boolean =>
      verdict === 'always' ||
      (verdict === 'if' && ways.some(holds) && !stops.some((stop) => holds(stop) || fails(stop)))
  }
}

for (const [name, declaration] of [
  ['Meridian', meridian],
  ['Meridian with awkward policies', awkward],
  ['Meridian whose answers are bytes', inBytes],
] as const) {
  describe(`answers about ${name}`, () => {
    test('no concrete call contradicts who-can and what-can', async () => {
      const decider = await createDecider({ declaration })
      const { network } = declaration
      const calls = new Calls(7)
      const seen = { always: 0, if: 0, approval: 0, never: 0 }
      const tally = { allowed: 0, refused: 0, needs: 0, fields: 0 }
      for (const agent of network.agents) {
        const answers = await whatCan(declaration, agent.name)
        const judgements = answers.flatMap((answer) => [
          answer.plain,
          ...(answer.approved ? [answer.approved] : []),
          ...answer.fields.flatMap(({ treatments }) => treatments.map((each) => each.judgement)),
        ])
        const clauses = judgements.flatMap(({ ways, stops }) => [...ways, ...stops])
        const judge = await evaluator(clauses, declaration)
        for (const answer of answers) {
          seen[answer.answer]++
          const [system = '', operation = ''] = answer.operation.split('.')
          const input = decider.index.findOperation(system, operation)?.input
          assert.ok(input)
          for (let i = 0; i < 120; i++) {
            const { call, session } = calls.make(agent.name, system, operation, input)
            const outcome = decider.decide(call, session)
            const about = `${agent.name} ${answer.operation} ${JSON.stringify([call, session, outcome.code])}`
            const approvals = call.evidence.approvals.length
            const judgement = approvals > 0 ? (answer.approved ?? answer.plain) : answer.plain
            const expected = judge(call, session, answer.purpose ?? '')(judgement)
            assert.equal(outcome.decision === 'allow', expected, about)
            if (answer.answer === 'always' && approvals === 0) {
              assert.equal(outcome.decision, 'allow', about)
            }
            if (answer.answer === 'never') assert.equal(outcome.decision, 'deny', about)
            if (outcome.decision === 'needs') {
              tally.needs++
              assert.ok(answer.approved, about)
              const count = outcome.needs[0]?.count ?? 0
              if (answer.answer === 'approval') assert.ok(count >= (answer.approvals ?? 9), about)
            }
            tally[outcome.decision === 'allow' ? 'allowed' : 'refused']++
            if (outcome.decision !== 'allow' || answer.obligations.length > 0) continue
            for (const { field, treatments } of answer.fields) {
              const [dataset = '', member = ''] = field.split('.')
              const actual = outcome.projection[dataset]?.[member]
              // Reached only through a field that does not leave whole for this call.
              if (actual === undefined) continue
              const test = judge(call, session, answer.purpose ?? '', field)
              const first = treatments.find(({ judgement: each }) => test(each))
              assert.equal(actual, first?.treatment, `${field} ${about}`)
              tally.fields++
            }
            for (const dataset of Object.keys(outcome.projection)) {
              assert.ok(
                answer.fields.some(({ field }) => field.startsWith(`${dataset}.`)),
                about,
              )
            }
          }
        }
      }
      assert.ok(seen.if > 5 && seen.approval >= 1, JSON.stringify(seen))
      assert.ok(Math.min(...Object.values(tally)) > 10, JSON.stringify(tally))
    })
  })
}

describe('who can', () => {
  const short = (answers: readonly CallAnswer[]) =>
    Object.fromEntries(answers.map(({ agent, answer }) => [agent, answer]))

  test('place a hold: one agent, small ones at once and large ones with an approval', async () => {
    const answers = await whoCan(meridian, 'core-banking.placeHold')
    const answer = answers.find(({ agent }) => agent === 'account-flagger')
    assert.equal(answer?.answer, 'if')
    assert.deepEqual(
      answer.plain.ways.map(({ policy }) => policy),
      ['flagger.small-hold'],
    )
    assert.ok(
      answer.approved?.ways.some(({ policy }) => policy === 'flagger.large-hold-with-approval'),
    )
    assert.equal(answers.filter((each) => each.answer !== 'never').length, 1)
    const text = whoCanText(answers)
    assert.match(text, /input `amount` is at most 1000000/)
    assert.match(text, /input `amount` is above 1000000 and a person approves it/)
  })

  test('file a report: the filer, with one approval', async () => {
    const answers = await whoCan(meridian, 'case-store.file_sar')
    const filer = answers.find(({ agent }) => agent === 'sar-filer')
    assert.deepEqual([filer?.answer, filer?.approvals], ['approval', 1])
    assert.equal(short(answers)['notifier'], 'never')
    const never = await whoCan(awkward, 'case-store.get_sar')
    const forbidden = never.find(({ agent }) => agent === 'sar-filer')
    assert.deepEqual(forbidden?.plain.why, { kind: 'forbidden', policies: ['never'] })
  })

  test('a name that nothing has is a usage error that lists what there is', async () => {
    for (const ask of [
      () => whoCan(meridian, 'core-banking.nothing'),
      () => whoCan(meridian, '__proto__.constructor'),
      () => whatCan(meridian, 'nobody'),
      () => whatIf(meridian, { field: 'contacts.nothing', tags: [] }),
    ]) {
      await assert.rejects(ask, { code: 'SP_USAGE_UNKNOWN_NAME' })
    }
  })
})

describe('what if', () => {
  test('lists exactly the treatments that deciding by either declaration shows', async () => {
    const calls = new Calls(11)
    let changes = 0
    for (const asked of [
      { field: 'contacts.email', tags: ['sar'] },
      { field: 'transactions.memo', class: 'internal', tags: [] },
      { field: 'holds.status', class: 'restricted' },
      { field: 'cases.sarId', class: 'internal', tags: [] },
      { field: 'matches.name', tags: ['pii'] },
    ] as const) {
      const answer = await whatIf(meridian, asked)
      const { network } = meridian
      const changed: Declaration = {
        ...meridian,
        network: {
          ...network,
          datasets: network.datasets.map((dataset) => ({
            ...dataset,
            fields: dataset.fields.map((field) =>
              `${dataset.name}.${field.name}` === asked.field
                ? { ...field, ...answer.after }
                : field,
            ),
          })),
        },
      }
      const [old, now] = [
        await createDecider({ declaration: meridian }),
        await createDecider({ declaration: changed }),
      ]
      const listed = new Set(
        answer.treatments.map(({ agent, operation, field }) => `${agent} ${operation} ${field}`),
      )
      const observed = new Set<string>()
      for (const { from, to, operations } of network.flows) {
        for (const operation of operations) {
          const input = old.index.findOperation(to, operation)?.input
          assert.ok(input)
          for (let i = 0; i < 60; i++) {
            const { call, session } = calls.make(from, to, operation, input)
            const [a, b] = [old.decide(call, session), now.decide(call, session)]
            if (a.decision !== b.decision) {
              assert.ok(
                answer.decisions.some(({ before }) => before.operation === `${to}.${operation}`),
              )
            }
            const names = new Set([...Object.keys(a.projection), ...Object.keys(b.projection)])
            for (const dataset of names) {
              for (const field of old.index.findDataset(dataset)?.fields ?? []) {
                const [x, y] = [a, b].map(
                  (each) => each.projection[dataset]?.[field.name] ?? 'drop',
                )
                if (x !== y) observed.add(`${from} ${to}.${operation} ${dataset}.${field.name}`)
              }
            }
            const label = answer.labels.find(
              (each) => each.agent === from && each.operation === `${to}.${operation}`,
            )
            for (const tag of b.labels) {
              if (!a.labels.includes(tag) && a.decision === 'allow') {
                assert.ok(label?.gained.includes(tag), `${asked.field} ${tag}`)
              }
            }
          }
        }
      }
      assert.deepEqual([...observed].sort(), [...listed].sort(), asked.field)
      changes += listed.size
    }
    assert.ok(changes > 4, String(changes))
  })

  test('says what a new label does to later calls of the session', async () => {
    const answer = await whatIf(meridian, { field: 'rings.score', tags: ['pii'] })
    const hold = answer.consequences.find(
      ({ agent, with: each }) =>
        agent === 'account-flagger' && each.operation === 'core-banking.placeHold',
    )
    assert.deepEqual(
      [hold?.label, hold?.change, hold?.without.answer, hold?.with.answer],
      ['pii', 'gained', 'if', 'never'],
    )
    assert.deepEqual(hold?.with.plain.why?.policies, ['bounds.pii-and-holds-apart'])
  })
})
