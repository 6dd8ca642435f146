/** A control plane that renews as fast as it can, for `issue.ts`. */
import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { initTrust, startControl } from '@sallyport/control'
import { loadDeclaration } from '@sallyport/network'
import { certificatesFromPem, csrFor, TrustBundle, verifySvid } from '@sallyport/spiffe'

import { PACE } from './pace.ts'

export interface Issued {
  readonly count: number
  readonly seconds: number
  /** Processor time of this process. */
  readonly cpuSeconds: number
  /** Milliseconds, one a renewal, while `PACE` a second are asked for. */
  readonly latencies: readonly number[]
}

const INSTANCES = 64
const COUNT = 12_000
const WARM = 2000
const PACED_SECONDS = 8
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
    const renew = async (peer: Peer, request: number): Promise<Peer> => {
      const csr = requests[request % requests.length] ?? ''
      const { chain } = await identities.renew(peer, csr)
      return { ...peer, serial: serialOf(chain) }
    }
    let peers: Peer[] = []
    for (let i = 0; i < INSTANCES; i++) {
      const token = await identities.create({ kind: 'agent', name: 'caller', by: 'bench' })
      const { chain, roots } = await identities.enrol(token.token, requests[i] ?? '')
      const bundle = TrustBundle.fromPem(control.context.trustDomain, roots)
      const bundles = new Map([[bundle.trustDomain, bundle]])
      peers.push(verifySvid(certificatesFromPem(chain), bundles, { now: Date.now() }))
    }
    /** As fast as it goes: every instance renews again at once. */
    const saturate = async (count: number): Promise<void> => {
      let left = count
      const lane = async (verified: Peer, number: number): Promise<Peer> => {
        let peer = verified
        for (let i = number; left > 0; i++) {
          left--
          peer = await renew(peer, i)
        }
        return peer
      }
      peers = await Promise.all(peers.map(lane))
    }
    await saturate(WARM)
    const cpu = process.cpuUsage()
    const from = performance.now()
    await saturate(COUNT)
    const seconds = (performance.now() - from) / 1000
    const { user, system } = process.cpuUsage(cpu)
    const latencies = await paced(peers, renew)
    return { count: COUNT, seconds, cpuSeconds: (user + system) / 1e6, latencies }
  } finally {
    await control.close()
  }
}

type Peer = ReturnType<typeof verifySvid>

/** From the moment that each was due, so that one that is late makes those behind it late too. */
async function paced(
  peers: readonly Peer[],
  renew: (peer: Peer, request: number) => Promise<Peer>,
): Promise<number[]> {
  const idle = [...peers]
  const latencies: number[] = []
  const running: Promise<void>[] = []
  const one = async (peer: Peer, request: number, due: number): Promise<void> => {
    const next = await renew(peer, request)
    latencies.push(performance.now() - due)
    idle.push(next)
  }
  const start = performance.now()
  for (let i = 0; i < PACE * PACED_SECONDS; i++) {
    const due = start + (i * 1000) / PACE
    while (performance.now() < due || idle.length === 0) await sleep(1)
    const peer = idle.shift()
    if (!peer) continue
    running.push(one(peer, i, due))
  }
  await Promise.all(running)
  return latencies
}

/** Of the one certificate of the chain, without reading the rest: serials have one length here. */
function serialOf(chain: string): string {
  const [der = Buffer.alloc(0)] = certificatesFromPem(chain)
  const at = der.indexOf(Buffer.from([0xa0, 0x03, 0x02, 0x01, 0x02, 0x02, 0x10])) + 7
  return der.subarray(at, at + 16).toString('hex')
}
