import { readFileSync } from 'node:fs'
import { enrol } from '@sallyport/agent'
import type { Bank } from '../agents/bank.ts'
import { required, target } from '../env.ts'
import { failureCode } from '../events.ts'
import type { Attempt } from './attempt.ts'
import { rawRequest } from './rawTls.ts'

/** Enrols a second time with the join token that started this process: it must be good for once only. */
export async function reuseToken(): Promise<Attempt[]> {
  const attempt = 'enrol with a used token'
  try {
    const identity = await enrol({
      planeTarget: target('SALLYPORT_PLANE'),
      rootsPem: readFileSync(required('SALLYPORT_ROOTS'), 'utf8'),
      token: readFileSync(required('SALLYPORT_TOKEN_FILE'), 'utf8').trim(),
      trustDomain: required('SALLYPORT_TRUST_DOMAIN'),
    })
    identity.stop()
    return [{ attempt, layer: 'none', refused: false, code: 'ENROLLED' }]
  } catch (error) {
    return [{ attempt, layer: 'identity', refused: true, code: failureCode(error) }]
  }
}

/** Asks for personal data with its own SVID and headers that claim to be the screener. */
export async function spoofIdentity(bank: Bank): Promise<Attempt[]> {
  const attempt = 'spoof identity headers'
  const { keyPem: key, chainPem: cert, trustDomain } = bank.identity.holder.current()
  const other = `spiffe://${trustDomain}/agent/sanctions-screener/1`
  const request = [
    'GET /pii-vault/v1/customers/cus_000001 HTTP/1.1',
    'Host: gateway',
    `X-Forwarded-Client-Cert: URI=${other}`,
    `X-Sallyport-Instance: ${other}`,
    `X-Spiffe-Id: ${other}`,
    'Connection: close',
    '\r\n',
  ].join('\r\n')
  const { status, code } = await rawRequest(target('SALLYPORT_GATEWAY'), request, { cert, key })
  if (status === undefined) return [{ attempt, layer: 'mtls', refused: true, code }]
  const refused = status >= 400
  const layer = !refused
    ? 'none'
    : status === 403
      ? 'decision'
      : status === 401
        ? 'identity'
        : 'edge'
  return [{ attempt, layer, refused, code }]
}
