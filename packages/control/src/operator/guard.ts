import { timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { SallyportError } from '@sallyport/base'

const COOKIE = 'sp_session'

/**
 * Refuses whatever does not come from this very console on this machine: DNS rebinding (the `Host` must be ours, exactly),
 * other machines, and, for the API, pages of other origins.
 *
 * @param origin e.g. `http://localhost:7400`
 * @throws SallyportError `SP_API_HOST`, `SP_API_ORIGIN`
 */
export function checkSource(request: IncomingMessage, origin: string, api: boolean): void {
  const hosts = request.headersDistinct['host'] ?? []
  if (hosts.length !== 1 || hosts[0] !== new URL(origin).host || !fromLoopback(request)) {
    throw new SallyportError('SP_API_HOST', 'this server answers to its own address only', {
      fix: `Open ${origin} on the machine itself.`,
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
export function sessionCookie(request: IncomingMessage): string | undefined {
  const values = (request.headers.cookie ?? '')
    .split(';')
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${COOKIE}=`))
    .map((pair) => pair.slice(COOKIE.length + 1))
  const [value] = values
  return values.length === 1 && value !== undefined && /^[\w.-]{16,256}$/.test(value)
    ? value
    : undefined
}

/** The `Set-Cookie` value that sets or (undefined) clears the session. */
export function sessionSetCookie(secret: string | undefined, origin: string): string {
  const secure = origin.startsWith('https:') ? '; Secure' : ''
  const life = secret === undefined ? '; Max-Age=0' : ''
  return `${COOKIE}=${secret ?? ''}; Path=/; HttpOnly; SameSite=Strict${secure}${life}`
}
