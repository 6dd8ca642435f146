import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { certificatesFromPem } from '@sallyport/spiffe'

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

  it('asks nobody with no token at all', async () => {
    await assert.rejects(
      enrol({ ...base, token: '', planeTarget: { host: '127.0.0.1', port: 1 } }),
      {
        code: 'SP_JOIN_TOKEN',
        message: 'there is no join token',
      },
    )
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

  it('refuses an answer for another key, another id, or under other roots', async () => {
    const plane = new Plane(fabric)
    await using running = await plane.start()
    const other = identityOf(fabric, '/agent/monitor/1')
    // All of it of another root, as a control plane of one's own would answer: what it says of roots makes none trusted.
    const foreign = makeFabric()
    const certificate = certificatesFromPem(foreign.root.certificatePem)[0]?.toString('base64url')
    const statement = { kind: 'root', trustDomain: TRUST_DOMAIN, certificate, operators: 1 }
    const unsigned = { added: [{ statement, signatures: [] }], retired: [] }
    const stranger = {
      chain: identityOf(foreign, '/agent/monitor/1').chainPem,
      roots: foreign.root.certificatePem,
    }
    const spoilt: readonly [object, string][] = [
      [{ chain: other.chainPem }, 'SP_ENROL_ANSWER'],
      [{ spiffeId: `spiffe://${TRUST_DOMAIN}/agent/flagger/1` }, 'SP_ENROL_ANSWER'],
      [{ spiffeId: 7 }, 'SP_ENROL_ANSWER'],
      [stranger, 'SP_SVID_UNTRUSTED'],
      [{ ...stranger, genesisKey: 'A', rootProof: {} }, 'SP_SVID_UNTRUSTED'],
      [{ ...stranger, rootProof: { roots: unsigned } }, 'SP_ENROL_ANSWER'],
      [{ ...stranger, genesisKey: 'A', rootProof: { roots: unsigned } }, 'SP_BUNDLE_ROOTS'],
      [{ ...stranger, genesisKey: 'A', rootProof: 7 }, 'SP_BUNDLE_FORMAT'],
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
    const plane = new Plane(fabric, 6)
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
    await sleep(4500)
    assert.equal(plane.renewals, 3)
    assert.equal(keys.size, 4)
  })
})
