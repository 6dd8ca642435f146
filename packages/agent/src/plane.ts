import { canonicalJson, SallyportError } from '@sallyport/base'
import { kindOf } from '@sallyport/spiffe'
import { mtlsConnector } from '@sallyport/transport'
import type { IdentityHolder, Target, TrustAnchors } from '@sallyport/transport'
import { Client } from 'undici'

import { isObject, readBody } from './refused.ts'
import type { JsonObject } from './refused.ts'

const MAX_ANSWER_BYTES = 1_048_576
const TIMEOUT_MS = 10_000

/**
 * One call to the control plane on a connection of its own; whoever answers must prove to be a control plane.
 *
 * @param identity anchors alone for enrolment, the holder for everything after
 * @throws RefusedError what the control plane answered
 * @throws SallyportError `SP_CONNECT_*`, `SP_SVID_*`, `SP_PEER_REFUSED`, `SP_RESPONSE_INVALID`
 */
export async function callPlane(
  identity: IdentityHolder | TrustAnchors,
  target: Target,
  method: 'GET' | 'POST',
  path: string,
  body?: JsonObject,
): Promise<JsonObject> {
  const client = new Client('http://control', {
    connect: mtlsConnector({
      identity,
      target,
      expect: (peer) => kindOf(peer.id)?.kind === 'control',
    }),
    headersTimeout: TIMEOUT_MS,
    bodyTimeout: TIMEOUT_MS,
    maxResponseSize: MAX_ANSWER_BYTES,
  })
  try {
    const answer = await client.request({
      method,
      path,
      headers: body ? { 'content-type': 'application/json' } : {},
      body: body ? canonicalJson(body) : null,
    })
    const bytes = Buffer.from(await answer.body.arrayBuffer())
    const headers = headersOf(answer.headers)
    const value = readBody({ status: answer.statusCode, headers }, bytes, MAX_ANSWER_BYTES)
    if (answer.statusCode !== 200 || !isObject(value)) {
      throw new SallyportError(
        'SP_RESPONSE_INVALID',
        'the control plane gave an answer it never gives',
        {
          detail: `status ${answer.statusCode}`,
        },
      )
    }
    return value
  } finally {
    await client.destroy()
  }
}

/** Undici's headers as the standard class; a header that came twice is joined. */
export function headersOf(raw: Readonly<Record<string, string | string[] | undefined>>): Headers {
  const headers = new Headers()
  for (const [name, value] of Object.entries(raw)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined) headers.append(name, one)
    }
  }
  return headers
}
