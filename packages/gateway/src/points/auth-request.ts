import { Refusal } from '../refusal.ts'
import type { PointQuestion } from './checks.ts'

/** Where nginx's `auth_request` asks. */
export const AUTH_REQUEST_PATH = '/auth-request'

/** Set by the configuration of nginx, over whatever a caller sent. */
const OWN = 'x-sallyport-'
/** Beyond about a thousand, versions of Node leave headers out; nginx would forward what nobody saw. */
const MAX_HEADERS = 512

/**
 * Reads a subrequest of nginx: what the caller sent, and in headers of our own what nginx knows of it.
 *
 * @param rawHeaders names and values in turn
 * @throws Refusal `SP_POINT_REQUEST`
 */
export function readAuthRequest(rawHeaders: readonly string[]): PointQuestion {
  if (rawHeaders.length > 2 * MAX_HEADERS) throw unreadable('it has too many headers')
  const own = new Map<string, string>()
  const others: string[] = []
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] ?? '').toLowerCase()
    const value = rawHeaders[i + 1] ?? ''
    if (!name.startsWith(OWN)) others.push(name, value)
    else if (own.has(name)) throw unreadable(`\`${name}\` stands twice`)
    else own.set(name, value)
  }
  const demand = (name: string): string => {
    const value = own.get(OWN + name)
    if (value === undefined) throw unreadable(`\`${OWN}${name}\` is missing`)
    return value
  }
  // nginx leaves out headers that are empty: this one never is, so that a body cannot be hidden by leaving it out.
  const framing = /^length=(\d*) coding=(\S*) protocol=(\S+)$/.exec(demand('framing'))
  if (!framing) throw unreadable(`\`${OWN}framing\` is not as documented`)
  const [, length = '', coding = '', protocol = ''] = framing
  return {
    // Never left open: what nginx does not set, the caller could.
    system: demand('system'),
    certificate: demand('certificate'),
    method: demand('method'),
    target: demand('target'),
    isHttp1: protocol === 'HTTP/1.1',
    rawHeaders: [
      ...others,
      ...(length === '' ? [] : ['content-length', length]),
      ...(coding === '' ? [] : ['transfer-encoding', coding]),
    ],
    areHeadersMerged: false,
    // It never sends one along.
    body: undefined,
    isBodyWhole: false,
  }
}

const unreadable = (detail: string): Refusal =>
  new Refusal('SP_POINT_REQUEST', 'the question cannot be read', { status: 400, detail })
