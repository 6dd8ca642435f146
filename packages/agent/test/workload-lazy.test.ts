import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

import { enrol, lazyWorkload } from '../src/index.ts'
import { makeFabric, Plane, TRUST_DOMAIN } from './plane.ts'

const ID = `spiffe://${TRUST_DOMAIN}/agent/monitor/1`

describe('an identity that is enrolled when it is asked for', () => {
  it('is enrolled once, and not again before a second has passed where that failed', async () => {
    const fabric = makeFabric()
    const plane = new Plane(fabric)
    await using running = await plane.start()
    let now = 0
    let attempts = 0
    const workload = lazyWorkload(
      (onRotationError) => {
        attempts++
        return enrol({
          rootsPem: fabric.root.certificatePem,
          trustDomain: TRUST_DOMAIN,
          token: 't',
          planeTarget: running.target,
          onRotationError,
        })
      },
      { now: () => Date.now(), monotonic: () => now },
    )
    const refused = { code: 'SP_JOIN_TOKEN_USED' }
    for (let i = 0; i < 5; i++) await assert.rejects(workload.source(), refused)
    assert.equal(attempts, 1)
    plane.tokens.set('t', ID)
    now = 999
    await assert.rejects(workload.source(), refused)
    now = 1000
    const sources = await Promise.all([workload.source(), workload.source(), workload.source()])
    assert.equal(new Set(sources).size, 1)
    assert.equal(attempts, 2)
    assert.equal(sources[0]?.x509().spiffeId, ID)
    workload.withdraw('it is over')
    await assert.rejects(workload.source(), { code: 'SP_WORKLOAD_DENIED' })
  })
})
