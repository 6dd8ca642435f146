import { parseJson, SallyportError } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import { readBundleDocument, verifyJwtSvid } from '@sallyport/spiffe'
import type { TrustBundle, VerifiedJwtSvid } from '@sallyport/spiffe'

import { isObject } from '../refused.ts'
import type { JsonObject } from '../refused.ts'
import { unusable } from '../issued.ts'

/** One call to the control plane with the caller's own identity. */
export type Ask = (method: 'GET' | 'POST', path: string, body?: JsonObject) => Promise<JsonObject>

interface Known {
  /** What workloads get: a JWK set. */
  readonly text: string
  readonly bundle: TrustBundle
  readonly at: number
}

const REFRESH_MS = 30_000
/** A token of an unknown key is worth a look, but not one for each such token. */
const AGAIN_MS = 1000

/** The keys that JWT-SVIDs of this trust domain are verified with, as the control plane has them. */
export class JwtBundles {
  readonly #trustDomain: string
  readonly #ask: Ask
  readonly #clock: Clock
  readonly #listeners = new Set<() => void>()
  #known: Known | undefined
  #fetching: Promise<Known> | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(trustDomain: string, ask: Ask, clock: Clock) {
    this.#trustDomain = trustDomain
    this.#ask = ask
    this.#clock = clock
  }

  /**
   * The bundle document, at most half a minute old.
   *
   * @throws SallyportError as `callPlane`, `SP_BUNDLE_DOCUMENT`
   */
  async document(): Promise<string> {
    return (await this.#get(REFRESH_MS)).text
  }

  /** The last document; undefined before `document` resolved once. */
  latest(): string | undefined {
    return this.#known?.text
  }

  /** Calls `listener` after every change, and asks for it now and then; returns what ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    this.#timer ??= setInterval(() => {
      // What fails is tried again; until then the last one stands.
      this.#get(0).catch(() => undefined)
    }, REFRESH_MS).unref()
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size > 0) return
      clearInterval(this.#timer)
      this.#timer = undefined
    }
  }

  /**
   * @throws SallyportError `SP_JWT_SVID_*`, `SP_SVID_FOREIGN`, `SP_SPIFFE_ID`, as `document`
   */
  async verify(token: string, audience: string): Promise<VerifiedJwtSvid> {
    const check = async (maxAge: number): Promise<VerifiedJwtSvid> => {
      const { bundle } = await this.#get(maxAge)
      const bundles = new Map([[this.#trustDomain, bundle]])
      return verifyJwtSvid(token, bundles, { audience, now: this.#clock.now() })
    }
    try {
      return await check(REFRESH_MS)
    } catch (error) {
      // Its key may be one that was made since.
      if (!(error instanceof SallyportError && error.code === 'SP_JWT_SVID_UNTRUSTED')) throw error
      return check(AGAIN_MS)
    }
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
    const { bundle: text } = await this.#ask('GET', '/v1/jwt-bundle')
    if (typeof text !== 'string') throw unusable('no bundle document')
    const { bundle } = readBundleDocument(this.#trustDomain, text)
    const known = { text: standardJwks(text), bundle, at: this.#clock.monotonic() }
    const changed = this.#known?.text !== known.text
    this.#known = known
    if (changed) for (const listener of this.#listeners) listener()
    return known
  }
}

/**
 * The document as a plain JWK set. `use: jwt-svid` says which kind of SVID a key is for; here there is one kind only, and
 * JOSE libraries, which know `sig` and `enc`, would leave such keys out.
 */
function standardJwks(text: string): string {
  const document = parseJson(text)
  const keys = isObject(document) && Array.isArray(document['keys']) ? document['keys'] : []
  // Array.isArray gives up the type of the members; each is JSON.
  const plain = (keys as readonly JsonValue[]).filter(isObject).map(({ use: _use, ...key }) => key)
  return JSON.stringify({ keys: plain })
}
