import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { closeCedar, EntityStore, loadPolicySet, prepareContext } from '@sallyport/cedar'
import { deriveEntities } from '@sallyport/network'
import { FIELD_ACTIONS, Fields, higherClass } from '../src/fields.ts'
import type { Ask } from '../src/fields.ts'
import { parseObligation } from '../src/obligations.ts'
import type { FieldTreatment } from '../src/index.ts'
import { network } from './fixture.ts'

after(closeCedar)

describe('treatments of fields', () => {
  it('combines two classes to the higher one, in either order', () => {
    const classes = ['public', 'internal', 'confidential', 'restricted'] as const
    for (const [i, a] of classes.entries()) {
      for (const [j, b] of classes.entries()) {
        assert.equal(higherClass(a, b), classes[Math.max(i, j)])
      }
    }
  })

  it('tries the most revealing first', () => {
    assert.deepEqual(
      FIELD_ACTIONS.map(([{ type, id }, treatment]) => `${type} ${id} ${treatment}`),
      ['Action field.read whole', 'Action field.mask mask', 'Action field.tokenise tokenise'],
    )
  })

  const store = EntityStore.from(deriveEntities(network))
  // Which treatments are granted is said in the context, so that one set serves all cases.
  const grant = (action: string, list: string): string =>
    `permit(principal, action == Action::"field.${action}", resource) when { context.${list}.contains(resource) };`
  let fields: Fields
  before(async () => {
    const policies = await loadPolicySet({
      policies: [
        { id: 'whole', source: grant('read', 'whole') },
        { id: 'mask', source: grant('mask', 'mask') },
        { id: 'tokenise', source: grant('tokenise', 'tokenise') },
      ],
    })
    fields = new Fields(network, policies, store)
  })
  type Granted = Readonly<Record<string, FieldTreatment>>
  const asking = (granted: Granted): Ask => {
    const listed = (treatment: FieldTreatment) =>
      Object.entries(granted)
        .filter(([, given]) => given === treatment)
        .map(([id]) => ({ __entity: { type: 'Field', id } }))
    const context = prepareContext({
      whole: listed('whole'),
      mask: listed('mask'),
      tokenise: listed('tokenise'),
    })
    return {
      begin: (plan) => plan.decider({ type: 'Instance', id: 'i' }, context, store),
      grants: ({ decision }) => decision === 'allow',
    }
  }
  const project = (
    returns: Record<string, string>,
    granted: Granted,
    owed: readonly (readonly [string, FieldTreatment])[] = [],
  ) => fields.project(returns, asking(granted), owed)

  it('gives each field the most revealing treatment that is granted', () => {
    const granted: Granted = {
      'account.id': 'tokenise',
      'account.pan': 'mask',
      'account.balance': 'whole',
    }
    for (let round = 0; round < 2; round++) {
      assert.deepEqual(project({ $: 'account' }, granted), {
        projection: {
          account: {
            id: 'tokenise',
            name: 'drop',
            pan: 'mask',
            balance: 'whole',
            payments: 'drop',
          },
        },
        labels: ['account', 'pan'],
        maxClass: 'internal',
      })
      assert.deepEqual(project({ $: 'account' }, {}).projection, {
        account: { id: 'drop', name: 'drop', pan: 'drop', balance: 'drop', payments: 'drop' },
      })
    }
    const both = asking({ 'account.id': 'mask' })
    const tokens = asking({ 'account.id': 'tokenise' })
    const either: Ask = {
      begin: (plan) => {
        const [first, second] = [both.begin(plan), tokens.begin(plan)]
        return (group) => (both.grants(first(group)) ? first(group) : second(group))
      },
      grants: (answer) => both.grants(answer),
    }
    assert.equal(fields.project({ $: 'account' }, either, []).projection['account']?.['id'], 'mask')
  })

  it('is as strict as what is owed, in whichever order, and no stricter', () => {
    const ORDER = ['whole', 'tokenise', 'mask', 'drop'] as const
    for (const [i, a] of ORDER.entries()) {
      for (const [j, b] of ORDER.entries()) {
        const of = (...owed: [string, FieldTreatment][]) =>
          project({ $: 'account' }, { 'account.balance': a, 'account.id': a }, owed).projection[
            'account'
          ]
        const treated = of(['account.balance', b])
        assert.equal(treated?.['balance'], ORDER[Math.max(i, j)])
        assert.equal(treated?.['id'], a)
        assert.equal(of(['payment.balance', b])?.['balance'], a)
        assert.equal(
          of(['account.id', 'whole'], ['account.balance', b], ['account.balance', a])?.['balance'],
          ORDER[Math.max(i, j)],
        )
      }
    }
  })

  it('goes into a data set only through a field that leaves whole', () => {
    assert.deepEqual(
      project({ $: 'account' }, { 'account.payments': 'whole', 'payment.memo': 'whole' }),
      {
        projection: {
          account: { id: 'drop', name: 'drop', pan: 'drop', balance: 'drop', payments: 'whole' },
          payment: { amount: 'drop', memo: 'whole', to: 'drop' },
        },
        labels: ['untrusted'],
        maxClass: 'confidential',
      },
    )
    for (const payments of ['drop', 'mask', 'tokenise'] as const) {
      const granted: Granted = { 'account.payments': payments, 'payment.memo': 'whole' }
      const { projection, labels } = project({ $: 'account' }, granted)
      assert.deepEqual(Object.keys(projection), ['account'])
      assert.deepEqual(labels, [])
    }
    // An obligation can close the way too.
    const owed = [['account.payments', 'mask']] as const
    const { projection } = project({ $: 'account' }, { 'account.payments': 'whole' }, owed)
    assert.deepEqual(Object.keys(projection), ['account'])
  })

  it('labels by every field that leaves in any form, and classes by what leaves whole', () => {
    const of = (granted: Granted) => {
      const { labels, maxClass } = project({ $: 'account' }, granted)
      return [labels, maxClass]
    }
    assert.deepEqual(of({}), [[], 'public'])
    assert.deepEqual(of({ 'account.pan': 'mask', 'account.name': 'tokenise' }), [
      ['pan', 'pii'],
      'public',
    ])
    assert.deepEqual(of({ 'account.balance': 'whole' }), [[], 'internal'])
    assert.deepEqual(of({ 'account.name': 'whole', 'account.balance': 'whole' }), [
      ['pii'],
      'restricted',
    ])
  })

  it('reads every data set that is returned, and nothing for `public` or an unknown one', () => {
    const returns = { 'a[]': 'hold', b: 'public', c: 'payment', d: 'no such', e: 'hold' }
    const granted: Granted = {
      'payment.to': 'mask',
      'payment.memo': 'tokenise',
      'hold.id': 'whole',
    }
    const { projection, labels, maxClass } = project(returns, granted)
    assert.deepEqual(projection, {
      hold: { id: 'whole' },
      payment: { amount: 'drop', memo: 'tokenise', to: 'mask' },
    })
    assert.deepEqual([labels, maxClass], [['account', 'untrusted'], 'public'])
    assert.deepEqual(project({ b: 'public' }, granted), {
      projection: {},
      labels: [],
      maxClass: 'public',
    })
  })

  it('cannot be had for fields that no entity stands for', async () => {
    const policies = await loadPolicySet({ policies: [] })
    const bare = new Fields(network, policies, EntityStore.from([]))
    assert.throws(() => bare.project({ $: 'hold' }, { ...asking({}), grants: () => true }, []), {
      code: 'SP_INTERNAL',
      message: 'a field has no entity',
    })
  })
})

describe('obligations', () => {
  const understood: [string, [string, FieldTreatment][]][] = [
    ['mask:account.pan', [['account.pan', 'mask']]],
    ['tokenise:account.id', [['account.id', 'tokenise']]],
    ['drop:a.b', [['a.b', 'drop']]],
    [
      'mask:a.b; drop:c.d ;tokenise:e-f.g_h',
      [
        ['a.b', 'mask'],
        ['c.d', 'drop'],
        ['e-f.g_h', 'tokenise'],
      ],
    ],
  ]
  for (const [text, parts] of understood) {
    it(`reads ${text}`, () => assert.deepEqual(parseObligation(text), parts))
  }
  const not = [
    '',
    'mask',
    'mask:',
    'mask:a',
    'mask:.b',
    'mask:a.',
    'mask:a.b.c',
    'mask:a.b:c',
    'mask:a b.c',
    'mask:a.b c',
    'whole:a.b',
    'Mask:a.b',
    'unmask:a.b',
    'mask:a.b;',
    'mask:a.b;shred:c.d',
    'mask :a.b',
  ]
  for (const text of not) {
    it(`does not understand \`${text}\``, () => assert.equal(parseObligation(text), undefined))
  }
})
