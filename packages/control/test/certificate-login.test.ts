import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { after, before, test } from 'node:test'
import { csrFor } from '@sallyport/spiffe'
import pg from 'pg'
import { CertificateBank } from './support/certificate-bank.ts'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Peer } from './support/network.ts'

let bank: CertificateBank
let plane: TestPlane
let flagger: Peer

before(async () => {
  bank = await CertificateBank.make(
    'CREATE TABLE accounts (id int); INSERT INTO accounts VALUES (1)',
  )
  const grant = {
    schema: 'public',
    table: 'accounts',
    columns: ['id'],
    actions: ['select'] as const,
  }
  const account = {
    ...{ ttlSeconds: 60, maxTtlSeconds: 600, maxConnections: 3, statementTimeoutMs: 5000 },
    grants: [grant],
  }
  plane = await TestPlane.start(
    declarationWith({
      databases: [
        {
          ...bank.declared,
          accounts: [
            { agent: 'flagger', ...account },
            { agent: 'analyst', ...account },
          ],
        },
      ],
    }),
  )
  const { custody } = plane.control.context
  await custody.vault.write('test', 'databases/ledger', Buffer.from('maker'))
  await bank.serve(await custody.databaseClients())
  flagger = await plane.enrol('agent', 'flagger')
})
after(async () => {
  await plane?.close()
  await bank?.stop()
})

interface Opened {
  readonly lease: string
  readonly user: string
  readonly certificate: string
  readonly key: string
}

async function opened(peer: Peer): Promise<Opened> {
  const { csr, keyPem } = peer.csr()
  const { status, body } = await peer.call('POST', '/v1/databases/ledger/account', { csr })
  assert.equal(status, 200, JSON.stringify(body))
  assert.equal(body['password'], null)
  const { lease, user, certificate } = body
  return { lease: String(lease), user: String(user), certificate: String(certificate), key: keyPem }
}

async function signIn(user: string, tls?: { cert: string; key: string }): Promise<pg.Client> {
  const client = new pg.Client({
    ...{ host: '127.0.0.1', port: bank.port, database: 'postgres', user, password: 'x' },
    ssl: { ca: bank.ca, servername: 'localhost', ...tls },
    connectionTimeoutMillis: 20_000,
  })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

test('a certificate of the instance’s own key signs in, with no password at all, and only as its role', async () => {
  const own = await opened(flagger)
  const tls = { cert: own.certificate, key: own.key }
  const client = await signIn(own.user, tls)
  assert.deepEqual((await client.query('SELECT id FROM accounts')).rows, [{ id: 1 }])
  const { rows } = await client.query<{ client_dn: string }>(
    'SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
  )
  assert.deepEqual(rows, [{ client_dn: `/CN=${own.user}` }])

  const other = await opened(await plane.enrol('agent', 'analyst'))
  await assert.rejects(signIn(own.user), 'no certificate')
  await assert.rejects(signIn(other.user, tls), { code: '28000' })
  await assert.rejects(signIn('maker', tls), { code: '28P01' })
  // A copied certificate without its key.
  await assert.rejects(signIn(own.user, { cert: own.certificate, key: other.key }))
  // The password that a role gives itself is good for nothing.
  await client.query(`ALTER ROLE ${own.user} PASSWORD 'mine'`)
  await assert.rejects(signIn(own.user))

  const gone = new Promise((resolve) => client.once('end', resolve))
  assert.equal((await flagger.call('POST', `/v1/leases/${own.lease}/end`, {})).status, 200)
  await gone
  await assert.rejects(signIn(own.user, tls), { code: '28000' })
})

test('an SVID does not sign in: PostgreSQL reads no SAN, and its authority is none of the trust domain’s', async () => {
  const own = await opened(flagger)
  const { chainPem, keyPem } = flagger.holder?.current() ?? { chainPem: '', keyPem: '' }
  await assert.rejects(signIn(own.user, { cert: chainPem, key: keyPem }))
  // The positive control, with a further certificate for the same account.
  const { csr, keyPem: key } = flagger.csr()
  const again = await flagger.call('POST', `/v1/leases/${own.lease}/sign-in`, { csr })
  assert.equal(again.status, 200, JSON.stringify(again.body))
  const client = await signIn(own.user, { cert: String(again.body['certificate']), key })
  await client.end()
})

test('a request without a key of its own, or with one that is none, gets no account', async () => {
  const none = await flagger.call('POST', '/v1/databases/ledger/account', {})
  assert.deepEqual([none.status, none.body['code']], [400, 'SP_DATABASE_CSR'])
  const bad = await flagger.call('POST', '/v1/databases/ledger/account', { csr: 'x' })
  assert.equal(bad.status, 400)
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' })
  const odd = await flagger.call('POST', '/v1/databases/ledger/account', {
    csr: csrFor(privateKey),
  })
  assert.equal(odd.status, 400, JSON.stringify(odd.body))
})
