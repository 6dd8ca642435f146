import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { closeCedar } from '@sallyport/cedar'
import { createDecider } from '../src/index.ts'
import type { Call, Decider, Outcome, SessionState } from '../src/index.ts'
import { call, hold, network, quiet, sources } from './fixture.ts'

const decider = (over: Readonly<Record<string, string | undefined>> = {}): Promise<Decider> =>
  createDecider({ declaration: { network, policies: sources(over) } })

after(closeCedar)

describe('decisions', () => {
  let bank: Decider
  before(async () => {
    bank = await decider()
  })

  const tainted: SessionState = { labels: ['untrusted'], risk: 0 }
  const approved = (...approvals: string[]) => ({ evidence: { approvals } })
  const matrix: [string, Call, SessionState, Partial<Outcome>][] = [
    [
      'a permitted read',
      call(),
      quiet,
      { decision: 'allow', code: 'SP_ALLOWED', reasons: ['read-core'] },
    ],
    [
      'no flow for the operation',
      call({ operation: 'hold' }),
      quiet,
      { decision: 'deny', code: 'SP_NO_FLOW' },
    ],
    ['an unknown operation', call({ operation: '__proto__' }), quiet, { code: 'SP_NO_FLOW' }],
    ['an unknown system', call({ system: 'constructor' }), quiet, { code: 'SP_NO_FLOW' }],
    ['an unknown agent', call({ agent: 'ghost' }), quiet, { code: 'SP_NO_FLOW' }],
    [
      'a flow but no permit',
      call({ agent: 'flagger' }),
      quiet,
      { decision: 'deny', code: 'SP_DENIED_NOT_PERMITTED', reasons: [] },
    ],
    [
      'a forbid over a permit',
      call(),
      { labels: [], risk: 70 },
      { decision: 'deny', code: 'SP_DENIED_FORBIDDEN', reasons: ['no-risky'] },
    ],
    ['risk just below', call(), { labels: [], risk: 69 }, { decision: 'allow' }],
    [
      'a fraction of risk counts up',
      call(),
      { labels: [], risk: 69.1 },
      { code: 'SP_DENIED_FORBIDDEN' },
    ],
    ['a small hold', hold(100_000), quiet, { decision: 'allow', reasons: ['small-holds'] }],
    [
      'a hold over the threshold',
      hold(100_001),
      quiet,
      { decision: 'needs', code: 'SP_NEEDS_APPROVAL', needs: [{ kind: 'approval', count: 2 }] },
    ],
    [
      'one approval of two',
      hold(100_001, approved('olga')),
      quiet,
      { decision: 'needs', needs: [{ kind: 'approval', count: 2 }] },
    ],
    [
      'the same approver twice is one',
      hold(100_001, approved('olga', 'olga')),
      quiet,
      { decision: 'needs' },
    ],
    [
      'two approvals',
      hold(100_001, approved('olga', 'ivan')),
      quiet,
      { decision: 'allow', reasons: ['large-holds'] },
    ],
    [
      'beyond what approvals can do',
      hold(5_000_001),
      quiet,
      { decision: 'deny', code: 'SP_DENIED_NOT_PERMITTED', needs: [] },
    ],
    [
      'a tainted write needs the smallest number',
      hold(5),
      tainted,
      { decision: 'needs', reasons: ['no-tainted'], needs: [{ kind: 'approval', count: 1 }] },
    ],
    [
      'approval does not lift risk',
      hold(5),
      { labels: [], risk: 90 },
      { decision: 'deny', code: 'SP_DENIED_FORBIDDEN', needs: [] },
    ],
  ]
  for (const [name, asked, session, expected] of matrix) {
    it(name, () => {
      const outcome = bank.decide(asked, session)
      for (const [key, value] of Object.entries(expected)) {
        assert.deepEqual(outcome[key as keyof Outcome], value, key)
      }
      if (outcome.decision !== 'allow') {
        assert.deepEqual(
          [outcome.projection, outcome.limits, outcome.labels, outcome.maxClass],
          [{}, [], [], 'public'],
        )
      }
    })
  }

  it('grants fields one by one, through data sets inside data sets', () => {
    const { projection, labels, maxClass } = bank.decide(call(), quiet)
    assert.deepEqual(projection, {
      account: { id: 'tokenise', name: 'drop', pan: 'mask', balance: 'whole', payments: 'whole' },
      payment: { amount: 'whole', memo: 'whole', to: 'tokenise' },
    })
    assert.deepEqual(labels, ['account', 'pan', 'untrusted'])
    assert.equal(maxClass, 'confidential')
  })

  it('says all of an outcome', () => {
    assert.deepEqual(bank.decide(hold(100_000), quiet), {
      decision: 'allow',
      code: 'SP_ALLOWED',
      reasons: ['small-holds'],
      errors: [],
      needs: [],
      projection: { hold: { id: 'whole' } },
      limits: network.limits,
      labels: [],
      maxClass: 'public',
    })
    const nothing = { projection: {}, limits: [], labels: [], maxClass: 'public' }
    assert.deepEqual(bank.decide(hold(100_001), tainted), {
      ...nothing,
      decision: 'needs',
      code: 'SP_NEEDS_APPROVAL',
      reasons: ['no-tainted'],
      errors: [],
      needs: [{ kind: 'approval', count: 2 }],
    })
    assert.deepEqual(bank.decide(call({ system: 'other' }), quiet), {
      ...nothing,
      decision: 'deny',
      code: 'SP_NO_FLOW',
      reasons: [],
      errors: [],
      needs: [],
    })
  })

  it('names the limits of the call and of no other', () => {
    assert.deepEqual(
      bank.decide(hold(1), quiet).limits.map(({ id }) => id),
      ['l1'],
    )
    assert.deepEqual(bank.decide(call(), quiet).limits, [])
  })

  it('digests what it read', () => {
    const digest = bank.stateDigest(call(), quiet)
    assert.match(digest, /^[0-9a-f]{64}$/)
    assert.equal(bank.stateDigest(call(), { labels: [], risk: 0 }), digest)
    assert.notEqual(bank.stateDigest(call(), { labels: ['pii'], risk: 0 }), digest)
    assert.match(bank.digest, /^[0-9a-f]{64}$/)
    // Labels are a set, and the call itself is recorded elsewhere.
    const labelled = (...labels: string[]) => bank.stateDigest(call(), { labels, risk: 0 })
    assert.equal(labelled('pii', 'a', 'pii'), labelled('a', 'pii'))
    assert.equal(bank.stateDigest(call({ input: {}, time: 0 }), quiet), digest)
    // What is remembered of lists that cannot change is never another state's.
    const pii = Object.freeze(['pii'])
    const seen = [
      { labels: pii, risk: 0 },
      { labels: pii, risk: 1 },
      { labels: Object.freeze(['untrusted']), risk: 1 },
      { labels: Object.freeze([]), risk: 0 },
    ]
    for (const at of [...seen, ...seen.toReversed()]) {
      for (const over of [{}, { agent: 'flagger' }, { onBehalfOf: { subject: 'p', actors: [] } }]) {
        const copy = { ...at, labels: [...at.labels] }
        assert.equal(bank.stateDigest(call(over), at), bank.stateDigest(call(over), copy))
      }
    }
    const fresh = { labels: Object.freeze([]), risk: 0 }
    assert.equal(bank.stateDigest(call(), fresh), digest)
    const mandate = { id: 'm', delegator: 'operator:olga', depth: 1, task: 't' }
    assert.notEqual(bank.stateDigest(call({ mandate }), fresh), bank.stateDigest(call(), fresh))
    const growing = ['pii']
    const before = bank.stateDigest(call(), { labels: growing, risk: 0 })
    growing.push('untrusted')
    assert.notEqual(bank.stateDigest(call(), { labels: growing, risk: 0 }), before)
    const others = [
      bank.stateDigest(call(), { labels: [], risk: 1 }),
      bank.stateDigest(call({ instance: 'spiffe://bank.test/agent/analyst/i2' }), quiet),
      bank.stateDigest(call({ agent: 'flagger', instance: call().instance }), quiet),
      labelled('a', 'pii'),
    ]
    assert.equal(new Set([digest, ...others]).size, 5)
  })

  it('has a digest of its declaration, whole', async () => {
    const again = await decider()
    assert.equal(again.digest, bank.digest)
    assert.equal(again.stateDigest(call(), quiet), bank.stateDigest(call(), quiet))
    const other = await decider({ 'read-core': undefined })
    assert.notEqual(other.digest, bank.digest)
    // Policies are no entities.
    assert.equal(other.stateDigest(call(), quiet), bank.stateDigest(call(), quiet))
    const renamed = {
      ...network,
      systems: network.systems.map((s) => ({ ...s, criticality: 'low' as const })),
    }
    const moved = await createDecider({ declaration: { network: renamed, policies: sources() } })
    assert.notEqual(moved.digest, bank.digest)
    assert.notEqual(moved.stateDigest(call(), quiet), bank.stateDigest(call(), quiet))
    assert.equal(moved.index.findSystem('core')?.criticality, 'low')
  })

  it('denies an instance that is not of the agent it claims', () => {
    const stolen = call({ instance: 'spiffe://bank.test/agent/flagger/i1' })
    assert.equal(bank.decide(stolen, quiet).code, 'SP_DENIED_POLICY_ERROR')
    assert.equal(bank.decide(call(), quiet).decision, 'allow')
  })

  const broken: [string, Call, SessionState][] = [
    ['a source that is no address', call({ source: 'nonsense' }), quiet],
    ['no time', call({ time: Number.NaN }), quiet],
    ['risk that is no number', call(), { labels: [], risk: Number.NaN }],
    ['a fraction as input', call({ input: { account: 1.5 } }), quiet],
    ['a lone surrogate as input', call({ input: { account: '\ud800' } }), quiet],
    // A JavaScript caller can hand over what the types exclude.
    ['null as input', call({ input: JSON.parse('{"account":null}') as Call['input'] }), quiet],
    ['no session', call(), undefined as unknown as SessionState],
    ['a cycle as input', call({ input: cyclic() }), quiet],
  ]
  for (const [name, asked, session] of broken) {
    it(`denies and does not throw: ${name}`, () => {
      const outcome = bank.decide(asked, session)
      assert.equal(outcome.decision, 'deny')
      assert.equal(outcome.code, 'SP_DENIED_POLICY_ERROR')
      assert.deepEqual(outcome.reasons, [])
      // The caller's own fault is no policy's.
      assert.equal(outcome.errors.length, 1)
      assert.equal(outcome.errors[0]?.policyId, '')
      const explained = bank.explain(asked, session)
      assert.deepEqual(explained.outcome, outcome)
      assert.deepEqual(explained.cedar, {
        decision: { decision: 'deny', reasons: [], errors: [] },
        policies: [],
      })
    })
  }

  it('says with which code a call could not be put to the policies', () => {
    assert.deepEqual(bank.decide(call({ input: { account: 1.5 } }), quiet).errors, [
      { policyId: '', message: 'SP_CEDAR_VALUE: the number `1.5` is not an exact integer' },
    ])
  })

  it('tells instances and agents apart, whoever asked before', () => {
    const second = call({ instance: 'spiffe://bank.test/agent/analyst/i2' })
    for (let round = 0; round < 2; round++) {
      assert.equal(bank.decide(call(), quiet).decision, 'allow')
      assert.equal(bank.decide(second, quiet).decision, 'allow')
      assert.equal(bank.decide(hold(1), quiet).decision, 'allow')
      assert.equal(bank.decide({ ...call(), agent: 'flagger' }, quiet).decision, 'deny')
      assert.equal(bank.decide({ ...hold(1), agent: 'analyst' }, quiet).decision, 'deny')
    }
  })

  for (const source of ['10.0.0.1', '::ffff:10.0.0.1', 'fe80::1%eth0', '2001:db8::1']) {
    it(`reads the source address ${source}`, () => {
      assert.equal(bank.decide(call({ source }), quiet).decision, 'allow')
    })
  }
})

