import { SallyportError } from '@sallyport/base'
import { kindOf } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import type { Reader } from '../secrets/access.ts'
import type { Custody } from '../secrets/custody.ts'
import { SCOPE_SECONDS } from '../secrets/databases.ts'
import { shownValue } from '../secrets/kv.ts'
import type { Transit } from '../secrets/transit.ts'
import { CREDENTIAL_SECONDS } from '../secrets/vault.ts'
import { integerIn, malformed, readObject, sendJson, textIn } from './answer.ts'
import type { Body } from './answer.ts'
import type { PlaneRoute } from './routes.ts'

const SMALL = 16_384
const LARGE = 131_072
const MAX_TEXT = 100_000

/** Leases, accounts in databases, and secrets for workloads; credentials of upstreams for gateways. */
export function custodyRoutes({ leases, databases, vault, transit }: Custody): PlaneRoute[] {
  return [
    ...transitRoutes(transit),
    {
      method: 'POST',
      path: /^\/v1\/databases\/[a-z0-9-]{1,63}\/account$/,
      who: 'anyone',
      async handle({ request, response, url, caller, recheck }) {
        const body = optional(await readObject(request, { maxBytes: SMALL }), [
          'csr',
          'ttlSeconds',
          'parent',
        ])
        recheck()
        sendJson(
          response,
          await databases.open(known(caller), {
            database: segment(url, 3),
            ...('csr' in body ? { csr: textIn(body, 'csr', 8192) } : {}),
            ...('ttlSeconds' in body ? { ttlSeconds: positive(body, 'ttlSeconds') } : {}),
            ...('parent' in body ? { parent: textIn(body, 'parent', 64) } : {}),
          }),
        )
      },
    },
    {
      method: 'GET',
      path: /^\/v1\/leases$/,
      who: 'anyone',
      async handle({ response, caller }) {
        sendJson(response, { leases: await leases.list({ holder: known(caller).id.uri }) })
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/leases$/,
      who: 'anyone',
      async handle({ request, response, caller, recheck }) {
        const body = optional(await readObject(request, { maxBytes: SMALL }), ['ttlSeconds'])
        recheck()
        const ttl = 'ttlSeconds' in body ? positive(body, 'ttlSeconds') : SCOPE_SECONDS
        const ttlSeconds = Math.min(ttl, SCOPE_SECONDS)
        const { id, expires_at } = await leases.begin({
          kind: 'scope',
          holder: known(caller).id.uri,
          serial: known(caller).serial,
          resource: '',
          ttlSeconds,
          maxTtlSeconds: ttlSeconds,
        })
        sendJson(response, { lease: id, expiresAt: expires_at })
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/leases\/[a-z0-9_]{1,64}\/renew$/,
      who: 'anyone',
      async handle({ request, response, url, caller, recheck }) {
        optional(await readObject(request, { maxBytes: SMALL }), [])
        recheck()
        const row = await databases.renew(known(caller), segment(url, 3))
        sendJson(response, { expiresAt: row.expires_at, maxExpiresAt: row.max_expires_at })
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/leases\/[a-z0-9_]{1,64}\/sign-in$/,
      who: 'anyone',
      async handle({ request, response, url, caller, recheck }) {
        const body = optional(await readObject(request, { maxBytes: SMALL }), ['csr'])
        recheck()
        const csr = 'csr' in body ? textIn(body, 'csr', 8192) : undefined
        sendJson(response, await databases.signIn(known(caller), segment(url, 3), csr))
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/leases\/[a-z0-9_]{1,64}\/end$/,
      who: 'anyone',
      async handle({ request, response, url, caller }) {
        optional(await readObject(request, { maxBytes: SMALL }), [])
        await leases.end(segment(url, 3), 'given back', known(caller).id.uri)
        sendJson(response, {})
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/secrets\/read$/,
      who: 'anyone',
      async handle({ request, response, caller, recheck }) {
        const body = optional(await readObject(request, { maxBytes: SMALL }), ['path', 'version'])
        recheck()
        const version = 'version' in body ? positive(body, 'version') : undefined
        const found = await vault.read(readerOf(caller), textIn(body, 'path', 1024), version)
        sendJson(response, shownValue(found))
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/secrets\/list$/,
      who: 'anyone',
      async handle({ request, response, caller }) {
        const body = optional(await readObject(request, { maxBytes: SMALL }), ['prefix'])
        const prefix = 'prefix' in body ? textIn(body, 'prefix', 1024) : ''
        sendJson(response, { secrets: await vault.list(readerOf(caller), prefix) })
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/credentials\/[A-Za-z0-9._-]{1,64}$/,
      who: 'gateway',
      async handle({ request, response, url, caller, recheck }) {
        optional(await readObject(request, { maxBytes: SMALL }), [])
        recheck()
        const found = await vault.credential(known(caller).id.uri, segment(url, 3))
        const { value, version } = found
        const text = value.toString('utf8')
        sendJson(response, { value: text, version, cacheSeconds: CREDENTIAL_SECONDS })
      },
    },
  ]
}

/** Encryption and signatures with keys that stay here. Bytes travel as base64. */
function transitRoutes(transit: Transit): PlaneRoute[] {
  const route = (act: string, handle: (call: TransitCall) => Promise<unknown>): PlaneRoute => ({
    method: 'POST',
    path: new RegExp(`^/v1/transit/[a-z0-9-]{1,63}/${act}$`),
    who: 'anyone',
    async handle({ request, response, url, caller, recheck }) {
      const body = await readObject(request, { maxBytes: LARGE })
      recheck()
      const context = 'context' in body ? textIn(body, 'context', 1024) : ''
      const call = { user: readerOf(caller), name: segment(url, 3), body, context }
      sendJson(response, await handle(call))
    },
  })
  return [
    route('encrypt', async ({ user, name, body, context }) => {
      const bytes = bytesIn(optional(body, ['plaintext', 'context']), 'plaintext')
      return { ciphertext: await transit.encrypt(user, name, bytes, context) }
    }),
    route('decrypt', async ({ user, name, body, context }) => {
      const text = textIn(optional(body, ['ciphertext', 'context']), 'ciphertext', MAX_TEXT)
      const plaintext = await transit.decrypt(user, name, text, context)
      return { plaintext: plaintext.toString('base64') }
    }),
    route('rewrap', async ({ user, name, body, context }) => {
      const text = textIn(optional(body, ['ciphertext', 'context']), 'ciphertext', MAX_TEXT)
      return { ciphertext: await transit.rewrap(user, name, text, context) }
    }),
    route('sign', async ({ user, name, body }) => ({
      signature: await transit.sign(user, name, bytesIn(optional(body, ['data']), 'data')),
    })),
    route('verify', async ({ user, name, body }) => {
      const data = bytesIn(optional(body, ['data', 'signature']), 'data')
      return { valid: await transit.verify(user, name, data, textIn(body, 'signature', 256)) }
    }),
  ]
}

interface TransitCall {
  readonly user: Reader
  readonly name: string
  readonly body: Body
  readonly context: string
}

function bytesIn(body: Body, name: string): Buffer {
  const text = body[name] === '' ? '' : textIn(body, name, MAX_TEXT)
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64') === text) return bytes
  throw malformed(`\`${name}\` is not base64`)
}

const segment = (url: URL, index: number): string => url.pathname.split('/')[index] ?? ''

function known(caller: VerifiedSvid | undefined): VerifiedSvid {
  if (caller) return caller
  throw new SallyportError('SP_PLANE_IDENTITY', 'this call needs a certificate')
}

function readerOf(caller: VerifiedSvid | undefined): Reader {
  const { id } = known(caller)
  const kind = kindOf(id)
  if (kind?.kind === 'agent' || kind?.kind === 'service') {
    return { kind: kind.kind, name: kind.name, id: id.uri }
  }
  throw new SallyportError('SP_PLANE_KIND', 'this identity may not make this call')
}

/** A body of members that may be absent, and no others. */
function optional(body: Body, members: readonly string[]): Body {
  if (Object.keys(body).every((name) => members.includes(name))) return body
  throw malformed('it has a member that this call does not take')
}

function positive(body: Body, name: string): number {
  const value = integerIn(body, name)
  if (value >= 1) return value
  throw malformed(`\`${name}\` is not a positive integer`)
}
