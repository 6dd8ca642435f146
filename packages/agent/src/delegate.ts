import { createPrivateKey, randomBytes } from 'node:crypto'

import { canonicalJson, parseJson, SallyportError, systemClock } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { certificatesFromPem, parseSpiffeId } from '@sallyport/spiffe'
import type { Target } from '@sallyport/transport'
import { mandateId, mandateToken, readMandateToken, signAgentMandate } from '@sallyport/wire'
import type { MandateGrant, SignedMandate } from '@sallyport/wire'

import type { Identity } from './identity.ts'
import { callPlane } from './plane.ts'

export interface DelegateOptions {
  readonly identity: Pick<Identity, 'holder' | 'spiffeId'>
  readonly planeTarget: Target
  /** Id of the mandate that this one is to be a part of, which this instance holds; absent delegates what is its own. */
  readonly parent?: string
  /** An agent's name, or the SPIFFE id of one instance. */
  readonly delegate: string
  readonly task: string
  readonly grants: readonly MandateGrant[]
  readonly uses: number
  /** How long it holds (default: as long as it can). It ends with the parent, and with the SVID of this instance, at the latest. */
  readonly lifetimeMs?: number
  readonly clock?: Clock
}

/** A mandate that this instance gave. */
export interface Delegated {
  /** What its delegate presents. */
  readonly id: string
  /** The whole chain as one text, to be presented instead of the id. */
  readonly token: string
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/**
 * Passes a task on: signs a mandate with the key of this instance's SVID and registers it, so that its delegate presents the id.
 *
 * @throws RefusedError `SP_MANDATE_*` where it reaches beyond its parent, or the parent does not hold any more
 * @throws SallyportError as `callPlane`
 */
export async function delegate(options: DelegateOptions): Promise<Delegated> {
  const { identity, planeTarget, parent, task, grants, uses } = options
  const { holder } = identity
  const above = parent === undefined ? [] : await chainOf(options, parent)
  const given = above.at(-1)?.statement
  // Read together: a rotation replaces key and certificate at once.
  const { chainPem, keyPem, notAfter, trustDomain } = holder.current()
  const svid = certificatesFromPem(chainPem)
  const now = (options.clock ?? systemClock).now()
  const from = Math.max(now, given?.issuedAt ?? now, given?.notBefore ?? now)
  const statement = {
    kind: 'mandate' as const,
    nonce: randomBytes(18).toString('base64url'),
    ...(given === undefined ? {} : { parent: mandateId(given) }),
    delegator: identity.spiffeId,
    delegate: options.delegate.startsWith('spiffe://')
      ? parseSpiffeId(options.delegate).uri
      : `spiffe://${trustDomain}/agent/${options.delegate}`,
    task,
    grants,
    issuedAt: from,
    notBefore: from,
    expiresAt: Math.min(
      given?.expiresAt ?? notAfter,
      notAfter,
      options.lifetimeMs === undefined ? notAfter : from + options.lifetimeMs,
    ),
    uses,
  }
  const signed = signAgentMandate(statement, createPrivateKey(keyPem), svid)
  const chain = [...above, signed]
  // As JSON holds it: what is optional and absent is not there.
  await callPlane(holder, planeTarget, 'POST', '/v1/mandates', {
    chain: parseJson(canonicalJson(chain)),
  })
  return { id: mandateId(statement), token: mandateToken(chain), expiresAt: statement.expiresAt }
}

async function chainOf(
  { identity, planeTarget }: DelegateOptions,
  parent: string,
): Promise<readonly SignedMandate[]> {
  const path = `/v1/mandates/${encodeURIComponent(parent)}`
  const { chain } = await callPlane(identity.holder, planeTarget, 'GET', path)
  // Read as strictly as what anybody carries.
  const text = Buffer.from(canonicalJson(chain ?? null)).toString('base64url')
  const above = readMandateToken(`mdc.${text}`)
  const last = above.at(-1)
  if (last && mandateId(last.statement) === parent) return above
  throw new SallyportError('SP_RESPONSE_INVALID', 'the control plane gave another mandate')
}
