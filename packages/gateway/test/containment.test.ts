import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSteadyClock } from '@sallyport/base'
import { verifyLog } from '@sallyport/tlog'
import { decodeRecord, verifyBundle } from '@sallyport/wire'
import type { AuditRecord, SignedBundle } from '@sallyport/wire'
import { replaceSync } from './support/disk.ts'
import { ACCOUNT, startWorld, until } from './support/world.ts'
import type { Json, TestAgent, World } from './support/world.ts'

const A = '/bank/v1/accounts/A'
const ID = 'spiffe://test.example/agent/'

let world: World
afterEach(() => world.close())

const code = async (agent: TestAgent, path = A): Promise<unknown> =>
  (await agent.ask({ path })).body['code']

/** Starts a stream whose upstream sends an event every 20 ms. */
async function watch(
  agent: TestAgent,
): Promise<{ events: () => number; text: () => string; ended: () => boolean }> {
  const usual = world.bank.answer
  world.bank.answer = (seen, res) => {
    if (!seen.url.endsWith('/watch')) {
      usual(seen, res)
      return
    }
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    const timer = setInterval(
      () =>
        res.write(`id: 7\nevent: secret\ndata: ${JSON.stringify({ account: ACCOUNT, x: 1 })}\n\n`),
      20,
    )
    res.once('close', () => {
      clearInterval(timer)
    })
  }
  const headers = { accept: 'text/event-stream' }
  const answer = await agent.pool.request({ method: 'GET', path: '/bank/v1/watch', headers })
  assert.equal(answer.statusCode, 200)
  let text = ''
  let ended = false
  answer.body.on('data', (chunk: Buffer) => {
    text += chunk.toString()
  })
  answer.body.on('error', () => {
    ended = true
  })
  answer.body.on('close', () => {
    ended = true
  })
  return { events: () => text.split('\n\n').length - 1, text: () => text, ended: () => ended }
}

