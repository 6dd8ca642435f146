export type Field = readonly [string, string]

/** A head of HTTP/2 that is well formed. */
export interface StrictHead {
  readonly method: string
  readonly path: string
  /** Of `:authority`. */
  readonly authority: string
  /** All that are no pseudo-headers, but for a `host` that says the same. */
  readonly fields: readonly Field[]
}

// oxlint-disable-next-line no-control-regex -- section 8.2.1: what no name holds
const BAD_NAME = /[\0-\x20A-Z\x7f-\uffff:]/
// oxlint-disable-next-line no-control-regex -- section 8.2.1: what no value holds
const BAD_VALUE = /[\0\n\r]|^[ \t]|[ \t]$/
const OF_THE_CONNECTION = 'connection keep-alive proxy-connection transfer-encoding upgrade'.split(
  ' ',
)

/**
 * A head by RFC 9113, section 8, of a request for this server: no CONNECT, no proxy. Written for nothing but to be compared with.
 *
 * @param isAll whether no DATA follows
 * @returns undefined where it is malformed
 */
export function strictHead(list: readonly Field[], isAll: boolean): StrictHead | undefined {
  const first = list.findIndex(([name]) => !name.startsWith(':'))
  const pseudo = first < 0 ? list : list.slice(0, first)
  const fields = first < 0 ? [] : list.slice(first)
  // 8.3: before all others, each once, none that is not defined, and all of them.
  const of = (wanted: string): string | undefined => {
    const all = pseudo.filter(([name]) => name === wanted)
    return all.length === 1 ? all[0]?.[1] : undefined
  }
  const [method, scheme, authority, path] = [':method', ':scheme', ':authority', ':path'].map(of)
  if (pseudo.length !== 4 || method === undefined || authority === undefined) return undefined
  if (scheme !== 'https' || path === undefined || !path.startsWith('/')) return undefined
  if (pseudo.some(([, value]) => BAD_VALUE.test(value))) return undefined
  // RFC 9110, section 7.2, and RFC 3986, section 3.2: no user.
  if (authority.includes('@') || authority === '') return undefined
  for (const [name, value] of fields) {
    if (name === '' || BAD_NAME.test(name) || BAD_VALUE.test(value)) return undefined
    if (OF_THE_CONNECTION.includes(name)) return undefined
    if (name === 'te' && value.toLowerCase() !== 'trailers') return undefined
    if (name === 'host' && value !== authority) return undefined
    // 8.1.1; nothing follows, so nothing is announced.
    if (name === 'content-length' && (!/^\d+$/.test(value) || (isAll && Number(value) > 0))) {
      return undefined
    }
  }
  return { method, path, authority, fields: fields.filter(([name]) => name !== 'host') }
}
