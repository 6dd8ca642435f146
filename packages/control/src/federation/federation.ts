import { mkdirSync } from 'node:fs'
import { errorCode, parseJson, sha256Hex, SallyportError } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import type { Federation } from '@sallyport/network'
import { readBundleDocument, writeBundleDocument } from '@sallyport/spiffe'
import type { BundleDocument, TrustBundle } from '@sallyport/spiffe'
import { readIfThere, writeDurably } from '../authority/keys.ts'
import { fetchBundle } from './fetch.ts'

/** What is held of another trust domain. */
interface ForeignView {
  readonly trustDomain: string
  readonly url: string
  readonly profile: Federation['profile']
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
  /** Fetches one now. @throws SallyportError `SP_FEDERATION_*`, `SP_BUNDLE_DOCUMENT` and what is wrong with it */
  refresh(trustDomain: string): Promise<void>
  /** Takes over another declaration: what it does not name any more is forgotten at once. */
  declare(federation: readonly Federation[]): void
  stop(): void
}

const DEFAULT_SECONDS = 300
const LEAST_SECONDS = 30
const MOST_SECONDS = 86_400

interface Held {
  readonly document: BundleDocument
  readonly digest: string
  readonly fetchedAt: number
}

interface Relationship {
  readonly declared: Federation
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
  readonly folder: string
  readonly clock: Clock
  readonly onError: (error: unknown) => void
}): Foreigners {
  const { folder, clock } = deps
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const all = new Map<string, Relationship>()
  let stopped = false

  const follow = (one: Relationship, seconds: number): void => {
    if (stopped) return
    clearTimeout(one.timer)
    one.timer = setTimeout(() => {
      refresh(one).catch(deps.onError)
    }, seconds * 1000).unref()
  }
  const refresh = (one: Relationship): Promise<void> => {
    one.running ??= attempt(one).finally(() => {
      delete one.running
      if (all.get(one.declared.trustDomain) === one) follow(one, pause(one.held))
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
      const fetchedAt = clock.now()
      // Kept before it is used: a restart must not bring an older one back.
      const kept = { url: declared.url, fetchedAt, document: writeBundleDocument(document) }
      writeDurably(folder, fileOf(declared.trustDomain), JSON.stringify(kept))
      one.held = { document, digest, fetchedAt }
      delete one.failure
    } catch (error) {
      one.failure = errorCode(error)
      throw error
    }
  }
  const known = (declared: Federation): Held | undefined => {
    try {
      const text = readIfThere(folder, fileOf(declared.trustDomain))
      const kept = text === undefined ? undefined : readKept(text)
      // What another address gave says nothing about this one.
      const source = kept?.url === declared.url ? kept.document : declared.bundle
      if (source === undefined) return undefined
      const document = readBundleDocument(declared.trustDomain, source)
      const fetchedAt = kept?.url === declared.url ? kept.fetchedAt : 0
      return { document, digest: digestOf(document), fetchedAt }
    } catch (error) {
      deps.onError(error)
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
      }
      for (const declared of federation) {
        const before = all.get(declared.trustDomain)
        if (before && JSON.stringify(before.declared) === JSON.stringify(declared)) continue
        clearTimeout(before?.timer)
        const held = known(declared)
        const one: Relationship = held ? { declared, held } : { declared }
        all.set(declared.trustDomain, one)
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

function pause(held: Held | undefined): number {
  const hint = held?.document.refreshHintSeconds ?? DEFAULT_SECONDS
  return Math.min(Math.max(hint, LEAST_SECONDS), MOST_SECONDS)
}

const digestOf = (document: BundleDocument): string => sha256Hex(writeBundleDocument(document))

/** A trust domain may be longer than a file name. */
const fileOf = (trustDomain: string): string => `${sha256Hex(trustDomain)}.json`

function readKept(text: string): { url: string; fetchedAt: number; document: string } | undefined {
  const value = parseJson(text, { maxBytes: 4 << 20 })
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  // Narrowed above to a JSON object; its members are read with their types checked.
  const { url, fetchedAt, document } = value as Readonly<Record<string, JsonValue>>
  return typeof url === 'string' && typeof fetchedAt === 'number' && typeof document === 'string'
    ? { url, fetchedAt, document }
    : undefined
}
