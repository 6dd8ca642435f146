import { createPrivateKey, X509Certificate } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { request } from 'node:http'
import { connect as connectTcp } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { TLSSocket } from 'node:tls'

import { parseJson, SallyportError, systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { certificatesFromPem, verifySvid } from '@sallyport/spiffe'

import { bundlesOf } from './identity.ts'
import type { IdentityMaterial, TrustAnchors } from './identity.ts'
import { identifyPeer } from './peer.ts'
import { DEFAULT_ALPN } from './profile.ts'
import type { Target } from './target.ts'

/** What is wrong between this machine and a server of the network, the first thing that is; or that nothing is. */
export interface Diagnosis {
  readonly ok: boolean
  /** The code that a client or server of ours would give, where something is wrong. */
  readonly code?: string
  /** One line, for people, with what to do. */
  readonly text: string
}

interface DiagnoseOptions {
  readonly target: Target
  /** With a certificate and key to connect as somebody; with roots alone, only the server is judged. */
  readonly identity: TrustAnchors | IdentityMaterial
  readonly timeoutMs?: number
  readonly clock?: Clock
}

const TIMEOUT_MS = 5000
const MAX_ANSWER = 65_536
/** Clocks that differ by less than this disturb nothing: certificates are backdated by ten seconds. */
const SKEW_MS = 10_000

/**
 * Connects as a client of the network would, and finds out at which step and why that fails. It changes nothing, and trusts
 * nothing that it is told before the server has proven itself.
 */
export async function diagnose(options: DiagnoseOptions): Promise<Diagnosis> {
  const clock = options.clock ?? systemClock
  const own = ownFault(options.identity, clock.now())
  if (own && own !== 'foreign') return own
  const reached = await reach(options)
  if ('ok' in reached) return reached
  const { socket } = reached
  // Ends that come after the handshake are found by what is asked.
  socket.on('error', () => undefined)
  try {
    const fault = serverFault(socket, options.identity, clock.now())
    // Of certificates out of time, the clock may be the one at fault: the server tells its own.
    const answer = await ask(socket, options.timeoutMs ?? TIMEOUT_MS)
    return judged(fault, answer, options.identity, clock.now(), own === 'foreign')
  } finally {
    socket.destroy()
  }
}

/** The SPIFFE id that our own certificate names. */
function idOf(identity: TrustAnchors | IdentityMaterial): string {
  if (!('chainPem' in identity)) return ''
  const { subjectAltName = '' } = new X509Certificate(identity.chainPem)
  return /(?:^|, )URI:(spiffe:[^\s,]+)/.exec(subjectAltName)?.[1] ?? ''
}

function bad(code: string, text: string): Diagnosis {
  return { ok: false, code, text }
}

const good = (text: string): Diagnosis => ({ ok: true, text })

/** What of our own certificate any server of the network would refuse; `foreign` where another trust domain gave it. */
function ownFault(
  identity: TrustAnchors | IdentityMaterial,
  now: number,
): Diagnosis | 'foreign' | undefined {
  if (!('chainPem' in identity)) return undefined
  const unfit = keyFault(identity)
  if (unfit) return unfit
  try {
    verifySvid(certificatesFromPem(identity.chainPem), bundlesOf(identity), { now })
    return undefined
  } catch (error) {
    if (!(error instanceof SallyportError) || error.code !== 'SP_SVID_FOREIGN') {
      return explain(error, 'our own certificate', identity.trustDomain)
    }
    // What signs it is not known here; when it ends it says itself.
    const { validToDate } = new X509Certificate(identity.chainPem)
    return validToDate.getTime() < now
      ? bad(
          'SP_SVID_EXPIRED',
          `our own certificate has expired (${validToDate.toISOString()}): renew it`,
        )
      : 'foreign'
  }
}

/** Whether the key is the one that the certificate is for. */
function keyFault({ chainPem, keyPem }: IdentityMaterial): Diagnosis | undefined {
  let certificate: X509Certificate
  let key: KeyObject
  try {
    certificate = new X509Certificate(chainPem)
  } catch {
    return bad('SP_SVID_MALFORMED', 'our own certificate is none in PEM form: name the right file')
  }
  try {
    key = createPrivateKey(keyPem)
  } catch {
    return bad('SP_IDENTITY_MISMATCH', 'our own key is none in PEM form: name the right file')
  }
  return certificate.checkPrivateKey(key)
    ? undefined
    : bad(
        'SP_IDENTITY_MISMATCH',
        'our own key is not the one of our certificate: take both from the same enrolment, or enrol anew',
      )
}

async function reach(options: DiagnoseOptions): Promise<{ socket: TLSSocket } | Diagnosis> {
  const { target, identity } = options
  const ms = options.timeoutMs ?? TIMEOUT_MS
  let tcp: Socket
  try {
    tcp = await once(connectTcp({ ...target }), 'connect', ms)
  } catch (error) {
    const reason = codeOf(error)
    if ('path' in target) return socketFault(target.path, reason, error)
    if (reason === 'ECONNREFUSED')
      return bad('SP_CONNECT_FAILED', 'nothing listens there: is it started, is the port right?')
    if (reason === 'ENOTFOUND')
      return bad('SP_CONNECT_FAILED', 'there is no such host: correct the name')
    if (reason === 'timeout')
      return bad('SP_CONNECT_TIMEOUT', 'no answer: a firewall or a segment may be in between')
    if (reason === 'ENETUNREACH' || reason === 'EHOSTUNREACH')
      return bad(
        'SP_CONNECT_FAILED',
        'no way leads there from this machine: an agent inside `sallyport run` has its sockets only',
      )
    return bad('SP_CONNECT_FAILED', `it cannot be reached: ${messageOf(error)}`)
  }
  try {
    const socket = connectTls({
      socket: tcp,
      ca: identity.rootsPem,
      ...('keyPem' in identity ? { cert: identity.chainPem, key: identity.keyPem } : {}),
      // Judged below, with words; nothing is sent that anyone else must not see.
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
      minVersion: 'TLSv1.2',
      ALPNProtocols: [...DEFAULT_ALPN],
    })
    return { socket: await once(socket, 'secureConnect', ms) }
  } catch (error) {
    tcp.destroy()
    return handshakeFault(error)
  }
}

/** Why a Unix socket cannot be connected to. */
function socketFault(path: string, reason: string, error: unknown): Diagnosis {
  const says: Readonly<Record<string, string>> = {
    ENOENT: `there is no socket \`${path}\`: is what listens there started, is the path right?`,
    ENOTDIR: `there is no socket \`${path}\`: a part of the path is a file`,
    EACCES: `this user may not open \`${path}\`: run as the user that owns it, who alone may`,
    EPERM: `this user may not open \`${path}\`: run as the user that owns it, who alone may`,
    ECONNREFUSED: `nobody listens at \`${path}\`: what did has ended, start it again`,
    ENOTSOCK: `\`${path}\` is no socket: correct the path`,
    timeout: `nobody takes the connection at \`${path}\`: what listens there hangs`,
  }
  const code = reason === 'timeout' ? 'SP_CONNECT_TIMEOUT' : 'SP_CONNECT_FAILED'
  return bad(code, says[reason] ?? `\`${path}\` cannot be reached: ${messageOf(error)}`)
}

/** Node's and OpenSSL's reasons for a handshake that did not come about. */
function handshakeFault(error: unknown): Diagnosis {
  const reason = `${codeOf(error)} ${messageOf(error)}`
  if (/WRONG_VERSION_NUMBER|PACKET_LENGTH|HTTP_REQUEST|wrong version number/i.test(reason)) {
    return bad('SP_TLS_HANDSHAKE', 'what listens there speaks no TLS: is it the right port?')
  }
  if (/PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL|protocol version/i.test(reason)) {
    return bad('SP_TLS_HANDSHAKE', 'no TLS version in common: the network needs TLS 1.3')
  }
  if (/NO_APPLICATION_PROTOCOL|no application protocol/i.test(reason)) {
    return bad(
      'SP_TLS_ALPN',
      'no application protocol in common: the server must offer `http/1.1` by ALPN',
    )
  }
  if (codeOf(error) === 'timeout') {
    return bad('SP_CONNECT_TIMEOUT', 'the port is open and nobody answers the handshake')
  }
  return bad('SP_TLS_HANDSHAKE', `the handshake fails: ${messageOf(error)}`)
}

function serverFault(
  socket: TLSSocket,
  identity: TrustAnchors,
  now: number,
): Diagnosis | undefined {
  const protocol = socket.getProtocol()
  if (protocol !== 'TLSv1.3') {
    return bad(
      'SP_TLS_HANDSHAKE',
      `the server speaks ${protocol ?? 'no TLS'} at most: the network needs TLS 1.3`,
    )
  }
  if (!socket.alpnProtocol) {
    return bad(
      'SP_TLS_ALPN',
      'the server agrees to no application protocol: it must offer `http/1.1` by ALPN',
    )
  }
  try {
    if (identifyPeer(socket, identity, now)) return undefined
    return bad('SP_PEER_ANONYMOUS', 'the server shows no certificate')
  } catch (error) {
    return explain(error, 'the certificate of the server', identity.trustDomain)
  }
}

function explain(error: unknown, whose: string, trustDomain: string): Diagnosis {
  if (!(error instanceof SallyportError)) return bad('SP_INTERNAL', messageOf(error))
  const { code, detail = error.message } = error
  switch (code) {
    case 'SP_SVID_EXPIRED':
      return bad(
        code,
        `${whose} has expired (${detail}): renew it, or correct this machine's clock`,
      )
    case 'SP_SVID_NOT_YET_VALID':
      return bad(code, `${whose} is not yet valid (${detail}): this machine's clock is behind`)
    case 'SP_SVID_FOREIGN':
      return bad(
        code,
        `${whose} is of another trust domain than \`${trustDomain}\` (${detail}): take roots and certificates of one network`,
      )
    case 'SP_SVID_UNTRUSTED':
      return bad(
        code,
        `${whose} is signed by no root that is known here (${detail}): compare \`trust/ca.pem\` of both`,
      )
    default:
      return bad(
        code,
        `${whose} is no SVID of this network: ${detail}; the control plane makes them (\`sallyport agent enroll\`)`,
      )
  }
}

interface Answer {
  readonly status: number
  /** The server's clock, milliseconds since the epoch. */
  readonly at?: number
  readonly body: unknown
}

/** A question that changes nothing and that control planes answer; what others answer tells as well. */
function ask(socket: TLSSocket, ms: number): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const asked = request(
      {
        createConnection: () => socket,
        path: '/v1/status',
        headers: { host: 'sallyport' },
        timeout: ms,
      },
      (response) => {
        const chunks: Buffer[] = []
        let size = 0
        response.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > MAX_ANSWER) response.destroy()
          else chunks.push(chunk)
        })
        response.on('close', () => {
          const at = Date.parse(response.headers.date ?? '')
          resolve({
            status: response.statusCode ?? 0,
            ...(Number.isNaN(at) ? {} : { at }),
            body: jsonOf(Buffer.concat(chunks)),
          })
        })
        response.on('error', () => undefined)
      },
    )
    asked.on('timeout', () => asked.destroy())
    asked.on('error', () => {
      resolve(undefined)
    })
    asked.end()
  })
}

