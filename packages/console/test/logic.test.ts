import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import fc from 'fast-check'
import type { Asked, BackchannelStatement } from '../src/api/asked-types.ts'
import type { Approval, ApprovalStatement, StatementOptions } from '../src/api/types.ts'
import { driftName } from '../src/lib/inventory.ts'
import { canonicalJson, statementChallenge } from '../src/lib/canonical.ts'
import { CeremonyError, checkApproval, checkAsked, checkDeclaration } from '../src/lib/ceremony.ts'
import { agentName, duration, instanceName } from '../src/lib/format.ts'
import { whyNotDecide } from '../src/lib/may.ts'
import { outcomeOf } from '../src/lib/outcome.ts'
import { keepPlaces, NODE_HEIGHT, NODE_WIDTH } from '../src/map/geometry.ts'
import { buildGraph, countDecision, linkTone } from '../src/map/graph.ts'
import { layoutMap } from '../src/map/layout.ts'
import { nearest } from '../src/map/steer.ts'
import { largeNetwork, MERIDIAN } from './support/declaration.ts'
import { canonical } from './support/passkeys.ts'
import { edgesOf, history, record } from './support/records.ts'

describe('canonical JSON (RFC 8785)', () => {
  it('gives the bytes of the RFC’s own example', () => {
    // RFC 8785, section 3.2.2 and 3.2.3.
    const value = {
      // oxlint-disable-next-line no-loss-of-precision -- that is what the example is about
      numbers: [333333333.33333329, 1e30, 4.5, 2e-3, 0.000000000000000000000000001],
      string: '\u20ac$\u000F\u000aA\'\u0042\u0022\u005c\\"/',
      literals: [null, true, false],
    }
    assert.equal(
      canonicalJson(value),
      String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
    )
  })
  it('sorts members by UTF-16 code units', () => {
    assert.equal(
      canonicalJson({ '\ufb33': 1, '\u{1f600}': 2, '1': 3 }),
      '{"1":3,"\u{1f600}":2,"\ufb33":1}',
    )
  })
  it('refuses what JSON cannot hold', () => {
    for (const value of [Number.NaN, Infinity, 1n, '\ud800']) {
      assert.throws(() => canonicalJson(value), TypeError)
    }
  })
  it('agrees with an independent writer, whatever the value', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        // The independent writer relies on insertion order, which integer-like keys escape.
        fc.pre(!/"\d+":/.test(JSON.stringify(value)))
        fc.pre(!JSON.stringify(value).includes('__proto__'))
        assert.equal(canonicalJson(value), canonical(value))
      }),
      { numRuns: 300 },
    )
  })
})

const approval: Approval = {
  id: 'apr_1',
  status: 'pending',
  agent: 'account-flagger',
  instance: 'spiffe://meridian.example/agent/account-flagger/a',
  system: 'core-banking',
  operation: 'placeHold',
  input: { accountId: 'A', amount: 5 },
  count: 1,
  requestedAt: Date.now(),
  expiresAt: Date.now() + 60_000,
  decisionId: 'dec_1',
  declarationDigest: 'ab',
  wholeNumbers: [],
  statements: [],
  canDecide: true,
}

async function offer(
  change: Partial<ApprovalStatement>,
  challenge?: string,
): Promise<StatementOptions<ApprovalStatement>> {
  const statement: ApprovalStatement = {
    kind: 'approval',
    approvalId: 'apr_1',
    decision: 'approve',
    approver: 'olivia',
    instance: approval.instance,
    system: 'core-banking',
    operation: 'placeHold',
    input: { amount: 5, accountId: 'A' },
    declarationDigest: 'ab',
    nonce: 'n',
    expiresAt: approval.expiresAt,
    ...change,
  }
  return { statement, options: { challenge: challenge ?? (await statementChallenge(statement)) } }
}

describe('a control plane that offers something else for signing', () => {
  it('is obeyed where the statement is what the page shows', async () => {
    await checkApproval(approval, 'approve', 'olivia', await offer({}))
  })
  const lies: readonly Partial<ApprovalStatement>[] = [
    { input: { accountId: 'A', amount: 50 } },
    { input: { accountId: 'A', amount: 5, extra: true } },
    { approvalId: 'apr_2' },
    { decision: 'deny' },
    { approver: 'viktor' },
    { instance: 'spiffe://meridian.example/agent/account-flagger/b' },
    { system: 'pii-vault' },
    { operation: 'getAccount' },
    { declarationDigest: 'cd' },
    { expiresAt: Date.now() - 1 },
  ]
  for (const lie of lies) {
    it(`is refused when it changes ${JSON.stringify(lie)}`, async () => {
      const offered = await offer(lie)
      await assert.rejects(checkApproval(approval, 'approve', 'olivia', offered), CeremonyError)
    })
  }
  it('is refused when the challenge is of another statement', async () => {
    const { options } = await offer({ input: { accountId: 'A', amount: 50 } })
    const offered = await offer({}, options.challenge)
    await assert.rejects(checkApproval(approval, 'approve', 'olivia', offered), CeremonyError)
  })
})

