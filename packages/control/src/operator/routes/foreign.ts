import { foreignAgentEnds, foreignMaxAgeMs, isOfForeignAgent } from '@sallyport/network'
import type { Federation, ForeignAgent } from '@sallyport/network'
import { parseSpiffeId } from '@sallyport/spiffe'
import type { ControlContext } from '../../domain/context.ts'
import { textOf } from '../route.ts'
import type { Route } from '../route.ts'
import { any, choice, listOf, object, openObject, text, time } from '../schema.ts'

/** Other trust domains: what is held of each, and who of them may call. Which there are is declared, never added here. */
export function foreignRoutes({ foreigners, bundles, quarantine, clock }: ControlContext): Route[] {
  const view = listOf(
    openObject({
      trustDomain: text(255),
      url: text(512),
      profile: choice('https_web', 'https_spiffe'),
      'bundle?': any('the verified bundle document'),
      'sequence?': time,
      'fetchedAt?': time,
      'failure?': text(64),
      state: choice('fresh', 'stale', 'quarantined'),
      maxAgeSeconds: time,
      agents: listOf(
        openObject({ name: text(256), state: choice('active', 'ended', 'quarantined') }),
      ),
    }),
  )
  const declared = (): readonly Federation[] => bundles.index().network.federation ?? []
  const isFresh = (one: Federation): boolean =>
    foreigners.ageMs(one.trustDomain) <= foreignMaxAgeMs(one)
  const hasEnded = (agent: ForeignAgent): boolean => !(clock.now() < foreignAgentEnds(agent))
  const read = () => {
    const held = new Map(foreigners.view().map((one) => [one.trustDomain, one]))
    return declared().map((one) => {
      const domain = `spiffe://${one.trustDomain}`
      const cut = quarantine.isQuarantined(domain)
      return {
        ...{ trustDomain: one.trustDomain, url: one.url, profile: one.profile },
        ...held.get(one.trustDomain),
        state: cut ? 'quarantined' : isFresh(one) ? 'fresh' : 'stale',
        maxAgeSeconds: foreignMaxAgeMs(one) / 1000,
        agents: (one.agents ?? []).map(({ trustDomain: _domain, ...agent }) => ({
          ...agent,
          state:
            cut || quarantine.isQuarantined(`${domain}${agent.path.replace(/\/\*$/, '')}`)
              ? 'quarantined'
              : hasEnded({ ...agent, trustDomain: one.trustDomain })
                ? 'ended'
                : 'active',
        })),
      }
    })
  }
  /** What a gateway would say to an identity of another trust domain, as far as this control plane knows what it knows. */
  const explain = (spiffeId: string): { readonly code: string; readonly text: string } => {
    const id = parseSpiffeId(spiffeId)
    const domain = declared().find(({ trustDomain }) => trustDomain === id.trustDomain)
    if (!domain) {
      const text_ = `the trust domain \`${id.trustDomain}\` is not declared under \`federation\``
      return { code: 'SP_SVID_FOREIGN', text: text_ }
    }
    if (quarantine.isQuarantined(spiffeId)) {
      return { code: 'SP_QUARANTINED', text: 'it, or something that it is part of, is quarantined' }
    }
    const agent = domain.agents?.find((one) => isOfForeignAgent(one, id))
    if (!agent) {
      const paths = domain.agents?.map(({ path }) => `\`${path}\``).join(', ') ?? ''
      const text_ = `no declared agent of \`${id.trustDomain}\` has the path \`${id.path}\`; declared: ${paths === '' ? 'none' : paths}`
      return { code: 'SP_FOREIGN_AGENT', text: text_ }
    }
    if (hasEnded(agent)) {
      return {
        code: 'SP_FOREIGN_ENDED',
        text: `\`${agent.name}\` was to call until ${agent.until}`,
      }
    }
    if (!isFresh(domain)) {
      const { failure } = foreigners.view().find((one) => one.trustDomain === id.trustDomain) ?? {}
      const text_ = `the bundle of \`${id.trustDomain}\` is older than ${foreignMaxAgeMs(domain) / 1000} s${failure === undefined ? '' : `; the last fetch failed with ${failure}`}`
      return { code: 'SP_FOREIGN_STALE', text: text_ }
    }
    const text_ = `it is \`${agent.name}\`, and may connect with a certificate under a root of its own domain`
    return { code: 'SP_ALLOWED', text: text_ }
  }
  return [
    {
      method: 'GET',
      path: '/api/federation',
      summary:
        'Declared trust domains beside this one, each with its verified bundle and the agents that may call',
      access: { role: 'viewer', act: 'read', local: true },
      answer: view,
      handle: () => Promise.resolve(read()),
    },
    {
      method: 'GET',
      path: '/api/federation/explain',
      summary: 'Whether gateways let an identity of another trust domain in, and if not, why not',
      access: { role: 'viewer', act: 'read', local: true },
      query: object({ id: text(2048) }),
      answer: object({ code: text(64), text: text(4096) }),
      handle: ({ query }) => Promise.resolve(explain(query['id'] ?? '')),
    },
    {
      method: 'POST',
      path: '/api/federation/refresh',
      summary: 'Fetches the bundle of a declared trust domain now',
      access: { role: 'responder', act: 'narrow', local: true },
      body: object({ trustDomain: text(255) }),
      answer: view,
      handle: async ({ body }) => {
        await foreigners.refresh(textOf(body, 'trustDomain'))
        return read()
      },
    },
  ]
}
