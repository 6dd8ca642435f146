import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SallyportError } from '@sallyport/base'
import {
  coverOf,
  holdsMandate,
  mandateDetail,
  mandateId,
  mandateOfDetail,
  mandateToken,
  readMandateToken,
  verifyMandate,
} from '../src/index.ts'
import type { MandateRules, MandateStatement, SignedMandate } from '../src/index.ts'
import {
  anyOf,
  below,
  byOperator,
  instance,
  keyOf,
  NOW,
  olga,
  operators,
  rules,
  statement,
} from './support/mandate.ts'
import { operatorSet, TestPasskey } from './support/passkey.ts'

const code = (code: string): { code: string } => ({ code })
/** Which of the two it is depends on who is named where. */
const refusedOne = (error: unknown): boolean =>
  /^SP_MANDATE_(?:SIGNATURE|CHAIN)$/.test(error instanceof SallyportError ? error.code : '')
const verify = (chain: readonly SignedMandate[], over: Partial<MandateRules> = {}) =>
  verifyMandate(chain, { ...rules, ...over })

const root = byOperator()
const sub = below(root.statement, instance('lead'))
const [grant] = root.statement.grants
assert.ok(grant)

test('a chain verifies, and says who gave it, to whom and for what', () => {
  const own = below(sub.statement, instance('helper', '7'), {
    delegate: anyOf('clerk'),
    task: 'look',
  })
  const verified = verify([root, sub, own])
  assert.deepEqual(
    { ...verified, hops: undefined },
    {
      id: mandateId(own.statement),
      chain: [root, sub, own].map((hop) => mandateId(hop.statement)),
      hops: undefined,
      delegator: 'operator:olga',
      delegate: anyOf('clerk'),
      depth: 3,
      task: 'look',
      expiresAt: NOW + 60_000,
      delegators: [instance('lead'), instance('helper', '7')],
    },
  )
  assert.equal(verify([root]).depth, 1)
  // An agent may give what is its own, without a person at the root.
  const alone = below(root.statement, instance('lead'), { parent: undefined } as object)
  assert.equal(verify([alone]).delegator, instance('lead'))
})

test('whom a mandate was given to: any instance of the agent, or the one', () => {
  assert.ok(holdsMandate(anyOf('lead'), instance('lead', '3')))
  assert.ok(holdsMandate(instance('lead'), instance('lead')))
  assert.ok(!holdsMandate(instance('lead'), instance('lead', '2')))
  assert.ok(!holdsMandate(anyOf('lead'), instance('leader')))
  assert.ok(!holdsMandate(anyOf('lea'), instance('lead')))
})

test('the operator who signs is one of the set, with a role, and signs for themselves', () => {
  const ivan = new TestPasskey('ivan')
  verify([root])
  for (const [chain, set] of [
    [[byOperator({}, ivan)], operators],
    [[byOperator({ delegator: 'operator:ivan' }, ivan)], operators],
    [[byOperator({}, ivan)], operatorSet(1, 1, olga.key(['admin']), ivan.key(['admin']))],
    [[root], operatorSet(1, 1, olga.key(['responder']))],
    [[root], operatorSet(1, 1, ivan.key(['approver']))],
    [[root], undefined],
    [[{ ...root, statement: { ...root.statement, uses: 11 } }], operators],
  ] as const) {
    assert.throws(() => verify(chain, { operators: set }), refusedOne)
  }
  // A passkey does not sign below the root.
  const lower = byOperator({ parent: mandateId(root.statement), delegator: 'operator:olga' })
  assert.throws(() => verify([root, lower]), code('SP_MANDATE_CHAIN'))
})

test('an agent signs with the key of its own SVID, over exactly this statement', () => {
  verify([root, sub])
  const forged = below(root.statement, instance('lead'), {}, keyOf(instance('mole')))
  assert.throws(() => verify([root, forged]), code('SP_MANDATE_SIGNATURE'))
  const changed = { ...sub, statement: { ...sub.statement, task: 'close case 8' } }
  assert.throws(() => verify([root, changed]), code('SP_MANDATE_SIGNATURE'))
  const other = { ...sub, svid: [Buffer.from(instance('mole')).toString('base64url')] }
  assert.throws(() => verify([root, other]), code('SP_MANDATE_CHAIN'))
  const expired: Partial<MandateRules> = {
    verifySvid: () => {
      throw Object.assign(new Error('expired'), { code: 'SP_SVID_EXPIRED' })
    },
  }
  assert.throws(() => verify([root, sub], expired), code('SP_MANDATE_SIGNATURE'))
  assert.throws(
    () => verify([root, sub], { isSerialRevoked: () => true }),
    code('SP_MANDATE_SIGNATURE'),
  )
})

