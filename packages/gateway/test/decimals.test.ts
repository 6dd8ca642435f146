import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { systemClock } from '@sallyport/base'
import type { Declaration, DecimalType } from '@sallyport/network'
import { mandateId } from '@sallyport/wire'
import { TestIssuer } from './support/tokens.ts'
import { startWorld } from './support/world.ts'
import type { Json, Reply, TestAgent, World } from './support/world.ts'

const AMOUNT: DecimalType = { type: 'decimal', minimum: 0, maximum: 1_000_000, step: 0.01 }

/** The bank takes amounts in whole units with two decimals; large ones need somebody. */
function inUnits({ network, policies }: Declaration): Declaration {
  const systems = network.systems.map((system) => ({
    ...system,
    operations: system.operations.map((operation) => {
      if (operation.name === 'findAccounts') {
        // In a query, for the other way to write it.
        const members = {
          ...operation.input.members,
          limit: { schema: { ...AMOUNT, maximum: 100 }, required: false },
        }
        return { ...operation, input: { ...operation.input, members } }
      }
      const { binding } = operation
      if (operation.name !== 'transfer' || binding.kind !== 'http') return operation
      const parameters = { ...binding.parameters, currency: 'body', creditor: 'body' } as const
      const members = {
        ...operation.input.members,
        amount: { schema: AMOUNT, required: true },
        currency: { schema: { type: 'string', maxLength: 3 }, required: false },
        creditor: { schema: { type: 'string', maxLength: 40 }, required: false },
      } as const
      return {
        ...operation,
        binding: { ...binding, parameters },
        input: { ...operation.input, members },
      }
    }),
  }))
  const compared = policies.map((policy) => ({
    ...policy,
    source: policy.source
      .replace(
        'context.input.amount <= 1000',
        'context.input.amount.lessThanOrEqual(decimal("10.29"))',
      )
      .replace('context.input.amount > 1000', 'context.input.amount.greaterThan(decimal("10.29"))'),
  }))
  return { network: { ...network, systems }, policies: compared }
}

let nonces = 0

