import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import net from 'node:net'
import type { AddressInfo } from 'node:net'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'

import {
  assertFresh,
  createMtlsServer,
  IdentityHolder,
  mtlsConnect,
  peerOf,
  tlsFacts,
} from '../src/index.ts'
import type { MtlsServer, MtlsServerOptions, RefusedFacts } from '../src/index.ts'
import { holderOf, identityOf, root } from './bank.ts'

interface Served extends AsyncDisposable {
  readonly server: MtlsServer
  readonly port: number
  readonly refused: RefusedFacts[]
  readonly peers: string[]
}

async function serve(options: Partial<MtlsServerOptions> = {}): Promise<Served> {
  const refused: RefusedFacts[] = []
  const peers: string[] = []
  const server = createMtlsServer({
    identity: holderOf('/gateway/g1'),
    accept: () => true,
    onConnection: (socket, peer) => {
      peers.push(peer?.id.uri ?? 'anonymous')
      socket.resume().write('hello')
    },
    onRefused: (facts) => refused.push(facts),
    handshakeTimeoutMs: 1000,
    ...options,
  })
  // A TCP listener always has an AddressInfo.
  const { port } = (await server.listen({ host: '127.0.0.1', port: 0 })) as AddressInfo
  return { server, port, refused, peers, [Symbol.asyncDispose]: () => server.close() }
}

const agent = holderOf('/agent/monitor/1')
const dial = (port: number, more: Partial<Parameters<typeof mtlsConnect>[0]> = {}) =>
  mtlsConnect({ identity: agent, port, expect: () => true, timeoutMs: 2000, ...more })

/** Resolves when the socket is closed, however it ended. */
function closed(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => {
    if (socket.closed) resolve()
    else socket.resume().once('close', () => resolve())
  })
}

/** Waits until the server, which learns of it a little later, sees it too. */
async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 30_000; !condition() && performance.now() < end;)
    await sleep(5)
  assert.ok(condition())
}

/** A plain TLS client with a good certificate, to be spoiled. */
async function raw(
  port: number,
  more: tls.ConnectionOptions,
): Promise<{ text: string; socket: tls.TLSSocket }> {
  const { chainPem, keyPem } = agent.current()
  const socket = tls.connect({
    host: '127.0.0.1',
    port,
    cert: chainPem,
    key: keyPem,
    ca: root.certificatePem,
    checkServerIdentity: () => undefined,
    ALPNProtocols: ['http/1.1'],
    ...more,
  })
  let text = ''
  socket.on('data', (chunk) => {
    text += String(chunk)
    socket.end()
  })
  socket.on('error', () => undefined)
  await closed(socket)
  return { text, socket }
}

