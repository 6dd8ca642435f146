import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttp } from 'node:http'
import type { RequestListener } from 'node:http'
import { createServer as createTcp } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { createServer as createTls } from 'node:tls'
import type { TlsOptions } from 'node:tls'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'

import { forge, forgeRoot } from '../../spiffe/test/forge.ts'
import { createMtlsServer, diagnose, mtlsConnect } from '../src/index.ts'
import type { Diagnosis, IdentityHolder, MtlsServerOptions } from '../src/index.ts'
import { forgedHolder, holderOf, holderOfForged, identityOf, root } from './bank.ts'

const anchors = { rootsPem: root.certificatePem, trustDomain: 'bank.test' }
const other = forgeRoot()
const rootForged = forgeRoot()

type Identity = Parameters<typeof diagnose>[0]['identity']

async function against(server: Server, identity: Identity, now?: number): Promise<Diagnosis> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    return await diagnose({
      // A TCP listener always has an AddressInfo.
      target: { host: '127.0.0.1', port: (server.address() as AddressInfo).port },
      identity,
      timeoutMs: 10_000,
      ...(now === undefined ? {} : { clock: { now: () => now, monotonic: () => now } }),
    })
  } finally {
    server.close()
  }
}

const tls = (options: Partial<TlsOptions> = {}, holder = holderOf('/control/c1')): Server => {
  const { chainPem: cert, keyPem: key } = holder.current()
  return createTls(
    { cert, key, minVersion: 'TLSv1.3', ALPNProtocols: ['http/1.1'], ...options },
    (socket) =>
      socket
        .on('error', () => undefined)
        .resume()
        .end(),
  )
}

/** A server of the network, which answers with this. */
async function network(
  identity: Identity,
  over: {
    readonly holder?: IdentityHolder
    readonly accept?: MtlsServerOptions['accept']
    readonly anonymous?: boolean
    readonly answer?: RequestListener
    readonly now?: number
  } = {},
): Promise<Diagnosis> {
  const http = createHttp(
    over.answer ?? ((_request, response) => response.end('{"quarantined":false}')),
  )
  const server = createMtlsServer({
    identity: over.holder ?? holderOf('/control/c1'),
    accept: over.accept ?? (() => true),
    allowAnonymous: over.anonymous ?? false,
    onConnection: (socket) => http.emit('connection', socket),
    handshakeTimeoutMs: 10_000,
  })
  const { port } = (await server.listen({ host: '127.0.0.1', port: 0 })) as AddressInfo
  try {
    return await diagnose({
      target: { host: '127.0.0.1', port },
      identity,
      timeoutMs: 10_000,
      ...(over.now === undefined
        ? {}
        : { clock: { now: () => over.now ?? 0, monotonic: () => 0 } }),
    })
  } finally {
    await server.close()
  }
}

const says = ({ ok, code, text }: Diagnosis, wanted: string, words: RegExp): void => {
  assert.equal(ok, false)
  assert.equal(code, wanted, text)
  assert.match(text, words)
  assert.ok(!text.includes('\n'))
}

