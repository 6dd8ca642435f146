import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { acceptBundle } from '@sallyport/wire'
import type { BundleState, DeclarationStatement } from '@sallyport/wire'
import { declarationWith } from './support/declaration.ts'
import { Peer, TestPlane } from './support/network.ts'
import type { Signer } from './support/signer.ts'

let plane: TestPlane
let alice: Signer
let olga: Signer
let gateway: Peer
/** What a gateway has seen that takes every bundle. */
let seen: BundleState | undefined

const bundles = () => plane.control.context.bundles
const propose = (name: string) => {
  const { network, policies } = declarationWith({ quorum: 2 })
  const declaration = { network: { ...network, name }, policies }
  return bundles().propose({ declaration, by: 'alice' })
}
const sign = (signer: Signer, statement: DeclarationStatement) =>
  bundles().sign({
    digest: statement.digest,
    operator: signer.operator,
    statement,
    signature: signer.sign(statement),
  })
const take = (): BundleState => {
  assert.ok(gateway.pins)
  seen = acceptBundle(seen, bundles().current(), gateway.pins)
  return seen
}

before(async () => {
  plane = await TestPlane.start(declarationWith({ quorum: 2 }))
  alice = await plane.firstOperator('alice')
  olga = await plane.nextOperator('olga', alice)
  gateway = await plane.enrol('gateway', 'gw1')
})
after(() => plane.close())

test('drafts have serials of their own, however many ask at once, and keep them', async () => {
  assert.equal(take().declarationSerial, undefined)
  const drafts = await Promise.all(['a', 'b', 'c', 'd'].map(propose))
  const serials = drafts.map(({ serial }) => serial)
  assert.deepEqual(
    serials.toSorted((a = 0, b = 0) => a - b),
    [1, 2, 3, 4],
  )
  const asked = await Promise.all(drafts.map(({ digest }) => bundles().statement(digest)))
  assert.deepEqual(
    asked.map(({ serial }) => serial),
    serials,
  )
  assert.equal((await propose('a')).serial, drafts[0]?.serial)
})

test('two drafts do not come into force out of order: the earlier one is signed anew', async () => {
  const earlier = await propose('earlier')
  const later = await propose('later')
  const stale = await bundles().statement(earlier.digest)
  assert.deepEqual((await sign(alice, stale)).signed, ['alice'])
  const statement = await bundles().statement(later.digest)
  assert.ok(Number(statement.serial) > Number(stale.serial))
  await sign(alice, statement)
  assert.equal((await sign(olga, statement)).live, true)
  assert.equal(take().declarationSerial, statement.serial)

  // The second signature does not complete what was drawn up before that.
  await assert.rejects(sign(olga, stale), { code: 'SP_DECLARATION_SERIAL' })
  const shown = (await bundles().proposals()).find(({ digest }) => digest === earlier.digest)
  assert.deepEqual([shown?.serial, shown?.signed], [undefined, []])
  const anew = await bundles().statement(earlier.digest)
  assert.ok(Number(anew.serial) > Number(statement.serial))
  await assert.rejects(sign(olga, stale), { code: 'SP_DECLARATION_STATEMENT' })
  // Neither does it count beside a new one.
  assert.deepEqual((await sign(olga, anew)).signed, ['olga'])
  assert.equal(bundles().digest(), later.digest)
  assert.equal((await sign(alice, anew)).live, true)
  assert.equal(take().declarationDigest, earlier.digest)
  assert.equal(seen?.declarationSerial, anew.serial)
})

test('what is in force keeps its serial through other revisions and a restart', async () => {
  const serial = seen?.declarationSerial
  await plane.control.context.quarantine.quarantine({
    ...{ subject: 'spiffe://bank.test/agent/flagger', reason: 'test', by: 'local-admin' },
  })
  assert.equal(take().declarationSerial, serial)
  await plane.restart()
  assert.equal(take().declarationSerial, serial)
  const next = await propose('next')
  assert.ok(Number(next.serial) > Number(serial))
  const statement = await bundles().statement(next.digest)
  await sign(alice, statement)
  await sign(olga, statement)
  assert.equal(take().declarationSerial, next.serial)
})