describe('the TLS profile', () => {
  it('is TLS 1.3 with the hybrid group, known to both sides by their ids', async () => {
    await using served = await serve()
    const socket = await dial(served.port)
    await until(() => served.peers.length > 0)
    assert.deepEqual(served.peers, ['spiffe://bank.test/agent/monitor/1'])
    assert.equal(peerOf(socket)?.id.uri, 'spiffe://bank.test/gateway/g1')
    const facts = tlsFacts(socket)
    assert.equal(facts.protocol, 'TLSv1.3')
    assert.equal(facts.group, 'X25519MLKEM768')
    assert.equal(facts.serial, peerOf(socket)?.serial)
    socket.destroy()
  })

  it('holds no short piece back, on either end', async (t) => {
    const set = t.mock.method(net.Socket.prototype, 'setNoDelay')
    await using served = await serve()
    const socket = await dial(served.port)
    const ends = set.mock.calls.flatMap(({ this: end, arguments: [on] }) => (on ? [end] : []))
    assert.ok(ends.includes(socket), 'the client')
    const accepts = (end: unknown): boolean =>
      end instanceof net.Socket && end.localPort === served.port
    assert.ok(ends.some(accepts), 'the server')
    socket.destroy()
  })

  it('refuses TLS 1.2', async () => {
    await using served = await serve()
    assert.equal((await raw(served.port, {})).text, 'hello')
    assert.equal((await raw(served.port, { maxVersion: 'TLSv1.2' })).text, '')
    assert.equal(served.refused[0]?.code, 'SP_TLS_HANDSHAKE')
  })

  it('refuses a client that offers no protocol, or only others', async () => {
    await using served = await serve()
    assert.equal((await raw(served.port, {})).text, 'hello')
    assert.equal((await raw(served.port, { ALPNProtocols: [] })).text, '')
    assert.equal(served.refused[0]?.code, 'SP_TLS_ALPN')
    assert.equal((await raw(served.port, { ALPNProtocols: ['h2'] })).text, '')
    assert.equal(served.refused[1]?.code, 'SP_TLS_HANDSHAKE')
  })

  it('takes post-quantum only where it is required, and says so', async () => {
    const groups: (string | undefined)[] = []
    await using served = await serve({
      requirePostQuantum: true,
      onConnection: (socket) => {
        groups.push(tlsFacts(socket).group)
        socket.write('hello')
      },
    })
    assert.equal((await raw(served.port, {})).text, 'hello')
    assert.deepEqual(groups, ['X25519MLKEM768'])
    assert.equal((await raw(served.port, { ecdhCurve: 'X25519' })).text, '')
    await using lax = await serve()
    assert.equal((await raw(lax.port, { ecdhCurve: 'X25519' })).text, 'hello')
  })

  it('resumes no session', async () => {
    await using served = await serve()
    const sessions: Buffer[] = []
    const { chainPem, keyPem } = agent.current()
    const options = {
      host: '127.0.0.1',
      port: served.port,
      cert: chainPem,
      key: keyPem,
      ca: root.certificatePem,
      checkServerIdentity: () => undefined,
      ALPNProtocols: ['http/1.1'],
    }
    const first = tls.connect(options)
    first.on('session', (session) => sessions.push(session))
    await once(first, 'data')
    await sleep(50)
    const own = first.getSession()
    if (own) sessions.push(own)
    first.destroy()
    assert.ok(sessions.length > 0)
    for (const session of sessions) {
      const again = tls.connect({ ...options, session })
      await once(again, 'data')
      assert.equal(again.isSessionReused(), false)
      again.destroy()
    }
    assert.equal(served.peers.length, sessions.length + 1)
    // The control: an ordinary server does resume with the very same client, so the check above can fail.
    const plain = tls.createServer(
      { cert: chainPem, key: keyPem, ALPNProtocols: ['http/1.1'] },
      (socket) => {
        socket.on('error', () => undefined)
        socket.write('hello')
      },
    )
    plain.listen(0, '127.0.0.1')
    await once(plain, 'listening')
    const { port } = plain.address() as AddressInfo
    const one = tls.connect({ ...options, port })
    const [ticket] = (await once(one, 'session')) as [Buffer]
    one.destroy()
    const two = tls.connect({ ...options, port, session: ticket })
    await once(two, 'secureConnect')
    assert.equal(two.isSessionReused(), true)
    two.destroy()
    plain.close()
  })

  it('gives up on a client that does not finish the handshake', async () => {
    await using served = await serve({ handshakeTimeoutMs: 100 })
    const mute = net.connect(served.port, '127.0.0.1')
    mute.on('error', () => undefined)
    await closed(mute)
    assert.equal(served.refused[0]?.code, 'SP_TLS_HANDSHAKE')
  })

  it('gives up on a server that does not finish the handshake', async () => {
    const mute = net.createServer((socket) => socket.on('error', () => undefined))
    mute.listen(0, '127.0.0.1')
    await once(mute, 'listening')
    const { port } = mute.address() as AddressInfo
    await assert.rejects(dial(port, { timeoutMs: 100 }), { code: 'SP_CONNECT_TIMEOUT' })
    mute.close()
  })

  it('holds the number of connections', async () => {
    await using served = await serve({ maxConnections: 2 })
    const kept = [await dial(served.port), await dial(served.port)]
    await assert.rejects(dial(served.port))
    kept[0]?.destroy()
    await until(() => served.server.sockets.size === 1)
    const next = await dial(served.port)
    await until(() => served.peers.length === 3)
    for (const socket of [...kept, next]) socket.destroy()
  })
})

describe('who may connect', () => {
  it('is for `accept` to say, with its reason', async () => {
    await using served = await serve({
      accept: (peer) => (peer.id.segments[0] === 'agent' ? true : 'agents only'),
    })
    assert.equal((await raw(served.port, {})).text, 'hello')
    const control = identityOf('/control/c1')
    assert.equal((await raw(served.port, { cert: control.chainPem, key: control.keyPem })).text, '')
    assert.equal(served.refused[0]?.code, 'SP_PEER_REFUSED')
    assert.equal(served.refused[0].reason, 'agents only')
    assert.equal(served.refused[0].spiffeId, 'spiffe://bank.test/control/c1')
  })

  it('refuses when `accept` throws', async () => {
    await using served = await serve({
      accept: () => {
        throw new Error('broken')
      },
    })
    assert.equal((await raw(served.port, {})).text, '')
    assert.equal(served.refused[0]?.code, 'SP_INTERNAL')
  })

  it('lets in clients without certificate only where that is allowed', async () => {
    const anonymous = { identity: { rootsPem: root.certificatePem, trustDomain: 'bank.test' } }
    await using open = await serve({ allowAnonymous: true })
    const socket = await dial(open.port, anonymous)
    await once(socket, 'data')
    socket.destroy()
    assert.deepEqual(open.peers, ['anonymous'])
    // One that presents a bad certificate is not anonymous: it is refused.
    const expired = identityOf('/agent/monitor/1', 1)
    await sleep(1100)
    assert.equal((await raw(open.port, { cert: expired.chainPem, key: expired.keyPem })).text, '')
    assert.equal(open.refused[0]?.code, 'SP_SVID_EXPIRED')
    await using strict = await serve()
    const turned = await dial(strict.port, anonymous).catch(() => undefined)
    if (turned) await closed(turned)
    assert.deepEqual(strict.peers, [])
    assert.equal(strict.refused[0]?.code, 'SP_PEER_ANONYMOUS')
  })

  it('is checked by the client too', async () => {
    await using served = await serve()
    const socket = await dial(served.port, { expect: (peer) => peer.id.path === '/gateway/g1' })
    socket.destroy()
    await assert.rejects(dial(served.port, { expect: (peer) => peer.id.path === '/gateway/g2' }), {
      code: 'SP_PEER_REFUSED',
    })
  })
})

