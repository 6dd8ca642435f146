import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { systemClock } from '@sallyport/base'
import { createBarrier, fileStorage, fileUnsealer, openBarrier } from '@sallyport/seal'
import { startControl, startEmbeddedPostgres } from '../src/index.ts'
import type { Control, EmbeddedPostgres } from '../src/index.ts'
import { createEvents } from '../src/domain/event-bus.ts'
import { createPublisher } from '../src/domain/publisher.ts'
import { createRollback } from '../src/domain/rollback.ts'
import { secretHash } from '../src/domain/secrets.ts'
import { openStore } from '../src/store/store.ts'
import type { Store } from '../src/store/store.ts'
import { openTrust, readTrust } from '../src/trust.ts'
import { sharedStorage } from '../src/trust/barrier.ts'
import { Peer, TestPlane } from './support/network.ts'

let database: EmbeddedPostgres
let first: TestPlane
let second: Control
let dir: string

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sp-several-'))
  database = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
  first = await TestPlane.start(undefined, { databaseUrl: database.url })
  cpSync(join(first.dataDir, 'trust'), join(dir, 'second', 'trust'), { recursive: true })
  second = await startControl({
    dataDir: join(dir, 'second'),
    declaration: first.declaration,
    console: { port: 0 },
    plane: { host: '127.0.0.1', port: 0 },
    databaseUrl: database.url,
  })
})
after(async () => {
  await second?.close()
  await first?.close()
  await database?.stop()
  rmSync(dir, { recursive: true, force: true })
})

test('two control planes on one database give each revision one bundle', async () => {
  const gateway = await first.enrol('gateway', 'gw1')
  const stream = await gateway.follow()
  const peers = []
  for (let i = 0; i < 12; i++) peers.push(await first.enrol('agent', 'flagger'))
  // Both narrow at the same time; the gateway on the first refuses any fork by its own rule.
  await Promise.all(
    peers.map(({ spiffeId }, i) =>
      (i % 2 === 0 ? first.control : second).context.quarantine.quarantine({
        subject: spiffeId,
        reason: 'a test',
        by: 'alice',
      }),
    ),
  )
  await stream.until((f) => f.state.quarantined.length === 12)
  const extra = await first.enrol('agent', 'flagger')
  await second.context.quarantine.quarantine({
    subject: extra.spiffeId,
    reason: 'by the other one',
    by: 'alice',
  })
  await stream.until((f) => f.state.quarantined.length === 13)
  assert.equal(first.control.context.quarantine.isQuarantined(extra.spiffeId), true)
  assert.equal((await extra.renew()).body['code'], 'SP_QUARANTINED')
  stream.close()
})

test('a control plane that has not heard of a revision yet takes no gateway for proof of a restored database', async () => {
  const store = await openStore(database.url)
  try {
    const { barrier } = first.control.context
    const trust = await openTrust(readTrust(first.dataDir), barrier, undefined)
    const errors: unknown[] = []
    const { declaration } = first
    // It listens to nobody, and so stays where it began.
    const publisher = await createPublisher({ store, trust, clock: systemClock, declaration })
    const events = createEvents(systemClock)
    const onError = (error: unknown): void => void errors.push(error)
    const rollback = createRollback({
      ...{ store, clock: systemClock, trust, publisher, events, onError },
    })
    const peer = await first.enrol('agent', 'flagger')
    const kept = await first.token('service', 'ledger')
    await first.control.context.quarantine.quarantine({
      ...{ subject: peer.spiffeId, reason: 'a test', by: 'alice' },
    })
    const newest = first.control.context.bundles.current()
    assert.ok(newest.bundle.revision.n > publisher.current().bundle.revision.n)
    await rollback.shown('spiffe://bank.test/gateway/gw1', newest)
    assert.equal(await rollback.later(), undefined)
    assert.deepEqual(errors, [])
    assert.equal((await new Peer(first).enrol(kept)).status, 200)
  } finally {
    await store.close()
  }
})

test('two control planes share one barrier: what one encrypts and rotates to, the other opens', async () => {
  const [one, two] = [first.control.context.barrier, second.context.barrier]
  assert.equal(one.id, two.id)
  const ct = await one.encrypt('secret/a', 1, Buffer.from('value'))
  assert.equal((await two.decrypt('secret/a', 1, ct)).toString(), 'value')
  assert.equal(await two.rotate(), 2)
  const later = await two.encrypt('secret/a', 2, Buffer.from('later'))
  assert.equal((await one.decrypt('secret/a', 2, later)).toString(), 'later')
  assert.equal(one.isStale(ct), true)
  // Both at once: every change counts.
  await Promise.all([one, two, one, two].map((barrier) => barrier.rotate()))
  await one.refresh()
  assert.equal(one.terms().length, 6)
})