function judged(
  fault: Diagnosis | undefined,
  answer: Answer | undefined,
  identity: TrustAnchors | IdentityMaterial,
  now: number,
  foreign: boolean,
): Diagnosis {
  const apart = answer?.at === undefined ? 0 : now - answer.at
  const clock =
    Math.abs(apart) > SKEW_MS
      ? `this machine's clock is ${Math.round(Math.abs(apart) / 1000)} s ${apart > 0 ? 'ahead of' : 'behind'} the server's`
      : undefined
  if (fault) {
    const timely = fault.code === 'SP_SVID_EXPIRED' || fault.code === 'SP_SVID_NOT_YET_VALID'
    return timely && clock !== undefined ? bad(fault.code, `${fault.text}; ${clock}`) : fault
  }
  const mutual = 'keyPem' in identity
  if (!answer && foreign) {
    return bad(
      'SP_SVID_FOREIGN',
      `our own certificate is of another trust domain than \`${identity.trustDomain}\`, and the server ends the connection after the handshake: there it has to be declared, not at its end, not quarantined, and vouched for by a fresh bundle (\`sallyport federation explain ${idOf(identity)}\` says there which)`,
    )
  }
  if (!answer) {
    return mutual
      ? bad(
          'SP_PEER_REFUSED',
          'the server ends the connection after the handshake: it does not take this certificate (another root, another kind, quarantine, or its clock)',
        )
      : good('the server proves to be of this network, and takes nobody without a certificate')
  }
  const { code, title, quarantined } = objectOf(answer.body)
  if (quarantined === true || code === 'SP_QUARANTINED') {
    return bad(
      'SP_QUARANTINED',
      'this identity is quarantined: find out why, then have it released in the console',
    )
  }
  if (code === 'SP_SVID_REVOKED') {
    return bad('SP_SVID_REVOKED', 'this certificate is revoked: enrol anew')
  }
  if (clock !== undefined)
    return bad('SP_SVID_NOT_YET_VALID', `${clock}: certificates will seem expired or not yet valid`)
  // Whoever has no certificate, or asks somebody who answers something else, got far enough to be refused by HTTP.
  if (mutual && answer.status === 401 && typeof code === 'string') {
    return bad(
      code,
      typeof title === 'string' ? title : 'the server does not take this certificate',
    )
  }
  return good(mutual ? 'both certificates are accepted' : 'the server proves to be of this network')
}

function once<T extends Socket>(socket: T, event: string, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy()
      reject(Object.assign(new Error('it took too long'), { code: 'timeout' }))
    }, ms)
    const failed = (error: Error): void => {
      clearTimeout(timer)
      reject(error)
    }
    const closed = (): void => {
      failed(new Error('the server ends it'))
    }
    socket.once('error', failed)
    socket.once('close', closed)
    socket.once(event, () => {
      clearTimeout(timer)
      socket.off('error', failed)
      socket.off('close', closed)
      resolve(socket)
    })
  })
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : ''
const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error)

function jsonOf(bytes: Buffer): unknown {
  try {
    return parseJson(bytes)
  } catch {
    return undefined
  }
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
    ? // An object's members are of unknown types.
      (value as Readonly<Record<string, unknown>>)
    : {}
}
