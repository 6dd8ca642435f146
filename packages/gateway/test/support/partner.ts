import { createServer } from 'node:http'
import type { Federation, ForeignAgent } from '@sallyport/network'
import { TrustBundle, writeBundleDocument } from '@sallyport/spiffe'
import { createMtlsServer, IdentityHolder } from '@sallyport/transport'
import type { IdentityMaterial, MtlsServer } from '@sallyport/transport'
import { forge, forgeRoot } from '../../../spiffe/test/forge.ts'
import type { Forged, Recipe } from '../../../spiffe/test/forge.ts'

/** Another trust domain: roots, certificates as good or as bad as wanted, and a bundle endpoint by `https_spiffe`. */
export class Partner {
  readonly trustDomain: string
  root: Forged
  /** What the endpoint publishes, newest sequence last. */
  published: readonly Forged[]
  sequence = 1
  fetches = 0
  down = false
  readonly #server: MtlsServer
  readonly #holder: IdentityHolder
  port = 0

  constructor(trustDomain: string) {
    this.trustDomain = trustDomain
    this.root = forgeRoot(trustDomain)
    this.published = [this.root]
    const http = createServer((_req, res) => {
      this.fetches++
      if (this.down) res.writeHead(503).end()
      else res.end(this.document())
    })
    this.#holder = new IdentityHolder(this.#identity(this.root))
    this.#server = createMtlsServer({
      identity: this.#holder,
      accept: () => true,
      allowAnonymous: true,
      handshakeTimeoutMs: 5000,
      onConnection: (socket) => http.emit('connection', socket),
    })
  }

  async listen(): Promise<void> {
    const address = await this.#server.listen({ host: '127.0.0.1', port: 0 })
    if (typeof address === 'string') throw new Error('no port')
    this.port = address.port
  }

  close(): Promise<void> {
    return this.#server.close()
  }

  document(): string {
    const roots = this.published.map(({ pem }) => pem).join('')
    return writeBundleDocument({
      bundle: TrustBundle.fromPem(this.trustDomain, roots),
      sequence: this.sequence,
      refreshHintSeconds: 30,
    })
  }

  /** A new root, published beside the one before; `this.root` signs from then on. */
  addRoot(): Forged {
    const before = this.root
    // OpenSSL tells roots apart by their names where they have no key ids.
    this.root = forgeRoot(this.trustDomain, { name: `root ${this.sequence + 1}` })
    this.publish(before, this.root)
    return before
  }

  publish(...roots: readonly Forged[]): void {
    this.published = roots
    this.sequence++
  }

  /** The endpoint proves itself by a certificate under the root of now. */
  rotateServer(): void {
    this.#holder.replace(this.#identity(this.root))
  }

  declared(agents: readonly ForeignAgent[], over: Partial<Federation> = {}): Federation {
    return {
      trustDomain: this.trustDomain,
      url: `https://127.0.0.1:${this.port}/bundle`,
      profile: 'https_spiffe',
      spiffeId: `spiffe://${this.trustDomain}/control/c1`,
      bundle: this.document(),
      maxAgeSeconds: 6,
      agents,
      ...over,
    }
  }

  /** One that calls the gateway of the trust domain of `roots`. */
  caller(
    uri: string,
    { rootsPem, trustDomain }: { rootsPem: string; trustDomain: string },
    recipe: Recipe = {},
  ): IdentityMaterial {
    const leaf = forge({ signer: this.root, uris: [uri], ...recipe })
    return {
      chainPem: leaf.pem,
      keyPem: leaf.keyPem,
      rootsPem,
      trustDomain,
      notAfter: Date.now() + 600_000,
    }
  }

  #identity(root: Forged): IdentityMaterial {
    const leaf = forge({ signer: root, uris: [`spiffe://${this.trustDomain}/control/c1`] })
    return {
      chainPem: leaf.pem,
      keyPem: leaf.keyPem,
      rootsPem: root.pem,
      trustDomain: this.trustDomain,
      notAfter: Date.now() + 600_000,
    }
  }
}
