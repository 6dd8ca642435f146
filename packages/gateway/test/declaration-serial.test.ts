import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import type { Declaration } from '@sallyport/network'
import { declarationDigest } from '@sallyport/wire'
import type { Bundle } from '@sallyport/wire'
import { startWorld, until } from './support/world.ts'
import type { World } from './support/world.ts'

const A = '/bank/v1/accounts/A'

let world: World
afterEach(() => world.close())

/** A declaration of its own digest, as the operator signed it under a serial. */
function draft(name: string, serial: number, epoch = 1): Partial<Bundle<Declaration>> {
  const { network, policies } = world.plane.declaration
  const declaration = { network: { ...network, name }, policies }
  const digest = declarationDigest(declaration)
  const statement = { kind: 'declaration', digest, epoch, serial } as const
  return {
    declaration,
    declarationDigest: digest,
    declarationSerial: serial,
    declarationSignatures: [world.plane.operator.sign(statement)],
  }
}

const refusedFor = (code: string): number =>
  world.plane
    .records()
    .filter((r) => r.kind === 'event' && r.event === 'bundle-refused' && r.code === code).length

async function taken(over: Partial<Bundle<Declaration>>): Promise<void> {
  const { bundlesAccepted } = world.gateway.stats()
  world.plane.publish(over)
  await until(() => world.gateway.stats().bundlesAccepted > bundlesAccepted)
}

async function refused(over: Partial<Bundle<Declaration>>, code: string): Promise<void> {
  const before = refusedFor(code)
  world.plane.publish(over)
  await until(() => refusedFor(code) > before)
}

const seen = async (): Promise<Record<string, unknown>> =>
  JSON.parse(await readFile(join(world.dataDir, 'seen.json'), 'utf8'))

describe('a declaration that a quorum signed and the control plane held back', () => {
  it('does not undo a later one, also after the gateway began anew; a later one does', async () => {
    world = await startWorld()
    const heldBack = draft('held-back', 4)
    const narrow = draft('narrow', 5)
    await taken(draft('first', 3))
    await taken(narrow)
    await refused(heldBack, 'SP_BUNDLE_SERIAL')
    // Not with the serial of what is in force, nor with none, as before there were any, nor with one that nobody signed.
    await refused({ ...draft('same', 5) }, 'SP_BUNDLE_SERIAL')
    const { declarationSerial: _4, ...none } = heldBack
    await refused(none, 'SP_BUNDLE_SERIAL')
    await refused({ ...heldBack, declarationSerial: 6 }, 'SP_BUNDLE_UNSIGNED')
    assert.equal((await seen())['declarationSerial'], 5)

    // The control: what is in force, shown again under a later revision.
    await taken(narrow)
    await world.restart()
    await refused(heldBack, 'SP_BUNDLE_SERIAL')
    assert.equal((await seen())['declarationDigest'], narrow.declarationDigest)
    await taken(narrow)
    assert.equal((await world.agent('reader').ask({ path: A })).status, 200)
    await taken(draft('later', 6))
    assert.equal((await seen())['declarationSerial'], 6)
  })

  it('comes back with a new epoch that a quorum signed for, and counts up from there', async () => {
    world = await startWorld()
    await taken(draft('narrow', 5))
    const restored = { revision: { epoch: 2, n: 1 } }
    await refused({ ...draft('held-back', 4), ...restored }, 'SP_BUNDLE_UNSIGNED')
    await taken({ ...draft('held-back', 4, 2), ...restored })
    assert.equal((await seen())['declarationSerial'], 4)
    const n = (n: number) => ({ revision: { epoch: 2, n } })
    await refused({ ...draft('older', 3, 2), ...n(2) }, 'SP_BUNDLE_SERIAL')
    await taken({ ...draft('later', 5, 2), ...n(3) })
    await refused({ ...draft('narrow', 9), ...n(4) }, 'SP_BUNDLE_UNSIGNED')
  })

  it('is judged by a file that can be read, or not at all', async () => {
    world = await startWorld()
    await taken(draft('narrow', 5))
    await world.gateway.close()
    const file = join(world.dataDir, 'seen.json')
    const good = await seen()
    await writeFile(file, JSON.stringify({ ...good, declarationSerial: '5' }))
    await assert.rejects(world.restart(), { code: 'SP_GATEWAY_STATE' })
    await writeFile(file, JSON.stringify(good))
    await world.restart()
    assert.equal((await world.agent('reader').ask({ path: A })).status, 200)
  })
})