test('each hop is by the delegate of the one before, and names it', () => {
  const stranger = below(root.statement, instance('mole'))
  assert.throws(() => verify([root, stranger]), code('SP_MANDATE_CHAIN'))
  assert.throws(() => verify([sub]), code('SP_MANDATE_CHAIN'))
  assert.throws(() => verify([sub, root]), code('SP_MANDATE_CHAIN'))
  const again = byOperator({ nonce: 'another-nonce-123' })
  assert.throws(() => verify([again, sub]), code('SP_MANDATE_CHAIN'))
  const one = byOperator({ delegate: instance('lead', '1') })
  verify([one, below(one.statement, instance('lead', '1'))])
  assert.throws(
    () => verify([one, below(one.statement, instance('lead', '2'))]),
    code('SP_MANDATE_CHAIN'),
  )
  assert.throws(
    () => verify([byOperator({ delegate: 'spiffe://other.test/agent/lead' })]),
    code('SP_MANDATE_CHAIN'),
  )
})

const WIDER: readonly [string, Partial<MandateStatement>][] = [
  ['uses', { uses: 11 }],
  ['a later end', { expiresAt: NOW + 60_001 }],
  ['an earlier beginning', { notBefore: NOW - 1001, issuedAt: NOW - 1001 }],
  ['a system', { grants: [{ ...grant, system: 'vault' }] }],
  ['an operation', { grants: [{ ...grant, operations: ['hold', 'pay'] }] }],
  ['a second grant', { grants: [grant, { system: 'vault', operations: ['read'] }] }],
  ['no arguments', { grants: [{ ...grant, arguments: {} }] }],
  ['one argument less', { grants: [{ ...grant, arguments: { reason: { equals: 'ring' } } }] }],
  [
    'another value',
    { grants: [{ ...grant, arguments: { ...grant.arguments, reason: { oneOf: ['ring', 'x'] } } }] },
  ],
  [
    'a prefix where values stood',
    { grants: [{ ...grant, arguments: { ...grant.arguments, reason: { prefix: 'ring' } } }] },
  ],
  [
    'a shorter prefix',
    { grants: [{ ...grant, arguments: { ...grant.arguments, 'case.id': { prefix: 'cas' } } }] },
  ],
  [
    'a range where a prefix stood',
    { grants: [{ ...grant, arguments: { ...grant.arguments, 'case.id': { max: 1 } } }] },
  ],
  ['a larger amount', { grants: [{ ...grant, amount: { ...amount(), perUse: 1001 } }] }],
  ['a larger total', { grants: [{ ...grant, amount: { ...amount(), total: 5001 } }] }],
  ['no total', { grants: [{ ...grant, amount: without(amount(), 'total') }] }],
  ['no ceiling', { grants: [without(grant, 'amount')] }],
  ['another currency', { grants: [{ ...grant, amount: { ...amount(), currency: 'JPY' } }] }],
  [
    'no look at the currency',
    { grants: [{ ...grant, amount: without(amount(), 'currencyInput') }] },
  ],
  ['another amount', { grants: [{ ...grant, amount: { ...amount(), input: 'fee' } }] }],
  [
    'a counterparty',
    { grants: [{ ...grant, counterparties: { input: 'account', values: ['a1', 'a3'] } }] },
  ],
  [
    'another counterparty member',
    { grants: [{ ...grant, counterparties: { input: 'other', values: ['a1'] } }] },
  ],
  ['no counterparties', { grants: [without(grant, 'counterparties')] }],
]

function amount() {
  assert.ok(grant?.amount)
  return grant.amount
}
function without<T extends object, K extends keyof T>(value: T, key: K): Omit<T, K> {
  const { [key]: _gone, ...rest } = value
  return rest
}