test('of database and copy the newer barrier counts; one of another network is refused', async () => {
  const store = await openStore(database.url)
  try {
    const trust = join(first.dataDir, 'trust')
    const errors: unknown[] = []
    const storage = sharedStorage(trust, store, (error) => errors.push(error))
    const opened = async () => {
      const barrier = await openBarrier({ storage })
      await barrier.unsealWith(fileUnsealer(join(trust, 'unseal.secret')))
      return barrier
    }
    const older = (await storage.read()) ?? ''
    const barrier = await opened()
    const term = await barrier.rotate()
    const ct = await barrier.encrypt('p', 1, Buffer.from('after the backup'))
    // A database from a backup: without the copy, the newest key would be lost.
    await store.run((db) => db.updateTable('barrier').set({ document: older }).execute())
    const restored = await opened()
    assert.equal((await restored.decrypt('p', 1, ct)).toString(), 'after the backup')
    assert.equal(await restored.rotate(), term + 1)
    const now = await storage.read()
    assert.equal(await store.run((db) => documentIn(db)), now)
    // A lagging copy is brought up by the next change.
    await writeFile(join(trust, 'barrier'), older)
    assert.equal(await storage.read(), now)
    await (await opened()).rotate()
    assert.equal(await readFile(join(trust, 'barrier'), 'utf8'), await storage.read())
    assert.deepEqual(errors, [])
    const other = join(dir, 'other')
    await mkdir(other)
    const unsealer = fileUnsealer(join(trust, 'unseal.secret'))
    await createBarrier({ storage: fileStorage(join(other, 'barrier')), unsealer })
    await assert.rejects(sharedStorage(other, store, () => undefined).read(), {
      code: 'SP_STORE_FOREIGN',
    })
  } finally {
    await store.close()
  }
})

const documentIn = async (db: Parameters<Parameters<Store['run']>[0]>[0]) =>
  (await db.selectFrom('barrier').select('document').executeTakeFirst())?.document

test('whoever can write into the database, and knows no key, lets nobody in', async () => {
  const store = await openStore(database.url)
  const seen = { userAgent: 'test', address: '127.0.0.1' }
  const { sessions } = first.control.context
  const alice = await first.firstOperator('alice')
  try {
    // A token of their own making, and a genuine one made out to somebody else.
    const forged = `spjoin_${'A'.repeat(86)}`
    const row = {
      created_by: 'alice',
      expires_at: Date.now() + 60_000,
      used_at: null,
      used_for: null,
    }
    await store.run((db) =>
      db
        .insertInto('join_tokens')
        .values({ ...row, hash: secretHash('join', forged), kind: 'agent', name: 'flagger' })
        .execute(),
    )
    assert.equal((await new Peer(first).enrol(forged)).body['code'], 'SP_JOIN_TOKEN')
    const token = await first.token('service', 'ledger')
    const become = (kind: 'agent' | 'service', name: string) =>
      store.run((db) =>
        db
          .updateTable('join_tokens')
          .set({ kind, name })
          .where('hash', '=', secretHash('join', token))
          .execute(),
      )
    await become('agent', 'flagger')
    assert.equal((await new Peer(first).enrol(token)).body['code'], 'SP_JOIN_TOKEN')
    await become('service', 'ledger')
    assert.equal((await new Peer(first).enrol(token)).status, 200)

    // The same of sessions.
    const { session } = await sessions.start(
      { method: 'passkey', operator: 'alice', credentialId: alice.credentialId },
      seen,
    )
    const genuine = await sessions.find(session, seen)
    assert.equal(genuine?.operator, 'alice')
    // The other control plane of the network knows it too.
    assert.equal((await second.context.sessions.find(session, seen))?.operator, 'alice')
    const own = `spsession_${'B'.repeat(86)}`
    await store.run(async (db) => {
      const found = await db
        .selectFrom('sessions')
        .selectAll()
        .where('hash', '=', secretHash('session', session))
        .executeTakeFirstOrThrow()
      const copy = { ...found, id: 'ses_forged', hash: secretHash('session', own), csrf: 'x' }
      await db
        .insertInto('sessions')
        .values({ ...copy, groups: null })
        .execute()
    })
    assert.equal(await sessions.find(own, seen), undefined)
    await store.run((db) =>
      db
        .updateTable('sessions')
        .set({ started_at: Date.now() + 1 })
        .where('hash', '=', secretHash('session', session))
        .execute(),
    )
    assert.equal(await sessions.find(session, seen), undefined)

    // And of the links with which operators enrol.
    const { operators } = first.control.context
    const { link } = await operators.createLink({ operator: 'bob', by: 'alice' })
    assert.equal((await operators.openLink(link)).operator, 'bob')
    await store.run((db) =>
      db
        .updateTable('operator_links')
        .set({ operator: 'alice' })
        .where('hash', '=', secretHash('link', link))
        .execute(),
    )
    await assert.rejects(operators.openLink(link), { code: 'SP_LINK_INVALID' })
    const key = { credentialId: 'AAAA', publicKey: alice.publicKey }
    await assert.rejects(operators.register({ link, ...key }), { code: 'SP_LINK_INVALID' })
  } finally {
    await store.close()
  }
})
