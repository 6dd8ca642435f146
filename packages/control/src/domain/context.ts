import type { Clock } from '@sallyport/base'
import type { Barrier, KeyInfo } from '@sallyport/seal'
import type { Authority } from '../authority/authority.ts'
import type { Foreigners } from '@sallyport/transport'
import type { Roots } from '../authority/roots.ts'
import type { Custody } from '../secrets/custody.ts'
import type { Agents } from './agents.ts'
import type { Alarms } from './alarms.ts'
import type { Approvals } from './approvals.ts'
import type { BreakGlass } from './break-glass.ts'
import type { Bundles } from './bundles.ts'
import type { Backchannel } from './backchannel.ts'
import type { Consents } from './consents.ts'
import type { Decisions } from './decisions.ts'
import type { Events } from './events.ts'
import type { Identities } from './identities.ts'
import type { Health } from './health.ts'
import type { Incidents } from './incidents.ts'
import type { Inventory } from './inventory.ts'
import type { Mandates } from './mandates.ts'
import type { Operators } from './operators.ts'
import type { Quarantines } from './quarantine.ts'
import type { Recoveries } from './recoveries.ts'
import type { Sessions } from './sessions.ts'

/**
 * What the operator API is built on. Every method throws `SP_STORE_UNAVAILABLE` while the database is away. Sessions and
 * roles are checked by the API; signatures, and the roles behind them, here.
 */
export interface ControlContext {
  readonly clock: Clock
  /** Where files that the declaration names lie. */
  readonly dataDir: string
  readonly trustDomain: string
  /** Where the console answers, e.g. `http://localhost:7400`. */
  readonly consoleUrl: string
  /** The built console; absent where it is not built. */
  readonly staticDir?: string
  readonly agents: Agents
  readonly approvals: Approvals
  readonly barrier: Barrier
  readonly authority: Authority
  readonly roots: Roots
  readonly bundles: Bundles
  /** Absent where no authorisation server runs. */
  readonly consents?: Consents
  /** Likewise. */
  readonly backchannel?: Backchannel
  readonly custody: Custody
  readonly decisions: Decisions
  readonly events: Events
  readonly foreigners: Foreigners
  readonly health: Health
  readonly incidents: Incidents
  readonly identities: Identities
  readonly inventory: Inventory
  /** Every key of the network, for the register. */
  readonly keys: () => Promise<readonly KeyInfo[]>
  readonly mandates: Mandates
  readonly operators: Operators
  readonly quarantine: Quarantines
  readonly breakGlass: BreakGlass
  readonly recoveries: Recoveries
  readonly sessions: Sessions
  readonly alarms: Alarms
}
