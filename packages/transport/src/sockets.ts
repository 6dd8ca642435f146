import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** Open sockets by the SPIFFE id of their other end, so that a revoked identity can be cut off at once. */
export class SocketIndex {
  readonly #byId = new Map<string, Set<Duplex>>()
  #size = 0

  /** How many sockets are open. */
  get size(): number {
    return this.#size
  }

  /** Files a socket until it closes. */
  add(id: string, socket: Duplex): void {
    if (socket.destroyed) return
    let sockets = this.#byId.get(id)
    if (!sockets) this.#byId.set(id, (sockets = new Set()))
    if (sockets.has(socket)) return
    sockets.add(socket)
    this.#size++
    socket.once('close', () => {
      this.#remove(id, socket)
    })
  }

  /** The open sockets of exactly this id. */
  of(id: string): readonly Duplex[] {
    return [...(this.#byId.get(id) ?? [])]
  }

  /**
   * Destroys every socket of an instance, or of every instance below the subject (`spiffe://TD/agent/NAME`). TCP
   * connections are reset, so that what the kernel still holds is not delivered either.
   *
   * @returns how many were cut
   */
  cut(subject: string): number {
    const prefix = `${subject}/`
    let count = 0
    for (const [id, sockets] of this.#byId) {
      if (id !== subject && !id.startsWith(prefix)) continue
      for (const socket of sockets) {
        cutSocket(socket)
        this.#remove(id, socket)
        count++
      }
    }
    return count
  }

  #remove(id: string, socket: Duplex): void {
    const sockets = this.#byId.get(id)
    if (!sockets?.delete(socket)) return
    this.#size--
    if (sockets.size === 0) this.#byId.delete(id)
  }
}

/**
 * Destroys a socket at once. TCP is reset, so that the kernel sends nothing of what it still holds; where Node cannot
 * reset (a Unix socket, one still connecting, one whose end is already under way) it is closed.
 */
export function cutSocket(socket: Duplex): void {
  // A TLS socket refuses to reset; the TCP socket under it can. Node keeps that one as `_parent`.
  const under: unknown = Reflect.get(socket, '_parent')
  const tcp = under instanceof Socket ? under : socket
  if (tcp instanceof Socket && resettable(tcp) && !socket.writableEnded) {
    try {
      tcp.resetAndDestroy()
    } catch {
      // Not TCP but a Unix socket: destroying it below is all there is to do.
    }
  }
  socket.destroy()
}

/** During a shutdown libuv refuses the reset, and Node then forgets the handle without ever closing it. */
function resettable(socket: Socket): boolean {
  return !socket.destroyed && !socket.connecting && !socket.writableEnded
}