describe('SocketIndex', () => {
  it('cuts an instance, or every instance of an agent, and nobody else', async () => {
    await using served = await serve()
    const connect = async (path: string) => {
      const socket = await dial(served.port, { identity: holderOf(path) })
      await once(socket, 'data')
      return socket
    }
    const one = await connect('/agent/monitor/1')
    const two = await connect('/agent/monitor/2')
    const near = await connect('/agent/monitor2/1')
    const { sockets } = served.server
    assert.equal(sockets.size, 3)
    assert.equal(sockets.cut('spiffe://bank.test/agent/monitor/1'), 1)
    await closed(one)
    assert.equal(two.closed, false)
    assert.equal(sockets.cut('spiffe://bank.test/agent/monitor'), 1)
    await closed(two)
    assert.equal(sockets.cut('spiffe://bank.test/agent/monitor'), 0)
    assert.equal(sockets.size, 1)
    near.resume()
    near.write('x')
    await sleep(30)
    assert.equal(near.closed, false)
    near.destroy()
    await until(() => sockets.size === 0)
  })

  it('stops what the kernel still holds for a slow reader', async () => {
    const total = 50_000_000
    await using served = await serve({
      onConnection: (socket) => socket.write(Buffer.alloc(total)),
    })
    const socket = await dial(served.port)
    let got = 0
    let cut = false
    socket.on('data', (chunk: Buffer) => {
      got += chunk.length
      if (!cut && got > 100_000) socket.pause()
    })
    await sleep(100)
    const before = performance.now()
    assert.equal(served.server.sockets.cut('spiffe://bank.test/agent/monitor/1'), 1)
    const took = performance.now() - before
    cut = true
    await closed(socket)
    assert.ok(got < total)
    assert.ok(took < 5000, `${took} ms`)
  })
})

describe('rotation', () => {
  it('gives new handshakes the new identity and leaves open sockets alone', async () => {
    const identity = holderOf('/gateway/g1')
    await using served = await serve({ identity })
    const before = await dial(served.port)
    const first = peerOf(before)?.serial
    identity.replace(identityOf('/gateway/g1'))
    const later = await dial(served.port)
    assert.notEqual(peerOf(later)?.serial, first)
    assert.equal(before.closed, false)
    before.destroy()
    later.destroy()
  })

  it("refuses a key that is not the certificate's, and keeps what it had", () => {
    const holder = holderOf('/gateway/g1')
    const kept = holder.current()
    const [one, two] = [identityOf('/gateway/g1'), identityOf('/gateway/g1')]
    let heard = 0
    const stop = holder.onChange(() => heard++)
    assert.throws(
      () => {
        holder.replace({ ...one, keyPem: two.keyPem })
      },
      { code: 'SP_IDENTITY_MISMATCH' },
    )
    assert.throws(
      () => {
        holder.replace({ ...one, rootsPem: '' })
      },
      { code: 'SP_BUNDLE_INVALID' },
    )
    assert.equal(holder.current(), kept)
    assert.equal(heard, 0)
    holder.replace(one)
    assert.equal(holder.current(), one)
    assert.equal(heard, 1)
    stop()
    holder.replace(two)
    assert.equal(heard, 1)
    assert.throws(() => new IdentityHolder({ ...one, chainPem: '' }), {
      code: 'SP_IDENTITY_MISMATCH',
    })
  })

  it('changes the roots with the identity', async () => {
    const identity = holderOf('/gateway/g1')
    await using served = await serve({ identity })
    assert.equal((await raw(served.port, {})).text, 'hello')
    const { forgeRoot, forge } = await import('../../spiffe/test/forge.ts')
    const other = forgeRoot()
    const leaf = forge({ signer: other, uris: ['spiffe://bank.test/gateway/g1'] })
    identity.replace({
      ...identity.current(),
      chainPem: leaf.pem,
      keyPem: leaf.keyPem,
      rootsPem: other.pem,
    })
    assert.equal((await raw(served.port, { rejectUnauthorized: false })).text, '')
    assert.equal(served.refused[0]?.code, 'SP_SVID_UNTRUSTED')
  })
})

