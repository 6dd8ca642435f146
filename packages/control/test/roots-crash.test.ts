import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import pg from 'pg'
import { softwareKeys } from '@sallyport/seal'
import { certificatesFromPem, csrFor, TrustBundle, verifySvid } from '@sallyport/spiffe'
import { startEmbeddedPostgres } from '../src/index.ts'
import { declarationWith, TRUST_DOMAIN } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Signer } from './support/signer.ts'

/** MUST-reject, row 14: a crash between what the database was told and what the folders say of it, at each step of a change of roots. */
let ahead = 0
/** Nothing waits, and no handshake is made with what this dates. */
const clock = { now: () => Date.now() + ahead, monotonic: () => performance.now() + ahead }
let plane: TestPlane
let alice: Signer
const context = () => plane.control.context
const trust = (name = ''): string => join(plane.dataDir, 'trust', name)
const FOLDERS = ['trust', 'control/authority'] as const

function copy(from: string, to: string): void {
  rmSync(join(plane.dataDir, to), { recursive: true, force: true })
  execFileSync('cp', ['-a', join(plane.dataDir, from), join(plane.dataDir, to)])
}

/** Does something, then starts again with the folders as they were before: as after a crash once the database had it. */
async function crashAfter(act: () => Promise<unknown>): Promise<void> {
  for (const folder of FOLDERS) copy(folder, `${folder}.before`)
  await act()
  await plane.control.close()
  for (const folder of FOLDERS) copy(`${folder}.before`, folder)
  for (const folder of FOLDERS) rmSync(join(plane.dataDir, `${folder}.before`), { recursive: true })
  await plane.restart()
}

/** Does something in the database while no control plane runs. */
async function inDatabase(act: (client: pg.Client) => Promise<unknown>): Promise<void> {
  await plane.control.close()
  const database = await startEmbeddedPostgres({ dir: join(plane.dataDir, 'pg') })
  const client = new pg.Client({ connectionString: database.url })
  await client.connect()
  try {
    await act(client)
  } finally {
    await client.end()
    await database.stop()
  }
  await plane.restart()
}

/** Who enrols now is given a certificate that the roots of the same answer verify. @returns the root it ends at */
async function enrolled(): Promise<string> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const token = await plane.token('agent', 'flagger')
  const { chain, roots } = await context().identities.enrol(token, csrFor(privateKey))
  const bundles = new Map([[TRUST_DOMAIN, TrustBundle.fromPem(TRUST_DOMAIN, roots)]])
  return verifySvid(certificatesFromPem(chain), bundles, { now: clock.now() }).root
}
const states = async (): Promise<readonly string[]> =>
  (await context().roots.view()).map(({ state }) => state)
const given = (): number => certificatesFromPem(readFileSync(trust('ca.pem'), 'utf8')).length
const rootKeys = (): readonly string[] =>
  readdirSync(trust()).filter((name) => /^(ca|root-.*)\.key$/.test(name))
const sign = async (): Promise<void> => {
  const statement = await context().roots.statement()
  const signature = alice.sign(statement)
  await context().roots.sign({ operator: 'alice', statement, signature })
}

let first: string
let second: string

before(async () => {
  plane = await TestPlane.start(declarationWith(), { clock })
  alice = await plane.firstOperator('alice')
  first = await enrolled()
})
after(() => plane.close())

test('before the database knew of a new root: its key is destroyed before the next one is made', async () => {
  await softwareKeys({ dir: trust() }).generate('root-0011223344556677', 'p256')
  writeFileSync(trust('root.preparing'), 'root-0011223344556677')
  await plane.restart()
  assert.equal(await enrolled(), first)
  await context().roots.prepare({ by: 'alice' })
  assert.equal(rootKeys().length, 2)
  assert.equal(existsSync(trust('root-0011223344556677.key')), false)
  assert.equal(existsSync(trust('root.preparing')), false)
})

test('once the quorum had signed: it is trusted after the start, and files that others are given say so', async () => {
  await crashAfter(sign)
  assert.deepEqual(await states(), ['active', 'trusted'])
  assert.deepEqual([given(), await enrolled()], [2, first])
  // In between: what is kept is written, what is given is not.
  for (const file of ['ca.pem', 'pins.json']) {
    const text = readFileSync(trust(file), 'utf8')
    const [one = ''] = /-----BEGIN[^]*?-----END CERTIFICATE-----\n/.exec(text) ?? []
    const { roots, ...pins } = JSON.parse(readFileSync(trust('pins.json'), 'utf8'))
    const [oldest = ''] = String(roots).match(/-----BEGIN[^]*?-----END CERTIFICATE-----\n/) ?? []
    const old = file === 'ca.pem' ? one : JSON.stringify({ ...pins, roots: oldest })
    await plane.control.close()
    writeFileSync(trust(file), old)
    await plane.restart()
    assert.equal(given(), 2)
    assert.equal(readFileSync(trust(file), 'utf8'), text)
  }
})

test('a database that has forgotten which certificates there are lets nobody be locked out by the new root', async () => {
  await assert.rejects(context().roots.activate({ by: 'olga' }), { code: 'SP_CA_ROOT_UNSEEN' })
  await enrolled()
  // As one that was restored from before they were given out.
  await inDatabase((client) => client.query('DELETE FROM certificates'))
  await assert.rejects(context().roots.activate({ by: 'olga' }), { code: 'SP_CA_ROOT_UNSEEN' })
})

test('once it was in use: it signs after the start', async () => {
  ahead += 3_600_000
  await crashAfter(() => context().roots.activate({ by: 'alice' }))
  assert.deepEqual(await states(), ['outgoing', 'active'])
  second = await enrolled()
  assert.notEqual(second, first)
  assert.equal(context().authority.root, second)
})

test('once the old one was retired: it is trusted by nobody after the start, and its key is destroyed', async () => {
  ahead += 3_600_000
  const kept = join(plane.dataDir, 'kept.key')
  copyFileSync(trust('ca.key'), kept)
  await crashAfter(() => context().roots.retire({ by: 'alice' }))
  assert.deepEqual(await states(), ['retired', 'active'])
  assert.deepEqual([given(), rootKeys().length, await enrolled()], [1, 1, second])
  // In between: written down, and the key not yet destroyed.
  await plane.control.close()
  copyFileSync(kept, trust('ca.key'))
  await plane.restart()
  assert.equal(existsSync(trust('ca.key')), false)
  assert.equal(await enrolled(), second)
})

test('MUST-reject: a database that says a retired root has the key of the one in use does not have it destroyed', async () => {
  const [inUse = ''] = rootKeys()
  assert.match(inUse, /^root-/)
  await inDatabase(async (client) => {
    const { rowCount } = await client.query(
      'UPDATE trust_roots SET key = $1 WHERE retired_at IS NOT NULL',
      [inUse.replace(/\.key$/, '')],
    )
    assert.equal(rowCount, 1)
    // Who did either stands in the audit log; what was refused does not.
    const { rows } = await client.query<{ record: string }>(
      `SELECT record FROM feed WHERE kind = 'event' AND record LIKE '%"event":"root-%' ORDER BY seq`,
    )
    assert.deepEqual(
      rows.map(({ record }) => {
        const { event, facts } = JSON.parse(record) as { event: string; facts: object }
        return [event, facts]
      }),
      [
        ['root-activated', { fingerprint: second, by: 'alice' }],
        ['root-retired', { fingerprint: first, by: 'alice' }],
      ],
    )
  })
  assert.deepEqual(await states(), ['retired', 'active'])
  assert.deepEqual(rootKeys(), [inUse])
  await plane.restart()
  assert.equal(await enrolled(), second)
})