for (const [what, over] of WIDER) {
  test(`a sub-mandate that widens is refused: ${what}`, () => {
    verify([root, below(root.statement, instance('lead'))])
    assert.throws(
      () => verify([root, below(root.statement, instance('lead'), over)]),
      code('SP_MANDATE_WIDENS'),
    )
  })
}

test('a sub-mandate may be narrower in everything', () => {
  const narrower = below(root.statement, instance('lead'), {
    uses: 1,
    expiresAt: NOW + 1000,
    grants: [
      {
        system: 'core',
        operations: ['hold'],
        arguments: {
          reason: { equals: 'mule' },
          'case.id': { oneOf: ['case-1', 'case-2'] },
          extra: { max: 3 },
        },
        amount: { ...amount(), perUse: 1, total: 1 },
        counterparties: { input: 'account', values: ['a2'] },
      },
      { ...grant, operations: ['list'] },
    ],
  })
  assert.equal(verify([root, narrower]).depth, 2)
})

test('a chain has five hops at most', () => {
  const chain: SignedMandate[] = [byOperator({ delegate: anyOf('lead') })]
  const grow = (): void => {
    const last = chain.at(-1)
    assert.ok(last)
    chain.push(
      below(last.statement, instance('lead', String(chain.length)), { delegate: anyOf('lead') }),
    )
  }
  while (chain.length < 5) grow()
  assert.equal(verify(chain).depth, 5)
  grow()
  assert.throws(() => verify(chain), code('SP_MANDATE_DEPTH'))
})

test('time, revocation and quarantine of any hop end the whole chain', () => {
  const chain = [root, sub]
  verify(chain, { now: NOW + 59_999 })
  assert.throws(() => verify(chain, { now: NOW + 60_000 }), code('SP_MANDATE_EXPIRED'))
  assert.throws(() => verify(chain, { now: NOW - 3001 }), code('SP_MANDATE_NOT_YET_VALID'))
  for (const hop of chain) {
    const isRevoked = (id: string): boolean => id === mandateId(hop.statement)
    assert.throws(() => verify(chain, { isRevoked }), code('SP_MANDATE_REVOKED'))
  }
  const isCut = (id: string): boolean => id === instance('lead')
  assert.throws(() => verify(chain, { isCut }), code('SP_MANDATE_DELEGATOR'))
})

test('a mandate covers exactly the calls of its grants', () => {
  const call = (over: object = {}, operation = 'hold', system = 'core') => ({
    system,
    operation,
    input: {
      account: 'a1',
      amount: 1000,
      currency: 'EUR',
      reason: 'ring',
      case: { id: 'case-9' },
      ...over,
    },
  })
  const cover = (...args: Parameters<typeof call>) => coverOf(root.statement, call(...args))
  assert.deepEqual(cover(), { grant: 0, amount: 1000, total: 5000 })
  assert.deepEqual(cover({ account: ['a1', 'a2'], amount: 0 }), {
    grant: 0,
    amount: 0,
    total: 5000,
  })
  assert.ok(cover({ case: { id: 'case-9.a_b:C-7' } }))
  const refused: readonly object[] = [
    { account: 'a3' },
    { account: ['a1', 'a3'] },
    { account: [] },
    { account: undefined },
    { amount: 1001 },
    { amount: -1 },
    { amount: 1.5 },
    { amount: 5n },
    { amount: '5' },
    { amount: undefined },
    { currency: 'JPY' },
    { currency: undefined },
    { reason: 'other' },
    { reason: ['ring'] },
    { case: { id: 'other' } },
    // What a text begins with is not where it leads.
    ...[
      '/../x',
      '7/../8',
      '..',
      '7%2f..',
      '7//x',
      '7\\x',
      '7@evil.test',
      'é',
      '7e\u0301',
      '7\n',
      '7 ',
      '\u202e7',
      '7\0',
    ].map((rest) => ({ case: { id: `case-${rest}` } })),
    { case: { id: 'CASE-9' } },
    { case: ['case-9'] },
    { case: undefined },
  ]
  for (const over of refused)
    assert.equal(cover(over), undefined, JSON.stringify(Object.keys(over)))
  assert.equal(cover({}, 'pay'), undefined)
  assert.equal(cover({}, 'hold', 'vault'), undefined)
  const inherited = { ...call(), input: Object.create(call().input) as Record<string, unknown> }
  assert.equal(coverOf(root.statement, inherited), undefined)
})

