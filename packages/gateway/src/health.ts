import { createServer } from 'node:http'
import type { Server } from 'node:http'
import { SallyportError } from '@sallyport/base'
import type { Address } from './edge/listener.ts'

/** Why a gateway takes no calls; nothing where it does. */
export type NotReady = 'no-bundle' | 'stale' | 'audit' | 'draining'

const LOOPBACK = /^(?:127(?:\.\d{1,3}){3}|::1|localhost)$/

/**
 * Tells whoever starts and stops gateways on this machine how this one is: `/live`, and `/ready` (503 with why). It is on loopback
 * only, and says nothing else.
 */
export class HealthDoor {
  readonly #server: Server

  constructor(notReady: () => readonly NotReady[]) {
    this.#server = createServer(
      { headersTimeout: 2000, requestTimeout: 2000, keepAliveTimeout: 1000, maxHeaderSize: 8192 },
      ({ method, url }, res) => {
        const why = url === '/ready' ? notReady() : []
        const known = method === 'GET' && (url === '/live' || url === '/ready')
        const status = known ? (why.length === 0 ? 200 : 503) : 404
        const body = JSON.stringify(
          known ? { ok: why.length === 0, ...(why.length > 0 && { why }) } : {},
        )
        res.writeHead(status, {
          'content-type': 'application/json',
          'cache-control': 'no-store',
          'content-length': Buffer.byteLength(body),
        })
        res.end(body)
      },
    )
    this.#server.maxConnections = 64
  }

  /** @throws SallyportError `SP_LISTEN_FAILED` */
  listen(at: Address): Promise<Address> {
    if (!LOOPBACK.test(at.host)) {
      throw new SallyportError('SP_LISTEN_FAILED', 'health is told on loopback only', {
        fix: 'use 127.0.0.1 or ::1; a probe from elsewhere connects to the gateway itself',
      })
    }
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause) => {
        reject(
          new SallyportError('SP_LISTEN_FAILED', 'the server cannot listen', {
            ...{ detail: cause.message, cause },
          }),
        )
      })
      this.#server.listen(at, () => {
        const address = this.#server.address()
        if (typeof address === 'string' || !address) throw new TypeError('no TCP address')
        resolve({ host: address.address, port: address.port })
      })
    })
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
  }
}
