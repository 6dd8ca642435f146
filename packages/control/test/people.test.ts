import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { declarationWith } from './support/declaration.ts'
import { TestPlane } from './support/network.ts'
import { Signer } from './support/signer.ts'

let plane: TestPlane

before(async () => {
  plane = await TestPlane.start(declarationWith({ quorum: 2 }))
})
after(() => plane?.close())

const register = (link: string, { credentialId, publicKey }: Signer) =>
  plane.control.context.operators.register({ link, credentialId, publicKey })

test('the first operator comes by the printed link, once, and the genesis key goes', async () => {
  const { operators } = plane.control.context
  const link = plane.control.bootstrapLink?.split('#')[1] ?? ''
  assert.match(plane.control.bootstrapLink ?? '', /^http:\/\/localhost:\d+\/enrol#splink_/)
  assert.equal((await operators.openLink(link)).first, true)
  assert.ok(existsSync(join(plane.dataDir, 'trust', 'genesis.key')))
  const alice = new Signer('alice')
  const registered = await Promise.allSettled([register(link, alice), register(link, alice)])
  assert.equal(registered.filter(({ status }) => status === 'fulfilled').length, 1)
  assert.equal(operators.set()?.version, 1)
  assert.equal(existsSync(join(plane.dataDir, 'trust', 'genesis.key')), false)
  await assert.rejects(operators.openLink(link), { code: 'SP_LINK_INVALID' })

  const gateway = await plane.enrol('gateway', 'gw1')
  const stream = await gateway.follow()
  assert.equal(stream.state.operators?.keys[0]?.operator, 'alice')

  // The second is proposed, and counts only when the first has signed.
  const bob = new Signer('bob')
  const second = await operators.createLink({ operator: 'bob', by: 'alice' })
  assert.deepEqual(await register(second.link, bob), { active: false, version: 2 })
  assert.equal(operators.set()?.keys.length, 1)
  const proposed = await operators.proposed()
  assert.ok(proposed)
  const { statement } = proposed
  const forged = { ...statement, set: { ...statement.set, quorum: 1 } }
  const sign = (signer: Signer, given = statement) =>
    operators.signProposed({
      operator: signer.operator,
      statement: given,
      signature: signer.sign(given),
    })
  await assert.rejects(sign(alice, forged), { code: 'SP_OPERATOR_STATEMENT' })
  await assert.rejects(sign(bob), { code: 'SP_SIGNATURE_UNKNOWN_KEY' })
  assert.deepEqual(await sign(alice), { active: true, signed: ['alice'], quorum: 1 })
  await stream.until((f) => f.state.operators?.version === 2)
  stream.close()
})

test('a newer link replaces the older one, and undeclared people get none', async () => {
  const { operators } = plane.control.context
  const older = await operators.createLink({ operator: 'olga', by: 'alice' })
  const newer = await operators.createLink({ operator: 'olga', by: 'alice' })
  await assert.rejects(operators.openLink(older.link), { code: 'SP_LINK_INVALID' })
  assert.equal((await operators.openLink(newer.link)).operator, 'olga')
  const act = operators.createLink({ operator: 'mallory', by: 'alice' })
  await assert.rejects(act, { code: 'SP_OPERATOR_UNKNOWN' })
})

test('challenges are good once, for one purpose', async () => {
  const { operators } = plane.control.context
  await operators.keepChallenge('c1', 'login')
  assert.equal(await operators.takeChallenge('c1', 'register'), false)
  await operators.keepChallenge('c2', 'login')
  assert.equal(await operators.takeChallenge('c2', 'login'), true)
  assert.equal(await operators.takeChallenge('c2', 'login'), false)
})

test('no link is printed once somebody can sign in', async () => {
  await plane.restart()
  assert.equal(plane.control.bootstrapLink, undefined)
  assert.equal(plane.control.context.operators.set()?.version, 2)
})