describe('needs', () => {
  const asking = (condition: string): Promise<Decider> =>
    decider({
      'read-core': `@id("read-core") permit(principal, action == Action::"core.list", resource)
when { ${condition} };`,
    })
  const needed = async (condition: string, ...approvals: string[]) => {
    const { decision, code, needs } = (await asking(condition)).decide(
      call({ evidence: { approvals } }),
      quiet,
    )
    return decision === 'needs' ? needs[0]?.count : code
  }

  it('asks for three approvals at most', async () => {
    assert.equal(await needed('context.evidence.approvals >= 3'), 3)
    assert.equal(await needed('context.evidence.approvals >= 3', 'olga', 'ivan'), 3)
    assert.equal(await needed('context.evidence.approvals >= 4'), 'SP_DENIED_NOT_PERMITTED')
    assert.equal(await needed('context.evidence.approvals >= 3', 'a', 'b', 'c'), 'SP_ALLOWED')
    assert.equal(
      await needed('context.evidence.approvals >= 4', 'a', 'b', 'c'),
      'SP_DENIED_NOT_PERMITTED',
    )
  })

  it('promises nothing that only a certain person can give', async () => {
    const olga = 'context.evidence.approvers.contains("olga")'
    assert.equal(await needed(olga), 'SP_DENIED_NOT_PERMITTED')
    assert.equal(await needed(olga, 'olga'), 'SP_ALLOWED')
    assert.equal(await needed(`${olga} && context.evidence.approvals >= 2`, 'olga'), 2)
    assert.equal(
      await needed(`${olga} && context.evidence.approvals >= 2`, 'ivan'),
      'SP_DENIED_NOT_PERMITTED',
    )
  })

  it('hypothesises no approver whom an operator could be named like', async () => {
    const { decision } = (
      await asking('context.evidence.approvers.containsAny(["", "1", "2", "3"])')
    ).decide(call(), quiet)
    assert.equal(decision, 'deny')
  })
})