test('a token carries a chain; what is no chain is refused', () => {
  const token = mandateToken([root, sub])
  assert.deepEqual(readMandateToken(token), [root, sub])
  for (const bad of [
    '',
    'mdc.',
    'mdc.!!!',
    `${token}=`,
    token.slice(4),
    `mdc.${'A'.repeat(80_000)}`,
    `mdc.${Buffer.from('[]').toString('base64url')}`,
  ]) {
    assert.throws(() => readMandateToken(bad), code('SP_MANDATE_FORMAT'))
  }
})

test('what is no mandate is refused, in bounded time', () => {
  const bad: readonly unknown[] = [
    null,
    {},
    [],
    [null],
    [{ ...root, surprise: 1 }],
    [{ ...root, statement: { ...root.statement, surprise: 1 } }],
    [{ ...root, statement: { ...root.statement, uses: 0 } }],
    [{ ...root, statement: { ...root.statement, uses: 1.5 } }],
    [{ ...root, statement: { ...root.statement, grants: [] } }],
    [{ ...root, statement: { ...root.statement, task: ' ' } }],
    [{ ...root, statement: { ...root.statement, expiresAt: root.statement.notBefore } }],
    [{ ...root, statement: { ...root.statement, expiresAt: NOW + 91 * 86_400_000 } }],
    // It begins later, and would live on for longer than anybody may give.
    [
      {
        ...root,
        statement: {
          ...root.statement,
          notBefore: NOW + 60 * 86_400_000,
          expiresAt: NOW + 120 * 86_400_000,
        },
      },
    ],
    [{ ...root, statement: { ...root.statement, delegate: 'spiffe://bank.test/agent/a/b/c' } }],
    [{ ...root, statement: { ...root.statement, delegate: 'spiffe://bank.test/gateway/g' } }],
    [{ ...root, statement: { ...root.statement, delegator: 'olga' } }],
    [
      {
        ...root,
        statement: {
          ...root.statement,
          grants: [{ ...grant, arguments: { __proto__: null, '__proto__.x': { max: 1 } } }],
        },
      },
    ],
    [{ ...root, statement: { ...root.statement, grants: [{ ...grant, arguments: { a: {} } }] } }],
    ...['https://bank.test', '/cases/7', 'a%2e', 'a@b', 'é', ''].map((prefix) => [
      {
        ...root,
        statement: { ...root.statement, grants: [{ ...grant, arguments: { a: { prefix } } }] },
      },
    ]),
    [
      {
        ...root,
        statement: {
          ...root.statement,
          grants: [{ ...grant, arguments: { a: { max: 1, equals: 1 } } }],
        },
      },
    ],
    [{ statement: root.statement }],
    [{ statement: root.statement, passkey: root.passkey, signature: 'x', svid: [] }],
  ]
  for (const chain of bad) {
    assert.throws(
      () => verifyMandate(chain, rules),
      code('SP_MANDATE_FORMAT'),
      JSON.stringify(chain),
    )
  }
})

test('a mandate travels as authorization details and comes back whole', () => {
  for (const one of [root.statement, sub.statement]) {
    const detail = mandateDetail(one)
    assert.equal(detail.type, 'sallyport_mandate')
    assert.equal(detail.identifier, mandateId(one))
    assert.deepEqual(detail.actions, ['core.hold', 'core.list'])
    assert.deepEqual(mandateOfDetail(JSON.parse(JSON.stringify(detail))), one)
  }
  const detail = mandateDetail(root.statement)
  for (const bad of [
    null,
    { ...detail, type: 'payment' },
    { ...detail, uses: 11 },
    { ...detail, actions: ['core.hold'] },
    { ...detail, identifier: mandateId(statement({ uses: 1 })) },
    { ...detail, kind: 'mandate' },
    { ...detail, surprise: 1 },
  ]) {
    assert.throws(() => mandateOfDetail(bad), code('SP_MANDATE_FORMAT'))
  }
})
