import { rmSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'

import { cutSocket } from '@sallyport/transport'
import type { Target } from '@sallyport/transport'

import { listenPrivately } from '../private-socket.ts'

export interface Relay {
  readonly path: string
  /** Refuses new connections and resets every open one, at once and for good. */
  cut(): void
}

const MAX_CONNECTIONS = 256
const CONNECT_TIMEOUT_MS = 5000

/**
 * Relays a Unix socket of its owner only to one target, byte for byte: TLS is end to end and this sees ciphertext.
 *
 * @throws SallyportError `SP_LAUNCH_FAILED`
 */
export async function startRelay(path: string, target: Target): Promise<Relay> {
  const open = new Set<Socket>()
  const track = (socket: Socket): void => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    // Whatever ends one side ends the other, below; there is nobody to tell.
    socket.on('error', () => undefined)
  }
  let severed = false
  const server = createServer({ allowHalfOpen: true }, (near) => {
    // Accepted by the kernel before the cut, handed over after it.
    if (severed) {
      near.destroy()
      return
    }
    const far = connect({ ...target, allowHalfOpen: true })
    track(near)
    track(far)
    far.setTimeout(CONNECT_TIMEOUT_MS, () => far.destroy())
    far.once('connect', () => far.setTimeout(0))
    near.once('close', () => far.destroy())
    far.once('close', () => near.destroy())
    near.pipe(far)
    far.pipe(near)
  })
  server.maxConnections = MAX_CONNECTIONS
  await listenPrivately(server, path, 'a relay socket')
  return {
    path,
    cut() {
      if (severed) return
      severed = true
      server.close()
      rmSync(path, { force: true })
      for (const socket of open) cutSocket(socket)
    },
  }
}
