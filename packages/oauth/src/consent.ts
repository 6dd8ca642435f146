import { canonicalJson } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { NetworkIndex } from '@sallyport/network'
import type { Provider } from 'oidc-provider'
import { grantHash } from './artefacts.ts'
import { MAX_REFRESH } from './grants.ts'
import type { Evidence, Grants } from './grants.ts'
import { readPayments } from './payment.ts'
import type { Payment } from './payment.ts'
import { systemOf } from './resource.ts'
import { operationsFor } from './scopes.ts'

/** The scope with which a client asks to go on without asking again (OpenID Connect Core 1.0, section 11). */
export const OFFLINE = 'offline_access'
/** Seconds that a grant of which nothing is refreshed has to be taken up. */
const TAKE_UP = 600

/** What of a scope is about the person and not about a system. */
export function oidcScopeOf(scope: string): string {
  return ['openid', OFFLINE].filter((name) => scope.split(' ').includes(name)).join(' ')
}

/** What a client asks a person for. */
export interface ConsentRequest {
  /** SPIFFE id of the client. */
  readonly client: string
  readonly system: string
  readonly resource: string
  /** Operations, sorted. */
  readonly scope: readonly string[]
  readonly details: readonly Payment[]
  readonly redirectUri: string
  /** Seconds that it may go on without asking again; 0 for one token. */
  readonly refreshSeconds: number
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** A person's yes to a request. */
export interface GivenConsent {
  /** `operator:NAME`. */
  readonly subject: string
  /** What they signed: a declaration that came into force since must not add to it. */
  readonly request: ConsentRequest
  readonly evidence: Evidence
}

/** Authorisation requests that wait for a person. */
export interface Consents {
  /** @returns undefined for one that is unknown, decided, expired, or asks for nothing that is declared */
  find(uid: string): Promise<ConsentRequest | undefined>
  /**
   * Hands a decision over.
   *
   * @param consent undefined where the person refused
   * @returns where the browser goes on; undefined as for `find`, and where the request is not what was consented to any more
   */
  decide(uid: string, consent: GivenConsent | undefined): Promise<string | undefined>
}

/** Each request is decided by itself: nothing that was granted before, to whichever client, counts again. */
export function createConsents(
  provider: Provider,
  deps: {
    readonly trustDomain: string
    readonly clock: Clock
    readonly network: () => NetworkIndex
    readonly grants: Grants
  },
): Consents {
  const { trustDomain, clock, network, grants } = deps

  async function open(uid: string) {
    const interaction = await provider.Interaction.find(uid)
    if (!interaction || interaction.result !== undefined) return undefined
    const { params, exp } = interaction
    const [client, resource, redirectUri] = ['client_id', 'resource', 'redirect_uri'].map((name) =>
      typeof params[name] === 'string' ? params[name] : '',
    )
    if (!client || !resource || !redirectUri) return undefined
    const system = systemOf(trustDomain, resource)
    if (system === undefined) return undefined
    const declared = operationsFor(network(), client, trustDomain, system)
    const asked = typeof params['scope'] === 'string' ? params['scope'].split(' ') : []
    const scope = declared.filter((name) => asked.includes(name))
    const text = params['authorization_details']
    // Parsed and validated once before, by oidc-provider.
    const details = typeof text === 'string' ? readPayments(JSON.parse(text) as unknown) : []
    if (scope.length === 0) return undefined
    if (!details.every(({ operations }) => operations.every((one) => scope.includes(one)))) {
      return undefined
    }
    const expiresAt = exp * 1000
    const oidc = oidcScopeOf(asked.join(' '))
    const refreshSeconds = oidc.includes(OFFLINE) ? MAX_REFRESH : 0
    return {
      interaction,
      oidc,
      request: {
        ...{ client, system, resource, scope, details, redirectUri, expiresAt },
        refreshSeconds,
      },
    }
  }

  return {
    find: async (uid) => (await open(uid))?.request,
    async decide(uid, consent) {
      const found = await open(uid)
      if (!found) return undefined
      const { interaction, request, oidc } = found
      if (consent && canonicalJson(consent.request) !== canonicalJson(request)) return undefined
      if (consent === undefined) {
        interaction.result = { error: 'access_denied', error_description: 'the person refused' }
      } else {
        const { client, resource, scope, refreshSeconds } = request
        const { subject, evidence } = consent
        const grant = new provider.Grant({ accountId: subject, clientId: client })
        grant.addResourceScope(resource, scope.join(' '))
        if (oidc !== '') grant.addOIDCScope(oidc)
        const grantId = await grant.save()
        const lifetime = refreshSeconds || TAKE_UP
        await grants.open({ hash: grantHash(grantId), subject, client, evidence, lifetime })
        interaction.result = {
          login: { accountId: subject, remember: false },
          consent: { grantId },
        }
      }
      await interaction.save(Math.max(1, interaction.exp - Math.floor(clock.now() / 1000)))
      return interaction.returnTo
    },
  }
}
