import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TLSSocket } from 'node:tls'
import { IdentityHolder, mtlsConnect } from '@sallyport/transport'
import type { IdentityMaterial } from '@sallyport/transport'
import { bounded, stated } from '../row.ts'
import type { Row } from '../row.ts'
import { ask, at, startBackend, startGatewayChild } from './children.ts'
import { inFolder } from './folder.ts'

const CONNECTIONS = 10_000
const IDLE_MS = 30_000
/** Handshakes under way. */
const AT_ONCE = 16

/** Connections that were used once and are kept, from 64 callers: what each takes, and whether it stays that. */
export const idle = (note: (text: string) => void): Promise<Row[]> =>
  inFolder(async (dir, undo) => {
    const backend = await startBackend(undo)
    const { agents } = backend
    const each = Math.ceil(CONNECTIONS / agents.length)
    const gateway = await startGatewayChild(backend, join(dir, 'gateway'), undo, {
      maxConnections: 2 * CONNECTIONS,
      maxConnectionsPerInstance: 2 * each,
      handshakeTimeoutMs: 60_000,
    })
    const { port } = gateway.message
    // So that what the first connections compile is not counted.
    for (const agent of agents) (await connection(agent, port)).destroy()
    await sleep(2000)
    const empty = await ask(gateway.process)
    const sockets: TLSSocket[] = []
    undo.push(() => {
      for (const socket of sockets) socket.destroy()
    })
    const left = agents.flatMap((agent) => Array.from({ length: each }, () => agent))
    const connect = async (): Promise<void> => {
      for (let agent = left.pop(); agent; agent = left.pop()) {
        if (sockets.length >= CONNECTIONS) return
        sockets.push(await connection(agent, port))
        if (sockets.length % 1000 === 0) note(`${sockets.length} connections`)
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, connect))
    await sleep(2000)
    const full = await ask(gateway.process)
    await sleep(IDLE_MS)
    const later = await ask(gateway.process)
    const closed = sockets.filter(({ destroyed }) => destroyed).length
    for (const socket of sockets) socket.destroy()
    await sleep(2000)
    const after = await ask(gateway.process)
    return [
      bounded('idle connections held', later.openConnections, '', '>=', CONNECTIONS),
      bounded('of these closed by the gateway', closed, '', '=', 0),
      stated('memory of each', (later.rss - empty.rss) / 1024 / later.openConnections, 'KiB'),
      bounded(
        'growth of memory in 30 s of idleness',
        (later.rss - full.rss) / 1_048_576,
        'MiB',
        '<=',
        8,
      ),
      bounded('sockets left when they are closed', after.sockets - empty.sockets, '', '<=', 0),
    ]
  })

async function connection(agent: IdentityMaterial, port: number): Promise<TLSSocket> {
  const socket = await mtlsConnect({
    identity: new IdentityHolder(agent),
    target: at(port),
    expect: () => true,
    timeoutMs: 60_000,
  })
  socket.on('error', () => undefined)
  socket.write('GET /.sallyport/whoami HTTP/1.1\r\nHost: g\r\n\r\n')
  await new Promise((resolve) => {
    socket.once('data', resolve)
  })
  return socket
}
