import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { createMtlsServer, mtlsConnect, peerOf } from '../src/index.ts'
import { holderOf } from './bank.ts'

const ROOT = join(import.meta.dirname, '../../..')
const CALL = /\.getPeerX509Certificate\b/

describe('`getPeerX509Certificate` of a TLS socket', () => {
  it('is called by nothing of ours: it takes a session’s chain away, and throws where that is mended (ADR 14)', () => {
    const files = globSync('{packages/*/{src,bin},examples,tools}/**/*.{ts,tsx,js,mjs}', {
      cwd: ROOT,
      exclude: (name) => name.includes('node_modules') || name === 'dist',
    })
    assert.ok(files.length > 500, `${files.length} files read`)
    const calling = files.filter((file) => CALL.test(readFileSync(join(ROOT, file), 'utf8')))
    assert.deepEqual(calling, ['packages/transport/src/peer-chains.ts'])
  })

  // Elsewhere nothing is mended, and it is as Node has it.
  const skip = !['v24.21.0', 'v26.8.0'].includes(process.version)
  it(
    'throws on either side of a connection whose peer has a certificate, which is known all the same',
    { skip },
    async () => {
      const served = Promise.withResolvers<readonly unknown[]>()
      const failing = (ask: () => unknown): unknown => {
        try {
          return ask()
        } catch (error) {
          return error
        }
      }
      const server = createMtlsServer({
        identity: holderOf('/gateway/g1'),
        accept: () => true,
        onConnection: (socket) => {
          served.resolve([
            failing(() => socket.getPeerX509Certificate()?.subject),
            peerOf(socket)?.id.uri,
          ])
          socket.end()
        },
        handshakeTimeoutMs: 2000,
      })
      // A TCP listener always has an AddressInfo.
      const { port } = (await server.listen({ host: '127.0.0.1', port: 0 })) as AddressInfo
      const identity = holderOf('/agent/a/1')
      const socket = await mtlsConnect({ identity, port, expect: () => true, timeoutMs: 2000 })
      const [error, peer] = await served.promise
      assert.ok(error instanceof Error, String(error))
      assert.equal(peer, 'spiffe://bank.test/agent/a/1')
      assert.ok(failing(() => socket.getPeerX509Certificate()?.subject) instanceof Error)
      assert.equal(peerOf(socket)?.id.uri, 'spiffe://bank.test/gateway/g1')
      socket.destroy()
      await server.close()
    },
  )
})
