import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { initTrust, startControl } from '@sallyport/control'
import type { Control } from '@sallyport/control'
import { loadDeclaration } from '@sallyport/network'
import { certificatesFromPem, csrFor, TrustBundle, verifySvid } from '@sallyport/spiffe'
import { createMtlsServer, IdentityHolder, mtlsConnect } from '@sallyport/transport'
import type { IdentityMaterial } from '@sallyport/transport'
import { bounded, stated } from '../row.ts'
import type { Row } from '../row.ts'

const ROLLOVERS = 100
const CALLERS = 4
/** Calls that must end between one rollover and the next, so that each is under load. */
const BETWEEN = 8
const NETWORK = join(import.meta.dirname, '../network/declaration/network.yaml')

/**
 * The signing authority replaced a hundred times by a real control plane, while callers open connections to a server all the time;
 * everybody renews in between, one after the other, so that identities of two authorities meet.
 */
export async function benchRollover(note: (text: string) => void): Promise<Row[]> {
  note(`${ROLLOVERS} rollovers under ${CALLERS} callers`)
  const dataDir = mkdtempSync(join(tmpdir(), 'sp-bench-rollover-'))
  try {
    const declaration = await loadDeclaration({ networkFile: NETWORK })
    await initTrust({ dataDir, declaration, rpId: 'localhost', origin: 'http://localhost:7480' })
    const control = await startControl({
      ...{ dataDir, declaration, console: { port: 0 } },
      plane: { host: '127.0.0.1', port: 0 },
    })
    try {
      return await rollOver(control)
    } finally {
      await control.close()
    }
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
}

async function rollOver(control: Control): Promise<Row[]> {
  const { authority } = control.context
  const callers = await Promise.all(Array.from({ length: CALLERS }, () => enrol(control)))
  const server = await enrol(control)
  const served = createMtlsServer({
    identity: server.holder,
    accept: () => true,
    onConnection: (socket) => socket.end('served'),
    handshakeTimeoutMs: 30_000,
  })
  // A TCP listener always has an AddressInfo.
  const { port } = (await served.listen({ host: '127.0.0.1', port: 0 })) as AddressInfo
  const failures: string[] = []
  const load = { done: 0, stopped: false }
  const drive = async ({ holder }: Enrolled): Promise<void> => {
    while (!load.stopped) {
      try {
        const socket = await mtlsConnect({
          identity: holder,
          port,
          expect: () => true,
          timeoutMs: 30_000,
        })
        let text = ''
        for await (const chunk of socket) text += String(chunk)
        if (text !== 'served') failures.push('turned away')
      } catch (error) {
        failures.push(String(error))
      }
      load.done++
    }
  }
  const lanes = callers.map(drive)
  const seen = new Set<string>()
  const times: number[] = []
  for (let turn = 0; turn < ROLLOVERS; turn++) {
    const from = performance.now()
    await authority.prepare()
    await authority.activate()
    times.push(performance.now() - from)
    for (const one of [server, ...callers]) {
      await one.renew()
      seen.add(one.signer())
    }
    const until = load.done + BETWEEN
    while (load.done < until) await nextTurn()
  }
  load.stopped = true
  await Promise.all(lanes)
  await served.close()
  return [
    bounded(
      'CA rollover: signing authorities in use, one after the other',
      seen.size,
      'of 100',
      '=',
      ROLLOVERS,
    ),
    stated('CA rollover: calls meanwhile, each on a new connection', load.done, 'calls'),
    stated('CA rollover: longest one', Math.max(...times), 'ms'),
    bounded('CA rollover: failed calls', failures.length, 'calls', '=', 0),
  ]
}

interface Enrolled {
  readonly holder: IdentityHolder
  renew(): Promise<void>
  /** DER of the certificate above the leaf, in hex. */
  signer(): string
}

async function enrol({ context }: Control): Promise<Enrolled> {
  const { identities, trustDomain } = context
  const request = (): { csr: string; keyPem: string } => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const keyPem = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
    return { csr: csrFor(privateKey), keyPem }
  }
  const material = (
    { chain, roots, notAfter }: { chain: string; roots: string; notAfter: number },
    keyPem: string,
  ): IdentityMaterial => ({ chainPem: chain, keyPem, rootsPem: roots, trustDomain, notAfter })
  const { token } = await identities.create({ kind: 'agent', name: 'caller', by: 'bench' })
  const first = request()
  const holder = new IdentityHolder(
    material(await identities.enrol(token, first.csr), first.keyPem),
  )
  return {
    holder,
    async renew() {
      const { chainPem, rootsPem } = holder.current()
      const bundle = TrustBundle.fromPem(trustDomain, rootsPem)
      const peer = verifySvid(certificatesFromPem(chainPem), new Map([[trustDomain, bundle]]), {
        now: Date.now(),
      })
      const { csr, keyPem } = request()
      holder.replace(material(await identities.renew(peer, csr), keyPem))
    },
    signer: () => certificatesFromPem(holder.current().chainPem)[1]?.toString('hex') ?? '',
  }
}
