import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import type { System } from '@sallyport/network'
import { forwardHttp, matchRoute, rawInput, routesOf } from '../src/adapters/http.ts'
import type { Route, RouteMatch } from '../src/adapters/http.ts'
import { declared } from './support/world.ts'

const codeIs =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Error && 'code' in error && error.code === code

describe('the HTTP adapter', () => {
  let routes: readonly Route[]
  before(async () => {
    const { network } = await declared()
    const bank = network.systems.find(({ name }) => name === 'bank')
    assert.ok(bank)
    const [operation] = bank.operations
    assert.ok(operation?.binding.kind === 'http')
    // A literal path that a parameter would match too.
    const literal = {
      ...operation,
      name: 'own',
      binding: { ...operation.binding, path: '/v1/accounts/own', parameters: {} },
    }
    const system: System = { ...bank, operations: [...bank.operations, literal] }
    routes = routesOf(system)
  })

  const match = (method: string, path: string): RouteMatch => {
    const found = matchRoute(routes, method, path.slice(1).split('/'))
    assert.ok(found)
    return found
  }

  it('prefers what is spelt out to what a parameter would match', () => {
    assert.equal(match('GET', '/v1/accounts/own').route.operation.name, 'own')
    assert.equal(match('GET', '/v1/accounts/other').route.operation.name, 'getAccount')
    assert.equal(matchRoute(routes, 'PUT', ['v1', 'accounts', 'own']), undefined)
    assert.equal(matchRoute(routes, 'GET', ['v1', 'accounts', 'own', 'x']), undefined)
    assert.equal(matchRoute(routes, 'GET', ['V1', 'accounts']), undefined)
  })

  it('takes each input from its declared place only', () => {
    const transfer = match('POST', '/v1/accounts/A/transfers')
    const none = new Map<string, string>()
    assert.deepEqual(rawInput(transfer, none, { amount: 1 }), { accountId: 'A', amount: 1 })
    assert.throws(() => rawInput(transfer, none, { accountId: 'B' }), codeIs('SP_INPUT_UNKNOWN'))
    assert.throws(
      () => rawInput(transfer, new Map([['amount', '1']]), {}),
      codeIs('SP_INPUT_UNKNOWN'),
    )
    assert.throws(
      () => rawInput(transfer, new Map([['accountId', 'B']]), {}),
      codeIs('SP_INPUT_UNKNOWN'),
    )
    assert.throws(() => rawInput(transfer, none, { constructor: 1 }), codeIs('SP_INPUT_UNKNOWN'))
    const find = match('GET', '/v1/accounts')
    for (const [name, text] of [
      ['limit', '1e1'],
      ['limit', '-0'],
      ['limit', ' 1'],
      ['limit', ''],
      ['open', 'True'],
    ] as const) {
      assert.throws(
        () => rawInput(find, new Map([[name, text]]), undefined),
        codeIs('SP_INPUT_TYPE'),
      )
    }
    for (const name of ['toString', '__proto__']) {
      assert.throws(
        () => rawInput(find, new Map([[name, 'x']]), undefined),
        codeIs('SP_INPUT_UNKNOWN'),
      )
    }
  })

  it('lets no value, restored ones included, leave its path segment', () => {
    const { route } = match('GET', '/v1/accounts/A')
    assert.equal(
      forwardHttp(route, { accountId: 'a b&c=d' }, '/base').path,
      '/base/v1/accounts/a%20b%26c%3Dd',
    )
    for (const accountId of [
      '..',
      '.',
      '',
      '../x',
      'a/b',
      'a\\b',
      'a%2fb',
      'a;b',
      'a?b',
      'a#b',
      'a\0b',
      'a\r\nb',
    ]) {
      assert.throws(
        () => forwardHttp(route, { accountId }, ''),
        codeIs('SP_INPUT_VALUE'),
        accountId,
      )
    }
  })
})
