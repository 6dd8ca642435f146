import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { certificatesFromPem } from '@sallyport/spiffe'
import { acceptBundle, trustedRoots } from '@sallyport/wire'
import type { BundleState } from '@sallyport/wire'
import { declarationWith } from './support/declaration.ts'
import { Peer, TestPlane } from './support/network.ts'
import type { Signer } from './support/signer.ts'

let plane: TestPlane
let alice: Signer
let gateway: Peer
let agent: Peer
const context = () => plane.control.context
const current = () => context().bundles.current()
const pinsOf = (): NonNullable<Peer['pins']> => {
  assert.ok(gateway.pins)
  return gateway.pins
}

/** With owners and modes: the server may run as another user. */
function copy(from: string, to: string): void {
  execFileSync('cp', ['-a', join(plane.dataDir, from), join(plane.dataDir, to)])
}

before(async () => {
  plane = await TestPlane.start(declarationWith())
  alice = await plane.firstOperator('alice')
  gateway = await plane.enrol('gateway', 'gw1')
  agent = await plane.enrol('agent', 'flagger')
  await plane.control.close()
  copy('pg', 'pg-before')
  copy('trust', 'trust-before')
  await plane.restart()
})
after(() => plane.close())

test('everything of a control plane restored from before a root was trusted: a gateway’s bundle brings it back', async () => {
  await context().roots.prepare({ by: 'alice' })
  const statement = await context().roots.statement()
  const signature = alice.sign(statement)
  assert.equal((await context().roots.sign({ operator: 'alice', statement, signature })).live, true)
  const newest = current()
  const seen: BundleState = acceptBundle(undefined, newest, pinsOf())
  assert.equal(certificatesFromPem(trustedRoots(seen.roots, pinsOf())).length, 2)
  const renewed = await agent.renew()
  assert.ok(renewed.body['rootProof'])
  assert.equal(certificatesFromPem(String(renewed.body['roots'])).length, 2)

  await plane.control.close()
  for (const [name, backup] of [
    ['pg', 'pg-before'],
    ['trust', 'trust-before'],
  ] as const) {
    rmSync(join(plane.dataDir, name), { recursive: true })
    copy(backup, name)
  }
  await plane.restart()
  assert.equal(current().bundle.roots, undefined)
  assert.throws(() => acceptBundle(seen, current(), pinsOf()), { code: 'SP_BUNDLE_OLDER' })

  // The signatures are verified before anything of it is believed.
  const forged = structuredClone(newest)
  const { roots } = forged.bundle
  assert.ok(roots)
  const unsigned = { ...roots, added: roots.added.map((one) => ({ ...one, signatures: [] })) }
  const refused = await gateway.call('POST', '/v1/later', {
    bundle: { ...forged.bundle, roots: unsigned },
    signature: forged.signature,
  })
  assert.equal(refused.body['code'], 'SP_BUNDLE_SIGNATURE')
  assert.equal((await gateway.call('POST', '/v1/later', { ...newest })).status, 200)
  assert.deepEqual(current().bundle.roots, roots)
  const late = await plane.enrol('agent', 'flagger')
  assert.equal(certificatesFromPem(late.holder?.current().rootsPem ?? '').length, 2)
  // Its key was in the folder that is gone: trusted it stays, put in use it cannot be.
  const view = await context().roots.view()
  assert.deepEqual(
    view.map(({ state }) => state),
    ['active', 'trusted'],
  )
  const fresh = new Peer(plane)
  assert.equal((await fresh.enrol(await plane.token('agent', 'analyst'))).status, 200)
  assert.equal((await fresh.call('GET', '/v1/status')).status, 200)
})