describe('policies that fail', () => {
  it('denies on an erroring forbid, where Cedar alone would allow', async () => {
    const bank = await decider({
      broken: `@id("broken") forbid(principal, action in Action::"call", resource)
when { context.risk + 9223372036854775807 > 0 };`,
    })
    assert.equal(bank.decide(call(), { labels: [], risk: 0 }).code, 'SP_DENIED_FORBIDDEN')
    const outcome = bank.decide(call(), { labels: [], risk: 1 })
    assert.equal(outcome.code, 'SP_DENIED_POLICY_ERROR')
    assert.deepEqual(
      outcome.errors.map(({ policyId }) => policyId),
      ['broken'],
    )
    assert.match(
      bank.explain(call(), { labels: [], risk: 1 }).summary,
      /`broken` could not be evaluated/,
    )
  })

  it('tells an error from a plain "not permitted"', async () => {
    const bank = await decider({
      'read-core': `@id("read-core") permit(principal, action == Action::"core.list", resource)
when { 9223372036854775807 + context.risk > 0 };`,
    })
    assert.equal(bank.decide(call(), { labels: [], risk: 1 }).code, 'SP_DENIED_POLICY_ERROR')
    assert.equal(bank.decide(call(), quiet).decision, 'allow')
  })

  it('promises no approval that would meet an error', async () => {
    const bank = await decider({
      trap: `@id("trap") forbid(principal, action == Action::"core.hold", resource)
when { context.evidence.approvals + 9223372036854775806 < 0 };`,
    })
    assert.equal(bank.decide(hold(100_001), quiet).decision, 'deny')
    assert.equal((await decider()).decide(hold(100_001), quiet).decision, 'needs')
  })

  it('promises no approval under which even a permit would fail', async () => {
    const bank = await decider({
      trap: `@id("trap") permit(principal, action == Action::"core.hold", resource)
when { context.evidence.approvals + 9223372036854775806 < 0 };`,
    })
    assert.equal(bank.decide(hold(100_001), quiet).code, 'SP_DENIED_NOT_PERMITTED')
  })

  it('treats a field as forbidden where the forbid on it fails', async () => {
    const guard = (when: string) =>
      `@id("guard") forbid(principal, action, resource == Field::"account.balance") when { ${when} };`
    const failing = await decider({ guard: guard('9223372036854775807 + resource.class > 0') })
    assert.equal(failing.decide(call(), quiet).projection['account']?.['balance'], 'drop')
    const harmless = await decider({ guard: guard('resource.class > 5') })
    assert.equal(harmless.decide(call(), quiet).projection['account']?.['balance'], 'whole')
  })
})