describe('expiry', () => {
  it('is judged again on every request', async () => {
    await using served = await serve()
    const socket = await dial(served.port)
    const peer = peerOf(socket)
    assert.ok(peer)
    assertFresh(peer, peer.notAfter)
    assert.throws(
      () => {
        assertFresh(peer, peer.notAfter + 1)
      },
      { code: 'SP_SVID_EXPIRED' },
    )
    assert.throws(
      () => {
        assertFresh(peer, peer.notBefore - 1)
      },
      { code: 'SP_SVID_NOT_YET_VALID' },
    )
    assert.throws(
      () => {
        assertFresh(peer, Number.NaN)
      },
      { code: 'SP_SVID_EXPIRED' },
    )
    socket.destroy()
  })

  it("bounds the life of a client connection by the server's certificate", async () => {
    await using served = await serve({ identity: holderOf('/gateway/g1', 2) })
    const socket = await dial(served.port)
    const told: string[] = []
    const lasting = await dial(served.port, {
      onPeerExpired: (_socket, peer) => told.push(peer.id.path),
    })
    await closed(socket)
    assert.ok(Date.now() >= (peerOf(socket)?.notAfter ?? Infinity))
    while (told.length === 0) await sleep(20)
    assert.deepEqual(told, ['/gateway/g1'])
    assert.equal(lasting.closed, false)
    lasting.destroy()
  })
})

describe('what sockets can be', () => {
  it('serves HTTP over a socket handed on, through a relay over a Unix socket', async () => {
    const http = createHttpServer((request, response) => {
      response.end(peerOf(request.socket)?.id.uri)
    })
    await using served = await serve({ onConnection: (socket) => http.emit('connection', socket) })
    const dir = mkdtempSync(join(tmpdir(), 'sp-t-'))
    const path = join(dir, 'relay.sock')
    const relay = net.createServer((near) => {
      const far = net.connect(served.port, '127.0.0.1')
      near.pipe(far).pipe(near)
      for (const end of [near, far]) end.on('error', () => undefined)
    })
    try {
      relay.listen(path)
      await once(relay, 'listening')
      const socket = await mtlsConnect({ identity: agent, path, expect: () => true })
      socket.write('GET / HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n')
      let text = ''
      for await (const chunk of socket) text += String(chunk)
      assert.match(text, /spiffe:\/\/bank\.test\/agent\/monitor\/1/)
    } finally {
      relay.close()
      rmSync(dir, { recursive: true })
    }
  })

  it('says that a folder is not there, and not that it may not write in it', async () => {
    const onConnection = (): void => undefined
    const identity = holderOf('/gateway/g1')
    const terms = { accept: () => true, onConnection, handshakeTimeoutMs: 1000 }
    const server = createMtlsServer({ identity, ...terms })
    const listening = server.listen({ path: join(tmpdir(), 'sp-t-none/points.sock') })
    await assert.rejects(listening, {
      code: 'SP_LISTEN_FAILED',
      detail: /the folder of `.*points\.sock` is not there/,
    })
    await server.close()
  })

  it("listens on a Unix socket of its owner's only", async () => {
    const dir = mkdtempSync(join(tmpdir(), 'sp-t-'))
    const path = join(dir, 'server.sock')
    await using served = await serve()
    const server = createMtlsServer({
      identity: holderOf('/gateway/g1'),
      accept: () => true,
      onConnection: (socket) => socket.end('hello'),
      handshakeTimeoutMs: 1000,
    })
    try {
      await server.listen({ path })
      assert.equal(statSync(path).mode & 0o777, 0o600)
      const socket = await mtlsConnect({ identity: agent, target: { path }, expect: () => true })
      const [data] = (await once(socket, 'data')) as [Buffer]
      assert.equal(String(data), 'hello')
      assert.equal(server.sockets.size, 1)
      assert.equal(server.sockets.cut('spiffe://bank.test/agent/monitor/1'), 1)
      await assert.rejects(
        createMtlsServer({
          identity: agent,
          accept: () => true,
          onConnection: () => undefined,
          handshakeTimeoutMs: 1,
        }).listen({ host: '127.0.0.1', port: served.port }),
        { code: 'SP_LISTEN_FAILED' },
      )
    } finally {
      await server.close()
      rmSync(dir, { recursive: true })
    }
  })
})
