import { canonicalJson, errorCode, parseJson, sha256Hex, SallyportError } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import { readBundleDocument, writeBundleDocument } from '@sallyport/spiffe'
import type { BundleDocument, TrustBundle } from '@sallyport/spiffe'
import { fetchBundle } from './fetch.ts'
import type { FederatedDomain, FederationStore } from './types.ts'

/** What is held of another trust domain. */
interface ForeignView {
  readonly trustDomain: string
  readonly url: string
  readonly profile: FederatedDomain['profile']
  /** The verified bundle as a document; absent until there is one. */
  readonly bundle?: JsonValue
  readonly sequence?: number
  /** Milliseconds since the epoch. */
  readonly fetchedAt?: number
  /** Code of the last attempt, where it failed. */
  readonly failure?: string
}

/** Bundles of other trust domains, each on its own: never pooled, and only of declared ones. */
export interface Foreigners {
  view(): readonly ForeignView[]
  /** One bundle a domain, as `verifySvid` and `verifyJwtSvid` take them. */
  bundles(): ReadonlyMap<string, TrustBundle>
  /**
   * Milliseconds since the bundle of a domain was last fetched, by the clock that makes it more; infinite where it never was, or
   * where it was at a time that has not come.
   */
  ageMs(trustDomain: string): number
  /** Fetches one now. @throws SallyportError `SP_FEDERATION_*`, `SP_BUNDLE_DOCUMENT` and what is wrong with it */
  refresh(trustDomain: string): Promise<void>
  /** Takes over another declaration: what it does not name any more is forgotten at once. */
  declare(federation: readonly FederatedDomain[]): void
  stop(): void
}

const DEFAULT_SECONDS = 300
const LEAST_SECONDS = 30
const MOST_SECONDS = 86_400
/** A clock may have been that far ahead when something was fetched. */
const SKEW_MS = 10_000

interface Held {
  readonly document: BundleDocument
  readonly digest: string
  readonly fetchedAt: number
  /** By the clock that never goes back; absent of what was kept from an earlier run. */
  readonly since?: number
}

interface Relationship {
  readonly declared: FederatedDomain
  held?: Held
  failure?: string
  timer?: NodeJS.Timeout
  running?: Promise<void>
}

/**
 * Follows the bundles of the declared trust domains: refreshed as their hint says, the last good one kept through failures and
 * restarts, and never one that is older than what was seen.
 */
