import { AsyncLocalStorage } from 'node:async_hooks'
import type { X509Certificate } from 'node:crypto'

/** Who makes a request, by its verified certificate; never by what the request says. */
export interface Peer {
  /** SPIFFE id. */
  readonly id: string
  /** Of the certificate, lower-case hex. */
  readonly serial: string
  readonly certificate: X509Certificate
}

/** The request that is being served, for whatever oidc-provider asks back in the midst of it. */
export interface ServedCall {
  readonly peer: Peer | undefined
  /** Whether the client authenticates by a signed assertion rather than by its certificate. */
  readonly asserts: boolean
  /** Whom the client lets act for it (RFC 8693, section 4.4), as it asked. */
  readonly mayAct: string | undefined
}

const served = new AsyncLocalStorage<ServedCall>()

/** Runs `act` as part of serving `call`. */
export function serving<T>(call: ServedCall, act: () => T): T {
  return served.run(call, act)
}

/** @throws Error outside any request: a mistake of this package, and nothing is issued then */
export function currentCall(): ServedCall {
  const call = served.getStore()
  if (call) return call
  throw new Error('no request is being served')
}