describe('a declaration that is offered for signing', () => {
  const shown = { digest: 'ab', serial: 7 }
  const offered = async (lie: object) => {
    const statement = { kind: 'declaration', digest: 'ab', epoch: 1, serial: 7, ...lie } as const
    return { statement, options: { challenge: await statementChallenge(statement) } }
  }
  it('is the one on the page, with its serial, where it has one already', async () => {
    await checkDeclaration(shown, await offered({}))
    await checkDeclaration({ digest: 'ab' }, await offered({ serial: 9 }))
    for (const lie of [{ digest: 'cd' }, { serial: 8 }, { serial: undefined }, { serial: '7' }]) {
      await assert.rejects(checkDeclaration(shown, await offered(lie)), CeremonyError)
    }
    for (const serial of [undefined, 0, 1.5]) {
      await assert.rejects(
        checkDeclaration({ digest: 'ab' }, await offered({ serial })),
        CeremonyError,
      )
    }
  })
})

describe('an agent that asks out of band', () => {
  const statement: BackchannelStatement = {
    kind: 'backchannel',
    subject: 'operator:olivia',
    client: 'spiffe://meridian.example/agent/account-flagger/a',
    resource: 'https://gateway.meridian.example/core',
    scope: ['hold'],
    details: [{ amount: 900, currency: 'EUR', creditor: 'ACC-1', operations: ['hold'] }],
    message: 'Hold on ACC-1?',
    refreshSeconds: 0,
    nonce: 'ab',
    expiresAt: Date.now() + 60_000,
  }
  const shown: Asked = {
    ...{ id: 'ab', status: 'pending', statement, agent: 'account-flagger', requestedAt: 0 },
    ...{ agentDescription: '', system: 'core', systemDescription: '', operations: [] },
  }
  const offered = async (lie: object): Promise<StatementOptions<BackchannelStatement>> => {
    const told = { ...statement, ...lie }
    return { statement: told, options: { challenge: await statementChallenge(told) } }
  }
  it('has what the page shows signed', async () => {
    await checkAsked(shown, 'olivia', await offered({}))
  })
  for (const lie of [
    { details: [{ ...statement.details[0], amount: 901 }] },
    { scope: ['hold', 'release'] },
    { message: 'Hold on ACC-2?' },
    { refreshSeconds: 28_800 },
    { client: 'spiffe://meridian.example/agent/account-flagger/b' },
    { extra: true },
  ]) {
    it(`has nothing signed when the server changes ${JSON.stringify(lie)}`, async () => {
      await assert.rejects(checkAsked(shown, 'olivia', await offered(lie)), CeremonyError)
    })
  }
  it('has nothing signed by anybody else, or when the time is over', async () => {
    await assert.rejects(checkAsked(shown, 'viktor', await offered({})), CeremonyError)
    const late = { expiresAt: Date.now() - 1 }
    const over = { ...shown, statement: { ...statement, ...late } }
    await assert.rejects(checkAsked(over, 'olivia', await offered(late)), CeremonyError)
  })
})

describe('who may decide', () => {
  const session = {
    operator: { name: 'olivia', displayName: 'Olivia', roles: ['approver'] },
    csrf: '',
    bootstrap: false,
    method: 'passkey',
  } as const
  const now = Date.now()
  it('lets an approver with a passkey', () => {
    assert.equal(whyNotDecide(session, approval, now), '')
  })
  it('names what stands in the way', () => {
    const roles = ['responder'] as const
    assert.match(whyNotDecide({ ...session, method: 'totp' }, approval, now), /passkey/)
    assert.match(
      whyNotDecide({ ...session, operator: { ...session.operator, roles } }, approval, now),
      /role/,
    )
    assert.match(whyNotDecide(session, { ...approval, expiresAt: now }, now), /expired/)
    assert.match(whyNotDecide(session, { ...approval, status: 'used' }, now), /approved/)
    assert.equal(
      whyNotDecide(session, { ...approval, canDecide: false, reason: 'not yours' }, now),
      'not yours',
    )
  })
})

