import type { Identity } from '@sallyport/agent'
import { parseTarget } from '../env.ts'
import type { Attempt } from './attempt.ts'
import { rawRequest } from './rawTls.ts'
import type { RawAnswer } from './rawTls.ts'

/** Errors of a packet that finds no way, rather than of a peer that says no. */
const NO_WAY = new Set([
  'ECONNREFUSED',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'ETIMEDOUT',
  'ENOENT',
  'EACCES',
  'EPERM',
])

/** Dials each service past the gateway, without and with the SVID. Assumes the attacker knows where they listen. */
export async function dialServices(bank: {
  readonly identity: Pick<Identity, 'holder'>
}): Promise<Attempt[]> {
  const attempts: Attempt[] = []
  const { keyPem: key, chainPem: cert } = bank.identity.holder.current()
  for (const pair of (process.env['MERIDIAN_SERVICES'] ?? '').split(',').filter(Boolean)) {
    const [name = '', place = ''] = pair.split('=')
    const target = parseTarget(place)
    if (!target) continue
    const request = `GET ${PROBES[name] ?? '/'} HTTP/1.1\r\nHost: ${name}\r\nConnection: close\r\n\r\n`
    attempts.push(judge(`dial ${name} without SVID`, await rawRequest(target, request, {})))
    attempts.push(judge(`dial ${name} with SVID`, await rawRequest(target, request, { cert, key })))
  }
  return attempts
}

const PROBES: Readonly<Record<string, string>> = {
  'core-banking': '/v1/holds',
  'pii-vault': '/v1/customers/cus_000001',
}

/** An answer that is no success still counts as refused; which layer said no shows in the code. */
function judge(attempt: string, answer: RawAnswer): Attempt {
  const { status, code } = answer
  if (status !== undefined) {
    const refused = status >= 400
    return { attempt, layer: refused ? 'identity' : 'none', refused, code }
  }
  return { attempt, layer: NO_WAY.has(code) ? 'packet' : 'mtls', refused: true, code }
}
