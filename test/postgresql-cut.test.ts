import assert from 'node:assert/strict'
import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { agentId, certificatesFromPem, createIssuer, createRoot } from '@sallyport/spiffe'
import type { IdentityMaterial } from '@sallyport/transport'
import type { RootList, RootStatement } from '@sallyport/wire'
import type pg from 'pg'
import { until } from '../packages/gateway/test/support/world.ts'
import { openedSqlWorld } from './support/sql/opened.ts'
import { SCHEMA } from './support/sql/schema.ts'
import { tls } from './support/sql/world.ts'

const world = await openedSqlWorld(SCHEMA)

const serialOf = (pem: string): string => new X509Certificate(pem).serialNumber.toLowerCase()

/** A session, and whether it has ended. */
async function opened(material: IdentityMaterial): Promise<{ gone: boolean; client: pg.Client }> {
  const client = world.client('analyst', { ssl: tls(material) })
  const session = { gone: false, client }
  client.on('end', () => (session.gone = true))
  await client.connect()
  await client.query('SELECT id FROM accounts LIMIT 1')
  return session
}

/** The same, once the gateway has heard of what makes it possible. */
async function openedSoon(material: IdentityMaterial): ReturnType<typeof opened> {
  for (const end = performance.now() + 60_000; ;) {
    try {
      return await opened(material)
    } catch (error) {
      if (performance.now() > end) throw error
    }
  }
}

/** A revocation lasts until its certificate has ended: the list only grows. */
function revoke(serial: string): void {
  const { plane } = world
  const more = { serial, notAfter: Date.now() + 600_000 }
  plane.revokedSerials = [...plane.revokedSerials, more]
  plane.publish()
}

test('a quarantined agent is cut off in the middle of what it does', async () => {
  const material = world.material('analyst', 'caught')
  const [caught, other] = [await opened(material), await opened(world.material('analyst', 'free'))]
  world.plane.quarantine('spiffe://sql.example/agent/analyst/caught')
  await until(() => caught.gone)
  await assert.rejects(opened(material))
  await other.client.query('SELECT 1')
})

test('sessions with a certificate that is revoked end, and no others', async () => {
  const material = world.material('analyst', 'revoked')
  const [one, other] = [await opened(material), await opened(world.material('analyst', 'other'))]
  revoke(serialOf(material.chainPem))
  await until(() => one.gone)
  await assert.rejects(opened(material))
  await other.client.query('SELECT 1')
})

test('sessions below a root that is retired end, and no others', async () => {
  const { plane } = world
  const { trustDomain } = plane
  const root = createRoot({ trustDomain, ttlSeconds: 86_400 })
  const [der] = certificatesFromPem(root.certificatePem)
  assert.ok(der)
  const statement: RootStatement = {
    ...{ kind: 'root', trustDomain, operators: plane.operators.version },
    certificate: der.toString('base64url'),
  }
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { chainPem, notAfter } = createIssuer({
    certificatePem: root.certificatePem,
    privateKey: root.privateKeyPem,
  }).issue({
    spiffeId: agentId(trustDomain, 'analyst', 'below'),
    publicKeySpki: publicKey.export({ type: 'spki', format: 'der' }),
    ttlSeconds: 600,
  })
  const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
  const material = { chainPem, keyPem, notAfter, trustDomain, rootsPem: plane.pins.roots }
  const publish = (roots: RootList): void => {
    plane.roots = roots
    plane.publish()
  }
  publish({ added: [{ statement, signatures: [plane.operator.sign(statement)] }], retired: [] })
  const below = await openedSoon(material)
  const other = await opened(world.material('analyst', 'beside'))
  publish({ added: [], retired: [createHash('sha256').update(der).digest('hex')] })
  await until(() => below.gone)
  await other.client.query('SELECT 1')
})

test('sessions with a database whose certificate is revoked end', async () => {
  const session = await opened(world.material('analyst', 'last'))
  revoke(serialOf(readFileSync(join(world.dir, 'pg', 'data', 'server.pem'), 'utf8')))
  await until(() => session.gone)
  await assert.rejects(opened(world.material('analyst', 'late')), /SP_SQL_UPSTREAM/)
})
