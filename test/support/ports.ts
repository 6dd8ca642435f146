import { createServer } from 'node:net'
import type { Server } from 'node:net'

const BLOCK = 4

/**
 * Ports of this process on 127.0.0.1, for what must be known before anything listens: a passkey is bound to its port, and what starts
 * again must be where it was. A port that the system gives out may be given to a connection before it is listened on, and other
 * tests may be choosing at this moment: whoever holds the last port of a block, until its process ends, has the others.
 *
 * @returns the first of three free ports in a row
 * @throws Error where every block is taken
 */
export async function claimPorts(): Promise<number> {
  for (let first = 7500; first < 8000; first += BLOCK) {
    const claim = await listening(first + BLOCK - 1)
    if (!claim) continue
    const others = await Promise.all([first, first + 1, first + 2].map(listening))
    for (const other of others) other?.close()
    if (others.every(Boolean)) {
      claim.unref()
      return first
    }
    claim.close()
  }
  throw new Error('no free ports from 7500 to 7999')
}

function listening(port: number): Promise<Server | undefined> {
  const { promise, resolve } = Promise.withResolvers<Server | undefined>()
  const server = createServer()
  server.once('error', () => {
    resolve(undefined)
  })
  server.listen(port, '127.0.0.1', () => {
    resolve(server)
  })
  return promise
}
