import { constants } from 'node:crypto'
import type { RequestListener } from 'node:http'
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { bounded, boundedServer, closed, LIMITS, listen, listenOnLoopback } from '../listen.ts'
import { capPerAddress } from './addresses.ts'
import type { CertificateBytes } from './certificate.ts'
import { isSecure } from './origin.ts'
import { keepCertificate } from './rotation.ts'
import type { CertificateState } from './rotation.ts'

const HANDSHAKE_MS = 5000
const POLL_MS = 5000

/** Where the console listens, and behind which certificate. */
export interface SiteOptions {
  /** Of `http://localhost`; 0 for any free one. With `https` it is `listen` that counts. */
  readonly port: number
  /** Address and port behind an `https` origin; default loopback at the origin's port. */
  readonly listen?: { readonly host: string; readonly port: number }
  /** PEM: the server's certificate and its chain. */
  readonly certFile?: string
  /** PEM: its private key. */
  readonly keyFile?: string
  /** Milliseconds between two looks at the certificate files (default 5000). */
  readonly certificatePollMs?: number
}

export interface Site {
  /** What browsers open, e.g. `http://localhost:7400`. */
  readonly url: string
  /** Ends what the certificate needs; servers close with what `listen` returned. */
  stop(): void
  /** The certificate that is served now; undefined over plain http. */
  certificate(): CertificateState | undefined
  listen(handler: RequestListener): Promise<{ url: string; at: string; close(): Promise<void> }>
}

/**
 * Judges, before anything is started, where the console may be served: plain http on loopback, anything else behind the user's own
 * certificate, at the origin that `init` fixed.
 *
 * @throws SallyportError `SP_CONSOLE_NO_CERTIFICATE`, `SP_CONFIG_CONSOLE_ORIGIN`, `SP_CONSOLE_CERT_*`, `SP_CONSOLE_KEY_*`
 */
export async function planSite(
  options: SiteOptions & {
    readonly origin: string
    readonly clock: Clock
    readonly onError: (error: unknown) => void
  },
): Promise<Site> {
  const { origin, certFile, keyFile } = options
  const files = certFile === undefined || keyFile === undefined ? undefined : { certFile, keyFile }
  if (!isSecure(origin)) {
    if (options.listen !== undefined && !files) throw noCertificate(origin)
    if (options.listen !== undefined || certFile !== undefined || keyFile !== undefined) {
      throw new SallyportError(
        'SP_CONFIG_CONSOLE_ORIGIN',
        `\`init\` fixed the console at ${origin}, on loopback`,
        {
          detail:
            'passkeys are bound to that origin, so it cannot move, and a certificate is no use',
          fix: 'leave the certificate and the address out, or make a new trust root with `sallyport init --console-origin https://HOST`',
        },
      )
    }
    return {
      url: origin,
      stop: () => undefined,
      certificate: () => undefined,
      async listen(handler) {
        const web = await listenOnLoopback(() => boundedServer(handler), options.port)
        const url = `http://localhost:${web.port}`
        return { url, at: `localhost:${web.port}`, close: () => web.close() }
      },
    }
  }
  if (!files) throw noCertificate(origin)
  const { hostname, port } = new URL(origin)
  const keeper = await keepCertificate({
    files,
    host: hostname,
    clock: options.clock,
    pollMs: options.certificatePollMs ?? POLL_MS,
    onError: options.onError,
  })
  return {
    url: origin,
    stop: () => keeper.stop(),
    certificate: () => keeper.state(),
    async listen(handler) {
      const servers = new Set<Server>()
      const make = (): Server => {
        const server = secureServer(handler, keeper.current())
        servers.add(server)
        return server
      }
      const web = options.listen
        ? await listenAt(make(), options.listen)
        : await listenOnLoopback(make, Number(port || 443))
      keeper.watch((bytes) => {
        for (const server of servers) server.setSecureContext(context(bytes))
      })
      return { url: origin, at: web.at, close: () => web.close() }
    },
  }
}

/** TLS 1.3 alone: every browser that has passkeys has it. No tickets: a resumed session would outlive a replaced certificate. */
const context = ({ cert, key }: CertificateBytes) => ({
  cert,
  key,
  minVersion: 'TLSv1.3' as const,
  maxVersion: 'TLSv1.3' as const,
  secureOptions: constants.SSL_OP_NO_TICKET,
})

function secureServer(handler: RequestListener, bytes: CertificateBytes): Server {
  const options = {
    ...LIMITS,
    ...context(bytes),
    ALPNProtocols: ['http/1.1'],
    handshakeTimeout: HANDSHAKE_MS,
  }
  return capPerAddress(bounded(createServer(options, handler)))
}

async function listenAt(
  server: Server,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<{ at: string; close(): Promise<void> }> {
  const taken = await listen(server, { host, port })
  const at = host.includes(':') ? `[${host}]:${taken}` : `${host}:${taken}`
  return { at, close: () => closed(server) }
}

function noCertificate(origin: string): SallyportError {
  return new SallyportError(
    'SP_CONSOLE_NO_CERTIFICATE',
    'the console leaves `http://localhost` only behind your own certificate',
    {
      detail: `\`init\` fixed ${origin}; a certificate file and a key file are needed, both`,
      fix: isSecure(origin)
        ? 'give --console-cert FILE and --console-key FILE'
        : 'leave --console-listen out, or make a new trust root with `sallyport init --console-origin https://HOST` and give --console-cert and --console-key',
    },
  )
}
