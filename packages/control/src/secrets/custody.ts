import { sha256Hex } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import type { Barrier } from '@sallyport/seal'
import type { AuthorityView } from '../authority/authority.ts'
import type { ControlAudit } from '../access/audit.ts'
import type { Events } from '../domain/events.ts'
import type { Publisher } from '../domain/publisher.ts'
import type { Quarantines } from '../domain/quarantine.ts'
import type { Store } from '../store/store.ts'
import type { Trust } from '../trust.ts'
import { databaseAuthority } from './authority.ts'
import { DatabaseAccounts } from './databases.ts'
import { SecretStore } from './kv.ts'
import { Leases } from './leases.ts'
import { keyRegister } from './register.ts'
import type { RegisterEntry } from './register.ts'
import { Rotations } from './rotation/rotations.ts'
import { Transit } from './transit.ts'
import { CREDENTIAL_SECONDS, Vault } from './vault.ts'

/**
 * Writes an event to the control plane's own shard of the audit log. What it stands for happens after it resolved, or not at all.
 *
 * @throws SallyportError `SP_AUDIT_UNAVAILABLE`
 */
export type Recorder = (
  event: string,
  subject: string,
  facts: Readonly<{ [name: string]: string | number | boolean }>,
) => Promise<void>

export interface CustodyDeps {
  readonly store: Store
  readonly clock: Clock
  readonly trust: Trust
  readonly publisher: Publisher
  readonly quarantine: Quarantines
  readonly events: Events
  readonly audit: () => Promise<ControlAudit>
  readonly barrier: () => Barrier
  readonly authority: () => AuthorityView
  readonly onError: (error: unknown) => void
}

/** What the control plane keeps for others: secrets, leases, accounts. */
export interface Custody {
  readonly leases: Leases
  readonly databases: DatabaseAccounts
  readonly vault: Vault
  readonly rotations: Rotations
  readonly transit: Transit
  register(): Promise<readonly RegisterEntry[]>
  /** PEM that a database server trusts its clients by. */
  databaseClients(): Promise<string>
  stop(): Promise<void>
}

const SWEEP_MS = 1000
const RECONCILE_MS = 300_000
const SCHEDULE_MS = 60_000
/** A quarantine for this reason replaces the key too. */
const EXPOSURE = /^secret exposure: ([A-Za-z0-9._/-]{1,600})$/

/** Starts sweeping at once: what ran out while no control plane ran ends now. */
export function createCustody(deps: CustodyDeps): Custody {
  const { store, clock, trust, publisher, quarantine, events, barrier, onError } = deps
  const { trustDomain } = trust.pins
  const network = () => publisher.index().network
  const record: Recorder = async (event, subject, facts) => {
    const audit = await deps.audit()
    await audit.append([{ record: { ...audit.base(), kind: 'event', event, subject, facts } }])
  }
  const secrets = new SecretStore({ store, clock, barrier })
  const authority = databaseAuthority({ secrets, clock, trustDomain })
  const revoked = revocations(publisher)
  const leases: Leases = new Leases({
    store,
    clock,
    release: (row) => databases.release(row),
    judge(row) {
      if (quarantine.isQuarantined(row.holder)) return 'quarantined'
      if (revoked(row.serial)) return 'certificate revoked'
      return databases.judge(row)
    },
    onEnded: (row, reason) =>
      record('lease-ended', row.holder, { lease: row.id, resource: row.resource, reason }),
    onError,
  })
  const databases: DatabaseAccounts = new DatabaseAccounts({
    ...{ clock, network, secrets, leases, authority, record, onError },
    // Of this trust root and no other: two networks may share a server.
    prefix: `sp_${sha256Hex(trust.pins.bundleKey).slice(0, 8)}_`,
  })
  const vault = new Vault({ secrets, network, record })
  const transit = new Transit({ store, clock, barrier, network, record })
  const databaseClients = async (): Promise<string> => (await authority()).certificatePem
  const rotations = new Rotations({
    ...{ store, clock, network, secrets, record, onError },
    cacheSeconds: CREDENTIAL_SECONDS,
  })

  const quietly = (act: () => Promise<unknown>) => (): void => void act().catch(onError)
  const sweep = quietly(() => leases.sweep())
  const reconcile = quietly(() => databases.reconcile())
  const rotate = quietly(() => rotations.sweep())
  const schedule = quietly(() => rotations.schedule())
  const timers = [
    setInterval(sweep, SWEEP_MS),
    setInterval(rotate, SWEEP_MS),
    setInterval(reconcile, RECONCILE_MS),
    setInterval(schedule, SCHEDULE_MS),
  ]
  for (const timer of timers) timer.unref()
  const unsubscribe = publisher.onChange(sweep)
  const unwatch = events.subscribe(({ type, data }) => {
    const path = type === 'quarantine' ? exposedBy(data) : undefined
    if (path === undefined) return
    const reason = 'exposed, and its holder quarantined'
    quietly(() => rotations.start({ path, reason, by: 'control' }).then(() => rotations.sweep()))()
  })
  sweep()
  reconcile()
  return {
    leases,
    databases,
    vault,
    rotations,
    transit,
    databaseClients,
    register: () =>
      keyRegister({
        ...{ store, clock, trust, publisher, barrier, vault, transit, databaseClients },
        authority: deps.authority,
      }),
    async stop() {
      unsubscribe()
      unwatch()
      for (const timer of timers) clearInterval(timer)
      await Promise.allSettled([leases.sweep(), rotations.sweep()])
    },
  }
}

/** The path that a quarantine’s reason says was exposed: `secret exposure: PATH`. */
function exposedBy(data: JsonValue): string | undefined {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) return undefined
  // Narrowed to a JSON object; its member is checked.
  const { reason, inForce } = data as Readonly<Record<string, JsonValue>>
  return inForce === true && typeof reason === 'string' ? EXPOSURE.exec(reason)?.[1] : undefined
}

function revocations(publisher: Publisher): (serial: string) => boolean {
  let of = publisher.current()
  let serials = new Set(of.bundle.revokedSerials.map((one) => one.serial))
  return (serial) => {
    const current = publisher.current()
    if (current !== of) {
      of = current
      serials = new Set(current.bundle.revokedSerials.map((one) => one.serial))
    }
    return serials.has(serial)
  }
}
