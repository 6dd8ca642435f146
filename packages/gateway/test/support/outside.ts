import { generateKeyPairSync } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Declaration } from '@sallyport/network'
import { createIssuer, createRoot } from '@sallyport/spiffe'

/** A server outside of the network, in the place of the system `rates`. */
export class Outside {
  readonly sockets: Socket[] = []
  readonly #root: string
  readonly #server: ReturnType<typeof createServer>

  constructor(listener: RequestListener) {
    const root = createRoot({ trustDomain: 'rates.example', ttlSeconds: 3600 })
    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const leaf = createIssuer({
      certificatePem: root.certificatePem,
      privateKey: root.privateKeyPem,
    }).issue({
      spiffeId: 'spiffe://rates.example/server',
      publicKeySpki: pair.publicKey.export({ type: 'spki', format: 'der' }),
      ttlSeconds: 3600,
      dnsNames: ['rates.example'],
    })
    const key = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    this.#root = root.certificatePem
    this.#server = createServer({ cert: leaf.chainPem, key }, listener)
    this.#server.on('secureConnection', (socket) => {
      socket.on('error', () => undefined)
      this.sockets.push(socket)
    })
  }

  listen(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.listen(0, '127.0.0.1', resolve)
    })
  }

  /** A declaration whose systems outside are here. */
  in(declaration: Declaration): Declaration {
    // Port of a TCP listener.
    const { port } = this.#server.address() as AddressInfo
    const { network } = declaration
    const here = { url: `https://127.0.0.1:${port}/base`, caFile: this.#root }
    return {
      ...declaration,
      network: {
        ...network,
        systems: network.systems.map((system) =>
          system.upstream.kind === 'external'
            ? { ...system, upstream: { ...system.upstream, ...here } }
            : system,
        ),
      },
    }
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }
}
