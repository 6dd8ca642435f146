import { generateKeyPairSync } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

import { errorCode, systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { csrFor } from '@sallyport/spiffe'
import { IdentityHolder } from '@sallyport/transport'
import type { Target } from '@sallyport/transport'

import { Identity } from './identity.ts'
import { readIssued } from './issued.ts'
import { present } from './proof.ts'
import type { EnrolProof } from './proof.ts'
import { Roots } from './roots.ts'

interface EnrolTerms {
  readonly planeTarget: Target
  /** The roots that the control plane is verified against: the one thing to be brought by hand. */
  readonly rootsPem: string
  readonly trustDomain: string
  /** Milliseconds during which a control plane that does not answer is tried again (default 10,000). */
  readonly patienceMs?: number
  /** Told of every renewal that failed and will be tried again. */
  readonly onRotationError?: (error: unknown) => void
  readonly clock?: Clock
}

export type EnrolOptions = EnrolTerms & EnrolProof

const RETRY_MS = 250
/** Failures before any byte of the request, and with it the token, was sent. */
const NOT_SENT = new Set(['SP_CONNECT_FAILED', 'SP_CONNECT_TIMEOUT'])

/**
 * Enrols this process: makes a key, hands a request for it and a proof to the control plane over
 * server-authenticated TLS, and verifies what comes back. The key never leaves the process.
 *
 * @throws RefusedError where the proof is not accepted: a join token is used, expired or unknown
 * @throws SallyportError `SP_CONNECT_*`, `SP_SVID_*`, `SP_ENROL_ANSWER`
 */
export async function enrol(options: EnrolOptions): Promise<Identity> {
  const clock = options.clock ?? systemClock
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const anchors = { rootsPem: options.rootsPem, trustDomain: options.trustDomain }
  const csr = csrFor(privateKey)
  const roots = new Roots(anchors)
  const until = clock.monotonic() + (options.patienceMs ?? 10_000)
  for (;;) {
    try {
      const answer = await present(options, csr, anchors, options.planeTarget)
      const { material, spiffeId } = readIssued(answer, privateKey, roots, clock.now())
      return new Identity({
        holder: new IdentityHolder(material),
        spiffeId,
        planeTarget: options.planeTarget,
        roots,
        clock,
        ...(options.onRotationError ? { onRotationError: options.onRotationError } : {}),
      })
    } catch (error) {
      if (!NOT_SENT.has(errorCode(error)) || clock.monotonic() > until) throw error
      await sleep(RETRY_MS)
    }
  }
}
