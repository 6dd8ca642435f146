import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { after, before, test } from 'node:test'
import pg from 'pg'
import { startEmbeddedPostgres } from '../src/index.ts'
import type { EmbeddedPostgres } from '../src/index.ts'
import { openStore } from '../src/store/store.ts'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import type { Answer, Follower, Peer } from './support/network.ts'
import { Log } from './support/records.ts'

let dir: string
let database: EmbeddedPostgres
let plane: TestPlane
let gateway: Peer
let agent: Peer
let stream: Follower

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'sp-store-'))
  database = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
  plane = await TestPlane.start(
    declarationWith({
      limits: [
        {
          id: 'many',
          description: 'many',
          agents: ['flagger'],
          operations: ['core.hold'],
          windowSeconds: 600,
          maxCalls: 100_000,
        },
      ],
    }),
    { databaseUrl: database.url },
  )
  gateway = await plane.enrol('gateway', 'gw1')
  agent = await plane.enrol('agent', 'flagger')
  stream = await gateway.follow()
})
after(async () => {
  stream?.close()
  await plane?.close()
  await database?.stop()
  rmSync(dir, { recursive: true, force: true })
})

async function sql<R extends pg.QueryResultRow>(text: string): Promise<R[]> {
  const client = new pg.Client({ connectionString: database.url })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query<R>(text)).rows
  } finally {
    await client.end()
  }
}

const back = async (): Promise<void> => {
  for (const end = performance.now() + 60_000; performance.now() < end;) {
    const answer = await gateway.call('POST', '/v1/feed', { shard: 'gw1', items: [] })
    if (answer.status === 200) return
    assert.equal(answer.body['code'], 'SP_STORE_UNAVAILABLE')
    await delay(25)
  }
  assert.fail('the database did not come back')
}

test('the database is private, has checksums, and syncs', async () => {
  assert.equal(statSync(join(dir, 'pg', 'password')).mode & 0o777, 0o600)
  assert.equal(statSync(join(dir, 'pg', 'data')).mode & 0o777, 0o700)
  const settings = await sql<{ name: string; setting: string }>(
    `SELECT name, setting FROM pg_settings WHERE name IN
      ('fsync', 'full_page_writes', 'synchronous_commit', 'data_checksums', 'listen_addresses')
     ORDER BY name`,
  )
  const read = Object.fromEntries(settings.map(({ name, setting }) => [name, setting]))
  assert.deepEqual(read, {
    data_checksums: 'on',
    fsync: 'on',
    full_page_writes: 'on',
    listen_addresses: '',
    synchronous_commit: 'on',
  })
  const wrong = new pg.Client({ connectionString: database.url.replace(/:[^:@]+@/, ':wrong@') })
  wrong.on('error', () => undefined)
  await assert.rejects(wrong.connect(), { code: '28P01' })
})

test('a second server on the same data is refused', async () => {
  const second = startEmbeddedPostgres({ dir: join(dir, 'pg') })
  const timer = delay(25_000, undefined, { ref: false })
  await assert.rejects(Promise.race([second, timer.then(() => undefined)]), {
    code: 'SP_DB_LOCKED',
  })
})

test('the application cannot rewrite evidence', async () => {
  const store = await openStore(database.url)
  try {
    const log = new Log(gateway.spiffeId)
    const item = log.decision(agent.spiffeId)
    assert.equal(
      (await gateway.call('POST', '/v1/feed', { shard: 'gw1/a', items: [item] })).status,
      200,
    )
    const read = await store.run((db) => db.selectFrom('feed').select('seq').execute())
    assert.ok(read.length > 0)
    await assert.rejects(
      store.run((db) => db.deleteFrom('feed').execute()),
      { code: '42501' },
    )
    const rewrite = store.run((db) => db.updateTable('feed').set({ kind: 'x' }).execute())
    await assert.rejects(rewrite, { code: '42501' })
    const drop = store.run((db) => db.schema.dropTable('quarantines').execute())
    await assert.rejects(drop, { code: '42501' })
  } finally {
    await store.close()
  }
})

