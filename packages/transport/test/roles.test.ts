/** Every certificate that must not authenticate, refused in both TLS roles, each beside a good one of the same issuer. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { AddressInfo } from 'node:net'

import { SallyportError } from '@sallyport/base'

import { badLeaves, forge, forgeRoot, forgeSigner } from '../../spiffe/test/forge.ts'
import { createMtlsServer, mtlsConnect, peerOf } from '../src/index.ts'
import type { IdentityHolder, MtlsServer, RefusedFacts } from '../src/index.ts'
import { forgedHolder, holderOfForged } from './bank.ts'

const root = forgeRoot()
const foreign = forgeRoot('evil.test')

interface Served {
  readonly server: MtlsServer
  readonly port: number
  readonly accepted: string[]
  readonly refused: RefusedFacts[]
}

async function serve(identity: IdentityHolder): Promise<Served> {
  const accepted: string[] = []
  const refused: RefusedFacts[] = []
  const server = createMtlsServer({
    identity,
    accept: () => true,
    onConnection: (socket, peer) => {
      accepted.push(peer?.id.uri ?? 'anonymous')
      socket.end('hello')
    },
    onRefused: (facts) => refused.push(facts),
    handshakeTimeoutMs: 2000,
  })
  // A TCP listener always has an AddressInfo.
  const { port } = (await server.listen({ host: '127.0.0.1', port: 0 })) as AddressInfo
  return { server, port, accepted, refused }
}

/** What a client reads until the end; an error where it was turned away. */
async function read(port: number, identity: IdentityHolder): Promise<string> {
  const socket = await mtlsConnect({ identity, port, expect: () => true, timeoutMs: 2000 })
  let text = ''
  for await (const chunk of socket) text += String(chunk)
  return text
}

const good = forgedHolder(root, { uris: ['spiffe://bank.test/agent/good/1'] })
const mid = forgeSigner(root)
/** Below a signing certificate, which is sent along and enclosed. */
const chained = (path: string): IdentityHolder => {
  const leaf = forge({ signer: mid, encloses: mid.raw, uris: [`spiffe://bank.test${path}`] })
  return holderOfForged({ ...leaf, pem: leaf.pem + mid.pem }, root.pem)
}
const spoiled = [
  ...badLeaves(root),
  {
    name: "a leaf of another domain's root that claims this one",
    leaf: forge({ signer: foreign }),
    code: 'SP_SVID_UNTRUSTED',
  },
]

describe('a server of the profile', () => {
  let served: Served
  before(async () => {
    served = await serve(forgedHolder(root, { uris: ['spiffe://bank.test/gateway/g1'] }))
  })
  after(() => served.server.close())

  for (const bad of spoiled) {
    it(`refuses a client with ${bad.name}`, async () => {
      served.accepted.length = served.refused.length = 0
      assert.equal(await read(served.port, good), 'hello')
      assert.deepEqual(served.accepted, ['spiffe://bank.test/agent/good/1'])
      let text = ''
      try {
        text = await read(served.port, holderOfForged(bad.leaf, root.pem))
      } catch (error) {
        // Some are so malformed that OpenSSL will not even send them.
        assert.ok(error instanceof Error)
      }
      assert.equal(text, '')
      assert.equal(served.accepted.length, 1)
      assert.equal(served.server.sockets.of('spiffe://bank.test/agent/monitor/1').length, 0)
      if (served.refused.length > 0) assert.equal(served.refused[0]?.code, bad.code)
    })
  }

  it('told why for nearly all of them', async () => {
    let told = 0
    for (const bad of spoiled) {
      served.refused.length = 0
      await read(served.port, holderOfForged(bad.leaf, root.pem)).catch(() => undefined)
      if (served.refused.some((facts) => facts.code === bad.code)) told++
    }
    assert.ok(told >= spoiled.length - 2, `${told} of ${spoiled.length}`)
  })
})

describe('an SVID below a signing certificate', () => {
  it('is accepted by both sides, which know the root alone', async () => {
    const served = await serve(chained('/gateway/g2'))
    try {
      const socket = await mtlsConnect({
        identity: chained('/agent/a/1'),
        port: served.port,
        expect: (peer) => peer.id.path === '/gateway/g2',
      })
      let text = ''
      for await (const chunk of socket) text += String(chunk)
      assert.equal(text, 'hello')
      assert.deepEqual(served.accepted, ['spiffe://bank.test/agent/a/1'])
      // Beside it: the same leaf without the certificate above, which OpenSSL then misses.
      const leaf = forge({ signer: mid, encloses: mid.raw })
      assert.equal(await read(served.port, holderOfForged(leaf, root.pem)).catch(() => ''), '')
      assert.equal(served.refused[0]?.code, 'SP_SVID_UNTRUSTED')
    } finally {
      await served.server.close()
    }
  })
})

describe('an SVID below a signing certificate that is sent along and not enclosed, as other software issues them', () => {
  it('is accepted by both sides, which know the root alone', async () => {
    const holder = (path: string, above: string): IdentityHolder => {
      const leaf = forge({ signer: mid, uris: [`spiffe://bank.test${path}`] })
      return holderOfForged({ ...leaf, pem: leaf.pem + above }, root.pem)
    }
    const served = await serve(holder('/gateway/g3', mid.pem))
    try {
      const socket = await mtlsConnect({
        identity: holder('/agent/b/1', mid.pem),
        port: served.port,
        expect: (peer) => peer.id.path === '/gateway/g3',
      })
      let text = ''
      for await (const chunk of socket) text += String(chunk)
      assert.equal(text, 'hello')
      assert.deepEqual(served.accepted, ['spiffe://bank.test/agent/b/1'])
      // Beside it: one whose signer is another than the certificate that was sent along.
      const other = holder('/agent/b/1', forgeSigner(root).pem)
      assert.equal(await read(served.port, other).catch(() => ''), '')
      assert.equal(served.refused.length, 1)
    } finally {
      await served.server.close()
    }
  })
})

describe('a client of the profile', () => {
  for (const bad of spoiled) {
    it(`refuses a server with ${bad.name}`, async () => {
      const honest = await serve(forgedHolder(root, { uris: ['spiffe://bank.test/gateway/g1'] }))
      try {
        const socket = await mtlsConnect({ identity: good, port: honest.port, expect: () => true })
        assert.equal(peerOf(socket)?.id.uri, 'spiffe://bank.test/gateway/g1')
        socket.destroy()
      } finally {
        await honest.server.close()
      }
      const served = await serve(holderOfForged(bad.leaf, root.pem))
      try {
        await assert.rejects(
          mtlsConnect({ identity: good, port: served.port, expect: () => true, timeoutMs: 2000 }),
          (error) => {
            assert.ok(error instanceof SallyportError)
            // OpenSSL may stop the handshake first, with less to say.
            assert.match(
              error.code,
              new RegExp(`^(${bad.code}|SP_SVID_UNTRUSTED|SP_CONNECT_FAILED)$`),
            )
            return true
          },
        )
      } finally {
        await served.server.close()
      }
    })
  }
})
