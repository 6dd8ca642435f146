import type { Clock } from '@sallyport/base'
import type { NetworkIndex } from '@sallyport/network'
import type { Provider } from 'oidc-provider'
import { readPayments } from './payment.ts'
import type { Payment } from './payment.ts'
import { systemOf } from './resource.ts'
import { operationsFor } from './scopes.ts'

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
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** Authorisation requests that wait for a person. */
export interface Consents {
  /** @returns undefined for one that is unknown, decided, expired, or asks for nothing that is declared */
  find(uid: string): Promise<ConsentRequest | undefined>
  /**
   * Hands a decision over.
   *
   * @param subject `operator:NAME` who consented; undefined where the person refused
   * @returns where the browser goes on
   */
  decide(uid: string, subject: string | undefined): Promise<string | undefined>
}

/** Each request is decided by itself: nothing that was granted before, to whichever client, counts again. */
export function createConsents(
  provider: Provider,
  deps: {
    readonly trustDomain: string
    readonly clock: Clock
    readonly network: () => NetworkIndex
  },
): Consents {
  const { trustDomain, clock, network } = deps

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
    return {
      interaction,
      request: { client, system, resource, scope, details, redirectUri, expiresAt },
    }
  }

  return {
    find: async (uid) => (await open(uid))?.request,
    async decide(uid, subject) {
      const found = await open(uid)
      if (!found) return undefined
      const { interaction, request } = found
      if (subject === undefined) {
        interaction.result = { error: 'access_denied', error_description: 'the person refused' }
      } else {
        const grant = new provider.Grant({ accountId: subject, clientId: request.client })
        grant.addResourceScope(request.resource, request.scope.join(' '))
        interaction.result = {
          login: { accountId: subject, remember: false },
          consent: { grantId: await grant.save() },
        }
      }
      await interaction.save(Math.max(1, interaction.exp - Math.floor(clock.now() / 1000)))
      return interaction.returnTo
    },
  }
}