describe('obligations', () => {
  const permit = (obligation: string) =>
    `@id("read-core") @obligation("${obligation}") permit(principal, action == Action::"core.list", resource);`

  it('denies one it does not understand', async () => {
    const bank = await decider({ 'read-core': permit('shred:account.id') })
    const outcome = bank.decide(call(), quiet)
    assert.equal(outcome.code, 'SP_DENIED_POLICY_ERROR')
    assert.deepEqual(outcome.errors, [
      {
        policyId: 'read-core',
        message: 'its obligation is not one that this enforcement point can meet',
      },
    ])
    assert.deepEqual(outcome.reasons, ['read-core'])
    const known = (await decider({ 'read-core': permit('mask:account.id') })).decide(call(), quiet)
    assert.equal(known.decision, 'allow')
  })

  it('counts a field permit that carries one as no permit', async () => {
    const plain = (note: string) =>
      `@id("fields-plain") ${note} permit(principal, action == Action::"field.read", resource) when { resource.class <= 1 };`
    const balance = async (note: string) =>
      (await decider({ 'fields-plain': plain(note) })).decide(call(), quiet).projection[
        'account'
      ]?.['balance']
    assert.equal(await balance('@obligation("mask:account.balance")'), 'drop')
    assert.equal(await balance('@note("mask:account.balance")'), 'whole')
  })

  it('applies the stricter of obligation and field policies, and no broad permit cancels it', async () => {
    const bank = await decider({
      'read-core': permit('mask:account.balance;tokenise:account.pan'),
      broad: '@id("broad") permit(principal, action == Action::"core.list", resource);',
    })
    const outcome = bank.decide(call(), quiet)
    assert.deepEqual(outcome.reasons, ['read-core', 'broad'])
    assert.equal(outcome.projection['account']?.['balance'], 'mask')
    // Masking is stricter than tokenising, so the field policy's mask stands.
    assert.equal(outcome.projection['account']?.['pan'], 'mask')
    // A field that no obligation names is treated as if there were none.
    assert.equal(outcome.projection['account']?.['id'], 'tokenise')
    assert.equal(outcome.projection['payment']?.['amount'], 'whole')
  })
})

