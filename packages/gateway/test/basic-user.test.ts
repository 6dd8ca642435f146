import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Declaration } from '@sallyport/network'
import { Outside } from './support/outside.ts'
import { json } from './support/service.ts'
import { startWorld } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

/** `rates`, which knows its clients by the user name of Basic authentication. */
function basic(declaration: Declaration): Declaration {
  const systems = declaration.network.systems.map((system) => {
    if (system.upstream.kind !== 'external') return system
    const credential = { header: 'authorization', secret: 'rates-key', as: 'basic-user' } as const
    return { ...system, upstream: { ...system.upstream, credential } }
  })
  return { ...declaration, network: { ...declaration.network, systems } }
}

describe('keys that are the user name of Basic authentication', () => {
  const seen: (string | undefined)[] = []
  let world: World
  let agent: TestAgent
  const rates = new Outside((req, res) => {
    seen.push(req.headers.authorization)
    json(res, { rate: 42 })
  })
  before(async () => {
    await rates.listen()
    world = await startWorld({}, undefined, (declaration) => basic(rates.in(declaration)))
    agent = world.agent('reader')
  })
  after(async () => {
    await world.close()
    rates.close()
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