describe('containment', () => {
  it('cuts a quarantined instance at once, mid-stream, and lets no other suffer', async () => {
    world = await startWorld()
    const bad = world.agent('reader', 'bad')
    const good = world.agent('reader', 'good')
    const badStream = await watch(bad)
    const goodStream = await watch(good)
    await until(() => badStream.events() > 3 && goodStream.events() > 3)
    const at = performance.now()
    world.plane.quarantine(`${ID}reader/bad`)
    await until(() => badStream.ended())
    const took = performance.now() - at
    assert.ok(took < 5000, `${took} ms`)
    const events = badStream.events()
    await assert.rejects(bad.ask({ path: A }))
    await sleep(100)
    assert.equal(badStream.events(), events)
    const before = goodStream.events()
    await until(() => goodStream.events() > before + 2)
    assert.equal((await good.ask({ path: A })).status, 200)
    const applied = () =>
      world.plane.records().findIndex((r) => r.kind === 'event' && r.event === 'quarantine-applied')
    await until(() => applied() >= 0)
    const later = world.plane.records().slice(applied())
    assert.equal(
      later.some(
        (r) => r.kind === 'decision' && r.instance.endsWith('/bad') && r.decision === 'allow',
      ),
      false,
    )
    await until(() => world.plane.records().some((r) => r.kind === 'outcome' && r.result === 'cut'))
  })

  it('cuts every instance of a quarantined agent, and remembers through a restart', async () => {
    world = await startWorld()
    const agents = ['a', 'b'].map((name) => world.agent('reader', name))
    for (const agent of agents) assert.equal((await agent.ask({ path: A })).status, 200)
    world.plane.quarantine(`${ID}reader`)
    await until(() => world.gateway.stats().socketsCut >= 2)
    for (const agent of agents) await assert.rejects(agent.ask({ path: A }))
    await assert.rejects(world.agent('reader', 'c').ask({ path: A }))
    assert.equal((await world.agent('teller').ask({ path: A })).status, 200)
    // A control plane that forgets the quarantine is refused.
    const kept = world.plane.quarantined
    world.plane.quarantined = []
    world.plane.publish()
    await until(() => world.gateway.stats().bundlesRefused > 0)
    await assert.rejects(world.agent('reader', 'd').ask({ path: A }))
    await assert.rejects(world.restart({ settings: { startTimeoutMs: 700 } }), {
      code: 'SP_GATEWAY_NOT_READY',
    })
    world.plane.quarantined = kept
    world.plane.publish()
    await world.restart()
    await assert.rejects(world.agent('reader', 'e').ask({ path: A }))
  })

  it('asks of everybody anew with each quarantine', async () => {
    world = await startWorld()
    const [one, other] = [world.agent('reader', 'one'), world.agent('reader', 'other')]
    const is = (agent: TestAgent): Promise<number> =>
      agent.ask({ path: A }).then(
        ({ status }) => status,
        () => 0,
      )
    const applied = (): number =>
      world.plane.records().filter((r) => r.kind === 'event' && r.event === 'quarantine-applied')
        .length
    const stands = async (ofOne: number, ofOther: number): Promise<void> => {
      assert.deepEqual([await is(one), await is(other)], [ofOne, ofOther])
    }
    await stands(200, 200)
    world.plane.quarantine(`${ID}reader/nobody`)
    await until(() => applied() === 1)
    // Both are known not to be meant by what there is.
    await stands(200, 200)
    world.plane.quarantine(`${ID}reader/one`)
    await until(() => applied() === 2)
    await stands(0, 200)
    world.plane.quarantine(`${ID}reader`)
    await until(() => applied() === 3)
    await stands(0, 0)
  })

  it('ends a call that is in flight when the quarantine comes', async () => {
    world = await startWorld()
    const agent = world.agent('reader')
    let asked = false
    world.bank.answer = () => {
      asked = true
    }
    const call = agent.ask({ path: A }).then(
      () => 'answered',
      () => 'cut',
    )
    await until(() => asked)
    world.plane.quarantine(`${ID}reader/i1`)
    assert.equal(await call, 'cut')
    await until(() => world.plane.records().some((r) => r.kind === 'outcome'))
    const outcome = world.plane.records().find((r) => r.kind === 'outcome')
    assert.ok(outcome?.kind === 'outcome')
    assert.notEqual(outcome.result, 'completed')
    assert.deepEqual(outcome.released, {})
  })

  it('cuts a revoked certificate, not its instance', async () => {
    world = await startWorld()
    const old = world.agent('reader')
    assert.equal((await old.ask({ path: A })).status, 200)
    await until(() => world.plane.records().some((r) => r.kind === 'decision'))
    const record = world.plane.records().find((r) => r.kind === 'decision')
    assert.ok(record?.kind === 'decision')
    world.plane.revokedSerials = [{ serial: record.peer.serial, notAfter: Date.now() + 60_000 }]
    world.plane.publish()
    await until(() => world.gateway.stats().socketsCut > 0)
    await assert.rejects(old.ask({ path: A }))
    assert.equal((await world.agent('reader').ask({ path: A })).status, 200)
  })

  it('judges the certificate on every request, and streams by the newest one shown', async () => {
    world = await startWorld({ settings: { streamRecheckMs: 100 } })
    const short = world.agent('reader', 'short', 8)
    const renewed = world.agent('reader', 'renewed', 8)
    const shortStream = await watch(short)
    const renewedStream = await watch(renewed)
    assert.equal((await short.ask({ path: A })).status, 200)
    await sleep(500)
    assert.equal((await world.agent('reader', 'renewed', 60).ask({ path: A })).status, 200)
    await until(() => shortStream.ended())
    const reply = await short.ask({ path: A }).catch(() => undefined)
    assert.ok(reply === undefined || reply.body['code'] === 'SP_SVID_EXPIRED')
    const before = renewedStream.events()
    await until(() => renewedStream.events() > before + 3)
    assert.equal(renewedStream.ended(), false)
  })

  for (const hours of [-1, 1]) {
    it(`never takes an expired certificate for a valid one when the clock jumps ${hours} h`, async () => {
      let skew = 0
      const clock = createSteadyClock({
        now: () => Date.now() + skew,
        monotonic: () => performance.now(),
      })
      world = await startWorld({ clock })
      const short = world.agent('reader', 'short', 5)
      assert.equal((await short.ask({ path: A })).status, 200)
      skew = hours * 3_600_000
      await sleep(5500)
      // Whether the connection was cut or the call refused: it is not answered.
      const late = await short.ask({ path: A }).catch(() => undefined)
      assert.ok(late === undefined || late.status === 401, String(late?.status))
      // A clock that is ahead ends every certificate early, and they are valid again once it is right.
      const fresh = world.agent('reader', 'fresh', 600)
      const reply = await fresh.ask({ path: A }).catch(() => undefined)
      assert.equal(reply?.status === 200, hours < 0)
      skew = 0
      assert.equal((await world.agent('reader', 'other', 600).ask({ path: A })).status, 200)
      const jumps = (): number =>
        world.plane.records().filter((r) => r.kind === 'event' && r.event === 'clock-jumped').length
      await until(() => jumps() > 0)
    })
  }

  it('refuses a request on a connection that has outlived its certificate', async () => {
    world = await startWorld()
    const socket = await world.agent('reader', 'old', 5).raw()
    socket.on('error', () => undefined)
    let heard = ''
    socket.on('data', (chunk: Buffer) => {
      heard += chunk.toString()
    })
    const get = `GET ${A} HTTP/1.1\r\nHost: g\r\n\r\n`
    socket.write(get)
    await until(() => heard.includes('200 OK'))
    heard = ''
    await sleep(5500)
    const from = world.bank.seen.length
    socket.write(get)
    await until(() => heard.includes('SP_SVID_EXPIRED') && socket.destroyed)
    assert.match(heard, /^HTTP\/1.1 401 /)
    assert.equal(world.bank.seen.length, from)
  })

  it('projects each event of a stream, and cuts it when its decision no longer holds', async () => {
    world = await startWorld()
    const agent = world.agent('reader')
    const stream = await watch(agent)
    await until(() => stream.events() > 2)
    assert.doesNotMatch(stream.text(), /Ann Lee|hidden|secret|"x"|ACC-1/)
    assert.match(stream.text(), /^data: \{"account":\{"id":"tok_account_/)
    world.plane.risk = { [`${ID}reader/i1`]: { score: 95, at: Date.now() } }
    world.plane.publish()
    await until(() => stream.ended())
    assert.equal(await code(agent), 'SP_DENIED_FORBIDDEN')
  })

  it('admits agents of this network only', async () => {
    world = await startWorld()
    const { TestAgent: Agent } = await import('./support/world.ts')
    for (const id of [
      'service/bank/s1',
      'gateway/gw2',
      'control/c1',
      'service/reader/s1',
      'gateway/reader',
      'control/reader',
      'agent/nobody/i1',
      'agent/reader',
    ]) {
      const stranger = new Agent(world, world.plane.issue(`spiffe://test.example/${id}`))
      await assert.rejects(stranger.ask({ path: A }), id)
      await stranger.pool.destroy()
    }
    assert.equal((await world.agent('reader').ask({ path: A })).status, 200)
    await until(() =>
      world.plane.records().some((r) => r.kind === 'event' && r.event === 'handshake-refused'),
    )
  })
})

describe('cut off from the control plane', () => {
  it(
    'goes on within the budget, then refuses writes first and everything after',
    { timeout: 60_000 },
    async () => {
      world = await startWorld()
      const reader = world.agent('reader')
      const teller = world.agent('teller')
      const note = () =>
        teller.ask({ path: '/bank/v1/accounts/A/transfers', body: { to: 'bob', amount: 1 } })
      assert.equal((await note()).status, 200)
      await world.plane.stop()
      assert.equal((await reader.ask({ path: A })).status, 200)
      await until(() => world.gateway.stats().bundleAgeMs > 2100)
      assert.equal((await note()).body['code'], 'SP_STALE')
      assert.equal((await reader.ask({ path: A })).status, 200)
      await until(() => world.gateway.stats().bundleAgeMs > 4100)
      assert.equal(await code(reader), 'SP_STALE')
      await world.plane.listen()
      await until(() => world.gateway.stats().bundleAgeMs < 1000)
      assert.equal((await reader.ask({ path: A })).status, 200)
      assert.equal((await note()).status, 200)
      // What happened meanwhile arrives after all.
      await until(() => world.gateway.stats().feedLag === 0)
      assert.ok(world.plane.records().some((r) => r.kind === 'decision' && r.code === 'SP_STALE'))
    },
  )

  it(
    'takes no comfort from heartbeats once a bundle was refused',
    { timeout: 60_000 },
    async () => {
      world = await startWorld()
      const reader = world.agent('reader')
      const older = world.plane.bundle({ revision: { epoch: 0, n: 9 } })
      world.plane.inject({ type: 'bundle', ...older })
      await until(() => world.gateway.stats().bundlesRefused === 1)
      await until(() => world.gateway.stats().bundleAgeMs > 4100)
      assert.equal(await code(reader), 'SP_STALE')
      world.plane.publish()
      await until(() => world.gateway.stats().bundleAgeMs < 1000)
      assert.equal((await reader.ask({ path: A })).status, 200)
    },
  )

  it('shows a control plane that forgot the newest bundle it was given, after a restart too', async () => {
    world = await startWorld()
    world.plane.publish()
    const newest = world.plane.bundle()
    await until(() => world.gateway.stats().bundlesAccepted === 2)
    const forged = { ...newest, signature: Buffer.alloc(64).toString('base64url') }
    world.plane.inject({ type: 'bundle', ...forged })
    await until(() => world.gateway.stats().bundlesRefused === 1)
    assert.deepEqual(world.plane.shown, [])
    await world.restart()
    await until(() => world.gateway.stats().bundleAgeMs < 1000)
    world.plane.inject({ type: 'bundle', ...world.plane.bundle({ revision: { epoch: 1, n: 1 } }) })
    await until(() => world.plane.shown.length === 1)
    const [shown] = world.plane.shown
    assert.deepEqual(Object(shown?.['bundle']).revision, newest.bundle.revision)
    assert.ok(verifyBundle(shown as unknown as SignedBundle, world.plane.pins))
  })

  it('refuses bundles that are forged, altered or widen without signatures', async () => {
    world = await startWorld()
    const good = world.plane.bundle({ revision: { epoch: 1, n: 50 } })
    const flows = [
      ...world.plane.declaration.network.flows,
      { id: 'x', from: 'stranger', to: 'bank', operations: ['getAccount'], purpose: 'x' },
    ]
    const wider = {
      ...world.plane.declaration,
      network: { ...world.plane.declaration.network, flows },
    }
    for (const message of [
      { ...good, signature: Buffer.alloc(64).toString('base64url') },
      { ...good, bundle: { ...good.bundle, risk: { x: { score: 0, at: 0 } } } },
      { bundle: null, signature: '' },
      { ...world.plane.bundle({ revision: { epoch: 1, n: 51 }, declaration: wider }) },
    ]) {
      const before = world.gateway.stats().bundlesRefused
      world.plane.inject({ type: 'bundle', ...message })
      await until(() => world.gateway.stats().bundlesRefused > before)
    }
    assert.equal(await code(world.agent('stranger')), 'SP_NO_FLOW')
  })
})

describe('the log', () => {
  const readLog = async (): Promise<{ ok: boolean; records: AuditRecord[] }> => {
    const dir = join(world.dataDir, 'log')
    const records: AuditRecord[] = []
    const { ok } = await verifyLog({
      dir,
      origin: (await readFile(join(dir, 'origin'), 'utf8')).trim(),
      publicKey: createPublicKey(await readFile(join(world.dataDir, 'log.pub'))),
      onRecord: (_, bytes) => records.push(decodeRecord(bytes)),
    })
    return { ok, records }
  }

  it('gives a restarted gateway its labels and its cursor back', async () => {
    world = await startWorld()
    world.plane.feedDown = true
    const agent = world.agent('teller', 'sticky')
    assert.equal((await agent.ask({ path: A })).status, 200)
    await world.restart()
    world.plane.feedDown = false
    await until(() => world.gateway.stats().feedLag === 0)
    const again = world.agent('teller', 'sticky')
    await again.ask({ path: A })
    await until(() => world.plane.records().filter((r) => r.kind === 'decision').length === 2)
    const [first, second] = world.plane.records().filter((r) => r.kind === 'decision')
    assert.deepEqual(first?.labels, [])
    assert.ok(second?.labels.includes('untrusted'))
    assert.equal(world.plane.records().filter((r) => r.kind === 'labels').length, 1)
    // The outcome follows its decision.
    await until(() => world.plane.feed.size === world.gateway.stats().logSize)
    await world.gateway.close()
    const { ok, records } = await readLog()
    assert.equal(ok, true)
    assert.ok(records.length >= world.plane.feed.size)
  })

  it('holds the label before the first byte leaves, and the outcome after', async () => {
    world = await startWorld()
    await world.agent('reader').ask({ path: A })
    await world.gateway.close()
    const kinds = (await readLog()).records
      .map(({ kind }) => kind)
      .filter((kind) => kind !== 'event')
    assert.deepEqual(kinds, ['decision', 'labels', 'outcome'])
  })

  /** As a dying disk does. */
  const breakDisk = (): Promise<() => void> =>
    replaceSync(() => Promise.reject(Object.assign(new Error('EIO'), { code: 'EIO' })))

  it('has a decision on the disk before the request goes out', async () => {
    world = await startWorld()
    const agent = world.agent('reader')
    assert.equal((await agent.ask({ path: A })).status, 200)
    let synced = 0
    let synching = 0
    let syncedThen = -1
    const mend = await replaceSync(async (sync) => {
      synching++
      await sleep(150)
      await sync()
      synced++
    })
    const usual = world.bank.answer
    world.bank.answer = (seen, res) => {
      syncedThen = synced
      usual(seen, res)
    }
    try {
      assert.equal((await agent.ask({ path: A })).status, 200)
    } finally {
      mend()
    }
    assert.ok(synching > 0)
    assert.ok(syncedThen >= 1, 'forwarded before the record was durable')
  })

  it('stops every call when it cannot be written, for good', async () => {
    world = await startWorld()
    const reader = world.agent('reader')
    const teller = world.agent('teller')
    assert.equal((await reader.ask({ path: A })).status, 200)
    const calls = world.bank.seen.length
    const mend = await breakDisk()
    try {
      assert.equal(await code(reader), 'SP_AUDIT_UNAVAILABLE')
    } finally {
      mend()
    }
    assert.equal(await code(reader), 'SP_AUDIT_UNAVAILABLE')
    const body = { to: 'bob', amount: 1 }
    const reply = await teller.ask({ path: '/bank/v1/accounts/A/transfers', body })
    assert.deepEqual([reply.status, reply.body['code']], [503, 'SP_AUDIT_UNAVAILABLE'])
    assert.equal(world.bank.seen.length, calls)
  })

  it('may be set to spare reads of what is not restricted, and nothing else', async () => {
    world = await startWorld({ settings: { refuseReadsWithoutAudit: false } })
    const reader = world.agent('reader')
    const teller = world.agent('teller')
    for (const agent of [reader, teller]) await agent.ask({ path: A })
    const calls = world.bank.seen.length
    const mend = await breakDisk()
    try {
      assert.equal((await reader.ask({ path: A })).status, 200)
      const body = { to: 'bob', amount: 1 }
      const path = '/bank/v1/accounts/A/transfers'
      assert.equal((await teller.ask({ path, body })).body['code'], 'SP_AUDIT_UNAVAILABLE')
      // Labels that cannot be made durable do not leave.
      assert.equal(await code(world.agent('reader', 'new')), 'SP_AUDIT_UNAVAILABLE')
    } finally {
      mend()
    }
    assert.equal(world.bank.seen.filter(({ method }) => method === 'POST').length, 0)
    assert.ok(world.bank.seen.length > calls)
  })

  it('has no plaintext of an input in it', async () => {
    world = await startWorld()
    const body = { to: 'unmistakable-recipient', amount: 4_321_987 }
    await world
      .agent('teller')
      .ask({ path: '/bank/v1/accounts/unmistakable-account/transfers', body })
    await world.gateway.close()
    const bytes = await readFile(join(world.dataDir, 'log', '00000000.seg'))
    assert.ok(bytes.includes('SP_NEEDS_APPROVAL'))
    assert.equal(bytes.includes('unmistakable'), false)
    assert.equal(bytes.includes('4321987'), false)
  })
})

describe('a gateway’s identity', () => {
  it('renews without a failed call', { timeout: 120_000 }, async () => {
    world = await startWorld({}, (plane) => {
      plane.gatewayTtl = 4
    })
    const agent = world.agent('reader')
    let calls = 0
    while (world.plane.renewals.length < 4 || calls < 20) {
      const { status, body } = (await agent.ask({ path: A }).catch((error: unknown) => ({
        status: 0,
        body: { error: String(error) },
      }))) as { status: number; body: Json }
      // The agent's own connection ends with the gateway certificate it was opened to: its client's to handle.
      if (status !== 0) assert.equal(status, 200, JSON.stringify(body))
      calls++
    }
    assert.equal(world.bank.refusals, 0)
  })

  it('asks again under the same key when an answer got lost, and takes a new one after', async () => {
    world = await startWorld({}, (plane) => {
      plane.gatewayTtl = 4
      plane.answersToLose = 2
    })
    await until(() => world.plane.renewals.length >= 4)
    const [first, second, third, fourth] = world.plane.renewals
    assert.equal(second, first)
    assert.equal(third, first)
    assert.notEqual(fourth, first)
  })

  it('is refused without a token, with a wrong one, or with other pins', async () => {
    world = await startWorld()
    const fresh = { ...world.options, dataDir: join(world.dataDir, 'fresh') }
    const { startGateway } = await import('../src/index.ts')
    const { joinToken: _none, ...without } = fresh
    await assert.rejects(startGateway(without), { code: 'SP_GATEWAY_IDENTITY' })
    await assert.rejects(startGateway({ ...fresh, joinToken: 'wrong' }), {
      code: 'SP_CONTROL_REFUSED',
    })
    await assert.rejects(startGateway({ ...fresh, id: 'gw2' }), { code: 'SP_GATEWAY_IDENTITY' })
    await assert.rejects(
      startGateway({
        ...world.options,
        trustPins: { ...world.plane.pins, genesisDigest: '0'.repeat(64) },
      }),
      { code: 'SP_GATEWAY_PINS' },
    )
  })
})
