import { generateKeyPairSync } from 'node:crypto'
import {
  certificatesFromPem,
  createIssuer,
  createRoot,
  TrustBundle,
  verifySvid,
} from '@sallyport/spiffe'
import { assertFresh } from '@sallyport/transport'
import { bounded, median } from '../row.ts'
import type { Row } from '../row.ts'

const RUNS = 5
const CHAINS = 512
const RECHECKS = 200_000
const TRUST_DOMAIN = 'bench.example'

/** What each connection and each request cost: chains never seen before, then the recheck that a gateway makes of a peer. */
export async function benchVerify(note: (text: string) => void): Promise<Row[]> {
  note(`${CHAINS} fresh chains, ${RUNS} times`)
  const root = createRoot({ trustDomain: TRUST_DOMAIN, ttlSeconds: 86_400 })
  const issuer = createIssuer({
    certificatePem: root.certificatePem,
    privateKey: root.privateKeyPem,
  })
  const bundles = new Map([[TRUST_DOMAIN, TrustBundle.fromPem(TRUST_DOMAIN, root.certificatePem)]])
  // As the gateway holds them: ids cut off and serial numbers revoked, a thousand of each.
  const revoked = new Set(Array.from({ length: 1000 }, (_, i) => i.toString(16).padStart(32, '4')))
  const cut = new Set(
    Array.from({ length: 1000 }, (_, i) => `spiffe://${TRUST_DOMAIN}/agent/x/${i}`),
  )
  const judge = (peer: ReturnType<typeof verifySvid>, now: number): boolean => {
    assertFresh(peer, now)
    return !revoked.has(peer.serial) && !cut.has(peer.id.uri)
  }
  const verifications: number[] = []
  const rechecks: number[] = []
  for (let run = 0; run < RUNS; run++) {
    const chains = Array.from({ length: CHAINS }, (_, i) => {
      const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const { chainPem } = issuer.issue({
        spiffeId: `spiffe://${TRUST_DOMAIN}/agent/caller/${i}`,
        publicKeySpki: publicKey.export({ format: 'der', type: 'spki' }),
        ttlSeconds: 900,
      })
      return certificatesFromPem(chainPem)
    })
    const now = Date.now()
    let from = performance.now()
    const peers = chains.map((chain) => verifySvid(chain, bundles, { now }))
    if (!peers.every((peer) => judge(peer, now))) throw new Error('a good SVID was refused')
    verifications.push(((performance.now() - from) * 1000) / CHAINS)
    let good = 0
    from = performance.now()
    for (let i = 0; i < RECHECKS; i++) {
      const peer = peers[i % CHAINS]
      if (peer && judge(peer, now)) good++
    }
    rechecks.push(((performance.now() - from) * 1000) / RECHECKS)
    if (good !== RECHECKS) throw new Error('a good SVID was refused')
  }
  return [
    bounded(
      'verification of an SVID: chain, rules, revocation',
      median(verifications),
      'µs',
      '<=',
      150,
    ),
    bounded('recheck on each request', median(rechecks), 'µs', '<=', 1),
  ]
}
