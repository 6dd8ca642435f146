import type { RequestListener, Server } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SallyportError } from '@sallyport/base'

const LIMITS = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 10_000,
  maxHeaderSize: 16_384,
}

/** A server with the time and size limits that every listener of the control plane has. */
export function boundedServer(handler: RequestListener): Server {
  const server = createServer(LIMITS, handler)
  server.maxConnections = 512
  return server
}

/**
 * Listens on loopback only, IPv4 and, where the machine has it, IPv6, on the same port.
 *
 * @param port 0 for any that is free
 * @throws SallyportError `SP_LISTEN_FAILED`
 */
export async function listenOnLoopback(
  handler: RequestListener,
  port: number,
): Promise<{ port: number; close(): Promise<void> }> {
  const four = boundedServer(handler)
  await listen(four, '127.0.0.1', port)
  const taken = four.address() as AddressInfo
  const six = boundedServer(handler)
  try {
    await listen(six, '::1', taken.port)
  } catch (error) {
    const cause = error instanceof SallyportError ? error.cause : undefined
    const code = cause instanceof Error && 'code' in cause ? cause.code : ''
    if (code !== 'EADDRNOTAVAIL' && code !== 'EAFNOSUPPORT') {
      await closed(four)
      throw error
    }
  }
  return {
    port: taken.port,
    async close() {
      await Promise.all([closed(four), closed(six)])
    },
  }
}

function listen(server: Server, host: string, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', (cause) => {
    reject(
      new SallyportError('SP_LISTEN_FAILED', `nothing can listen on ${host} port ${port}`, {
        detail: cause.message,
        fix: 'stop what uses the port, or choose another',
        cause,
      }),
    )
  })
  server.listen({ host, port, ipv6Only: true }, resolve)
  return promise
}

export async function closed(server: Server): Promise<void> {
  if (!server.listening) return
  const { promise, resolve } = Promise.withResolvers<void>()
  server.close(() => resolve())
  server.closeAllConnections()
  await promise
}