describe('answers that are bytes', () => {
  const permit = (note = ''): string =>
    `@id("read-core") ${note} permit(principal, action == Action::"core.list", resource);`
  /** `core.list` as one that answers bytes, which are all of what `returns` says. */
  const outcome = async (
    returns: Readonly<Record<string, string>>,
    fieldClass: 'internal' | 'restricted',
    over: Readonly<Record<string, string>> = {},
  ): Promise<Outcome> => {
    const bytes = { types: ['application/pdf'], maxBytes: 9 }
    const content = { name: 'content', class: fieldClass, tags: ['doc'], mask: 'full' } as const
    const changed = {
      ...network,
      systems: network.systems.map((system) => ({
        ...system,
        operations: system.operations.map((one) =>
          one.name === 'list' && one.binding.kind === 'http'
            ? { ...one, returns, binding: { ...one.binding, bytes } }
            : one,
        ),
      })),
      datasets: [
        ...network.datasets,
        {
          ...{ name: 'file', description: 'files', system: 'core', owner: 'it' },
          fields: [content],
        },
      ],
    }
    const policies = sources(over)
    return (await createDecider({ declaration: { network: changed, policies } })).decide(
      call(),
      quiet,
    )
  }

  it('leave whole by the class of their one field, with its labels', async () => {
    const allowed = await outcome({ $: 'file' }, 'internal')
    assert.equal(allowed.code, 'SP_ALLOWED')
    assert.deepEqual(allowed.labels, ['doc'])
    assert.deepEqual(
      [allowed.maxClass, allowed.projection],
      ['internal', { file: { content: 'whole' } }],
    )
    assert.equal((await outcome({ $: 'public' }, 'restricted')).code, 'SP_ALLOWED')
  })

  it('are denied where the field is dropped, masked, tokenised, or owed so', async () => {
    const dropped = await outcome({ $: 'file' }, 'restricted')
    assert.deepEqual([dropped.decision, dropped.code], ['deny', 'SP_DENIED_PARTIAL'])
    assert.deepEqual(dropped.reasons, ['read-core'])
    assert.deepEqual(dropped.labels, [])
    for (const how of ['mask', 'tokenise']) {
      const policy = `@id("how") permit(principal, action == Action::"field.${how}", resource);`
      const other = await outcome({ $: 'file' }, 'restricted', { how: policy })
      assert.equal(other.code, 'SP_DENIED_PARTIAL', how)
    }
    for (const how of ['mask', 'tokenise', 'drop']) {
      const owed = permit(`@obligation("${how}:file.content")`)
      const other = await outcome({ $: 'file' }, 'internal', { 'read-core': owed })
      assert.equal(other.code, 'SP_DENIED_PARTIAL', how)
    }
    const elsewhere = permit('@obligation("mask:account.id")')
    const other = await outcome({ $: 'file' }, 'internal', { 'read-core': elsewhere })
    assert.equal(other.code, 'SP_ALLOWED')
  })

  it('need the evidence with which they may leave, and none that does not help', async () => {
    const how = `@id("how") permit(principal, action == Action::"field.read", resource)
      when { context.evidence.approvals >= 2 };`
    const needing = await outcome({ $: 'file' }, 'restricted', { how })
    assert.deepEqual(
      [needing.code, needing.needs, needing.reasons],
      ['SP_NEEDS_APPROVAL', [{ kind: 'approval', count: 2 }], []],
    )
    const asks = `@id("read-core") permit(principal, action == Action::"core.list", resource)
      when { context.evidence.approvals >= 1 };`
    const both = await outcome({ $: 'file' }, 'restricted', { how, 'read-core': asks })
    assert.deepEqual(both.needs, [{ kind: 'approval', count: 2 }])
    // Nobody is asked to approve of what would be denied all the same.
    const vain = await outcome({ $: 'file' }, 'restricted', { 'read-core': asks })
    assert.deepEqual([vain.code, vain.needs], ['SP_DENIED_NOT_PERMITTED', []])
  })

  it('are denied where nothing says what the whole of them is', async () => {
    for (const returns of [
      {},
      { a: 'file' },
      { $: 'nothing' },
      { $: 'file', a: 'public' },
      { $: 'account' },
    ]) {
      const { code } = await outcome(returns, 'internal')
      assert.equal(code, 'SP_DENIED_PARTIAL', JSON.stringify(returns))
    }
  })
})

