import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { errorCode, SallyportError } from '@sallyport/base'
import type { MtlsServer, RefusedFacts } from '@sallyport/transport'
import type { GatewaySettings } from '../settings.ts'
import type { Address } from './listener.ts'
import { balancers, takeProxyFrame } from './proxy-protocol.ts'

export interface BalancedOptions {
  /** Addresses and ranges of the balancers; nobody else is let in. */
  readonly from: readonly string[]
  readonly settings: GatewaySettings
  readonly mtls: MtlsServer
  onRefused(facts: RefusedFacts): void
}

/** A port that balancers alone connect to, each connection with a PROXY protocol frame before the handshake, which passes through them. */
export class BalancedDoor {
  readonly #tcp: Server
  readonly #waiting = new Set<Socket>()

  /** @throws SallyportError `SP_PROXY_PEERS` */
  constructor(options: BalancedOptions) {
    const { from, settings, mtls } = options
    const isBalancer = balancers(from)
    this.#tcp = createServer({ noDelay: true }, (socket) => {
      socket.on('error', () => undefined)
      const { remoteAddress } = socket
      // It ended before it was accepted, as checks of balancers do that reset what they opened: whose it was cannot be told.
      if (remoteAddress === undefined) {
        socket.destroy()
        return
      }
      if (!isBalancer(remoteAddress)) {
        socket.destroy()
        options.onRefused({
          code: 'SP_PROXY_PEER',
          reason: 'the peer is no declared balancer',
          remoteAddress,
        })
        return
      }
      this.#waiting.add(socket)
      socket.once('close', () => this.#waiting.delete(socket))
      takeProxyFrame(
        socket,
        settings.handshakeTimeoutMs,
        ({ source }) => {
          this.#waiting.delete(socket)
          mtls.take(socket, source?.address ?? null)
        },
        (error) => {
          options.onRefused({
            code: errorCode(error),
            reason: error.detail ?? error.message,
            remoteAddress,
          })
        },
      )
    })
    this.#tcp.maxConnections = settings.maxConnections
    this.#tcp.on('drop', (dropped) => {
      options.onRefused({
        code: 'SP_TLS_TOO_MANY',
        reason: 'too many connections are open',
        ...(dropped?.remoteAddress === undefined ? {} : { remoteAddress: dropped.remoteAddress }),
      })
    })
  }

  /** @throws SallyportError `SP_LISTEN_FAILED` */
  listen(at: Address, shared: boolean): Promise<Address> {
    return new Promise((resolve, reject) => {
      this.#tcp.once('error', (cause) => {
        const facts = { detail: cause.message, cause }
        reject(new SallyportError('SP_LISTEN_FAILED', 'the server cannot listen', facts))
      })
      this.#tcp.listen({ ...at, reusePort: shared }, () => {
        const address = this.#tcp.address()
        if (typeof address === 'string' || !address) throw new TypeError('no TCP address')
        resolve({ host: address.address, port: address.port })
      })
    })
  }

  /** Takes nobody in any more; who has not said where it comes from is let go. */
  stop(): void {
    this.#tcp.close()
    for (const socket of this.#waiting) socket.destroy()
  }
}
