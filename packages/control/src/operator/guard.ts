import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { SallyportError } from '@sallyport/base'
import { isSecure } from '../site/origin.ts'

/**
 * The name of the session's cookie. Over TLS it is bound to this very host (RFC 6265bis, section 4.1.3.2): no sibling host, and
 * nobody on a plain connection, can set one.
 */
export const cookieName = (origin: string): string =>
  isSecure(origin) ? '__Host-sp_session' : 'sp_session'

/**
 * Refuses whatever does not come from this very console: DNS rebinding (the `Host` must be ours, exactly), for the API pages of
 * other origins, and over plain http other machines.
 *
 * @param origin e.g. `http://localhost:7400` or `https://console.bank.example`
 * @throws SallyportError `SP_API_HOST`, `SP_API_ORIGIN`
 */
export function checkSource(request: IncomingMessage, origin: string, api: boolean): void {
  const hosts = request.headersDistinct['host'] ?? []
  const near = isSecure(origin) || fromLoopback(request)
  if (hosts.length !== 1 || hosts[0] !== new URL(origin).host || !near) {
    throw new SallyportError('SP_API_HOST', 'this server answers to its own address only', {
      fix: isSecure(origin) ? `Open ${origin}.` : `Open ${origin} on the machine itself.`,
    })
  }
  if (!api) return
  const site = request.headers['sec-fetch-site']
  const foreign = site !== undefined && site !== 'same-origin' && site !== 'none'
  const changing = request.method !== 'GET' && request.method !== 'HEAD'
  const stated = request.headers.origin
  if (foreign || (stated === undefined ? changing : stated !== origin)) {
    throw new SallyportError('SP_API_ORIGIN', 'this call did not come from the console', {
      fix: `Send it from ${origin}, with that \`Origin\`.`,
    })
  }
}

function fromLoopback({ socket }: IncomingMessage): boolean {
  const address = socket.remoteAddress ?? ''
  return address === '::1' || /^(?:::ffff:)?127\.\d+\.\d+\.\d+$/.test(address)
}

/** @throws SallyportError `SP_API_CSRF` */
export function checkCsrf(request: IncomingMessage, expected: string): void {
  const given = request.headers['x-sallyport-csrf']
  const a = Buffer.from(typeof given === 'string' ? given : '')
  const b = Buffer.from(expected)
  if (b.length === 0 || a.length !== b.length || !timingSafeEqual(a, b)) {
    throw new SallyportError('SP_API_CSRF', 'the header `X-Sallyport-CSRF` is missing or wrong', {
      fix: 'Reload the page.',
    })
  }
}

/** The session's secret out of the cookies; two of that name count as none. */
export function sessionCookie(request: IncomingMessage, origin: string): string | undefined {
  const name = cookieName(origin)
  const values = (request.headers.cookie ?? '')
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1))
  const [value] = values
  return values.length === 1 && value !== undefined && /^[\w.-]{16,256}$/.test(value)
    ? value
    : undefined
}

/** The `Set-Cookie` value that sets or (undefined) clears the session. */
export function sessionSetCookie(secret: string | undefined, origin: string): string {
  const secure = isSecure(origin) ? '; Secure' : ''
  const life = secret === undefined ? '; Max-Age=0' : ''
  return `${cookieName(origin)}=${secret ?? ''}; Path=/; HttpOnly; SameSite=Strict${secure}${life}`
}
