import type { IdentityProviders } from '../oidc.ts'
import type { Route } from '../route.ts'
import { textOf } from '../route.ts'
import { listOf, object, openObject, text } from '../schema.ts'
import { signedIn } from './session.ts'
import type { SignInHere } from './session.ts'

const anyone = { role: 'anyone', act: 'read' } as const
const provider = text(63)

/** Signing in at a declared identity provider: such a session reads and narrows. */
export function federationRoutes(providers: IdentityProviders, signIn: SignInHere): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/auth/oidc',
      summary: 'Identity providers that people may sign in from',
      access: anyone,
      answer: listOf(openObject({ name: provider })),
      handle: async () => providers.list(),
    },
    {
      method: 'POST',
      path: '/api/auth/oidc/begin',
      summary: 'Where to send the browser, and the key with which its answer is good',
      access: anyone,
      body: object({ provider }),
      answer: object({ url: text(4096), key: text(64) }),
      handle: ({ body }) => providers.begin(textOf(body, 'provider')),
    },
    {
      method: 'POST',
      path: '/api/auth/oidc/finish',
      summary: 'Signs in with the answer of an identity provider',
      access: anyone,
      body: object({
        provider,
        key: text(64, '^[A-Za-z0-9_\\-]{43}$'),
        search: text(8192),
      }),
      answer: signedIn,
      handle: async (call) => {
        const { body } = call
        const [name, key] = [textOf(body, 'provider'), textOf(body, 'key')]
        return signIn(call, await providers.finish(name, key, textOf(body, 'search')))
      },
    },
  ]
}
