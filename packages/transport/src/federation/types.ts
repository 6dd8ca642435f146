/** Another trust domain whose bundle is fetched (SPIFFE Federation, section 5): what pins the endpoint and the first roots. */
export interface FederatedDomain {
  readonly trustDomain: string
  readonly url: string
  readonly profile: 'https_web' | 'https_spiffe'
  /** `https_spiffe`: who serves the bundle, exactly; or `spiffe://TD/control` for any control plane of that domain. */
  readonly spiffeId?: string
  /** `https_spiffe`: the bundle document to begin with. */
  readonly bundle?: string
  /** `https_web`: PEM text of the only CA accepted; absent means the platform’s roots. */
  readonly ca?: string
  /** Seconds for which a fetched bundle counts: it is asked for at least three times in that. */
  readonly maxAgeSeconds?: number
}

/** Where what was fetched is kept, so that a restart does not bring an older one back. */
export interface FederationStore {
  /** Undefined where there is none. */
  read(name: string): string | undefined
  /** Durable when it returns. */
  write(name: string, text: string): void
}
