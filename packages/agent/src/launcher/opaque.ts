import { rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { join } from 'node:path'

import { kindOf } from '@sallyport/spiffe'
import { cutSocket, mtlsConnect } from '@sallyport/transport'
import type { Target } from '@sallyport/transport'

import { listenPrivately } from '../private-socket.ts'
import type { LazyWorkload } from '../workload/lazy.ts'
import type { Relay } from './relay.ts'

const MAX_CONNECTIONS = 64
const LOOPBACK = '127.0.0.1'

/** Systems whose protocol is not read, each by its name in the declaration, and where a program finds them. */
export interface OpaqueDoors {
  readonly systems: Readonly<
    Record<
      string,
      {
        /** Where the gateway listens for it. */
        readonly target: Target
        /** On loopback of the program's own network, beside the socket; absent means on the socket alone. */
        readonly port?: number
      }
    >
  >
  /** Told of each connection that did not come about. */
  readonly onRefused?: (system: string, error: unknown) => void
}

/** The way to one of them. */
export interface OpaqueRelay extends Relay {
  /** Takes what comes in on a listener that only the program can reach. */
  accept(listener: Server): void
}

/** The socket of a system, in the folder of its program. */
export const opaqueSocket = (dir: string, system: string): string =>
  join(dir, `opaque-${system}.sock`)

/**
 * What a program reads where its systems are: `SALLYPORT_SOCKET_SYSTEM`, a path, and `SALLYPORT_TCP_SYSTEM`, an address.
 * Names in capitals, with `_` for `-`: no two of a declaration fall together.
 */
export function opaqueVariables(
  dir: string,
  { systems }: OpaqueDoors,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(systems).flatMap(([system, { port }]) => {
      const name = system.toUpperCase().replaceAll('-', '_')
      return [
        [`SALLYPORT_SOCKET_${name}`, opaqueSocket(dir, system)],
        ...(port === undefined ? [] : [[`SALLYPORT_TCP_${name}`, `${LOOPBACK}:${port}`]]),
      ]
    }),
  )
}

/**
 * A Unix socket of its owner only at which a program reaches one system in plain bytes. The program has neither key nor TLS: what it
 * sends goes on over mutual TLS under the agent's SVID, as it is, and only to a gateway of the trust domain. Either side may end what it
 * sends and read on; what is broken off is reset, where there is a reset, and never ended.
 *
 * @throws SallyportError `SP_LAUNCH_FAILED`
 */
export async function startOpaqueRelay(
  path: string,
  target: Target,
  workload: LazyWorkload,
  onRefused?: (error: unknown) => void,
): Promise<OpaqueRelay> {
  const open = new Set<Socket>()
  const listeners: Server[] = []
  let severed = false
  const track = (socket: Socket): void => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    // Whatever breaks one side breaks the other; there is nobody to tell.
    socket.on('error', () => undefined)
  }

  const serve = async (near: Socket): Promise<void> => {
    // Accepted by the kernel before the cut, handed over after it; and loopback is bounded like the socket.
    if (severed || open.size >= 2 * MAX_CONNECTIONS) {
      cutSocket(near)
      return
    }
    track(near)
    let far: Socket
    try {
      const { holder } = await workload.identity()
      const { trustDomain } = holder.current()
      far = await mtlsConnect({
        ...{ identity: holder, target, alpn: ['sallyport-opaque'], halfOpen: true },
        expect: ({ id }) => id.trustDomain === trustDomain && kindOf(id)?.kind === 'gateway',
      })
    } catch (error) {
      onRefused?.(error)
      // An end would be an answer without content.
      cutSocket(near)
      return
    }
    track(far)
    // Cut, or gone, while the gateway was being reached.
    if (severed || near.destroyed) {
      cutSocket(far)
      return
    }
    passOn(near, far)
    passOn(far, near)
  }

  const server = createServer({ allowHalfOpen: true }, (near) => void serve(near))
  server.maxConnections = MAX_CONNECTIONS
  await listenPrivately(server, path, 'a socket of a system')
  return {
    path,
    accept(listener) {
      listeners.push(listener)
      listener.maxConnections = MAX_CONNECTIONS
      // What a listener that was made elsewhere takes over is not in its type.
      Object.assign(listener, { allowHalfOpen: true })
      listener.on('connection', (near) => void serve(near))
    },
    cut() {
      if (severed) return
      severed = true
      server.close()
      for (const listener of listeners) listener.close()
      rmSync(path, { force: true })
      for (const socket of open) cutSocket(socket)
    },
  }
}

function passOn(from: Socket, to: Socket): void {
  from.pipe(to)
  from.once('close', () => {
    if (to.destroyed) return
    // What was handed over before an end may still be on its way.
    if (from.readableEnded) to.destroySoon()
    else cutSocket(to)
  })
}