export function createForeigners(deps: {
  readonly store: FederationStore
  readonly clock: Clock
  readonly onError: (error: unknown, trustDomain: string) => void
  /** In the very turn in which another bundle is held, or none any more. */
  readonly onChange?: (
    trustDomain: string,
    before: TrustBundle | undefined,
    after: TrustBundle | undefined,
  ) => void
}): Foreigners {
  const { store, clock, onChange } = deps
  const all = new Map<string, Relationship>()
  let stopped = false

  const follow = (one: Relationship, seconds: number): void => {
    if (stopped) return
    clearTimeout(one.timer)
    one.timer = setTimeout(() => {
      refresh(one).catch((error: unknown) => deps.onError(error, one.declared.trustDomain))
    }, seconds * 1000).unref()
  }
  const refresh = (one: Relationship): Promise<void> => {
    one.running ??= attempt(one).finally(() => {
      delete one.running
      if (all.get(one.declared.trustDomain) === one) follow(one, pause(one))
    })
    return one.running
  }
  const attempt = async (one: Relationship): Promise<void> => {
    const { declared } = one
    try {
      const body = await fetchBundle(declared, one.held?.document.bundle, clock)
      const document = readBundleDocument(declared.trustDomain, body)
      const digest = digestOf(document)
      checkSuccession(one.held, document, digest)
      // What is not declared any more, or otherwise, meanwhile.
      if (all.get(declared.trustDomain) !== one) return
      const [fetchedAt, since] = [clock.now(), clock.monotonic()]
      // Kept before it is used: a restart must not bring an older one back.
      const kept = { pins: pinsOf(declared), fetchedAt, document: writeBundleDocument(document) }
      store.write(fileOf(declared.trustDomain), JSON.stringify(kept))
      delete one.failure
      const before = one.held
      one.held = { document, digest, fetchedAt, since }
      if (before?.digest !== digest) {
        onChange?.(declared.trustDomain, before?.document.bundle, document.bundle)
      }
    } catch (error) {
      one.failure = errorCode(error)
      throw error
    }
  }
  const known = (declared: FederatedDomain): Held | undefined => {
    try {
      const text = store.read(fileOf(declared.trustDomain))
      const kept = text === undefined ? undefined : readKept(text)
      // What another address gave, or one that began with other roots, says nothing about this one: operators who bring a bundle
      // by hand because a root was stolen do not want the stolen one back.
      const ours = kept?.pins === pinsOf(declared) ? kept : undefined
      const source = ours?.document ?? declared.bundle
      if (source === undefined) return undefined
      const document = readBundleDocument(declared.trustDomain, source)
      return { document, digest: digestOf(document), fetchedAt: ours?.fetchedAt ?? 0 }
    } catch (error) {
      deps.onError(error, declared.trustDomain)
      return undefined
    }
  }

  return {
    view: () =>
      [...all.values()].map(({ declared, held, failure }) => ({
        trustDomain: declared.trustDomain,
        url: declared.url,
        profile: declared.profile,
        ...(held && { bundle: parseJson(writeBundleDocument(held.document)) }),
        ...(held?.document.sequence !== undefined && { sequence: held.document.sequence }),
        ...(held && held.fetchedAt > 0 && { fetchedAt: held.fetchedAt }),
        ...(failure !== undefined && { failure }),
      })),
    bundles: () =>
      new Map(
        [...all.values()].flatMap(({ declared, held }) =>
          held ? [[declared.trustDomain, held.document.bundle] as const] : [],
        ),
      ),
    ageMs(trustDomain) {
      const held = all.get(trustDomain)?.held
      if (!held || held.fetchedAt === 0) return Infinity
      const wall = clock.now() - held.fetchedAt
      if (wall < -SKEW_MS) return Infinity
      return held.since === undefined ? wall : Math.max(wall, clock.monotonic() - held.since)
    },
    async refresh(trustDomain) {
      const one = all.get(trustDomain)
      if (!one) {
        throw new SallyportError('SP_FEDERATION_UNKNOWN', 'this trust domain is not declared', {
          fix: 'declare it under `federation` in network.yaml',
        })
      }
      await refresh(one)
    },
    declare(federation) {
      const named = new Set(federation.map(({ trustDomain }) => trustDomain))
      for (const [trustDomain, one] of all) {
        if (named.has(trustDomain)) continue
        clearTimeout(one.timer)
        all.delete(trustDomain)
        if (one.held) onChange?.(trustDomain, one.held.document.bundle, undefined)
      }
      for (const declared of federation) {
        const before = all.get(declared.trustDomain)
        const same = before && pinsOf(before.declared) === pinsOf(declared)
        if (same && before.declared.maxAgeSeconds === declared.maxAgeSeconds) continue
        clearTimeout(before?.timer)
        const held = same ? before.held : known(declared)
        const one: Relationship = held ? { declared, held } : { declared }
        all.set(declared.trustDomain, one)
        if (!same && (before?.held ?? held)) {
          onChange?.(declared.trustDomain, before?.held?.document.bundle, held?.document.bundle)
        }
        follow(one, 0)
      }
    },
    stop() {
      stopped = true
      for (const { timer } of all.values()) clearTimeout(timer)
    },
  }
}

/** @throws SallyportError `SP_FEDERATION_OLDER` where a document does not follow the one that is held */
function checkSuccession(held: Held | undefined, next: BundleDocument, digest: string): void {
  const before = held?.document.sequence
  if (before === undefined) return
  const { sequence } = next
  if (sequence !== undefined && sequence > before) return
  if (sequence === before && digest === held?.digest) return
  throw new SallyportError(
    'SP_FEDERATION_OLDER',
    'the bundle does not follow the one that is held',
    {
      detail: `sequence ${sequence ?? 'absent'} after ${before}`,
      fix: 'ask whoever runs the other trust domain why its sequence went back',
    },
  )
}

function pause({ held, declared: { maxAgeSeconds = Infinity } }: Relationship): number {
  const hint = held?.document.refreshHintSeconds ?? DEFAULT_SECONDS
  return Math.min(Math.max(hint, LEAST_SECONDS), MOST_SECONDS, maxAgeSeconds / 3)
}

/** What the endpoint proves itself by, and what it begins with: all that operators signed. */
function pinsOf({ trustDomain, url, profile, spiffeId, bundle, ca }: FederatedDomain): string {
  const pins = [trustDomain, url, profile, spiffeId ?? null, bundle ?? null, ca ?? null]
  return sha256Hex(canonicalJson(pins))
}

const digestOf = (document: BundleDocument): string => sha256Hex(writeBundleDocument(document))

/** A trust domain may be longer than a file name. */
const fileOf = (trustDomain: string): string => `${sha256Hex(trustDomain)}.json`

function readKept(text: string): { pins: string; fetchedAt: number; document: string } | undefined {
  const value = parseJson(text, { maxBytes: 4 << 20 })
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  // Narrowed above to a JSON object; its members are read with their types checked.
  const { pins, fetchedAt, document } = value as Readonly<Record<string, JsonValue>>
  return typeof pins === 'string' && typeof fetchedAt === 'number' && typeof document === 'string'
    ? { pins, fetchedAt, document }
    : undefined
}
