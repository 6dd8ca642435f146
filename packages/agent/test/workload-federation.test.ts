import assert from 'node:assert/strict'
import { generateKeyPairSync, sign, X509Certificate } from 'node:crypto'
import { describe, it } from 'node:test'

import {
  createJwtAuthority,
  createRoot,
  issueJwtSvid,
  TrustBundle,
  writeBundleDocument,
} from '@sallyport/spiffe'

import { enrol } from '../src/index.ts'
import { IdentitySource } from '../src/workload/source.ts'
import { makeFabric, Plane, TRUST_DOMAIN } from './plane.ts'

const PARTNER = 'partner.test'
const AUDIENCE = 'https://ledger.bank.test'
const root = createRoot({ trustDomain: PARTNER, ttlSeconds: 86_400 })
const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const partner = createJwtAuthority(PARTNER, {
  publicKey: pair.publicKey,
  sign: (data) => sign('sha256', data, pair.privateKey),
})
const document = writeBundleDocument({
  bundle: TrustBundle.fromPem(PARTNER, root.certificatePem, [partner]),
})

async function enrolled(plane: Plane): Promise<{ source: IdentitySource } & AsyncDisposable> {
  plane.tokens.set('t', `spiffe://${TRUST_DOMAIN}/agent/monitor/1`)
  const running = await plane.start()
  const identity = await enrol({
    rootsPem: plane.fabric.root.certificatePem,
    trustDomain: TRUST_DOMAIN,
    token: 't',
    planeTarget: running.target,
  })
  return {
    source: new IdentitySource(identity),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  }
}

describe('bundles of federated trust domains', () => {
  it('are there under their own names, and verify nothing but their own', async () => {
    const plane = new Plane(makeFabric())
    plane.federated = { [PARTNER]: document }
    await using agent = await enrolled(plane)
    const { bundles } = agent.source
    await bundles.refresh(0)
    const theirs = bundles.federated().get(PARTNER)
    assert.deepEqual([...bundles.federated().keys()], [PARTNER])
    assert.ok(theirs)
    assert.ok(theirs.authorities[0]?.equals(new X509Certificate(root.certificatePem).raw))
    assert.deepEqual(
      // What a JWK set holds.
      (JSON.parse(theirs.jwks) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid),
      [partner.kid],
    )
    const theirId = `spiffe://${PARTNER}/agent/x/1`
    const { token } = await issueJwtSvid(partner, { spiffeId: theirId, audience: [AUDIENCE] })
    assert.equal((await bundles.verify(token, AUDIENCE)).id.uri, theirId)

    // Their key for our names: the bundle is chosen by the name that is claimed.
    const impostor = createJwtAuthority(TRUST_DOMAIN, {
      publicKey: pair.publicKey,
      sign: (data) => sign('sha256', data, pair.privateKey),
    })
    const ours = `spiffe://${TRUST_DOMAIN}/agent/monitor/1`
    const forged = await issueJwtSvid(impostor, { spiffeId: ours, audience: [AUDIENCE] })
    await assert.rejects(bundles.verify(forged.token, AUDIENCE), { code: 'SP_JWT_SVID_UNTRUSTED' })
    const own = await agent.source.jwtSvid([AUDIENCE])
    assert.equal((await bundles.verify(own, AUDIENCE)).id.uri, ours)
  })

  it('never stand in the place of the own one', async () => {
    const plane = new Plane(makeFabric())
    plane.federated = {
      [TRUST_DOMAIN]: writeBundleDocument({ bundle: TrustBundle.of(TRUST_DOMAIN, [], new Map()) }),
    }
    await using agent = await enrolled(plane)
    const own = await agent.source.jwtSvid([AUDIENCE])
    assert.ok(await agent.source.bundles.verify(own, AUDIENCE))
    assert.equal(agent.source.bundles.federated().size, 0)
  })

  it('tell whoever waits for them of every change, and stay as they are where nobody answers', async () => {
    const plane = new Plane(makeFabric())
    await using agent = await enrolled(plane)
    const { bundles } = agent.source
    await bundles.refresh(0)
    let told = 0
    const end = bundles.onChange(() => told++, 1_000_000)
    await bundles.refresh(0)
    assert.equal(told, 0)
    plane.federated = { [PARTNER]: document }
    await bundles.refresh(0)
    assert.equal(told, 1)
    plane.federated = { [PARTNER]: '{"keys":7}' }
    await assert.rejects(bundles.refresh(0), { code: 'SP_BUNDLE_DOCUMENT' })
    await bundles.tryRefresh(0)
    assert.deepEqual([...bundles.federated().keys()], [PARTNER])
    end()
  })
})
