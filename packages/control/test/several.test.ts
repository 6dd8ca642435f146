import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { startControl, startEmbeddedPostgres } from '../src/index.ts'
import type { Control, EmbeddedPostgres } from '../src/index.ts'
import { TestPlane } from './support/network.ts'

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
  const from = performance.now()
  await second.context.quarantine.quarantine({
    subject: extra.spiffeId,
    reason: 'by the other one',
    by: 'alice',
  })
  await stream.until((f) => f.state.quarantined.length === 13)
  assert.ok(performance.now() - from < 400)
  assert.equal(first.control.context.quarantine.isQuarantined(extra.spiffeId), true)
  assert.equal((await extra.renew()).body['code'], 'SP_QUARANTINED')
  stream.close()
})