describe('the map', () => {
  const records = history(MERIDIAN, Date.now(), 300)
  const graph = buildGraph(MERIDIAN, edgesOf(records), '')

  it('draws every declared flow and every path tried without one', () => {
    const undeclared = graph.links.filter(({ flows }) => flows.length === 0)
    assert.equal(graph.links.length - undeclared.length, MERIDIAN.flows.length)
    assert.deepEqual(
      undeclared.map(({ id }) => id),
      ['agent:pattern-analyst→system:pii-vault'],
    )
    assert.equal(undeclared[0] && linkTone(undeclared[0]), 'deny')
  })
  it('loses no call between decisions, edges and links', () => {
    const drawn = graph.links.reduce((n, { allow, deny, needs }) => n + allow + deny + needs, 0)
    assert.equal(drawn, records.length)
  })
  it('counts a live decision into the edge it belongs to', () => {
    const edges = edgesOf(records)
    const next = countDecision(
      edges,
      record(MERIDIAN, Date.now(), {
        agent: 'notifier',
        system: 'message-gateway',
        operation: 'send',
      }),
    )
    const total = (list: typeof next): number => list.reduce((n, { allow }) => n + allow, 0)
    assert.equal(total(next), total(edges) + 1)
    assert.equal(next.length, edges.length)
  })
  it('narrows to what a filter names, and what it touches', () => {
    const narrow = buildGraph(MERIDIAN, [], 'notifier')
    assert.deepEqual(narrow.nodes.map(({ name }) => name).toSorted(), [
      'message-gateway',
      'notifier',
    ])
  })
  it('draws segments where there is too much to read', () => {
    const large = largeNetwork(300)
    const all = buildGraph(large, [], '')
    assert.equal(all.aggregated, true)
    assert.equal(
      all.nodes.reduce((n, { members }) => n + members, 0),
      400,
    )
    assert.equal(buildGraph(large, [], 'agent-17').aggregated, false)
  })
  it('overlaps nothing, puts agents left and systems right', () => {
    const large = buildGraph(largeNetwork(112), [], '')
    const places = layoutMap({
      nodes: large.nodes,
      links: large.links.map(({ from, to }) => [from, to]),
    })
    const at = large.nodes.map(({ id, side }) => ({ side, ...places[id] }))
    assert.equal(at.length, 149)
    for (const [i, a] of at.entries()) {
      assert.ok((a.side === 'left') === (a.x ?? 0) < 0)
      for (const b of at.slice(i + 1)) {
        assert.ok(
          Math.abs((a.x ?? 0) - (b.x ?? 0)) >= NODE_WIDTH ||
            Math.abs((a.y ?? 0) - (b.y ?? 0)) >= NODE_HEIGHT,
        )
      }
    }
  })
  it('moves nothing that already stands', () => {
    const known = { a: { x: 0, y: 0 }, b: { x: 0, y: 60 } }
    const fresh = { a: { x: 9, y: 9 }, b: { x: 9, y: 99 }, c: { x: 0, y: 0 } }
    const kept = keepPlaces(known, fresh)
    assert.deepEqual([kept['a'], kept['b']], [known.a, known.b])
    assert.ok((kept['c']?.y ?? 0) >= 60 + NODE_HEIGHT)
  })
  it('steers with arrow keys, through the gateway', () => {
    const stops = [
      { id: 'a1', x: -300, y: 0 },
      { id: 'a2', x: -300, y: 50 },
      { id: 'gate', x: 0, y: 400 },
      { id: 's1', x: 300, y: 10 },
    ]
    assert.equal(nearest(stops, '', 'ArrowDown'), 'a1')
    assert.equal(nearest(stops, 'a1', 'ArrowDown'), 'a2')
    assert.equal(nearest(stops, 'a1', 'ArrowRight'), 'gate')
    assert.equal(nearest(stops, 's1', 'ArrowLeft'), 'gate')
    assert.equal(nearest(stops, 'a1', 'Tab'), undefined)
    assert.equal(nearest(stops, 's1', 'ArrowRight'), undefined)
  })
})

describe('words', () => {
  it('tells the kinds of refusal apart', () => {
    const labels = [
      'SP_DENIED_FORBIDDEN',
      'SP_DENIED_NOT_PERMITTED',
      'SP_DENIED_PARTIAL',
      'SP_DENIED_POLICY_ERROR',
      'SP_NO_FLOW',
      'SP_SOMETHING_NEW',
    ].map((code) => outcomeOf('deny', code).label)
    assert.equal(new Set(labels).size, 6)
  })
  it('reads SPIFFE ids and spans', () => {
    assert.equal(agentName('spiffe://td/agent/notifier/i-1'), 'notifier')
    assert.equal(agentName('notifier'), 'notifier')
    assert.equal(instanceName('spiffe://td/agent/notifier/i-1'), 'i-1')
    assert.equal(duration(59_400), '59 s')
    assert.equal(duration(200_000), '3 min 20 s')
  })
})

describe('the inventory', () => {
  it('names what has no name of its own', () => {
    const line = { system: '', by: '*', calls: 1, first: 0, last: 0, suggestion: null }
    const named = (kind: 'caller' | 'operation', name: string): string =>
      driftName({ ...line, kind, name })
    assert.equal(named('caller', '*'), 'more callers than are kept')
    assert.equal(named('caller', 'SP_TLS_HANDSHAKE'), 'no identity here (SP_TLS_HANDSHAKE)')
    assert.equal(named('operation', 'tool SP_X'), 'tool SP_X')
    assert.equal(named('caller', 'spiffe://a.example/agent/b'), 'spiffe://a.example/agent/b')
  })
})