describe('explanations', () => {
  it('tells the three denials apart, with a remedy each', async () => {
    const bank = await decider()
    const forbidden = bank.explain(call(), { labels: [], risk: 80 })
    assert.match(forbidden.summary, /forbidden by `no-risky`/)
    assert.match(forbidden.remedies.join(), /context\.risk >= 70 \(context\.risk is 80\)/)
    const missed = bank.explain(hold(5_000_001), quiet)
    assert.match(missed.summary, /no policy permits it/)
    assert.match(
      missed.remedies.join(),
      /`small-holds` would permit it if: context\.input\.amount <= 100000 \(context\.input\.amount is 5000001\)/,
    )
    assert.equal(missed.cedar.policies[0]?.policyId, 'small-holds')
    const allowed = bank.explain(call(), quiet)
    assert.match(allowed.summary, /is permitted by `read-core`/)
    assert.deepEqual(allowed.cedar.decision.reasons, ['read-core'])
    const flow = bank.explain(call({ operation: 'hold' }), quiet)
    assert.deepEqual(flow.cedar, {
      decision: { decision: 'deny', reasons: [], errors: [] },
      policies: [],
    })
    assert.match(
      flow.remedies.join(),
      /declare a flow from `analyst` to `core` with operation `hold`/,
    )
    const needs = bank.explain(hold(100_001), quiet)
    assert.match(needs.summary, /needs 2 approvals/)
    const nobody = bank.explain(call({ agent: 'flagger' }), quiet)
    assert.match(nobody.remedies.join(), /no permit covers `flagger` and `core\.list`/)
  })
})

