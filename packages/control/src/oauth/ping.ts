import { request } from 'node:https'
import type { ClientRequest, IncomingMessage } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { BackchannelPing } from '@sallyport/network'
import type { BackchannelTold } from '@sallyport/oauth'

/** Milliseconds before each attempt. */
const DELAYS = [0, 1000, 5000, 20_000]
const TIMEOUT_MS = 5000
/** Agents that are told at once: people decide one by one, so more is a flood. */
const MAX_SENDING = 64

interface PingDeps {
  readonly clock: Clock
  readonly onError: (error: unknown) => void
  readonly delays?: readonly number[]
  readonly timeoutMs?: number
}

/**
 * Tells agents that a decision is there for them to fetch (CIBA Core 1.0, section 10.2): at the declared address alone, over TLS 1.3,
 * following nothing, a bounded number of times. Who is not reached can ask, as without it.
 *
 * @returns what tells one: `endpoint` is asked before each attempt, and is undefined where the agent may not be told any more. It resolves
 *   when that is done or given up, and never rejects
 */
export function createPings({
  clock,
  onError,
  delays = DELAYS,
  timeoutMs = TIMEOUT_MS,
}: PingDeps): (
  told: BackchannelTold,
  expiresAt: number,
  endpoint: () => BackchannelPing | undefined,
) => Promise<void> {
  let sending = 0
  return async (secret, expiresAt, endpoint) => {
    if (sending >= MAX_SENDING) {
      onError(untold('too many agents are being told'))
      return
    }
    sending++
    try {
      let why = 'it was too late'
      for (const delay of delays) {
        await pause(delay, undefined, { ref: false })
        const at = endpoint()
        if (!at || clock.now() >= expiresAt) break
        const status = await post(at, secret, timeoutMs).catch((error: unknown) => reasonOf(error))
        if (status === 204 || status === 200) return
        why = `${at.url}: ${status}`
        if (typeof status === 'number' && !mayPass(status)) break
      }
      onError(untold(why))
    } finally {
      sending--
    }
  }
}

/** Whether the same may go well later: a redirect or a refusal does not. */
const mayPass = (status: number): boolean => status >= 500 || status === 408 || status === 429

/** @returns the status; what is in the answer is not read */
async function post(
  { url, ca }: BackchannelPing,
  { authReqId, token }: BackchannelTold,
  timeoutMs: number,
): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  const body = JSON.stringify({ auth_req_id: authReqId })
  const sent: ClientRequest = request(
    url,
    {
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        'content-length': Buffer.byteLength(body),
      },
      agent: false,
      minVersion: 'TLSv1.3',
      rejectUnauthorized: true,
      ...(ca === undefined ? {} : { ca }),
      signal: AbortSignal.timeout(timeoutMs),
    },
    (answer: IncomingMessage) => {
      resolve(answer.statusCode ?? 0)
      answer.destroy()
    },
  )
  sent.on('error', reject)
  sent.end(body)
  return promise
}

/** The code of a connection that failed: what else is in the error may be long. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return 'no answer'
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name
}

const untold = (detail: string): SallyportError =>
  new SallyportError('SP_BACKCHANNEL_PING', 'an agent was not told that a person decided', {
    detail,
    fix: 'see whether the declared `backchannelPing` is in reach and proves itself; the agent can still ask',
  })
