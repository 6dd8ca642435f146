import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { certificatesFromPem } from '@sallyport/spiffe'
import { declarationWith } from './support/declaration.ts'
import { Peer, TestPlane } from './support/network.ts'

let plane: TestPlane
before(async () => {
  plane = await TestPlane.start(declarationWith())
})
after(() => plane.close())

test('identities stand below a signing certificate, and no call fails while it is replaced', async () => {
  const { authority } = plane.control.context
  const early = new Peer(plane)
  const first = await early.enrol(await plane.token('agent', 'flagger'))
  const chainOf = ({ body }: typeof first): Buffer[] => certificatesFromPem(String(body['chain']))
  const signers = new Set<string>()
  assert.equal(chainOf(first).length, 2)
  for (let turn = 0; turn < 4; turn++) {
    await authority.prepare()
    assert.equal((await early.call('GET', '/v1/status')).status, 200)
    await authority.activate()
    // Under the certificate of before, whose authority has retired.
    assert.equal((await early.call('GET', '/v1/status')).status, 200)
    const renewed = await early.renew()
    assert.equal(renewed.status, 200)
    signers.add(chainOf(renewed)[1]?.toString('hex') ?? '')
    assert.equal((await early.call('GET', '/v1/status')).status, 200)
    const late = new Peer(plane)
    assert.equal((await late.enrol(await plane.token('agent', 'flagger'))).status, 200)
    assert.equal((await late.call('GET', '/v1/status')).status, 200)
  }
  assert.equal(signers.size, 4)
})
