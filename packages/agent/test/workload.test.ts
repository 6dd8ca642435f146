import assert from 'node:assert/strict'
import { createPrivateKey, randomBytes, X509Certificate } from 'node:crypto'
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'

import { credentials, makeClientConstructor, Metadata, status } from '@grpc/grpc-js'
import type { Client, ClientReadableStream } from '@grpc/grpc-js'
import { IdentityHolder } from '@sallyport/transport'

import { denied, WORKLOAD_SERVICE } from '../src/workload/grpc.ts'
import { serveWorkloadApi } from '../src/workload/serve.ts'
import type { WorkloadApi, WorkloadApiOptions } from '../src/workload/serve.ts'
import { IdentitySource } from '../src/workload/source.ts'
import { identityOf, makeFabric, noPlane, TRUST_DOMAIN } from './plane.ts'

const dir = mkdtempSync(join(tmpdir(), 'sp-workload-'))
after(() => {
  rmSync(dir, { recursive: true, force: true })
})

const fabric = makeFabric()
const ID = `spiffe://${TRUST_DOMAIN}/agent/monitor/1`
const spiffe = new Metadata()
spiffe.set('workload.spiffe.io', 'true')

let sockets = 0

interface Served extends Disposable {
  readonly api: WorkloadApi
  readonly path: string
  readonly holder: IdentityHolder
  readonly source: IdentitySource
  readonly refused: unknown[]
  client(): Client
}

async function served(options: Partial<WorkloadApiOptions> = {}): Promise<Served> {
  const holder = new IdentityHolder(identityOf(fabric, '/agent/monitor/1'))
  const source = new IdentitySource({ holder, spiffeId: ID, ask: noPlane })
  const refused: unknown[] = []
  const path = join(dir, `${++sockets}.sock`)
  const api = await serveWorkloadApi({
    path,
    admit: () => Promise.resolve({ source, recheck: () => undefined }),
    onRefused: (error) => refused.push(error),
    ...options,
  })
  const clients: Client[] = []
  return {
    api,
    path,
    holder,
    source,
    refused,
    client() {
      const Made = makeClientConstructor(WORKLOAD_SERVICE, 'SpiffeWorkloadAPI')
      const client = new Made(`unix:${path}`, credentials.createInsecure())
      clients.push(client)
      return client
    },
    [Symbol.dispose]() {
      for (const client of clients) client.close()
      api.close()
    },
  }
}

interface Svid {
  readonly spiffe_id: string
  readonly x509_svid: Buffer
  readonly x509_svid_key: Buffer
  readonly bundle: Buffer
}

function open(client: Client, method: string, metadata = spiffe): ClientReadableStream<unknown> {
  const { path, requestSerialize, responseDeserialize } =
    WORKLOAD_SERVICE[method] ?? missing(method)
  return client.makeServerStreamRequest(
    path,
    (value: object) => requestSerialize(value),
    responseDeserialize,
    {},
    metadata,
  )
}

function missing(method: string): never {
  throw new Error(`no method ${method}`)
}

/** The next message of a stream, or what ended it. */
function next(stream: ClientReadableStream<unknown>): Promise<unknown> {
  return new Promise((resolve, reject) => {
    stream.once('data', resolve)
    stream.once('error', reject)
  })
}

