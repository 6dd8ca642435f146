/**
 * The canonical form of a JSON value (RFC 8785): the bytes whose SHA-256 an operator's passkey signs. Written here and not
 * taken from `base`, which needs Node; both are held to the same vectors by their tests.
 *
 * @throws TypeError for what JSON cannot hold
 */
export function canonicalJson(value: unknown, depth: number = 0): string {
  if (depth > 256) throw new TypeError('a value nested deeper than 256')
  if (value === null || typeof value === 'boolean') return String(value)
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError('a number that is not finite')
    return JSON.stringify(value)
  }
  if (typeof value === 'string') return text(value)
  if (Array.isArray(value)) {
    return `[${value.map((item: unknown) => canonicalJson(item, depth + 1)).join(',')}]`
  }
  if (typeof value === 'object') {
    return `{${Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, member]) => `${text(key)}:${canonicalJson(member, depth + 1)}`)
      .join(',')}}`
  }
  throw new TypeError(`canonical JSON cannot hold a ${typeof value}`)
}

function text(value: string): string {
  if (!value.isWellFormed()) throw new TypeError('a string with an unpaired surrogate')
  return JSON.stringify(value)
}

/** base64url of SHA-256 over the canonical JSON of a statement: the WebAuthn challenge it is signed under. */
export async function statementChallenge(statement: unknown): Promise<string> {
  const digest = await crypto.subtle.digest(
    'SHA-256',
    new TextEncoder().encode(canonicalJson(statement)),
  )
  return btoa(String.fromCharCode(...new Uint8Array(digest)))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '')
}

/** SHA-256, hex, of what base64url stands for; undefined where it is no base64url. */
export async function fingerprintOf(encoded: string): Promise<string | undefined> {
  if (!/^[\w-]+$/.test(encoded)) return undefined
  const bytes = Uint8Array.from(
    atob(encoded.replaceAll('-', '+').replaceAll('_', '/')),
    (c) => c.codePointAt(0) ?? 0,
  )
  return hex(await crypto.subtle.digest('SHA-256', bytes))
}

/** SHA-256, hex, of the canonical JSON of a value. */
export async function digestOf(value: unknown): Promise<string> {
  return hex(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(canonicalJson(value))))
}

const hex = (digest: ArrayBuffer): string =>
  [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
