import type { Clock } from '@sallyport/base'
import type { Target } from '@sallyport/transport'
import type { TrustPins } from '@sallyport/wire'
import type { Address } from './edge/listener.ts'
import type { GatewaySettings } from './settings.ts'
import type { Stats } from './stats.ts'

export interface GatewayOptions {
  /** Name of this gateway; its SPIFFE id is `spiffe://TD/gateway/ID`. */
  readonly id: string
  /** Keys, identity, log and what was seen: persistent, and this gateway's alone. */
  readonly dataDir: string
  readonly control: Address
  readonly listen: Address
  /** Where agents that speak PostgreSQL come in; absent means nowhere. */
  readonly listenPostgres?: Address
  /** System name → where agents reach it, of systems whose protocol is not read; absent means nowhere. */
  readonly listenOpaque?: Readonly<Record<string, Address>>
  /** Where enforcement points of somebody else's make ask for decisions; nowhere by default. */
  readonly points?: Target
  /** Where this machine asks how the gateway is (`/live`, `/ready`); nowhere by default. */
  readonly health?: Address
  /** Other gateways of this machine may listen on the same ports: for one that takes over from another. */
  readonly sharePorts?: boolean
  /**
   * Addresses and ranges of balancers in front of `listen`. With it nobody else may connect there, and each connection begins with
   * a frame of the PROXY protocol, version 2.
   */
  readonly proxyFrom?: readonly string[]
  /** On the first start, one of both; kept in `dataDir` from then on. */
  readonly trustPins?: TrustPins
  readonly pinsFile?: string
  /** One-use, to enrol. */
  readonly joinToken?: string
  /** Secret name → value: credentials of external systems. What is not here is asked of the control plane. */
  readonly secrets: Readonly<Record<string, string>>
  /** System name → where it is, if not as declared. */
  readonly upstreams?: Readonly<Record<string, Address>>
  /** Folders and files with keys beside `dataDir`: programs that it runs see none of them. */
  readonly hide?: readonly string[]
  readonly settings?: Partial<GatewaySettings>
  readonly clock?: Clock
}

export interface GatewayStats extends Stats {
  readonly openConnections: number
  readonly openStreams: number
  readonly inFlight: number
  readonly upstreamPools: number
  readonly logSize: number
  /** Records not yet confirmed by the control plane. */
  readonly feedLag: number
  /** Milliseconds since the control plane last confirmed what is enforced; infinite before the first bundle. */
  readonly bundleAgeMs: number
  readonly revision: { readonly epoch: number; readonly n: number } | undefined
}

export interface Gateway {
  readonly address: Address
  readonly postgresAddress: Address | undefined
  readonly pointsAddress: Target | undefined
  readonly opaqueAddresses: Readonly<Record<string, Address>>
  readonly healthAddress: Address | undefined
  readonly spiffeId: string
  stats(): GatewayStats
  /**
   * Takes no new connections, lets calls in flight end, and closes: when they have, or when their time is over. `/ready` says so
   * first.
   */
  drain(): Promise<void>
  close(): Promise<void>
}

/** Before there is anything to tell of. */
export const nothingYet = (): Omit<GatewayStats, keyof Stats> => ({
  openConnections: 0,
  openStreams: 0,
  inFlight: 0,
  upstreamPools: 0,
  logSize: 0,
  feedLag: 0,
  bundleAgeMs: Number.POSITIVE_INFINITY,
  revision: undefined,
})
