import { SallyportError } from '@sallyport/base'
import { writeBundleDocument } from '@sallyport/spiffe'
import type { TrustBundle } from '@sallyport/spiffe'
import { mayHaveJwt } from '../domain/jwt-svids.ts'
import type { JwtSvids } from '../domain/jwt-svids.ts'
import { malformed, readBody, sendJson } from './answer.ts'
import type { PlaneRoute } from './routes.ts'

const MAX_BYTES = 8192
const MAX_AUDIENCES = 8
const MAX_AUDIENCE = 512
/** Bytes; agents read answers of up to a mebibyte. */
const MAX_FEDERATED = 786_432

/** JWT-SVIDs of the caller's own id, and what verifies everybody's, also of federated trust domains. */
export function jwtSvidRoutes(
  svids: JwtSvids,
  foreign: () => ReadonlyMap<string, TrustBundle>,
): PlaneRoute[] {
  return [
    {
      method: 'POST',
      path: /^\/v1\/jwt-svid$/,
      who: 'anyone',
      async handle({ request, response, caller, recheck }) {
        if (!caller || !mayHaveJwt(caller)) {
          throw new SallyportError('SP_PLANE_KIND', 'this identity may not make this call')
        }
        const { audience } = await readBody(request, MAX_BYTES, ['audience'])
        const fits =
          Array.isArray(audience) &&
          audience.length > 0 &&
          audience.length <= MAX_AUDIENCES &&
          new Set(audience).size === audience.length
        if (!fits) {
          throw malformed(`\`audience\` is not a list of 1 to ${MAX_AUDIENCES} different texts`)
        }
        const texts = audience.map((text: unknown) => {
          // Nothing that a reader could take for another name.
          if (
            typeof text === 'string' &&
            text.length <= MAX_AUDIENCE &&
            /^[\x21-\x7e]+$/.test(text)
          ) {
            return text
          }
          throw malformed(`an audience is not a text of 1 to ${MAX_AUDIENCE} visible characters`)
        })
        recheck()
        const issued = await svids.issue(caller, texts)
        // Whoever was cut off meanwhile gets nothing.
        recheck()
        sendJson(response, issued)
      },
    },
    {
      method: 'GET',
      path: /^\/v1\/jwt-bundle$/,
      who: 'anyone',
      async handle({ response }) {
        sendJson(response, { bundle: await svids.bundle(), federated: documentsOf(foreign()) })
      },
    },
  ]
}

/** As many as one answer may hold: a partner that publishes very much is left out, and takes nobody else along. */
function documentsOf(foreign: ReadonlyMap<string, TrustBundle>): Record<string, string> {
  const found: [string, string][] = []
  let left = MAX_FEDERATED
  const documents = [...foreign].map(([trustDomain, bundle]): [string, string] => [
    trustDomain,
    writeBundleDocument({ bundle }),
  ])
  for (const [trustDomain, text] of documents.toSorted(([, a], [, b]) => a.length - b.length)) {
    left -= Buffer.byteLength(text)
    if (left >= 0) found.push([trustDomain, text])
  }
  return Object.fromEntries(found)
}
