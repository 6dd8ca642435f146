/** A small real control plane and gateway for tests: real TLS, real issuing, real tokens. */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'

import {
  createIssuer,
  createJwtAuthority,
  createRoot,
  issueJwtSvid,
  publicKeyFromCsr,
} from '@sallyport/spiffe'
import type { Issuer, JwtAuthority, RootMaterial } from '@sallyport/spiffe'
import { assertFresh, createMtlsServer, IdentityHolder, peerOf } from '@sallyport/transport'
import type { IdentityMaterial, MtlsServer } from '@sallyport/transport'
import { generateKeyPairSync, sign } from 'node:crypto'

export const TRUST_DOMAIN = 'bank.test'

export interface Fabric {
  readonly root: RootMaterial
  readonly issuer: Issuer
}

export function makeFabric(): Fabric {
  const root = createRoot({ trustDomain: TRUST_DOMAIN, ttlSeconds: 86_400 })
  const issuer = createIssuer({
    certificatePem: root.certificatePem,
    privateKey: root.privateKeyPem,
  })
  return { root, issuer }
}

export function identityOf(fabric: Fabric, path: string, ttlSeconds = 600): IdentityMaterial {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const issued = fabric.issuer.issue({
    spiffeId: `spiffe://${TRUST_DOMAIN}${path}`,
    publicKeySpki: publicKey.export({ format: 'der', type: 'spki' }),
    ttlSeconds,
  })
  return {
    chainPem: issued.chainPem,
    keyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    rootsPem: fabric.root.certificatePem,
    trustDomain: TRUST_DOMAIN,
    notAfter: issued.notAfter,
  }
}

/** Of an identity that never asks the control plane anything. */
export const noPlane = (): Promise<never> => Promise.reject(new Error('there is no control plane'))

export function newJwtAuthority(): JwtAuthority {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return createJwtAuthority(TRUST_DOMAIN, {
    publicKey,
    sign: (data) => sign('sha256', data, privateKey),
  })
}

export type Routes = (
  request: IncomingMessage,
  response: ServerResponse,
  body: string,
) => void | Promise<void>

export interface Running extends AsyncDisposable {
  readonly target: { readonly host: string; readonly port: number }
  readonly tls: MtlsServer
  readonly http: Server
}

/** HTTP over mutual TLS with the given identity. */
export async function serve(
  holder: IdentityHolder,
  routes: Routes,
  allowAnonymous = false,
): Promise<Running> {
  const http = createServer((request, response) => {
    const run = async (): Promise<void> => {
      let body = ''
      for await (const chunk of request) body += String(chunk)
      await routes(request, response, body)
    }
    run().catch(() => response.destroy())
  })
  const tls = createMtlsServer({
    identity: holder,
    accept: () => true,
    allowAnonymous,
    onConnection: (socket: Duplex) => http.emit('connection', socket),
    handshakeTimeoutMs: 2000,
  })
  // A TCP listener always has an AddressInfo.
  const { port } = (await tls.listen({ host: '127.0.0.1', port: 0 })) as AddressInfo
  return {
    target: { host: '127.0.0.1', port },
    tls,
    http,
    [Symbol.asyncDispose]: () => tls.close(),
  }
}

export function json(
  response: ServerResponse,
  status: number,
  value: unknown,
  type = 'application/json',
): void {
  response.writeHead(status, { 'content-type': type }).end(JSON.stringify(value))
}

export const problem = (
  response: ServerResponse,
  status: number,
  code: string,
  more: object = {},
): void => {
  json(
    response,
    status,
    {
      type: `https://sallyport.dev/errors/${code}`,
      title: 'refused',
      status,
      code,
      outcome: 'refused',
      ...more,
    },
    'application/problem+json',
  )
}

/** Enrols one-use tokens and renews in a single lineage, with the lifetimes of the test. */
export class Plane {
  readonly fabric: Fabric
  readonly tokens: Map<string, string> = new Map()
  /** The serial in force, by SPIFFE id. */
  readonly serials: Map<string, string> = new Map()
  ttlSeconds: number
  renewals = 0
  /** Bundle documents of other trust domains. */
  federated: Record<string, string> = {}
  /** Refuses tokens, as of a caller in quarantine. */
  cut = false
  failNext = 0
  spoil: (answer: Record<string, unknown>) => Record<string, unknown> = (answer) => answer

  constructor(fabric: Fabric, ttlSeconds = 600) {
    this.fabric = fabric
    this.ttlSeconds = ttlSeconds
  }

  start(path = '/control/c1'): Promise<Running> {
    const holder = new IdentityHolder(identityOf(this.fabric, path))
    return serve(holder, (request, response, body) => this.#route(request, response, body), true)
  }

  /** What signs JWT-SVIDs, by the tests' own choice. */
  jwt: JwtAuthority = newJwtAuthority()

  async #route(request: IncomingMessage, response: ServerResponse, body: string): Promise<void> {
    const peer = peerOf(request.socket)
    // What the client under test sent; read loosely on purpose.
    const sent = JSON.parse(body || '{}') as { token?: string; csr: string }
    let id: string | undefined
    if (request.url === '/v1/jwt-bundle' && peer) {
      const { kid, publicJwk } = this.jwt
      json(response, 200, {
        bundle: JSON.stringify({ keys: [{ use: 'jwt-svid', kid, ...publicJwk }] }),
        federated: this.federated,
      })
      return
    }
    if (request.url === '/v1/jwt-svid' && peer) {
      if (this.cut) {
        problem(response, 403, 'SP_QUARANTINED')
        return
      }
      // As above.
      const { audience } = JSON.parse(body) as { audience: string[] }
      const { token } = await issueJwtSvid(this.jwt, { spiffeId: peer.id.uri, audience })
      json(response, 200, this.spoil({ spiffeId: peer.id.uri, token }))
      return
    }
    if (request.url === '/v1/enroll') {
      id = this.tokens.get(sent.token ?? '')
      this.tokens.delete(sent.token ?? '')
    } else if (request.url === '/v1/renew' && peer) {
      if (this.failNext-- > 0) {
        problem(response, 503, 'SP_INTERNAL')
        return
      }
      assertFresh(peer, Date.now())
      if (this.serials.get(peer.id.uri) === peer.serial) id = peer.id.uri
      this.renewals++
    }
    if (id === undefined) {
      problem(response, 401, 'SP_JOIN_TOKEN_USED')
      return
    }
    const issued = this.fabric.issuer.issue({
      spiffeId: id,
      publicKeySpki: publicKeyFromCsr(sent.csr),
      ttlSeconds: this.ttlSeconds,
    })
    this.serials.set(id, issued.serial)
    json(
      response,
      200,
      this.spoil({
        spiffeId: id,
        chain: issued.chainPem,
        roots: this.fabric.root.certificatePem,
        notAfter: issued.notAfter,
      }),
    )
  }
}
