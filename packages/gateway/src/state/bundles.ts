import { join } from 'node:path'
import { errorCode, SallyportError } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import { createDecider, createTableRows } from '@sallyport/decide'
import type { Decider, TableRows } from '@sallyport/decide'
import type { Declaration, Settings } from '@sallyport/network'
import { TrustBundle } from '@sallyport/spiffe'
import { acceptBundle, trustedRoots } from '@sallyport/wire'
import type {
  Bundle,
  BundleState,
  OperatorSet,
  Revision,
  RiskEntry,
  ShadowDeclaration,
  SignedBundle,
  TokenTrust,
  TrustPins,
} from '@sallyport/wire'
import { routesOf } from '../adapters/http.ts'
import { ROW } from '../sql/text/names.ts'
import type { Route } from '../adapters/http.ts'
import { keepDeclaration } from './declarations.ts'
import { readJsonFile, writeDurably } from './files.ts'

/** What calls are decided by, all of one revision. */
export interface Enforced {
  readonly revision: Revision
  readonly decider: Decider
  readonly settings: Settings
  readonly operators: OperatorSet | undefined
  /** System name → routes of its HTTP operations. */
  readonly routes: ReadonlyMap<string, readonly Route[]>
  readonly rows: TableRows
}

/** What came into force with a bundle. */
export interface Narrowing {
  /** Quarantined subjects that were not so before. */
  readonly quarantined: readonly string[]
  readonly released: readonly string[]
  /** Serials revoked that were not so before. */
  readonly revoked: readonly string[]
  /** Mandates revoked that were not so before. */
  readonly mandates: readonly string[]
  /** Roots retired that were not so before, by fingerprint. */
  readonly roots: readonly string[]
}

export interface BundlesOptions {
  readonly dataDir: string
  readonly pins: TrustPins
  readonly clock: Clock
  /** Called in the very turn in which a narrowing takes effect. */
  onNarrowing(narrowing: Narrowing): void
  /** After every revision that is in force. */
  onRevision(enforced: Enforced): void
  /** What the newest accepted bundle has in shadow, after everything that takes effect. */
  onShadow?(shadow: ShadowDeclaration<Declaration> | undefined): void
  onAccepted(revision: Revision): void
  /** With each bundle that is taken, once it is durable: the roots that peers are verified against from now on, PEM. */
  onRoots(rootsPem: string): void
  /** @param newest the last bundle that was accepted, for a control plane that no longer knows it */
  onRefused(code: string, detail: string, newest: JsonValue | undefined): void
}

const FILE = 'seen.json'
/** The bundle itself, as it was signed: proof, for a control plane whose database was restored. */
const NEWEST = 'newest.json'

const SCHEME = 'spiffe://'
/** Instances whose standing is kept in mind: one call asks several times. */
const MAX_FREE = 4096

const subjectsOf = (state: BundleState): ReadonlySet<string> =>
  new Set(state.quarantined.map(({ subject }) => subject))

const serialsOf = (state: BundleState): ReadonlySet<string> =>
  new Set(state.revokedSerials.map(({ serial }) => serial))

const mandatesOf = (state: BundleState): ReadonlySet<string> =>
  new Set(state.revokedMandates?.map(({ id }) => id))

const retiredOf = (state: BundleState): ReadonlySet<string> => new Set(state.roots?.retired)

/**
 * What this gateway remembers of the last bundle it took.
 *
 * @throws SallyportError `SP_GATEWAY_STATE` where it cannot be read
 */
export async function readSeen(dataDir: string): Promise<BundleState | undefined> {
  const kept = await readJsonFile(join(dataDir, FILE))
  return kept === undefined ? undefined : asState(kept)
}

/** The signed state that is enforced, and how old it is. */
export class Bundles {
  readonly #options: BundlesOptions
  #seen: BundleState | undefined
  #enforced: Enforced | undefined
  #quarantined: ReadonlySet<string> = new Set()
  /** Instances that were found to be below none of these; empty again with every change. */
  readonly #free = new Set<string>()
  #revoked: ReadonlySet<string> = new Set()
  #mandates: ReadonlySet<string> = new Set()
  #retired: ReadonlySet<string> = new Set()
  #risk: Readonly<Record<string, RiskEntry>> = {}
  #tokens: TokenTrust | undefined
  /** By the clock that never goes back, and by the wall clock, which goes on while the machine sleeps. */
  #synced = { monotonic: Number.NEGATIVE_INFINITY, wall: Number.NEGATIVE_INFINITY }
  /** The newest bundle that arrived could not be taken: what is enforced is then known to be out of date. */
  #behind = false
  #turn: Promise<void> = Promise.resolve()
  #wanted: Bundle<Declaration> | undefined
  #building: Promise<void> | undefined
  #newest: JsonValue | undefined
  #keeping: Promise<void> | undefined

