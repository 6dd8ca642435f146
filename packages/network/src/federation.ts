import type { Report } from './check.ts'
import type { Located } from './read-yaml.ts'
import type { RawNetwork } from './raw.ts'
import { named, object, oneOf, text } from './schema-parts.ts'
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
    const { bundleFile, caFile, ...rest } = entry
    const at = `/federation/${trustDomain}`
    return {
      trustDomain,
      ...rest,
      ...(bundleFile !== undefined && { bundle: read(bundleFile, `${at}/bundleFile`) }),
      ...(caFile !== undefined && { ca: readPem(caFile, `${at}/caFile`) }),
    }
  })
  return { federation }
}

/** Whether each relationship is whole, and of another domain. */
export function checkFederation(network: Network, located: Located, report: Report): void {
  for (const { trustDomain, profile, spiffeId, bundle, ca } of network.federation ?? []) {
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
