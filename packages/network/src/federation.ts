import { parseSpiffeId } from '@sallyport/spiffe'
import type { SpiffeId } from '@sallyport/spiffe'
import type { Report } from './check.ts'
import type { Located } from './read-yaml.ts'
import type { RawNetwork } from './raw.ts'
import { DESCRIPTION, integer, named, object, oneOf, OWNER, text } from './schema-parts.ts'
import type { Schema } from './schema-parts.ts'
import type { Network } from './types.ts'

/** Another trust domain whose bundle is fetched (SPIFFE Federation, section 5): nothing of it is guessed. */
export interface Federation {
  readonly trustDomain: string
  readonly url: string
  readonly profile: 'https_web' | 'https_spiffe'
  /** `https_spiffe`: who serves the bundle, exactly; or `spiffe://TD/control` for any control plane of that domain. */
  readonly spiffeId?: string
  /** `https_spiffe`: the bundle document to begin with, brought by hand. */
  readonly bundle?: string
  /** `https_web`: PEM text of the only CA accepted; absent means the platform’s roots. */
  readonly ca?: string
  /** Seconds after its last fetch from which gateways take the bundle for stale and its agents for nobody; absent means an hour. */
  readonly maxAgeSeconds?: number
  /** Who of that domain may call here; absent means nobody. */
  readonly agents?: readonly ForeignAgent[]
}

/** An agent of another trust domain that may call gateways of this one. It is never one of our own agents, whatever its path. */
export interface ForeignAgent {
  /** `NAME@TRUST-DOMAIN`, as flows, limits and policies name it. */
  readonly name: string
  readonly trustDomain: string
  /** The path of its SPIFFE id; `/*` at the end stands for exactly one more segment, of any name. */
  readonly path: string
  readonly description: string
  /** Who answers for it here. */
  readonly owner: string
  readonly purpose: string
  /** The last day on which it may call, `YYYY-MM-DD` in UTC. */
  readonly until: string
}

/** All of them, of every trust domain. */
export const foreignAgentsOf = ({ federation }: Network): readonly ForeignAgent[] =>
  (federation ?? []).flatMap(({ agents }) => agents ?? [])

/** As audit records take names. */
const MAX_NAME = 256
const DAY_MS = 86_400_000
const DEFAULT_MAX_AGE_SECONDS = 3600

/** Milliseconds since the epoch at which a declared foreign agent is none any more; not a number for a day that does not exist. */
export function foreignAgentEnds({ until }: ForeignAgent): number {
  const day = Date.parse(`${until}T00:00:00Z`)
  // `Date.parse` takes the 30th of February for the 2nd of March.
  const real = !Number.isNaN(day) && new Date(day).toISOString().startsWith(until)
  return real ? day + DAY_MS : Number.NaN
}

/** How old the bundle of a trust domain may be, in milliseconds. */
export const foreignMaxAgeMs = ({ maxAgeSeconds }: Federation): number =>
  (maxAgeSeconds ?? DEFAULT_MAX_AGE_SECONDS) * 1000

/** Whether this is the id of an instance of a declared foreign agent. */
export function isOfForeignAgent(agent: ForeignAgent, { trustDomain, path }: SpiffeId): boolean {
  if (trustDomain !== agent.trustDomain) return false
  if (!agent.path.endsWith('/*')) return path === agent.path
  const parent = agent.path.slice(0, -1)
  return (
    path.length > parent.length && path.startsWith(parent) && !path.includes('/', parent.length)
  )
}

const FILE = text('A file beside the declaration, by its relative path.', 256)

/** `federation` of network.yaml. */
export const federationSchema: Schema = named(
  'Other trust domains whose bundles are fetched, by name.',
  object('Where the bundle of the trust domain is.', ['url', 'profile'], {
    url: {
      type: 'string',
      pattern: '^https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?$',
      maxLength: 512,
      description: '`https://host[:port][/path]`.',
    },
    profile: oneOf('How the server proves itself: by the web’s certificates, or by an SVID.', [
      'https_web',
      'https_spiffe',
    ]),
    spiffeId: text('`https_spiffe`: the SPIFFE id of the server.', 2048),
    bundleFile: FILE,
    caFile: FILE,
    maxAgeSeconds: integer(
      'After so long without a fetch its agents are refused.',
      5,
      604_800,
      DEFAULT_MAX_AGE_SECONDS,
    ),
    agents: named(
      'Agents of that domain that may call here, as `NAME@TRUST-DOMAIN`.',
      object('An agent of that domain.', ['path', 'owner', 'purpose', 'until'], {
        path: {
          type: 'string',
          pattern: '^(/[A-Za-z0-9._-]+)+(/\\*)?$',
          maxLength: 1024,
          description: 'Of its SPIFFE id; `/*` at the end stands for one more segment.',
        },
        description: DESCRIPTION,
        owner: OWNER,
        purpose: text('Why it may call.'),
        until: {
          type: 'string',
          pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}$',
          description: 'The last day, `YYYY-MM-DD` in UTC.',
        },
      }),
    ),
  }),
  '^[a-z0-9._-]{1,255}$',
)

