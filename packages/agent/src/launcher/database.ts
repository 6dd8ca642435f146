import { rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { Socket } from 'node:net'
import { join } from 'node:path'

import { errorCode } from '@sallyport/base'
import { kindOf } from '@sallyport/spiffe'
import { cutSocket, mtlsConnect } from '@sallyport/transport'
import type { Target } from '@sallyport/transport'

import { listenPrivately } from '../private-socket.ts'
import type { LazyWorkload } from '../workload/lazy.ts'
import type { Relay } from './relay.ts'

const MAX_CONNECTIONS = 64
const FIRST_MS = 10_000
/** Bytes of a first message: its length, and what it is (PostgreSQL, 54.7 "Message Formats"). */
const HEAD = 8
const SSL_CODE = 80_877_103
const GSS_CODE = 80_877_104
const PORT = 5432

/** Where a program finds the databases of the network. */
export interface DatabaseDoor {
  /** Where the gateway speaks PostgreSQL. */
  readonly target: Target
  /** The system that is asked for where the program names none. */
  readonly database?: string
  /** Told of each connection that did not come about. */
  readonly onRefused?: (error: unknown) => void
}

/** What clients of PostgreSQL read: a folder with a socket, no password and no key. */
export function databaseVariables(
  dir: string,
  agent: string,
  { database }: DatabaseDoor,
): Readonly<Record<string, string>> {
  return {
    ...{ PGHOST: dir, PGPORT: String(PORT), PGUSER: agent },
    // There is no TLS on a Unix socket: it begins behind it.
    PGSSLMODE: 'disable',
    ...(database === undefined ? {} : { PGDATABASE: database }),
  }
}

/**
 * A Unix socket of its owner only at which any client of PostgreSQL finds the gateway. The program has neither key nor password: what
 * it sends goes on over mutual TLS under the agent's SVID, byte for byte, and only to a gateway of the trust domain.
 *
 * @throws SallyportError `SP_LAUNCH_FAILED`
 */
export async function startDatabaseRelay(
  dir: string,
  door: DatabaseDoor,
  workload: LazyWorkload,
): Promise<Relay> {
  const path = join(dir, `.s.PGSQL.${PORT}`)
  const open = new Set<Socket>()
  let severed = false
  const track = (socket: Socket): void => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    // Whatever ends one side ends the other; there is nobody to tell.
    socket.on('error', () => undefined)
  }

  const serve = async (near: Socket): Promise<void> => {
    const head = await firstHead(near)
    if (head === undefined || severed) {
      near.destroy()
      return
    }
    let far: Socket
    try {
      const { holder } = await workload.identity()
      const { trustDomain } = holder.current()
      far = await mtlsConnect({
        identity: holder,
        target: door.target,
        alpn: ['postgresql'],
        expect: ({ id }) => id.trustDomain === trustDomain && kindOf(id)?.kind === 'gateway',
      })
    } catch (error) {
      door.onRefused?.(error)
      near.end(fatal(`the gateway cannot be reached for this agent [${errorCode(error)}]`))
      return
    }
    track(far)
    near.once('close', () => far.destroy())
    far.once('close', () => near.destroy())
    // Cut, or gone, while the other side was being reached.
    if (severed || near.destroyed) {
      far.destroy()
      return
    }
    far.write(head)
    near.pipe(far)
    far.pipe(near)
  }

  const server = createServer((near) => {
    // Accepted by the kernel before the cut, handed over after it.
    if (severed) {
      near.destroy()
      return
    }
    track(near)
    void serve(near)
  })
  server.maxConnections = MAX_CONNECTIONS
  await listenPrivately(server, path, 'the socket for databases')
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

/**
 * The head of the first message that is to go on; undefined where none comes. Clients may ask for encryption first, of each kind once:
 * there is none on this socket.
 */
async function firstHead(near: Socket): Promise<Buffer | undefined> {
  near.setTimeout(FIRST_MS, () => near.destroy())
  for (let asked = 0; asked <= 2; asked++) {
    const head = await eight(near)
    if (head === undefined) return undefined
    const code = head.readUInt32BE(0) === HEAD ? head.readUInt32BE(4) : 0
    if (code !== SSL_CODE && code !== GSS_CODE) {
      near.setTimeout(0)
      return head
    }
    near.write('N')
  }
  return undefined
}

function eight(near: Socket): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const done = (head: Buffer | undefined): void => {
      near.removeListener('readable', read)
      near.removeListener('close', none)
      near.removeListener('end', none)
      resolve(head)
    }
    const read = (): void => {
      // Typed as anything by Node; without an encoding it is a buffer.
      const head = near.read(HEAD) as Buffer | null
      if (head !== null) done(head.length === HEAD ? head : undefined)
    }
    const none = (): void => done(undefined)
    near.on('readable', read).once('close', none).once('end', none)
    read()
  })
}

/** ErrorResponse (PostgreSQL, 54.8): `08006`, connection failure. */
function fatal(text: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C08006\0M${text}\0\0`)
  const head = Buffer.alloc(5)
  head.write('E')
  head.writeUInt32BE(fields.length + 4, 1)
  return Buffer.concat([head, fields])
}
