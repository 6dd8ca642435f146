import type { RequestListener, ServerResponse } from 'node:http'
import { errorCode } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { readBundleDocument, TrustBundle, writeBundleDocument } from '@sallyport/spiffe'
import type { PlaneRoute } from '../plane/routes.ts'

/** Where the bundle is served: at the console's origin (`https_web`) and on the plane (`https_spiffe`). */
const BUNDLE_PATH = '/federation/bundle'

/** Keys of JWT-SVIDs are published ten minutes before they sign. */
const HINT_SECONDS = 300
const KEPT_MS = 5000

/** The bundle document of this trust domain, for whoever federates with it. */
export interface OwnBundle {
  read(): Promise<string>
}

/**
 * @param deps.jwt the keys of JWT-SVIDs, as a bundle document
 * @returns a document whose sequence is the time: it grows with every change, on every control plane, without a counter
 */
export function createOwnBundle(deps: {
  readonly trust: { readonly rootsPem: string; readonly pins: { readonly trustDomain: string } }
  readonly jwt: () => Promise<string>
  readonly clock: Clock
}): OwnBundle {
  const { trust, clock } = deps
  const { trustDomain } = trust.pins
  let kept: { readonly until: number; readonly text: Promise<string> } | undefined
  const make = async (): Promise<string> => {
    const roots = TrustBundle.fromPem(trustDomain, trust.rootsPem).authorities
    const { jwtKeys } = readBundleDocument(trustDomain, await deps.jwt()).bundle
    return writeBundleDocument({
      bundle: TrustBundle.of(trustDomain, roots, jwtKeys),
      sequence: Math.floor(clock.now() / 1000),
      refreshHintSeconds: HINT_SECONDS,
    })
  }
  return {
    // Anyone may ask: the store is read once in a while, however many do.
    async read() {
      const at = clock.monotonic()
      if (!kept || at >= kept.until) kept = { until: at + KEPT_MS, text: make() }
      const { text } = kept
      try {
        return await text
      } catch (error) {
        if (kept?.text === text) kept = undefined
        throw error
      }
    },
  }
}

/** `https_spiffe`: the plane proves itself by its SVID, and asks the client for none. */
export function bundleRoutes(own: OwnBundle): PlaneRoute[] {
  return [
    {
      method: 'GET',
      path: /^\/federation\/bundle$/,
      who: 'anonymous',
      async handle({ response }) {
        send(response, await own.read())
      },
    },
  ]
}

/** `https_web`: the same at the console's origin; all other paths as `rest` does. */
export function bundleBeside(own: OwnBundle, rest: RequestListener): RequestListener {
  return (request, response) => {
    if (request.url !== BUNDLE_PATH || request.method !== 'GET') {
      rest(request, response)
      return
    }
    own.read().then(
      (text) => send(response, text),
      (error: unknown) => {
        response
          .writeHead(503, { 'content-type': 'application/problem+json', 'retry-after': '5' })
          .end(JSON.stringify({ status: 503, code: errorCode(error) }))
      },
    )
  }
}

function send(response: ServerResponse, text: string): void {
  response
    .writeHead(200, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    })
    .end(text)
}
