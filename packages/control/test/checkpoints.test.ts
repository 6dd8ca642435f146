import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import pg from 'pg'
import { TestPlane } from './support/network.ts'
import type { Answer, Peer } from './support/network.ts'

let plane: TestPlane
let gateway: Peer
let other: Peer

before(async () => {
  plane = await TestPlane.start()
  gateway = await plane.enrol('gateway', 'gw1')
  other = await plane.enrol('gateway', 'gw2')
})
after(() => plane?.close())

const originOf = (peer: Peer): string => peer.spiffeId.slice('spiffe://'.length)

const noteOf = (origin: string, size: number, root = 'A'): string =>
  `${origin}\n${size}\n${root.repeat(43)}=\n\n— ${origin} ${'B'.repeat(91)}=\n`

const send = (peer: Peer, checkpoint: string, shard = originOf(peer)): Promise<Answer> =>
  peer.call('POST', '/v1/feed/checkpoint', { shard, checkpoint })

async function shown(): Promise<string | null | undefined> {
  const { audit } = await plane.control.context.health.read()
  return audit.find(({ shard }) => shard === originOf(gateway))?.checkpoint
}

const incidents = async (): Promise<number> =>
  (await plane.control.context.incidents.list()).filter(
    ({ subject }) => subject === gateway.spiffeId,
  ).length

test('the newest checkpoint of a shard is held and shown, and nothing that contradicts it', async () => {
  const origin = originOf(gateway)
  await gateway.call('POST', '/v1/feed', { shard: origin, items: [] })
  assert.equal(await shown(), null)
  assert.equal((await send(gateway, noteOf(origin, 10))).status, 200)
  assert.equal((await send(gateway, noteOf(origin, 30))).status, 200)
  assert.equal(await shown(), noteOf(origin, 30))
  // The same again, and one that was overtaken: nothing new.
  assert.equal((await send(gateway, noteOf(origin, 30))).status, 200)
  assert.equal((await send(gateway, noteOf(origin, 10))).status, 200)
  assert.equal(await incidents(), 0)
  for (const [size, root] of [
    [30, 'C'],
    [10, 'C'],
    [29, 'A'],
  ] as const) {
    const answer = await send(gateway, noteOf(origin, size, root))
    assert.equal(answer.status, 409, `${size} ${root}`)
    assert.equal(answer.body['code'], 'SP_FEED_FORKED')
  }
  assert.equal(await incidents(), 1)
  assert.equal(await shown(), noteOf(origin, 30))
})

test('a gateway speaks of its own log only, and in checkpoints only', async () => {
  const origin = originOf(gateway)
  assert.equal((await send(other, noteOf(origin, 40), origin)).status, 400)
  assert.equal((await send(other, noteOf(origin, 40))).status, 400)
  for (const text of ['', 'x', noteOf(origin, 40).trimEnd(), `${noteOf(origin, 40)}more\n`]) {
    assert.equal((await send(gateway, text)).status, 400, text)
  }
  assert.equal((await send(other, noteOf(originOf(other), 40))).status, 200)
  assert.equal(await shown(), noteOf(origin, 30))
})

test('a gateway that bears the name of the trust domain owns its own log and no other', async () => {
  const named = await plane.enrol('gateway', 'bank.test')
  const origin = originOf(gateway)
  assert.equal((await send(named, noteOf(origin, 50), origin)).status, 400)
  const fed = await named.call('POST', '/v1/feed', { shard: 'bank.test/control/c1', items: [] })
  assert.equal(fed.status, 400)
  assert.equal((await send(named, noteOf(originOf(named), 50))).status, 200)
  assert.equal(await shown(), noteOf(origin, 30))
})

test('the history is bounded: the newest, and the last of each day', async () => {
  const origin = originOf(gateway)
  const password = readFileSync(join(plane.dataDir, 'pg', 'password'), 'utf8').trim()
  const host = encodeURIComponent(join(plane.dataDir, 'pg', 'socket'))
  const client = new pg.Client({
    connectionString: `postgres://sallyport:${password}@localhost/postgres?host=${host}`,
  })
  await client.connect()
  try {
    let size = 100
    for (let day = 0; day < 3; day++) {
      for (let i = 0; i < 50; i++) {
        assert.equal((await send(gateway, noteOf(origin, ++size))).status, 200)
      }
      // A day goes by.
      await client.query('UPDATE audit_checkpoints SET at = at - 86400000')
    }
    assert.equal((await send(gateway, noteOf(origin, ++size))).status, 200)
    const { rows } = await client.query<{ size: string }>(
      'SELECT size FROM audit_checkpoints WHERE shard = $1 ORDER BY size',
      [origin],
    )
    const sizes = rows.map((row) => Number(row.size))
    assert.equal(sizes.at(-1), 251)
    assert.ok(sizes.length >= 64 && sizes.length <= 66, String(sizes.length))
    assert.ok(sizes.includes(150), 'the last of the first day')
    assert.ok(!sizes.includes(149))
  } finally {
    await client.end()
  }
})
