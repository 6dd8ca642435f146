/** A control plane that renews as fast as it can, for `issue.ts`. */
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { initTrust, startControl } from '@sallyport/control'
import { loadDeclaration } from '@sallyport/network'
import { certificatesFromPem, csrFor, TrustBundle, verifySvid } from '@sallyport/spiffe'

export interface Issued {
  readonly count: number
  readonly seconds: number
  /** Processor time of this process. */
  readonly cpuSeconds: number
  /** Milliseconds, one a renewal. */
  readonly latencies: readonly number[]
}

const INSTANCES = 24
const COUNT = 12_000
const WARM = 2000
const NETWORK = join(import.meta.dirname, '../network/declaration/network.yaml')

const data = mkdtempSync(join(tmpdir(), 'sp-bench-issue-'))
try {
  const issued = await issue()
  await new Promise((resolve) => process.send?.(issued, resolve))
  process.disconnect()
} finally {
  rmSync(data, { recursive: true, force: true })
}

async function issue(): Promise<Issued> {
  const declaration = await loadDeclaration({ networkFile: NETWORK })
  await initTrust({
    dataDir: data,
    declaration,
    rpId: 'localhost',
    origin: 'http://localhost:7480',
  })
  const control = await startControl({
    dataDir: data,
    declaration,
    console: { port: 0 },
    plane: { host: '127.0.0.1', port: 0 },
  })
  try {
    const { identities } = control.context
    // Requests are the callers' work; each is used more than once, as an instance that keeps its key would.
    const requests = Array.from({ length: 256 }, () =>
      csrFor(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey),
    )
    let left = 0
    const latencies: number[] = []
    const lane = async (number: number, verified: Peer): Promise<Peer> => {
      let peer = verified
      for (let i = number; left > 0; i++) {
        left--
        const from = performance.now()
        const { chain } = await identities.renew(peer, requests[i % requests.length] ?? '')
        latencies.push(performance.now() - from)
        peer = { ...peer, serial: serialOf(chain) }
      }
      return peer
    }
    let peers: Peer[] = []
    for (let i = 0; i < INSTANCES; i++) {
      const token = await identities.create({ kind: 'agent', name: 'caller', by: 'bench' })
      const { chain, roots } = await identities.enrol(token.token, requests[i] ?? '')
      const bundle = TrustBundle.fromPem(control.context.trustDomain, roots)
      const bundles = new Map([[bundle.trustDomain, bundle]])
      peers.push(verifySvid(certificatesFromPem(chain), bundles, { now: Date.now() }))
    }
    left = WARM
    peers = await Promise.all(peers.map((peer, number) => lane(number, peer)))
    latencies.length = 0
    left = COUNT
    const cpu = process.cpuUsage()
    const from = performance.now()
    await Promise.all(peers.map((peer, number) => lane(number, peer)))
    const seconds = (performance.now() - from) / 1000
    const { user, system } = process.cpuUsage(cpu)
    return { count: latencies.length, seconds, cpuSeconds: (user + system) / 1e6, latencies }
  } finally {
    await control.close()
  }
}
type Peer = ReturnType<typeof verifySvid>

/** Of the one certificate of the chain, without reading the rest: serials have one length here. */
function serialOf(chain: string): string {
  const [der = Buffer.alloc(0)] = certificatesFromPem(chain)
  const at = der.indexOf(Buffer.from([0xa0, 0x03, 0x02, 0x01, 0x02, 0x02, 0x10])) + 7
  return der.subarray(at, at + 16).toString('hex')
}