describe('declarations that must not load', () => {
  const refused: [string, string, string][] = [
    [
      'an input that does not exist',
      'permit(principal, action == Action::"core.list", resource) when { context.input.amount > 1 };',
      'SP_CEDAR_INVALID',
    ],
    [
      'an unknown action',
      'permit(principal, action == Action::"core.nope", resource);',
      'SP_CEDAR_INVALID',
    ],
    ['no policy at all', 'hello', 'SP_CEDAR_INVALID'],
  ]
  for (const [name, source, code] of refused) {
    it(`refuses ${name}`, async () => {
      await assert.rejects(decider({ extra: source }), { code })
    })
  }
})

function cyclic(): Call['input'] {
  const knot: Record<string, unknown> = {}
  knot['self'] = knot
  return knot as Call['input']
}

describe('coverage', () => {
  it('is of the call, then of each question about a field, as far as they are asked', async () => {
    const bank = await decider()
    const allowed = bank.cover(call(), quiet)
    const [first = [], ...fields] = allowed
    assert.equal(bank.decide(call(), quiet).decision, 'allow')
    assert.ok(
      first.some(({ policyId, outcome }) => policyId === 'read-core' && outcome === 'satisfied'),
    )
    // Each field as far as its forms are tried: those that are tokenised or dropped three times, one masked twice.
    assert.equal(fields.length, 3 * 3 + 2 + 4)
    const held = fields.map((covers) => covers.find(({ outcome }) => outcome === 'satisfied'))
    const count = (id: string) => held.filter((cover) => cover?.policyId === id).length
    assert.deepEqual(
      ['fields-plain', 'fields-memo', 'fields-pan', 'fields-account'].map(count),
      [3, 1, 1, 2],
    )
    // A call that no flow covers is put to no policy, and one that is denied returns no field.
    assert.deepEqual(bank.cover(call({ operation: 'hold' }), quiet), [])
    assert.equal(bank.cover(call({ agent: 'flagger' }), quiet).length, 1)
    assert.deepEqual(
      bank.points().map(({ policyId }) => policyId),
      sources().map(({ id }) => id),
    )
  })
})

describe('local time', () => {
  const zoned = (timeZone: string) => ({
    network: { ...network, settings: { ...network.settings, timeZone } },
    policies: sources().map((policy) =>
      policy.id === 'read-core'
        ? {
            ...policy,
            source: policy.source.replace(/;\s*$/, ' when { context.time.local.hour < 18 };'),
          }
        : policy,
    ),
  })

  it('is that of the time zone declared', async () => {
    const bank = await createDecider({ declaration: zoned('America/New_York') })
    const at = (iso: string): string => bank.decide(call({ time: Date.parse(iso) }), quiet).code
    // 17:59 and 18:00 in New York, in winter and in summer.
    assert.equal(at('2026-01-05T22:59:00Z'), 'SP_ALLOWED')
    assert.equal(at('2026-01-05T23:00:00Z'), 'SP_DENIED_NOT_PERMITTED')
    assert.equal(at('2026-07-06T21:59:00Z'), 'SP_ALLOWED')
    assert.equal(at('2026-07-06T22:00:00Z'), 'SP_DENIED_NOT_PERMITTED')
  })

  it('of a zone that this platform does not know decides nothing', async () => {
    await assert.rejects(createDecider({ declaration: zoned('Nowhere/Atlantis') }), {
      code: 'SP_NETWORK_RULE',
    })
  })
})
