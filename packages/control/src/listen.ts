import type { RequestListener, Server } from 'node:http'
import { createServer } from 'node:http'
import type { Server as SecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { SallyportError } from '@sallyport/base'

type WebServer = Server | SecureServer

/** The time and size limits that every web listener of the control plane has. */
export const LIMITS = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 10_000,
  connectionsCheckingInterval: 5000,
  maxHeaderSize: 16_384,
}
const MAX_CONNECTIONS = 512

export function bounded<S extends WebServer>(server: S): S {
  server.maxConnections = MAX_CONNECTIONS
  return server
}

/** A plain server with those limits. */
export function boundedServer(handler: RequestListener): Server {
  return bounded(createServer(LIMITS, handler))
}

/**
 * Listens on loopback only, IPv4 and, where the machine has it, IPv6, on the same port.
 *
 * @param make makes one server; it is called for each
 * @param port 0 for any that is free
 * @throws SallyportError `SP_LISTEN_FAILED`
 */
export async function listenOnLoopback(
  make: () => WebServer,
  port: number,
): Promise<{ port: number; at: string; close(): Promise<void> }> {
  const four = make()
  const taken = await listen(four, { host: '127.0.0.1', port })
  const six = make()
  try {
    await listen(six, { host: '::1', port: taken, ipv6Only: true })
  } catch (error) {
    const code = causeCode(error)
    if (code !== 'EADDRNOTAVAIL' && code !== 'EAFNOSUPPORT') {
      await closed(four)
      throw error
    }
  }
  return {
    port: taken,
    at: `127.0.0.1:${taken}`,
    async close() {
      await Promise.all([closed(four), closed(six)])
    },
  }
}

/**
 * @returns the port
 * @throws SallyportError `SP_LISTEN_FAILED`
 */
export function listen(
  server: WebServer,
  at: { readonly host: string; readonly port: number; readonly ipv6Only?: boolean },
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const failed = (cause: Error): void => {
    reject(
      new SallyportError('SP_LISTEN_FAILED', `nothing can listen on ${at.host} port ${at.port}`, {
        detail: cause.message,
        fix: REMEDY[codeOf(cause)] ?? 'stop what uses the port, or choose another',
        cause,
      }),
    )
  }
  // It stays: an accept that fails later, for want of file descriptors, must not end the process.
  server.on('error', failed)
  server.listen(at, () => {
    // Listening on TCP, so the address is an object.
    resolve((server.address() as AddressInfo).port)
  })
  return promise
}

const REMEDY: Readonly<Record<string, string>> = {
  EACCES:
    'listen on a port from 1024 up and have it forwarded, or give Node the capability CAP_NET_BIND_SERVICE',
  EADDRNOTAVAIL: 'name an address that this machine has',
  ENOTFOUND: 'name an address that this machine has',
}

const codeOf = (cause: unknown): string =>
  cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : ''

const causeCode = (error: unknown): string =>
  error instanceof SallyportError ? codeOf(error.cause) : ''

export async function closed(server: WebServer): Promise<void> {
  if (!server.listening) return
  const { promise, resolve } = Promise.withResolvers<void>()
  server.close(() => resolve())
  server.closeAllConnections()
  await promise
}