describe('the SPIFFE Workload API', () => {
  it('hands out the X.509-SVID at once, and again at each rotation', async () => {
    using api = await served()
    const stream = open(api.client(), 'FetchX509SVID')
    for (const material of [api.holder.current(), identityOf(fabric, '/agent/monitor/1')]) {
      if (material !== api.holder.current()) api.holder.replace(material)
      // What `loadSync` makes of the message.
      const { svids } = (await next(stream)) as { svids: readonly Svid[] }
      const [svid] = svids
      assert.equal(svids.length, 1)
      assert.equal(svid?.spiffe_id, ID)
      const leaf = new X509Certificate(svid.x509_svid)
      assert.equal(leaf.subjectAltName, `URI:${ID}`)
      assert.ok(leaf.raw.equals(new X509Certificate(material.chainPem).raw))
      const key = createPrivateKey({ key: svid.x509_svid_key, format: 'der', type: 'pkcs8' })
      assert.ok(leaf.checkPrivateKey(key))
      assert.ok(leaf.verify(new X509Certificate(svid.bundle).publicKey))
    }
    stream.cancel()
  })

  it('hands out the bundle under the id of its trust domain', async () => {
    using api = await served()
    const stream = open(api.client(), 'FetchX509Bundles')
    const { bundles } = (await next(stream)) as { bundles: Record<string, Buffer> }
    assert.deepEqual(Object.keys(bundles), [`spiffe://${TRUST_DOMAIN}`])
    assert.ok(
      bundles[`spiffe://${TRUST_DOMAIN}`]?.equals(
        new X509Certificate(fabric.root.certificatePem).raw,
      ),
    )
    stream.cancel()
  })

  it('refuses a call without its metadata, and nothing but that call', async () => {
    using api = await served()
    const client = api.client()
    for (const method of ['FetchX509SVID', 'FetchX509Bundles']) {
      await assert.rejects(next(open(client, method, new Metadata())), {
        code: status.INVALID_ARGUMENT,
      })
      const wrong = new Metadata()
      wrong.set('workload.spiffe.io', 'TRUE')
      await assert.rejects(next(open(client, method, wrong)), { code: status.INVALID_ARGUMENT })
      const stream = open(client, method)
      assert.ok(await next(stream))
      stream.cancel()
    }
  })

  it('tells a caller without identity so, with PermissionDenied', async () => {
    using api = await served({
      admit: () => Promise.reject(denied('uid 12 is no declared agent')),
    })
    const failed = await next(open(api.client(), 'FetchX509SVID')).catch((error: unknown) => error)
    assert.ok(failed instanceof Error && 'code' in failed)
    assert.equal(failed.code, status.PERMISSION_DENIED)
    // Why is said to the operator alone.
    assert.doesNotMatch(failed.message, /uid 12/)
    assert.equal(api.refused.length, 1)
  })

  it('ends a stream whose identity is withdrawn, or whose caller is another program now', async () => {
    using api = await served()
    const stream = open(api.client(), 'FetchX509SVID')
    assert.ok(await next(stream))
    api.source.withdraw('quarantined')
    await assert.rejects(next(stream), { code: status.PERMISSION_DENIED })
    await assert.rejects(next(open(api.client(), 'FetchX509Bundles')), {
      code: status.PERMISSION_DENIED,
    })

    let gone = false
    const source = new IdentitySource({
      holder: api.holder,
      spiffeId: ID,
      ask: noPlane,
    })
    using other = await served({
      admit: () =>
        Promise.resolve({
          source,
          recheck() {
            if (gone) throw denied('it is another program now')
          },
        }),
    })
    const live = open(other.client(), 'FetchX509SVID')
    assert.ok(await next(live))
    gone = true
    api.holder.replace(identityOf(fabric, '/agent/monitor/1'))
    await assert.rejects(next(live), { code: status.PERMISSION_DENIED })
  })

  it('hands out nothing that has expired', async () => {
    let now = Date.now()
    const holder = new IdentityHolder(identityOf(fabric, '/agent/monitor/1', 60))
    const source = new IdentitySource(
      { holder, spiffeId: ID, ask: noPlane },
      { now: () => now, monotonic: () => now },
    )
    using api = await served({
      admit: () => Promise.resolve({ source, recheck: () => undefined }),
    })
    const stream = open(api.client(), 'FetchX509SVID')
    assert.ok(await next(stream))
    stream.cancel()
    now += 61_000
    await assert.rejects(next(open(api.client(), 'FetchX509SVID')), {
      code: status.PERMISSION_DENIED,
    })
  })

  it('is a socket of its owner only, and replaces no file', async () => {
    using api = await served()
    assert.equal(statSync(api.path).mode & 0o777, 0o600)
    using shared = await served({ mode: 0o666 })
    assert.equal(statSync(shared.path).mode & 0o777, 0o666)
    const path = join(dir, 'file')
    writeFileSync(path, 'kept')
    await assert.rejects(served({ path }), { code: 'SP_WORKLOAD_SOCKET' })
    assert.equal(statSync(path).size, 4)
  })

  it('takes no more connections than it may, and no message that is too large', async () => {
    const connected: Socket[] = []
    const holder = new IdentityHolder(identityOf(fabric, '/agent/monitor/1'))
    const source = new IdentitySource({ holder, spiffeId: ID, ask: noPlane })
    using api = await served({
      maxConnections: 1,
      admit(socket) {
        connected.push(socket)
        return Promise.resolve({ source, recheck: () => undefined })
      },
    })
    const stream = open(api.client(), 'FetchX509SVID')
    assert.ok(await next(stream))
    const second = new (makeClientConstructor(WORKLOAD_SERVICE, 'SpiffeWorkloadAPI'))(
      `unix:${api.path}`,
      credentials.createInsecure(),
      { 'grpc.use_local_subchannel_pool': 1 },
    )
    await assert.rejects(next(open(second, 'FetchX509SVID')), { code: status.UNAVAILABLE })
    second.close()
    assert.equal(connected.length, 1)
    const large = new Promise((_resolve, reject) => {
      const { path, responseDeserialize } = WORKLOAD_SERVICE['FetchX509SVID'] ?? missing('')
      api
        .client()
        .makeServerStreamRequest(path, () => Buffer.alloc(100_000), responseDeserialize, {}, spiffe)
        .once('error', reject)
        .resume()
    })
    await assert.rejects(large, { code: status.RESOURCE_EXHAUSTED })
    stream.cancel()
  })

  it('stands whatever is sent to it, and whoever says nothing', async () => {
    using api = await served()
    const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
    const frame = (type: number, length: number): Buffer =>
      Buffer.concat([Buffer.from([0, length >> 8, length & 255, type, 0, 0, 0, 0, 1])])
    const texts = [
      Buffer.alloc(0),
      randomBytes(5000),
      Buffer.from('GET / HTTP/1.1\r\n\r\n'),
      preface,
      Buffer.concat([preface, randomBytes(5000)]),
      // A settings frame and a headers frame that say more than they hold, and headers that no HPACK has.
      Buffer.concat([preface, frame(4, 60_000)]),
      Buffer.concat([preface, frame(4, 0), frame(1, 16_000), randomBytes(16_000)]),
      // A stream that nobody opened.
      Buffer.concat([preface, frame(4, 0), frame(0, 4), Buffer.alloc(4)]),
    ]
    const sockets = texts.flatMap((text) =>
      Array.from({ length: 8 }, () => {
        const socket = connect(api.path)
        socket.on('error', () => undefined).resume()
        socket.write(text)
        return socket
      }),
    )
    const stream = open(api.client(), 'FetchX509SVID')
    assert.ok(await next(stream))
    for (const socket of sockets) socket.destroy()
    const again = open(api.client(), 'FetchX509SVID')
    assert.ok(await next(again))
    stream.cancel()
    again.cancel()
  })
})
