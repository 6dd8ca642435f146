import { canonicalJson, parseJson, SallyportError } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import { readBundleDocument, verifyJwtSvid } from '@sallyport/spiffe'
import type { TrustBundle, VerifiedJwtSvid } from '@sallyport/spiffe'

import { isObject } from '../refused.ts'
import type { JsonObject } from '../refused.ts'
import { unusable } from '../unusable.ts'

/** One call to the control plane with the caller's own identity. */
export type Ask = (method: 'GET' | 'POST', path: string, body?: JsonObject) => Promise<JsonObject>

/** What is trusted of one domain, as workloads get it. */
export interface DomainBundle {
  /** Keys of JWT-SVIDs: a plain JWK set. */
  readonly jwks: string
  /** DER certificates. Of the own domain they come with the SVID instead. */
  readonly authorities: readonly Buffer[]
}

interface Known {
  /** By trust domain, the own one too. Each is looked up by the domain that an SVID claims: they are never pooled. */
  readonly bundles: ReadonlyMap<string, TrustBundle>
  readonly shown: ReadonlyMap<string, DomainBundle>
  readonly text: string
  readonly at: number
}

/** How old what is shown of JWT keys may be. */
export const JWT_REFRESH_MS = 30_000
/** The same of roots, which change over days. */
export const ROOTS_REFRESH_MS = 300_000
/** A token of an unknown key is worth a look, but not one for each such token. */
const AGAIN_MS = 1000
/** An X.509-SVID does not wait longer for the bundles of others. */
const PATIENCE_MS = 2000

/** What SVIDs of this and of federated trust domains are verified with, as the control plane has it. */
export class Bundles {
  readonly #trustDomain: string
  readonly #ask: Ask
  readonly #clock: Clock
  readonly #listeners = new Map<() => void, number>()
  #known: Known | undefined
  #fetching: Promise<Known> | undefined
  #timer: NodeJS.Timeout | undefined
  /** When it was asked last, whether or not that was answered. */
  #asked: number | undefined

  constructor(trustDomain: string, ask: Ask, clock: Clock) {
    this.#trustDomain = trustDomain
    this.#ask = ask
    this.#clock = clock
  }

  /**
   * Asks for what is older than this.
   *
   * @throws SallyportError as `callPlane`, `SP_BUNDLE_DOCUMENT`
   */
  async refresh(maxAgeMs: number): Promise<void> {
    await this.#get(maxAgeMs)
  }

  /** The same where it can be had soon; what is known already does otherwise. */
  async tryRefresh(maxAgeMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, PATIENCE_MS)
    this.refresh(maxAgeMs).then(resolve, () => {
      resolve()
    })
    await promise
    clearTimeout(timer)
  }

  /** By trust domain; empty before anything was fetched. */
  shown(): ReadonlyMap<string, DomainBundle> {
    return this.#known?.shown ?? new Map()
  }

  /** The same without the own trust domain. */
  federated(): ReadonlyMap<string, DomainBundle> {
    return new Map([...this.shown()].filter(([trustDomain]) => trustDomain !== this.#trustDomain))
  }

  /** Calls `listener` after every change, and asks for it this often; returns what ends that. */
  onChange(listener: () => void, everyMs: number): () => void {
    this.#listeners.set(listener, everyMs)
    this.#arm()
    return () => {
      this.#listeners.delete(listener)
      this.#arm()
    }
  }

  /**
   * @throws SallyportError `SP_JWT_SVID_*`, `SP_SVID_FOREIGN`, `SP_SPIFFE_ID`, as `refresh`
   */
  async verify(token: string, audience: string): Promise<VerifiedJwtSvid> {
    const check = async (maxAge: number): Promise<VerifiedJwtSvid> => {
      const { bundles } = await this.#get(maxAge)
      return verifyJwtSvid(token, bundles, { audience, now: this.#clock.now() })
    }
    try {
      return await check(JWT_REFRESH_MS)
    } catch (error) {
      // Its key may be one that was made since.
      if (!(error instanceof SallyportError && error.code === 'SP_JWT_SVID_UNTRUSTED')) throw error
      return check(AGAIN_MS)
    }
  }

  #arm(): void {
    clearTimeout(this.#timer)
    if (this.#listeners.size === 0) return
    const due = (this.#asked ?? this.#clock.monotonic()) + Math.min(...this.#listeners.values())
    const wait = Math.max(AGAIN_MS, due - this.#clock.monotonic())
    this.#timer = setTimeout(() => {
      // What fails is tried again; until then the last one stands.
      this.#get(0).then(
        () => {
          this.#arm()
        },
        () => {
          this.#arm()
        },
      )
    }, wait).unref()
  }

  #get(maxAge: number): Promise<Known> {
    const known = this.#known
    if (known && this.#clock.monotonic() - known.at < maxAge) return Promise.resolve(known)
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = undefined
    })
    return this.#fetching
  }

  async #fetch(): Promise<Known> {
    this.#asked = this.#clock.monotonic()
    const { bundle, federated = {} } = await this.#ask('GET', '/v1/jwt-bundle')
    if (typeof bundle !== 'string' || !isObject(federated)) throw unusable('no bundle document')
    const bundles = new Map<string, TrustBundle>()
    const shown = new Map<string, DomainBundle>()
    // The own last: nobody else's document can stand in its place.
    for (const [trustDomain, text] of [...Object.entries(federated), [this.#trustDomain, bundle]]) {
      if (typeof trustDomain !== 'string' || typeof text !== 'string') {
        throw unusable('a bundle that is no document')
      }
      const { bundle: read } = readBundleDocument(trustDomain, text)
      bundles.set(trustDomain, read)
      const authorities = read.authorities.map(({ raw }) => raw)
      shown.set(trustDomain, { jwks: standardJwks(text), authorities })
    }
    const text = canonicalJson({ bundle, federated })
    const changed = this.#known?.text !== text
    const known = { bundles, shown, text, at: this.#clock.monotonic() }
    this.#known = known
    if (changed) for (const listener of this.#listeners.keys()) listener()
    return known
  }
}

/**
 * The JWT keys of a bundle document as a plain JWK set. `use: jwt-svid` says which kind of SVID a key is for; here there is
 * one kind only, and JOSE libraries, which know `sig` and `enc`, would leave such keys out.
 */
function standardJwks(text: string): string {
  const document = parseJson(text)
  const keys = isObject(document) && Array.isArray(document['keys']) ? document['keys'] : []
  // Array.isArray gives up the type of the members; each is JSON.
  const plain = (keys as readonly JsonValue[])
    .filter(isObject)
    .filter(({ use }) => use === 'jwt-svid')
    .map(({ use: _use, ...key }) => key)
  return JSON.stringify({ keys: plain })
}
