import { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'

/** Versions whose TLS server reads a client's certificates in a way that loses them (nodejs/node#65579). */
const LOSING: ReadonlySet<string> = new Set(['v24.21.0', 'v26.8.0'])

/** What Node keeps of a TLS session, as far as it matters here. */
interface Session {
  readonly getPeerCertificate?: (this: Session, detailed: boolean) => object | undefined
  getPeerX509Certificate?: (this: Session) => unknown
}

/**
 * On these versions Node asks of each session with a client certificate whether there is one, by a call that takes the certificates above the
 * leaf out of the session and never frees them: six kilobytes a handshake, and signing certificates that a server never sees. Here the same is
 * asked by a call that takes nothing (ADR 14). Where Node is built otherwise than expected nothing is changed.
 */
export function keepPeerChains(): void {
  if (isDone || !LOSING.has(process.version)) return
  isDone = true
  const socket = new TLSSocket(new Socket())
  // No public name leads there; it is looked at before anything is changed.
  const { _handle: session } = socket as unknown as { readonly _handle?: Session }
  const prototype = session && (Object.getPrototypeOf(session) as Session)
  socket.destroy()
  const { getPeerCertificate, getPeerX509Certificate } = prototype ?? {}
  if (!prototype || !getPeerCertificate || !getPeerX509Certificate) return
  prototype.getPeerX509Certificate = function (this: Session) {
    return getPeerCertificate.call(this, false)
  }
}

let isDone = false