  private constructor(
    options: BundlesOptions,
    seen: BundleState | undefined,
    newest: JsonValue | undefined,
  ) {
    this.#options = options
    this.#seen = seen
    this.#newest = newest
    if (seen) {
      this.#narrow(subjectsOf(seen), serialsOf(seen), mandatesOf(seen), retiredOf(seen))
    }
  }

  /** @throws SallyportError `SP_GATEWAY_STATE` where what was seen before cannot be read */
  static async open(options: BundlesOptions): Promise<Bundles> {
    const newest = await readJsonFile(join(options.dataDir, NEWEST))
    return new Bundles(options, await readSeen(options.dataDir), newest)
  }

  /** Undefined until the first bundle. */
  get enforced(): Enforced | undefined {
    return this.#enforced
  }

  /** Milliseconds, by the clock that makes it more, since the control plane last confirmed what is enforced. */
  get ageMs(): number {
    const { clock } = this.#options
    return Math.max(clock.monotonic() - this.#synced.monotonic, clock.now() - this.#synced.wall)
  }

  isQuarantined(instance: string): boolean {
    if (this.#quarantined.size === 0 || this.#free.has(instance)) return false
    // Whatever it is below: its agent, or of another trust domain any part of the path, or the domain.
    for (let subject = instance; subject.length > SCHEME.length;) {
      if (this.#quarantined.has(subject)) return true
      subject = subject.slice(0, subject.lastIndexOf('/'))
    }
    if (this.#free.size >= MAX_FREE) this.#free.clear()
    this.#free.add(instance)
    return false
  }

  isRevoked(serial: string): boolean {
    return this.#revoked.size > 0 && this.#revoked.has(serial)
  }

  /** Whether the root that an SVID ends at is trusted no longer. */
  isRetired(root: string): boolean {
    return this.#retired.size > 0 && this.#retired.has(root)
  }

  /** What access tokens are verified by, as the newest bundle has it. */
  get tokens(): TokenTrust | undefined {
    return this.#tokens
  }

  /** Whether a mandate was revoked by itself; one above it is asked about by its own id. */
  isMandateRevoked(id: string): boolean {
    return this.#mandates.has(id)
  }

  /** 0–100; the declared stale value where the score is too old, from the future, or not there. */
  riskOf(instance: string, settings: Settings): number {
    const entry = Object.hasOwn(this.#risk, instance) ? this.#risk[instance] : undefined
    if (!entry) return settings.staleRisk
    const age = this.#options.clock.now() - entry.at
    // An old score still counts where it is the higher one.
    return age > settings.riskTtlSeconds * 1000
      ? Math.max(settings.staleRisk, entry.score)
      : entry.score
  }

  /** The highest risk of whatever is below a path: of an agent whose trust domain names its instances as it likes. */
  riskBelow(prefix: string, settings: Settings): number {
    const known = Object.keys(this.#risk).filter((id) => id.startsWith(prefix))
    return Math.max(settings.staleRisk, ...known.map((id) => this.riskOf(id, settings)))
  }

  heartbeat(): void {
    // A declaration that is accepted but not yet, or never, in force is not confirmed by anything.
    const current = this.#enforced?.decider.digest === this.#seen?.declarationDigest
    if (!this.#enforced || this.#behind || !current) return
    const { clock } = this.#options
    this.#synced = { monotonic: clock.monotonic(), wall: clock.now() }
  }

  /** Takes a bundle, or refuses it and says so; bundles are taken in the order given. Never rejects. */
  take(signed: JsonValue): Promise<void> {
    this.#turn = this.#turn.then(() => this.#take(signed))
    return this.#turn
  }

  /** Resolves when no decider is being built. */
  async settled(): Promise<void> {
    await this.#turn
    await this.#building
    await this.#keeping
  }

  async #take(message: JsonValue): Promise<void> {
    const { pins, clock, dataDir } = this.#options
    try {
      // Of unknown shape still: `acceptBundle` checks all of it before anything is read.
      const signed = message as unknown as SignedBundle<Declaration>
      const state = acceptBundle(this.#seen, signed, pins, { now: clock.now() })
      const rootsPem = trustedRoots(state.roots, pins)
      // Before it is kept: a root that no peer could be verified against would stay.
      if (state.roots) TrustBundle.fromPem(pins.trustDomain, rootsPem)
      // What only takes away does not wait for the disk: a restart that forgot it serves nobody before its first bundle.
      this.#narrow(
        this.#quarantined.union(subjectsOf(state)),
        this.#revoked.union(serialsOf(state)),
        this.#mandates.union(mandatesOf(state)),
        retiredOf(state),
      )
      if (state !== this.#seen) {
        // INVARIANT: durable before it is enforced, so that no restart forgets a revision that was in force.
        await writeDurably(join(dataDir, FILE), JSON.stringify(state))
        this.#seen = state
        this.#newest = message
        this.#keeping ??= this.#keep()
        this.#options.onAccepted(state.revision)
      }
      this.#options.onRoots(rootsPem)
      this.#risk = signed.bundle.risk
      this.#tokens = signed.bundle.tokens
      this.#narrow(subjectsOf(state), serialsOf(state), mandatesOf(state), retiredOf(state))
      this.#wanted = signed.bundle
      this.#behind = false
      if (this.#enforced?.decider.digest === state.declarationDigest) this.#enforce(signed.bundle)
      else this.#building ??= this.#build()
      this.heartbeat()
      this.#options.onShadow?.(signed.bundle.shadow)
    } catch (error) {
      this.#refused(error)
    }
  }

  /** Writes the newest bundle down beside the calls: one write at a time, and of several that wait the last. */
  async #keep(): Promise<void> {
    try {
      for (let written: JsonValue | undefined; written !== this.#newest;) {
        written = this.#newest
        await writeDurably(join(this.#options.dataDir, NEWEST), JSON.stringify(written))
      }
    } catch {
      // What is enforced stands in the other file, durably; this one only helps a control plane that forgot.
    } finally {
      this.#keeping = undefined
    }
  }

  #refused(error: unknown): void {
    this.#behind = true
    const detail = error instanceof SallyportError ? (error.detail ?? error.message) : String(error)
    this.#options.onRefused(errorCode(error), detail, this.#newest)
  }

  #narrow(
    quarantined: ReadonlySet<string>,
    revoked: ReadonlySet<string>,
    mandates: ReadonlySet<string>,
    retired: ReadonlySet<string>,
  ): void {
    const narrowing = {
      quarantined: [...quarantined].filter((subject) => !this.#quarantined.has(subject)),
      released: [...this.#quarantined].filter((subject) => !quarantined.has(subject)),
      revoked: [...revoked].filter((serial) => !this.#revoked.has(serial)),
      mandates: [...mandates].filter((id) => !this.#mandates.has(id)),
      roots: [...retired].filter((root) => !this.#retired.has(root)),
    }
    this.#quarantined = quarantined
    this.#free.clear()
    this.#revoked = revoked
    this.#mandates = mandates
    this.#retired = retired
    if (Object.values(narrowing).some(({ length }) => length > 0)) {
      this.#options.onNarrowing(narrowing)
    }
  }

  /** Builds deciders until the one in force is the one wanted; calls go on being decided by the one before. */
  async #build(): Promise<void> {
    try {
      for (;;) {
        const wanted = this.#wanted
        if (!wanted || this.#enforced?.decider.digest === wanted.declarationDigest) return
        const decider = await createDecider({ declaration: wanted.declaration })
        const { declaration } = wanted
        const rows = await createTableRows({ declaration, decider, alias: ROW })
        // INVARIANT: kept before anything is decided by it, so that every recorded decision can be decided again.
        await keepDeclaration(this.#options.dataDir, decider.digest, wanted.declaration)
        if (this.#wanted?.declarationDigest !== wanted.declarationDigest) continue
        this.#enforce(this.#wanted, { decider, rows })
        this.heartbeat()
      }
    } catch (error) {
      this.#wanted = undefined
      this.#refused(error)
    } finally {
      this.#building = undefined
    }
  }

  #enforce(bundle: Bundle<Declaration>, built?: Pick<Enforced, 'decider' | 'rows'>): void {
    const next = built ?? this.#enforced
    if (!next) return
    const { network } = next.decider.index
    this.#enforced = {
      revision: bundle.revision,
      decider: next.decider,
      rows: next.rows,
      settings: network.settings,
      operators: this.#seen?.operators,
      routes:
        built === undefined && this.#enforced
          ? this.#enforced.routes
          : new Map(network.systems.map((system) => [system.name, routesOf(system)])),
    }
    this.#options.onRevision(this.#enforced)
  }
}

function asState(kept: JsonValue): BundleState {
  // Written by `#take` alone; the format says by which version.
  const state = kept as unknown as Partial<BundleState> | null
  if (
    state?.format === 'sallyport-seen/1' &&
    state.revision !== undefined &&
    Array.isArray(state.quarantined) &&
    Array.isArray(state.revokedSerials) &&
    (state.declarationSerial === undefined || Number.isSafeInteger(state.declarationSerial))
  ) {
    // The members that are read here are there; `acceptBundle` reads the rest.
    return state as BundleState
  }
  throw new SallyportError('SP_GATEWAY_STATE', 'a file of the gateway cannot be read', {
    detail: FILE,
    fix: 'restore the file from a copy, or enrol the gateway anew in an empty directory',
  })
}
