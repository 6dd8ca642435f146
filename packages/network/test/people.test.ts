import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MINIMAL, parse } from './minimal.ts'

const PROVIDER = `
identityProviders:
  corp:
    issuer: https://login.bank.example/realms/staff
    clientId: sallyport
    groups: { claim: groups, map: { secops: [responder], audit: [viewer] } }
`
const withProvider = (change: (provider: string) => string = (same) => same): string =>
  MINIMAL + change(PROVIDER)

test('an identity provider gives at most responder unless it says otherwise', () => {
  const { network, problems } = parse(withProvider())
  assert.deepEqual(problems, [])
  assert.deepEqual(network?.identityProviders, [
    {
      name: 'corp',
      issuer: 'https://login.bank.example/realms/staff',
      clientId: 'sallyport',
      groups: { claim: 'groups', map: { secops: ['responder'], audit: ['viewer'] } },
      maxRole: 'responder',
      disabled: false,
    },
  ])
  assert.equal(parse(MINIMAL).network?.identityProviders, undefined)
})

test('refused: a role above the most it gives, plain http elsewhere, one issuer twice', () => {
  const codes = (text: string): string[] => parse(text).problems.map(({ code }) => code)
  const change = (from: string, to: string): string =>
    withProvider((provider) => provider.replace(from, to))
  assert.deepEqual(codes(change('[responder]', '[admin]')), ['SP_NETWORK_RULE'])
  assert.deepEqual(codes(change('groups: {', 'maxRole: admin\n    groups: {')), [])
  assert.deepEqual(codes(change('https://login', 'http://login')).length, 1)
  assert.deepEqual(codes(change('https://login.bank.example', 'http://localhost:8080')), [])
  assert.deepEqual(
    codes(change('https://login.bank.example', 'http://localhost.evil.test')).length,
    1,
  )
  const twice = PROVIDER.split('\n').slice(2).join('\n').replace('corp', 'again')
  assert.deepEqual(codes(withProvider() + twice), ['SP_NETWORK_DUPLICATE'])
})

test('refused: an account of nobody’s provider, and one account for two people', () => {
  const operators = (a: string, b: string): string =>
    withProvider().replace(
      /operators:[^\n]*(?:\n +[^\n]*)*/,
      `operators:
  ada: { displayName: Ada, roles: [admin], identities: [${a}] }
  bob: { displayName: Bob, roles: [approver], identities: [${b}], breakGlass: { roles: [admin] } }`,
    )
  const codes = (text: string): string[] => parse(text).problems.map(({ code }) => code)
  const one = '{ provider: corp, subject: u-1 }'
  const two = '{ provider: corp, subject: u-2 }'
  assert.deepEqual(codes(operators(one, two)), [])
  assert.deepEqual(codes(operators(one, one)), ['SP_NETWORK_DUPLICATE'])
  assert.deepEqual(codes(operators('{ provider: crop, subject: u-1 }', two)), [
    'SP_NETWORK_REFERENCE',
  ])
})