/** With the files that it names, read. */
export function resolveFederation(
  raw: RawNetwork['federation'],
  read: (file: string, pointer: string) => string,
  readPem: (file: string, pointer: string) => string,
): { readonly federation?: readonly Federation[] } {
  if (!raw) return {}
  const federation = Object.entries(raw).map(([trustDomain, entry]): Federation => {
    const { bundleFile, caFile, agents, ...rest } = entry
    const at = `/federation/${trustDomain}`
    return {
      trustDomain,
      ...rest,
      ...(bundleFile !== undefined && { bundle: read(bundleFile, `${at}/bundleFile`) }),
      ...(caFile !== undefined && { ca: readPem(caFile, `${at}/caFile`) }),
      ...(agents && {
        agents: Object.entries(agents).map(([name, agent]) => ({
          name: `${name}@${trustDomain}`,
          trustDomain,
          path: agent.path,
          description: agent.description ?? '',
          owner: agent.owner,
          purpose: agent.purpose,
          until: agent.until,
        })),
      }),
    }
  })
  return { federation }
}

/** Whether each relationship is whole, and of another domain. */
export function checkFederation(network: Network, located: Located, report: Report): void {
  for (const { trustDomain, profile, spiffeId, bundle, ca, agents } of network.federation ?? []) {
    checkForeignAgents(agents ?? [], trustDomain, located, report)
    const wrong = (message: string, why: string, fix: string): void =>
      report('SP_NETWORK_RULE', located.at(`/federation/${trustDomain}`), message, why, fix)
    if (trustDomain === network.trustDomain) {
      wrong(
        'the network federates with itself',
        'its own bundle comes with its identities',
        'leave this out',
      )
    }
    if (profile === 'https_spiffe') {
      if (bundle === undefined || spiffeId?.startsWith(`spiffe://${trustDomain}/`) !== true) {
        wrong(
          '`https_spiffe` without `bundleFile`, or without a `spiffeId` of the trust domain',
          'the server proves itself by an SVID, so it has to be known who it is and what signs it',
          'bring the first bundle by hand, and name the id of the server',
        )
      }
      if (ca !== undefined) {
        wrong('`caFile` beside `https_spiffe`', 'an SVID is judged by the bundle', 'leave it out')
      }
    } else if (bundle !== undefined || spiffeId !== undefined) {
      wrong(
        '`bundleFile` or `spiffeId` beside `https_web`',
        'the server proves itself by the web’s certificates',
        'leave them out, or use `https_spiffe`',
      )
    }
  }
}

function checkForeignAgents(
  agents: readonly ForeignAgent[],
  trustDomain: string,
  located: Located,
  report: Report,
): void {
  for (const [i, agent] of agents.entries()) {
    const at = `/federation/${trustDomain}/agents/${agent.name.slice(0, agent.name.indexOf('@'))}`
    const wrong = (member: string, message: string, why: string, fix: string): void =>
      report('SP_NETWORK_RULE', located.at(`${at}/${member}`), message, why, fix)
    if (Number.isNaN(foreignAgentEnds(agent))) {
      wrong(
        'until',
        `there is no day \`${agent.until}\``,
        'nobody would know when it ends',
        'correct it',
      )
    }
    if (agent.name.length > MAX_NAME) {
      wrong(
        'path',
        `the name \`${agent.name.slice(0, 80)}\` is too long`,
        'records name it whole',
        'shorten it',
      )
    }
    const sample = sampleOf(agent)
    if (!sample) {
      wrong(
        'path',
        `\`${agent.path}\` is no path of a SPIFFE id`,
        'no identity could have it',
        'write it as in the id, without `.`, `..` and a slash at the end',
      )
      continue
    }
    const other = agents.slice(0, i).find((one) => overlap(one, agent))
    if (other) {
      wrong(
        'path',
        `\`${other.name}\` covers the same ids`,
        'a caller must be one agent and no other',
        'tell their paths apart',
      )
    }
  }
}

/** Some id that the agent may have; undefined where none is possible. */
function sampleOf({ trustDomain, path }: ForeignAgent): SpiffeId | undefined {
  try {
    return parseSpiffeId(`spiffe://${trustDomain}${path.replace(/\*$/, 'x')}`)
  } catch {
    return undefined
  }
}

function overlap(a: ForeignAgent, b: ForeignAgent): boolean {
  if (a.path === b.path) return true
  const [one, other] = [sampleOf(a), sampleOf(b)]
  return (
    (one !== undefined && isOfForeignAgent(b, one)) ||
    (other !== undefined && isOfForeignAgent(a, other))
  )
}
