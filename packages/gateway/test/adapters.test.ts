import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import type { System } from '@sallyport/network'
import { forwardHttp, matchRoute, rawInput, routesOf } from '../src/adapters/http.ts'
import type { Given, Route, RouteMatch } from '../src/adapters/http.ts'
import { declared } from './support/world.ts'

const codeIs =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof Error && 'code' in error && error.code === code

const given = (
  query: readonly (readonly [string, string])[] = [],
  headers: readonly (readonly [string, string])[] = [],
): Given => ({ query: new Map(query), headers: new Map(headers) })

describe('the HTTP adapter', () => {
  let routes: readonly Route[]
  let bank: System
  before(async () => {
    const { network } = await declared()
    const found = network.systems.find(({ name }) => name === 'bank')
    assert.ok(found)
    bank = found
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
    // A path that ends with a slash: the parameter would be nothing.
    assert.equal(matchRoute(routes, 'GET', ['v1', 'accounts', '']), undefined)
    assert.equal(matchRoute(routes, 'GET', ['V1', 'accounts']), undefined)
  })

  it('takes each input from its declared place only', () => {
    const transfer = match('POST', '/v1/accounts/A/transfers')
    const none = given()
    assert.deepEqual(rawInput(transfer, none, { amount: 1 }), { accountId: 'A', amount: 1 })
    assert.throws(() => rawInput(transfer, none, { accountId: 'B' }), codeIs('SP_INPUT_UNKNOWN'))
    assert.throws(
      () => rawInput(transfer, given([['amount', '1']]), {}),
      codeIs('SP_INPUT_UNKNOWN'),
    )
    assert.throws(
      () => rawInput(transfer, given([['accountId', 'B']]), {}),
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
      assert.throws(() => rawInput(find, given([[name, text]]), undefined), codeIs('SP_INPUT_TYPE'))
    }
    for (const name of ['toString', '__proto__']) {
      assert.throws(
        () => rawInput(find, given([[name, 'x']]), undefined),
        codeIs('SP_INPUT_UNKNOWN'),
      )
    }
  })

  it('takes a path that other operations have too for none of them', () => {
    const [plain] = routes.filter(({ operation }) => operation.name === 'getAccount')
    assert.ok(plain)
    const shadowed: Route[] = [
      {
        ...plain,
        binding: { ...plain.binding, shadowedBy: ['/v1/accounts/export', '/v1/{x}/all'] },
      },
    ]
    const at = (segment: string) => matchRoute(shadowed, 'GET', ['v1', 'accounts', segment])
    assert.ok(at('A'))
    assert.equal(at('export'), undefined)
    assert.equal(at('all'), undefined)
    // Nor by way of a token.
    const [route] = shadowed
    assert.ok(route)
    assert.equal(forwardHttp(route, { accountId: 'A' }, '').path, '/v1/accounts/A')
    assert.throws(() => forwardHttp(route, { accountId: 'export' }, ''), codeIs('SP_INPUT_VALUE'))
  })

  it('carries declared headers, typed, and no others', () => {
    const [plain] = routes.filter(({ operation }) => operation.name === 'findAccounts')
    assert.ok(plain)
    const { operation, binding } = plain
    const key = { schema: { type: 'string' as const, maxLength: 40 }, required: true }
    const [route] = routesOf({
      ...bank,
      operations: [
        {
          ...operation,
          input: { type: 'record', members: { 'X-Key': key } },
          binding: { ...binding, parameters: { 'X-Key': 'header' } },
        },
      ],
    })
    assert.ok(route)
    const input = rawInput(
      { route, path: new Map() },
      given(
        [],
        [
          ['x-key', 'k-1'],
          ['x-other', '1'],
        ],
      ),
      undefined,
    )
    assert.deepEqual(input, { 'X-Key': 'k-1' })
    assert.throws(
      () => rawInput({ route, path: new Map() }, given([['X-Key', 'k']]), undefined),
      codeIs('SP_INPUT_UNKNOWN'),
    )
    assert.deepEqual(forwardHttp(route, { 'X-Key': 'k-1' }, '').headers, { 'x-key': 'k-1' })
    for (const bad of ['a\r\nhost: evil', 'ä', '', ' a', 'a\0']) {
      assert.throws(() => forwardHttp(route, { 'X-Key': bad }, ''), codeIs('SP_INPUT_VALUE'))
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
