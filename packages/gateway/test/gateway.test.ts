import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

describe('a gateway between agents and services', () => {
  let world: World
  before(async () => {
    world = await startWorld()
  })
  after(() => world.close())

  it('lets a declared, permitted call through, projected', async () => {
    const { status, body, headers } = await world
      .agent('reader')
      .ask({ path: '/bank/v1/accounts/ACC-1' })
    assert.equal(status, 200, JSON.stringify(body))
    console.log(body, headers, world.gateway.stats())
    await until(() => world.plane.records().some((r) => r.kind === 'outcome'))
    console.log(world.plane.records())
  })
})
