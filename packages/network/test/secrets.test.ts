import assert from 'node:assert/strict'
import { test } from 'node:test'
import { secretRuleFor } from '@sallyport/network'
import type { Network } from '@sallyport/network'
import { API, MINIMAL, parse } from './minimal.ts'

const PEM = '-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n'
const DECLARED = `${MINIMAL}databases:
  ledger:
    owner: us
    host: db.small.example
    database: ledger
    tls: { caFile: ca.pem }
    admin: { user: maker, secret: databases/ledger }
    accounts:
      reader:
        grants:
          - { table: accounts, columns: [id, 'odd "name"'], actions: [select], rows: { branch: 7 } }
secrets:
  upstream/*: { owner: us, use: keys of upstreams }
  upstream/mail:
    owner: us
    use: the key of the mail service
    agents: [reader]
    operators: [ann]
    rotation:
      kind: openai
      url: https://api.openai.com
      everySeconds: 86400
      admin: admin/openai
transit:
  pii: { owner: us, use: names, type: aes256-gcm, users: { reader: [encrypt] } }
`

function network(text: string): Network {
  const { network: found, problems } = parse(text, { 'bank.yaml': API, 'ca.pem': PEM })
  assert.deepEqual(problems, [])
  assert.ok(found)
  return found
}

test('databases, secrets and keys are read with their defaults', () => {
  const { databases, secrets, transit } = network(DECLARED)
  const [ledger] = databases ?? []
  assert.deepEqual(
    [ledger?.port, ledger?.login, ledger?.tls],
    [5432, 'certificate', { ca: PEM, serverName: 'db.small.example' }],
  )
  assert.deepEqual(ledger?.accounts, [
    {
      agent: 'reader',
      ttlSeconds: 900,
      maxTtlSeconds: 3600,
      maxConnections: 2,
      statementTimeoutMs: 5000,
      grants: [
        {
          schema: 'public',
          table: 'accounts',
          columns: ['id', 'odd "name"'],
          actions: ['select'],
          rows: { branch: 7 },
        },
      ],
    },
  ])
  assert.equal(secrets?.[0]?.local, false)
  assert.equal(secrets?.[1]?.rotation?.graceSeconds, 300)
  assert.deepEqual(transit?.[0]?.users, { reader: ['encrypt'] })
  assert.equal(Object.hasOwn(network(MINIMAL), 'databases'), false)
})

test('the narrowest entry decides, and case counts', () => {
  const found = network(DECLARED)
  assert.deepEqual(secretRuleFor(found, 'upstream/mail')?.agents, ['reader'])
  assert.deepEqual(secretRuleFor(found, 'upstream/other')?.agents, [])
  for (const path of ['upstream', 'Upstream/mail', 'upstream2/mail', 'other']) {
    assert.equal(secretRuleFor(found, path), undefined, path)
  }
})

test('what would be unsafe or means nothing is refused where it stands', () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['tls: { caFile: ca.pem }', "description: 'no tls'", /another machine/],
    ['accounts:\n      reader:', 'accounts:\n      riter:', /no agent `riter`/],
    ['table: accounts', `table: ${'é'.repeat(40)}`, /longer than 63 bytes/],
    ['actions: [select]', 'actions: [drop]', /drop|one of/],
    ['upstream/mail:', 'upstream/../mail:', /name|key|pattern/i],
    ['upstream/mail:', 'upstream//mail:', /name|key|pattern/i],
    ['upstream/mail:', "'upstream/ma il':", /name|key|pattern/i],
    ['upstream/mail:', 'up*/mail:', /name|key|pattern/i],
    ['agents: [reader]', 'agents: [nobody]', /no agent `nobody`/],
    ['upstream/mail:', 'databases/ledger:', /agents would read `databases\/ledger`/],
    ['upstream/mail:', 'admin/openai:', /agents would read `admin\/openai`/],
    ['upstream/mail:', 'sallyport/keys:', /reserved/],
    ['operators: [ann]', 'operators: [bob]', /no operator `bob`/],
    ['url: https://api.openai.com', 'url: http://api.openai.com', /loopback/],
    ['      admin: admin/openai\n', '', /`admin` is missing/],
    ['kind: openai', 'kind: http', /`create` is missing/],
    ['reader: [encrypt]', 'reader: [sign]', /cannot `sign`/],
    ['reader: [encrypt]', 'nobody: [encrypt]', /no agent or service/],
  ]
  for (const [from, to, message] of cases) {
    const text = DECLARED.replace(from, to)
    assert.notEqual(text, DECLARED, from)
    const { network: none, problems } = parse(text, { 'bank.yaml': API, 'ca.pem': PEM })
    assert.equal(none, undefined, to)
    assert.match(problems.map((problem) => problem.message).join('\n'), message)
  }
})