test('killed at random while writing: closed while it is away, and nothing acknowledged is lost', async () => {
  const log = new Log(gateway.spiffeId)
  let acknowledged = 0
  let reserved = 0
  let unavailable = 0
  const writing = { on: true }
  const write = async (): Promise<void> => {
    let pending = [log.decision(agent.spiffeId)]
    while (writing.on) {
      const answer: Answer = await gateway.call('POST', '/v1/feed', {
        shard: 'gw1',
        items: pending,
      })
      if (answer.status === 200) {
        acknowledged = Number(answer.body['next'])
        pending = [log.decision(agent.spiffeId)]
      } else {
        assert.equal(answer.status, 503)
        unavailable++
      }
    }
  }
  const count = async (): Promise<void> => {
    for (let i = 0; writing.on; i++) {
      const answer = await gateway.call('POST', '/v1/limits/reserve', {
        limitId: 'many',
        instance: agent.spiffeId,
        agent: 'flagger',
        amount: 0,
        decisionId: `dec_kill_${i}`,
      })
      if (answer.status === 200 && answer.body['granted'] === true) reserved++
      else assert.equal(answer.body['code'], 'SP_STORE_UNAVAILABLE')
    }
  }
  const work = Promise.all([write(), count()])
  for (let kill = 0; kill < 5; kill++) {
    await delay(30 + Math.random() * 200)
    const { pid } = database
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // Still on its way up from the kill before.
    }
    await delay(100)
    await back()
  }
  writing.on = false
  await work
  assert.ok(unavailable > 0, 'no call met the database while it was away')
  assert.ok(acknowledged > 0 && reserved > 0)
  const [row] = await sql<{ rows: string; next: string; reserved: string }>(
    `SELECT (SELECT count(*) FROM feed WHERE shard = 'gw1') AS rows,
            (SELECT next FROM feed_shards WHERE shard = 'gw1') AS next,
            (SELECT count(*) FROM reservations WHERE decision_id LIKE 'dec_kill_%') AS reserved`,
  )
  assert.ok(Number(row?.rows) >= acknowledged, `${row?.rows} of ${acknowledged}`)
  assert.equal(row?.rows, row?.next)
  assert.ok(Number(row?.reserved) >= reserved, `${row?.reserved} of ${reserved}`)
  await back()
})

test('while it is away: heartbeats stop, nothing is granted, nothing is quarantined in word only', async () => {
  const { quarantine } = plane.control.context
  await stream.until((f) => f.heartbeats > 0)
  const approved = quarantine.isQuarantined(agent.spiffeId)
  assert.equal(approved, false)
  await database.stop()
  const refused = await gateway.call('POST', '/v1/limits/reserve', {
    limitId: 'many',
    instance: agent.spiffeId,
    agent: 'flagger',
    amount: 0,
    decisionId: 'dec_away',
  })
  assert.equal(refused.status, 503)
  assert.equal(refused.body['code'], 'SP_STORE_UNAVAILABLE')
  assert.equal((await agent.renew()).body['code'], 'SP_STORE_UNAVAILABLE')
  const act = quarantine.quarantine({ subject: agent.spiffeId, reason: 'a test', by: 'alice' })
  await assert.rejects(act, { code: 'SP_STORE_UNAVAILABLE' })
  assert.equal((await plane.control.context.health.read()).database, 'unreachable')
  await delay(1200)
  const beats = stream.heartbeats
  await delay(2200)
  assert.equal(stream.heartbeats, beats)

  const { url } = database
  database = await startEmbeddedPostgres({ dir: join(dir, 'pg') })
  assert.equal(database.url, url)
  await back()
  await stream.until((f) => f.heartbeats > beats)
  assert.equal((await agent.renew()).status, 200)
  await quarantine.quarantine({ subject: agent.spiffeId, reason: 'a test', by: 'alice' })
  await stream.until((f) => f.state.quarantined.length > 0)
})

test('a restarted control plane goes on from the last revision', async () => {
  const { bundles } = plane.control.context
  const { n } = bundles.revision()
  stream.close()
  await plane.restart()
  const { bundles: again, quarantine } = plane.control.context
  assert.ok(again.revision().n >= n)
  assert.equal(quarantine.isQuarantined(agent.spiffeId), true)
  assert.equal((await gateway.call('GET', '/v1/bundle')).status, 200)
})

test('a database of another trust root is refused', async () => {
  await assert.rejects(TestPlane.start(declarationWith(), { databaseUrl: database.url }), {
    code: 'SP_STORE_FOREIGN',
  })
})

test('it dies with a process that is killed, and its data opens again', async (t) => {
  if (spawnSync('setpriv', ['--version']).status !== 0) {
    t.skip('setpriv is not on this machine')
    return
  }
  const data = join(dir, 'orphan')
  const source = `
    import { startEmbeddedPostgres } from ${JSON.stringify(import.meta.resolve('../src/postgres/embedded.ts'))}
    const { pid } = await startEmbeddedPostgres({ dir: ${JSON.stringify(data)} })
    console.log(pid)
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source])
  child.stderr.pipe(process.stderr)
  const ended = once(child, 'exit').then(() => assert.fail('it did not start'))
  const [line] = (await Promise.race([once(child.stdout, 'data'), ended])) as [Buffer]
  ended.catch(() => undefined)
  const pid = Number(line.toString())
  process.kill(pid, 0)
  child.kill('SIGKILL')
  for (let i = 0; i < 1200; i++) {
    await delay(50)
    try {
      process.kill(pid, 0)
    } catch {
      const again = await startEmbeddedPostgres({ dir: data })
      await again.stop()
      return
    }
  }
  assert.fail('the server outlived its parent')
})
