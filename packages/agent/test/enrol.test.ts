import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { enrol } from '../src/index.ts'
import { identityOf, makeFabric, Plane, TRUST_DOMAIN } from './plane.ts'

const fabric = makeFabric()
const ID = `spiffe://${TRUST_DOMAIN}/agent/monitor/1`
const base = {
  rootsPem: fabric.root.certificatePem,
  trustDomain: TRUST_DOMAIN,
  token: 't',
  patienceMs: 0,
}

describe('enrol', () => {
  it('takes a join token for an identity, once', async () => {
    const plane = new Plane(fabric)
    await using running = await plane.start()
    plane.tokens.set('t', ID)
    const identity = await enrol({ ...base, planeTarget: running.target })
    assert.equal(identity.spiffeId, ID)
    assert.equal(identity.holder.current().trustDomain, TRUST_DOMAIN)
    await assert.rejects(enrol({ ...base, planeTarget: running.target }), {
      code: 'SP_JOIN_TOKEN_USED',
      status: 401,
    })
  })

  it('hands the token to nobody but a control plane of these roots', async () => {
    const plane = new Plane(fabric)
    plane.tokens.set('t', ID)
    await using gateway = await plane.start('/gateway/g1')
    await assert.rejects(enrol({ ...base, planeTarget: gateway.target }), {
      code: 'SP_PEER_REFUSED',
    })
    const other = new Plane(makeFabric())
    other.tokens.set('t', ID)
    await using foreign = await other.start()
    await assert.rejects(enrol({ ...base, planeTarget: foreign.target }), {
      code: 'SP_SVID_UNTRUSTED',
    })
    assert.equal(other.tokens.has('t'), true)
    assert.equal(plane.tokens.has('t'), true)
    await using right = await plane.start()
    assert.equal((await enrol({ ...base, planeTarget: right.target })).spiffeId, ID)
  })

  it('refuses an answer for another key, another id, or other roots', async () => {
    const plane = new Plane(fabric)
    await using running = await plane.start()
    const other = identityOf(fabric, '/agent/monitor/1')
    const spoilt: readonly [object, string][] = [
      [{ chain: other.chainPem }, 'SP_ENROL_ANSWER'],
      [{ spiffeId: `spiffe://${TRUST_DOMAIN}/agent/flagger/1` }, 'SP_ENROL_ANSWER'],
      [{ spiffeId: 7 }, 'SP_ENROL_ANSWER'],
      [{ roots: makeFabric().root.certificatePem }, 'SP_SVID_UNTRUSTED'],
      [{ roots: '' }, 'SP_BUNDLE_INVALID'],
    ]
    for (const [change, code] of spoilt) {
      plane.tokens.set('t', ID)
      plane.spoil = (answer) => ({ ...answer, ...change })
      await assert.rejects(enrol({ ...base, planeTarget: running.target }), { code })
    }
    plane.tokens.set('t', ID)
    plane.spoil = (answer) => answer
    assert.equal((await enrol({ ...base, planeTarget: running.target })).spiffeId, ID)
  })

  it('waits for a control plane that is not there yet', async () => {
    const plane = new Plane(fabric)
    plane.tokens.set('t', ID)
    const first = await plane.start()
    const { target } = first
    await first.tls.close()
    await assert.rejects(enrol({ ...base, planeTarget: target }), { code: 'SP_CONNECT_FAILED' })
    const pending = enrol({ ...base, planeTarget: target, patienceMs: 5000 })
    await sleep(300)
    await first.tls.listen(target)
    assert.equal((await pending).spiffeId, ID)
    await first.tls.close()
  })
})

describe('rotation', () => {
  it('renews around half-life, through failures, each time with a new key and serial', async () => {
    const plane = new Plane(fabric, 2)
    await using running = await plane.start()
    plane.tokens.set('t', ID)
    const errors: unknown[] = []
    const identity = await enrol({
      ...base,
      planeTarget: running.target,
      onRotationError: (error) => errors.push(error),
    })
    const keys = new Set([identity.holder.current().keyPem])
    const renewed = new Promise<void>((resolve) => {
      identity.holder.onChange((next) => {
        keys.add(next.keyPem)
        // Stopped here no renewal is under way, whatever the machine does meanwhile.
        if (keys.size < 4) return
        identity.stop()
        resolve()
      })
    })
    plane.failNext = 1
    identity.startRotation()
    await renewed
    assert.equal(plane.renewals, 3)
    assert.equal(errors.length, 1)
    assert.ok(identity.holder.current().notAfter > Date.now())
    await sleep(1500)
    assert.equal(plane.renewals, 3)
    assert.equal(keys.size, 4)
  })
})