describe('amounts that are decimals', () => {
  const issuer = new TestIssuer()
  let world: World
  let teller: TestAgent
  before(async () => {
    const prepare = (plane: World['plane']): void => {
      plane.tokens = issuer.trust()
    }
    world = await startWorld({}, prepare, inUnits)
    teller = world.agent('teller')
  })
  after(() => world.close())

  const PATH = '/bank/v1/accounts/A/transfers'
  const pay = (amount: unknown, headers = {}, more: Json = {}): Promise<Reply> =>
    teller.ask({ path: PATH, body: { to: 'B', amount, ...more }, headers })
  /** With the number as it is written. */
  const written = async (amount: string): Promise<[number, unknown]> => {
    const answer = await teller.pool.request({
      ...{ method: 'POST', path: PATH, body: `{"to":"B","amount":${amount}}` },
      headers: { 'content-type': 'application/json' },
    })
    return [answer.statusCode, ((await answer.body.json()) as Json)['code']]
  }
  const sent = (): unknown => world.bank.seen.at(-1)?.body

  it('are compared exactly, whole ones too, and go out as they were decided on', async () => {
    for (const [amount, text] of [
      ['10.29', '10.29'],
      ['10.2900', '10.29'],
      ['1029e-2', '10.29'],
      ['5', '5'],
      ['5.0', '5'],
      ['0.1', '0.1'],
      ['-0', '0'],
    ] as const) {
      assert.deepEqual(await written(amount), [200, undefined], amount)
      assert.equal(sent(), `{"amount":${text},"to":"B"}`)
    }
    for (const amount of ['10.3', '11', '1000000']) {
      assert.deepEqual(await written(amount), [403, 'SP_NEEDS_APPROVAL'], amount)
    }
  })

  it('that are none are refused, and so is what only a double makes one', async () => {
    const before = world.bank.seen.length
    for (const [amount, code] of [
      ['10.291', 'SP_INPUT_VALUE'],
      ['0.00001', 'SP_INPUT_VALUE'],
      ['-0.01', 'SP_INPUT_VALUE'],
      ['1000000.01', 'SP_INPUT_VALUE'],
      ['"10.29"', 'SP_INPUT_TYPE'],
      ['10.2900000000000000001', 'SP_JSON_NUMBER'],
      ['10.28999999999999999', 'SP_JSON_NUMBER'],
      ['9007199254740993', 'SP_JSON_NUMBER'],
    ] as const) {
      assert.deepEqual(await written(amount), [400, code], amount)
    }
    assert.equal(world.bank.seen.length, before, 'nothing went out')
  })

  it('are counted by limits to the last ten-thousandth', async () => {
    const { reserved } = world.plane
    const from = reserved.length
    assert.equal((await pay(0.29)).status, 200)
    assert.equal((await pay(7)).status, 200)
    assert.deepEqual(
      reserved.slice(from).map(({ amount }) => amount),
      [2900, 70_000],
    )
  })

  it('are no minor units: what is agreed in those never covers them', async () => {
    const now = systemClock.now()
    const statement = (grant: object) => ({
      ...{
        kind: 'mandate',
        nonce: `nonce-${String(++nonces).padStart(16, '0')}`,
        delegator: 'operator:olga',
      },
      delegate: `spiffe://${world.plane.trustDomain}/agent/teller`,
      ...{ task: 'pay', issuedAt: now, notBefore: now, expiresAt: now + 600_000, uses: 10 },
      grants: [{ system: 'bank', operations: ['transfer'], ...grant }],
    })
    const under = async (grant: object): Promise<unknown> => {
      // The shape is checked by whoever verifies it.
      const given = statement(grant) as Parameters<typeof mandateId>[0]
      const key = mandateId(given)
      world.plane.mandates.set(key, [
        { statement: given, passkey: world.plane.operator.sign(given) },
      ])
      const { status, body } = await pay(5, { 'Sallyport-Mandate': key })
      return body['code'] ?? status
    }
    assert.equal(await under({}), 200)
    assert.equal(await under({ arguments: { to: { equals: 'B' } } }), 200)
    const amount = { input: 'amount', currency: 'EUR', perUse: 500 }
    assert.equal(await under({ amount }), 'SP_MANDATE_CALL', '5.00 is 500 cents, and 5 is not')
    assert.equal(await under({ arguments: { amount: { max: 500 } } }), 'SP_MANDATE_CALL')
    assert.equal(await under({ arguments: { amount: { equals: 5 } } }), 'SP_MANDATE_CALL')

    const instance = teller.material.chainPem
      ? `spiffe://${world.plane.trustDomain}/agent/teller/i1`
      : ''
    const token = async (claims: object): Promise<unknown> => {
      const authorization = `Bearer ${await issuer.token(instance, { scope: 'transfer', ...claims })}`
      const { status, body } = await pay(
        5,
        { authorization },
        { currency: 'EUR', creditor: 'ACC-9' },
      )
      return body['code'] ?? status
    }
    const payment = {
      ...{ type: 'payment', amount: 500, currency: 'EUR', creditor: 'ACC-9' },
      operations: ['transfer'],
    }
    assert.equal(await token({}), 200)
    assert.equal(await token({ authorization_details: [payment] }), 'SP_ACCESS_TOKEN_SCOPE')
  })

  it('are texts in a query: of any places up to four, and in no other form', async () => {
    const reader = world.agent('reader')
    const find = async (limit: string): Promise<unknown> => {
      const { status, body } = await reader.ask({ path: `/bank/v1/accounts?limit=${limit}` })
      return status === 200 ? world.bank.seen.at(-1)?.url : body['code']
    }
    for (const [limit, text] of [
      ['12.5', '12.5'],
      ['12.50', '12.5'],
      ['12', '12'],
      ['0.01', '0.01'],
      ['0.00', '0'],
    ] as const) {
      assert.equal(await find(limit), `/v1/accounts?limit=${text}`)
    }
    for (const limit of ['-0', '-0.00', '1e1', '.5', '5.', '012', '+5', '1.00001', '1,5', '0x1']) {
      assert.equal(await find(limit), 'SP_INPUT_TYPE', limit)
    }
  })
})