describe('diagnose', () => {
  it('finds nothing where there is nothing', async () => {
    const agent = identityOf('/agent/monitor/1')
    assert.deepEqual(await network(agent), { ok: true, text: 'both certificates are accepted' })
    assert.equal((await network(anchors, { anonymous: true })).ok, true)
    // A gateway takes nobody without a certificate, which is no fault of it.
    const gateway = await network(anchors)
    assert.equal(gateway.ok, true)
    assert.match(gateway.text, /without a certificate/)
  })

  it('tells a port where nobody listens from one that speaks something else', async () => {
    const free = createTcp()
    free.listen(0, '127.0.0.1')
    await once(free, 'listening')
    // A TCP listener always has an AddressInfo.
    const { port } = free.address() as AddressInfo
    free.close()
    await once(free, 'close')
    const target = { host: '127.0.0.1', port }
    says(await diagnose({ target, identity: anchors }), 'SP_CONNECT_FAILED', /nothing listens/)
    // Whoever connects is told why as well, over a socket of its own too.
    const identity = holderOf('/agent/a/i')
    for (const halfOpen of [false, true]) {
      await assert.rejects(mtlsConnect({ identity, target, expect: () => true, halfOpen }), {
        code: 'SP_CONNECT_FAILED',
        detail: /ECONNREFUSED/,
      })
    }
    says(await against(createHttp(), anchors), 'SP_TLS_HANDSHAKE', /speaks no TLS/)
    const silent = createTcp((socket) => socket.on('error', () => undefined).destroy())
    says(await against(silent, anchors), 'SP_TLS_HANDSHAKE', /fails|ends/)
  })

  it('tells an old TLS version and a missing application protocol', async () => {
    const old = tls({ minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })
    says(await against(old, anchors), 'SP_TLS_HANDSHAKE', /TLSv1\.2 at most/)
    says(await against(tls({ ALPNProtocols: ['h2'] }), anchors), 'SP_TLS_ALPN', /http\/1\.1/)
    says(await against(tls({ ALPNProtocols: [] }), anchors), 'SP_TLS_ALPN', /ALPN/)
  })

  it('tells an unknown root, another trust domain, and what is no SVID', async () => {
    const stranger = holderOfForged(forge({ signer: other }), other.pem)
    says(await against(tls({}, stranger), anchors), 'SP_SVID_UNTRUSTED', /no root that is known/)
    const foreign = { rootsPem: root.certificatePem, trustDomain: 'bank.test' }
    const elsewhere = forge({ signer: other, uris: ['spiffe://elsewhere.test/control/c1'] })
    says(
      await against(tls({}, holderOfForged(elsewhere, other.pem)), foreign),
      'SP_SVID_FOREIGN',
      /another trust domain than `bank\.test`/,
    )
    const plain = forgedHolder(other, { uris: [], dns: ['localhost'] })
    says(await against(tls({}, plain), anchors), 'SP_SVID_PROFILE', /no SVID/)
  })

  it('tells an expired certificate from a clock that is wrong', async () => {
    const shortly = holderOf('/control/c1', 60)
    const later = Date.now() + 120_000
    const both = await network(anchors, { holder: shortly, now: later, anonymous: true })
    says(both, 'SP_SVID_EXPIRED', /has expired.*clock is 1\d\d s ahead of the server/)
    const early = await network(anchors, { now: Date.now() - 120_000, anonymous: true })
    says(early, 'SP_SVID_NOT_YET_VALID', /not yet valid.*behind the server/)
    // The same without a clock to compare with.
    says(await against(tls({}, shortly), anchors, later), 'SP_SVID_EXPIRED', /renew it, or correct/)
    const apart = await network(anchors, { now: Date.now() + 30_000, anonymous: true })
    says(apart, 'SP_SVID_NOT_YET_VALID', /clock is \d+ s ahead/)
  })

  it('looks at its own certificate first', async () => {
    const own = identityOf('/agent/monitor/1', 60)
    says(
      await network(own, { now: Date.now() + 120_000 }),
      'SP_SVID_EXPIRED',
      /our own certificate/,
    )
    const foreign = forge({ signer: other, uris: ['spiffe://elsewhere.test/agent/monitor/1'] })
    const identity = { ...anchors, chainPem: foreign.pem, keyPem: foreign.keyPem, notAfter: 0 }
    says(await network(identity), 'SP_SVID_FOREIGN', /our own certificate is of another/)
  })

  it('tells a key of another certificate, and files that are neither', async () => {
    const [own, twin] = [identityOf('/agent/monitor/1'), identityOf('/agent/monitor/1')]
    assert.equal((await network(own)).ok, true)
    const crossed = { ...own, keyPem: twin.keyPem }
    says(await network(crossed), 'SP_IDENTITY_MISMATCH', /not the one of our certificate: .*enrol/)
    const swapped = { ...own, keyPem: own.chainPem, chainPem: own.keyPem }
    says(await network(swapped), 'SP_SVID_MALFORMED', /name the right file/)
    says(await network({ ...own, keyPem: 'x' }), 'SP_IDENTITY_MISMATCH', /name the right file/)
  })

  it('tells a certificate with other names: its own, and the server’s', async () => {
    const named = (uris: readonly string[]) =>
      forge({ signer: rootForged, uris, dns: ['monitor.bank.test'] })
    const known = { rootsPem: rootForged.pem, trustDomain: 'bank.test' }
    const holder = forgedHolder(rootForged, { uris: ['spiffe://bank.test/control/c1'] })
    for (const uris of [[], ['https://bank.test/monitor']]) {
      const { pem: chainPem, keyPem } = named(uris)
      const own = await network({ ...known, chainPem, keyPem, notAfter: 0 }, { holder })
      says(own, own.code ?? '', /our own certificate is no SVID of this network: .*enroll/)
      const server = holderOfForged(named(uris), rootForged.pem)
      const theirs = await against(tls({}, server), known)
      says(theirs, theirs.code ?? '', /certificate of the server is no SVID of this network/)
    }
    const good = named(['spiffe://bank.test/agent/monitor/1'])
    const fine = { ...known, chainPem: good.pem, keyPem: good.keyPem, notAfter: 0 }
    assert.equal((await network(fine, { holder })).ok, true)
  })

  it('tells a socket that is missing, left over, no socket, or of somebody else', async (context) => {
    const dir = mkdtempSync(join(tmpdir(), 'sp-diagnose-'))
    const at = (name: string) =>
      diagnose({ target: { path: join(dir, name) }, identity: anchors, timeoutMs: 10_000 })
    const server = createMtlsServer({
      identity: holderOf('/control/c1'),
      accept: () => true,
      allowAnonymous: true,
      onConnection: (socket) => socket.end(),
      handshakeTimeoutMs: 10_000,
    })
    try {
      await server.listen({ path: join(dir, 'good') })
      assert.equal((await at('good')).ok, true)
      says(await at('absent'), 'SP_CONNECT_FAILED', /no socket .*absent`: is .* started/)
      writeFileSync(join(dir, 'file'), '')
      says(await at('file'), 'SP_CONNECT_FAILED', /no socket|nobody listens/)
      const left = `require('node:net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`
      spawnSync(process.execPath, ['-e', left, join(dir, 'left')])
      says(await at('left'), 'SP_CONNECT_FAILED', /nobody listens at .*start it again/)
      const { seteuid } = process
      if (process.getuid?.() !== 0 || !seteuid) {
        context.diagnostic(
          'only root can become another user: a socket of somebody else is not tried',
        )
        return
      }
      // The folder is this user's alone, so nobody else gets as far as the socket.
      seteuid(65_534)
      try {
        says(await at('good'), 'SP_CONNECT_FAILED', /may not open .*run as the user that owns it/)
      } finally {
        seteuid(0)
      }
    } finally {
      await server.close()
      rmSync(dir, { recursive: true, force: true })
    }
  })

  it('tells a quarantine, a revocation, and a server that wants somebody else', async () => {
    const agent = identityOf('/agent/monitor/1')
    const answer =
      (status: number, body: object): RequestListener =>
      (_request, response) => {
        response.writeHead(status, { 'content-type': 'application/problem+json' })
        response.end(JSON.stringify(body))
      }
    const quarantined = await network(agent, { answer: answer(200, { quarantined: true }) })
    says(quarantined, 'SP_QUARANTINED', /quarantined/)
    const cut = await network(agent, { answer: answer(403, { code: 'SP_QUARANTINED' }) })
    says(cut, 'SP_QUARANTINED', /quarantined/)
    const revoked = await network(agent, { answer: answer(403, { code: 'SP_SVID_REVOKED' }) })
    says(revoked, 'SP_SVID_REVOKED', /enrol anew/)
    says(
      await network(agent, { accept: () => 'gateways only' }),
      'SP_PEER_REFUSED',
      /after the handshake/,
    )
  })
})
