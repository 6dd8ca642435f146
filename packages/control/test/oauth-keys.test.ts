import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import pg from 'pg'
import { startEmbeddedPostgres } from '../src/index.ts'
import type { EmbeddedPostgres } from '../src/index.ts'
import { TestPlane } from './support/network.ts'
import { claimsIn, post, tokenOf } from './support/oauth.ts'

const dir = mkdtempSync(join(tmpdir(), 'sp-oauth-keys-'))
let database: EmbeddedPostgres
let plane: TestPlane

before(async () => {
  database = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
  plane = await TestPlane.start(undefined, { databaseUrl: database.url })
})
after(async () => {
  await plane?.close()
  await database?.stop()
  rmSync(dir, { recursive: true, force: true })
})

test('whoever can write into the database alone makes no key that gateways trust', async () => {
  const flagger = await plane.enrol('agent', 'flagger')
  const gateway = await plane.enrol('gateway', 'gw1')
  const stream = await gateway.follow()
  const token = await tokenOf(flagger)
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  try {
    const { rows } = await client.query<{ kid: string; signature: string }>(
      'SELECT kid, signature FROM token_keys',
    )
    assert.equal(rows.length, 1)
    const key = publicKey.export({ format: 'der', type: 'spki' }).toString('base64url')
    await client.query('INSERT INTO token_keys VALUES ($1, $2, $3, $4)', [
      ...['forged', key, Date.now() + 3_600_000, rows[0]?.signature],
    ])
    // The next revision takes all rows up.
    await post(flagger, '/oauth2/revoke', { token })
    const { jti } = claimsIn(token)
    await stream.until(
      (f) =>
        f.bundles.at(-1)?.signed.bundle.tokens?.revoked.some((one) => one.jti === jti) === true,
      30_000,
    )
    const kids = stream.bundles.at(-1)?.signed.bundle.tokens?.keys.map(({ kid }) => kid)
    assert.deepEqual(kids, [rows[0]?.kid])
  } finally {
    await client.end()
    stream.close()
  }
})
