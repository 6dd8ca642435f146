import { isIP } from 'node:net'
import { SallyportError } from '@sallyport/base'

/** Where operators' passkeys belong: fixed at `init`, because every key is bound to it. */
export interface RelyingParty {
  /** The host alone (WebAuthn Level 3, section 5.1.2): keys work on this very name, on no sibling and no parent. */
  readonly rpId: string
  readonly origin: string
}

/**
 * Reads where the console shall answer: `https://HOST[:PORT]`, or `http://localhost[:PORT]`, the one plain address that browsers
 * count as secure (Secure Contexts, section 3.1).
 *
 * @throws SallyportError `SP_CONFIG_CONSOLE_ORIGIN`
 */
export function consoleOrigin(text: string): RelyingParty {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url) throw refused(text, 'it is not an address')
  const { hostname, origin } = url
  if (isIP(hostname.replace(/^\[|\]$/g, '')) !== 0) {
    throw refused(text, 'passkeys belong to a host name, never to an IP address')
  }
  if (url.protocol === 'http:' && hostname !== 'localhost') {
    throw refused(text, 'browsers refuse passkeys over plain http, except on `localhost`')
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw refused(text, 'it is neither `https` nor `http`')
  }
  if (hostname === '' || hostname.endsWith('.') || hostname.includes('*')) {
    throw refused(text, 'it does not name one host')
  }
  // Only what the origin keeps may be written, so that nobody believes in the rest.
  if (url.href !== `${origin}/` || text.includes('?') || text.includes('#')) {
    throw refused(text, 'an origin has no user, path, query or fragment')
  }
  return { rpId: hostname, origin }
}

export const isSecure = (origin: string): boolean => origin.startsWith('https:')

function refused(text: string, detail: string): SallyportError {
  return new SallyportError(
    'SP_CONFIG_CONSOLE_ORIGIN',
    `the console cannot answer at \`${text.slice(0, 256)}\``,
    { detail, fix: 'write it as `https://console.bank.example` or `https://HOST:PORT`' },
  )
}
