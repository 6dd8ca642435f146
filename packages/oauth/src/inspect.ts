import { errorCode } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { NetworkIndex } from '@sallyport/network'
import { kindOf, parseSpiffeId } from '@sallyport/spiffe'
import { errors } from 'oidc-provider'
import type { Peer } from './call.ts'
import { actorsOf, presenterOf } from './claims.ts'
import type { AccessClaims } from './claims.ts'
import { systemOf } from './resource.ts'
import type { TokenVerifier } from './verify.ts'

/** A token that shall count no more. */
export interface RevokedToken {
  readonly jti: string
  /** Seconds since the epoch. */
  readonly exp: number
  /** Whose it was. */
  readonly client: string
}

export interface InspectDeps {
  readonly trustDomain: string
  readonly clock: Clock
  readonly network: () => NetworkIndex
  readonly verifier: TokenVerifier
  readonly standing: (subject: string) => boolean
  readonly revokedSerial: (serial: string) => boolean
  readonly revoke: (token: RevokedToken) => Promise<void>
}

/**
 * Introspection (RFC 7662), for the service that the token is for and for nobody else: to everybody else, and of every token
 * that does not count now, the answer is the same.
 *
 * @throws InvalidClientAuth without a certificate
 */
export async function introspect(
  token: string,
  peer: Peer | undefined,
  deps: InspectDeps,
): Promise<Readonly<Record<string, unknown>>> {
  if (!peer) throw anonymous()
  const claims = await verified(token, deps)
  if (!claims || !isAudience(claims, peer, deps) || !holds(claims, deps)) return { active: false }
  const { serials: _internal, prior: _too, ...told } = claims
  return { active: true, token_type: claims.cnf.jkt === undefined ? 'Bearer' : 'DPoP', ...told }
}

/**
 * Revocation (RFC 7009), by the one it was issued to. Whatever was made from the token ends with it. A token that is unknown,
 * or somebody else's, is no error and nothing happens.
 *
 * @throws InvalidClientAuth without a certificate
 */
export async function revoke(
  token: string,
  peer: Peer | undefined,
  deps: InspectDeps,
): Promise<void> {
  if (!peer) throw anonymous()
  const claims = await verified(token, deps)
  if (claims?.client_id !== peer.id) return
  await deps.revoke({ jti: claims.jti, exp: claims.exp, client: peer.id })
}

/** Whether subject and actors of a token may act now, and none of their certificates was revoked since. */
export function holds(
  claims: AccessClaims,
  { standing, revokedSerial }: Pick<InspectDeps, 'standing' | 'revokedSerial'>,
): boolean {
  const everyone = [claims.sub, presenterOf(claims), ...actorsOf(claims)]
  return everyone.every(standing) && !claims.serials?.some(revokedSerial)
}

async function verified(token: string, deps: InspectDeps): Promise<AccessClaims | undefined> {
  try {
    return await deps.verifier.verify(token, undefined, deps.clock.now())
  } catch (error) {
    if (errorCode(error).startsWith('SP_ACCESS_TOKEN_')) return undefined
    throw error
  }
}

function isAudience({ aud }: AccessClaims, peer: Peer, deps: InspectDeps): boolean {
  const kind = kindOf(parseSpiffeId(peer.id))
  const system = deps.network().findSystem(systemOf(deps.trustDomain, aud) ?? '')
  return (
    kind?.kind === 'service' &&
    system?.upstream.kind === 'service' &&
    system.upstream.service === kind.name
  )
}

const anonymous = (): Error => new errors.InvalidClientAuth('a certificate is needed')
