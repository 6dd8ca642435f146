import type { Revision } from '@sallyport/wire'
import type { Later } from './rollback.ts'
import type { CertificateState } from '../site/rotation.ts'

export interface GatewayHealth {
  readonly id: string
  /** The newest revision that it said it has applied. */
  readonly revision: Revision | null
  readonly connected: boolean
  /** Milliseconds since the epoch. */
  readonly lastSeen: number
  /** From the signing of that revision until it said so, milliseconds. */
  readonly lagMs: number | null
}

interface HealthView {
  readonly control: 'ok'
  /** Where the console answers. */
  readonly console: string
  /** What it is served behind; absent over plain http. Times in milliseconds since the epoch. */
  readonly certificate?: CertificateState
  readonly database: 'ok' | 'unreachable'
  /** There while gateways enforce a later revision than the database knows. */
  readonly restored?: Later
  readonly gateways: readonly GatewayHealth[]
  readonly audit: readonly {
    readonly shard: string
    readonly size: number
    readonly checkpoint: string | null
  }[]
}

export interface Health {
  read(): Promise<HealthView>
}
