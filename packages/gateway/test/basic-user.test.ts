import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import type { Declaration } from '@sallyport/network'
import { createIssuer, createRoot } from '@sallyport/spiffe'
import { json } from './support/service.ts'
import { startWorld } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

/** `rates`, at this address, which knows its clients by the user name of Basic authentication. */
const basic =
  (port: number, caFile: string) =>
  (declaration: Declaration): Declaration => {
    const systems = declaration.network.systems.map((system) => {
      if (system.upstream.kind !== 'external') return system
      const credential = { header: 'authorization', secret: 'rates-key', as: 'basic-user' } as const
      const url = `https://127.0.0.1:${port}/base`
      return { ...system, upstream: { ...system.upstream, url, caFile, credential } }
    })
    return { ...declaration, network: { ...declaration.network, systems } }
  }

describe('keys that are the user name of Basic authentication', () => {
  const seen: (string | undefined)[] = []
  let world: World
  let agent: TestAgent
  let server: ReturnType<typeof createServer>
  before(async () => {
    const root = createRoot({ trustDomain: 'rates.example', ttlSeconds: 3600 })
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const leaf = createIssuer({
      certificatePem: root.certificatePem,
      privateKey: root.privateKeyPem,
    }).issue({
      spiffeId: 'spiffe://rates.example/server',
      publicKeySpki: pair.publicKey.export({ type: 'spki', format: 'der' }),
      ttlSeconds: 600,
      dnsNames: ['rates.example'],
    })
    const key = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    server = createServer({ cert: leaf.chainPem, key }, (req, res) => {
      seen.push(req.headers.authorization)
      json(res, { rate: 42 })
    })
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    // Port of a TCP listener.
    const { port } = server.address() as AddressInfo
    world = await startWorld({}, undefined, basic(port, root.certificatePem))
    agent = world.agent('reader')
  })
  after(async () => {
    await world.close()
    server.closeAllConnections()
    server.close()
  })
  const ask = (user: string, from = agent) => {
    const authorization = `Basic ${Buffer.from(user).toString('base64')}`
    return from.ask({ path: '/rates/v1/rate', headers: { authorization } })
  }

  it('are brought by the gateway, for a client that says that it has none', async () => {
    assert.deepEqual((await ask('sallyport:')).body, { rate: 42 })
    assert.deepEqual(seen, [`Basic ${Buffer.from('brokered-secret:').toString('base64')}`])
  })
  it('are not a caller’s to bring', async () => {
    for (const user of ['key:', 'sallyport:x', 'sallyport']) {
      assert.equal((await ask(user)).status, 401, user)
    }
    assert.equal(seen.length, 1)
  })
  it('are none with a colon, which would be a password', async () => {
    await world.restart({ secrets: { 'rates-key': 'user:password' } })
    const reply = await ask('sallyport:', world.agent('reader', 'i2'))
    assert.equal(reply.body['code'], 'SP_CREDENTIAL_MISSING')
    assert.equal(seen.length, 1)
  })
})
