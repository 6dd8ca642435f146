import { createPublicKey } from 'node:crypto'
import type { NetworkIndex } from '@sallyport/network'
import { kindOf, parseSpiffeId } from '@sallyport/spiffe'
import type { SpiffeKind } from '@sallyport/spiffe'
import { currentCall } from './call.ts'

/** `urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693, section 2.1). */
export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'

/** OpenID Connect CIBA Core 1.0, section 10.1. */
const CIBA = 'urn:openid:params:grant-type:ciba'

/** Where authorisation codes go: to the client's own machine, at any port (RFC 8252, section 7.3). */
const REDIRECTS = ['http://127.0.0.1/callback', 'http://[::1]/callback']

export interface ClientDeps {
  readonly trustDomain: string
  readonly network: () => NetworkIndex
  /** Whether a subject is declared and not cut off. */
  readonly standing: (subject: string) => boolean
  /** SPKI DER of the certificates that an instance has and may use. */
  readonly keysOf: (spiffeId: string) => Promise<readonly Buffer[]>
}

/** What a client id names: an instance of an agent of this trust domain; undefined for everything else. */
export function agentOf(clientId: string, trustDomain: string): SpiffeKind | undefined {
  try {
    const id = parseSpiffeId(clientId)
    const kind = kindOf(id)
    return id.trustDomain === trustDomain && kind?.kind === 'agent' ? kind : undefined
  } catch {
    return undefined
  }
}

/**
 * The one way to a client: every instance of a declared agent is one, under its SPIFFE id, and nobody registers. It
 * authenticates by the certificate of its connection (RFC 8705, section 2.1), or by an assertion signed with the key of that
 * certificate (RFC 7523, section 2.2), as it does in this very request.
 *
 * @returns undefined for whoever is unknown, undeclared or cut off
 */
export async function findClient(
  clientId: string,
  { trustDomain, network, standing, keysOf }: ClientDeps,
): Promise<Record<string, unknown> | undefined> {
  const agent = agentOf(clientId, trustDomain)
  if (!agent || !standing(clientId)) return undefined
  const common = {
    client_id: clientId,
    grant_types: [
      'client_credentials',
      'authorization_code',
      'refresh_token',
      CIBA,
      TOKEN_EXCHANGE,
    ],
    ...deliveryOf(network(), agent.name),
    response_types: ['code'],
    redirect_uris: REDIRECTS,
    application_type: 'native',
    authorization_details_types: ['payment'],
    // RFC 8705, section 3.4. What is a client's to register elsewhere, the declaration says here.
    tls_client_certificate_bound_access_tokens: isCertificateBound(network(), agent.name),
  }
  if (!currentCall().asserts) {
    return {
      ...common,
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_san_uri: clientId,
    }
  }
  const keys = await keysOf(clientId)
  if (keys.length === 0) return undefined
  return {
    ...common,
    token_endpoint_auth_method: 'private_key_jwt',
    jwks: {
      keys: keys.map((key) => ({
        ...createPublicKey({ key, format: 'der', type: 'spki' }).export({ format: 'jwk' }),
        use: 'sig',
      })),
    },
  }
}

/** How a client hears of a person's decision: where it is told is the declaration's to say, never its own. */
function deliveryOf(network: NetworkIndex, agent: string): Readonly<Record<string, string>> {
  const ping = network.findAgent(agent)?.backchannelPing
  if (!ping) return { backchannel_token_delivery_mode: 'poll' }
  return {
    backchannel_token_delivery_mode: 'ping',
    backchannel_client_notification_endpoint: ping.url,
  }
}

/** Whether the declaration binds the tokens of an agent to certificates. */
export function isCertificateBound(network: NetworkIndex, agent: string): boolean {
  return network.findAgent(agent)?.tokenBinding === 'certificate'
}
