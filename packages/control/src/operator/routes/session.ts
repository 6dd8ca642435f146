import { assertPasskeyKey } from '@sallyport/wire'
import type { ControlContext } from '../../domain/context.ts'
import type { SessionView, SignIn } from '../../domain/sessions.ts'
import {
  assertionSchema,
  attestationSchema,
  loginOptions,
  registrationOptions,
  verifyLogin,
  verifyRegistration,
} from '../ceremony.ts'
import { operatorOf, textOf } from '../route.ts'
import type { ApiCall, Route } from '../route.ts'
import { any, listOf, object, openObject, text } from '../schema.ts'
import type { ObjectSchema } from '../schema.ts'
import { newTotp } from '../totp.ts'
import type { TotpDoor } from '../totp.ts'

const link = text(256, '^[A-Za-z0-9_\\-]+$')
const anyone = { role: 'anyone', act: 'read' } as const
export const signedIn: ObjectSchema = openObject({
  operator: openObject({ name: text(256), displayName: text(256), roles: listOf(text(32)) }),
})

/** Opens a session for whoever has just proved who they are, in place of the one they had. */
export type SignInHere = (call: ApiCall, how: SignIn) => Promise<unknown>

export function signInWith({ sessions }: ControlContext): (
  call: ApiCall,
  how: SignIn,
) => Promise<{
  operator: { name: string; displayName: string; roles: SessionView['roles'] }
  csrf: string
}> {
  return async (call: ApiCall, how: SignIn) => {
    const { session, view } = await sessions.start(how, call.seen)
    if (call.principal.kind === 'operator') await sessions.end(call.principal.secret)
    call.setSession(session)
    const { displayName, roles, csrf } = view
    return { operator: { name: view.operator, displayName, roles }, csrf }
  }
}

/** Signing in and out. */
export function sessionRoutes(context: ControlContext, totp: TotpDoor): Route[] {
  const { operators, sessions } = context
  const signIn = signInWith(context)

  return [
    {
      method: 'GET',
      path: '/api/session',
      summary: 'Who is signed in',
      access: anyone,
      answer: openObject({
        operator: any('`{name, displayName, roles}`, or null'),
        csrf: { type: 'string', maxLength: 256 },
        bootstrap: { type: 'boolean' },
        'method?': text(16),
      }),
      handle: async ({ principal }) => {
        const bootstrap = operators.set() === undefined
        if (principal.kind !== 'operator') return { operator: null, csrf: '', bootstrap }
        const { operator: name, displayName, roles, csrf, method, expiresAt } = principal.view
        const { breakGlass } = principal.view
        const glass = breakGlass ? { breakGlass } : {}
        return {
          operator: { name, displayName, roles },
          csrf,
          bootstrap,
          method,
          expiresAt,
          ...glass,
        }
      },
    },
    {
      method: 'POST',
      path: '/api/auth/register/options',
      summary: 'WebAuthn creation options for the bearer of a one-time link',
      access: anyone,
      body: object({ link }),
      answer: any('PublicKeyCredentialCreationOptionsJSON'),
      handle: async ({ body }) => {
        const secret = textOf(body, 'link')
        return registrationOptions(operators, secret, await operators.openLink(secret))
      },
    },
    {
      method: 'POST',
      path: '/api/auth/register/verify',
      summary:
        'Enrols the passkey that was made for a one-time link, and signs in where it is in force',
      access: anyone,
      body: object({ link, response: attestationSchema }),
      answer: openObject({ active: { type: 'boolean' }, version: any('of the operator set') }),
      handle: async (call) => {
        const secret = textOf(call.body, 'link')
        const view = await operators.openLink(secret)
        const made = await verifyRegistration(operators, secret, call.body['response'] ?? null)
        // A key that gateways cannot read would lock its operator out for good.
        assertPasskeyKey(made.publicKey)
        const result = await operators.register({ link: secret, ...made })
        return result.active
          ? {
              ...result,
              ...(await signIn(call, {
                method: 'passkey',
                operator: view.operator,
                credentialId: made.credentialId,
              })),
            }
          : result
      },
    },
    {
      method: 'POST',
      path: '/api/auth/login/options',
      summary: 'WebAuthn request options for signing in',
      access: anyone,
      body: object({}),
      answer: any('PublicKeyCredentialRequestOptionsJSON'),
      handle: () => loginOptions(operators),
    },
    {
      method: 'POST',
      path: '/api/auth/login/verify',
      summary: 'Signs in with a passkey',
      access: anyone,
      body: object({ response: assertionSchema }),
      answer: signedIn,
      handle: async (call) =>
        signIn(call, {
          method: 'passkey',
          ...(await verifyLogin(operators, call.body['response'] ?? null)),
        }),
    },
    {
      method: 'POST',
      path: '/api/auth/totp',
      summary: 'Signs in with a one-time code: such a session reads and narrows only',
      access: anyone,
      body: object({ operator: text(256), code: text(16) }),
      answer: signedIn,
      handle: async (call) => {
        const operator = textOf(call.body, 'operator')
        await totp.verify(operator, textOf(call.body, 'code'))
        return signIn(call, { method: 'totp', operator })
      },
    },
    {
      method: 'POST',
      path: '/api/auth/totp/setup',
      summary: 'A fresh secret for one-time codes; nothing changes before it is enabled',
      access: { role: 'viewer', act: 'widen' },
      body: object({}),
      answer: object({ secret: text(64), uri: text(1024) }),
      handle: async (call) =>
        newTotp(operatorOf(call).operator, `Sallyport ${context.trustDomain}`),
    },
    {
      method: 'POST',
      path: '/api/auth/totp/enable',
      summary: 'Keeps the secret once a code of it was given',
      access: { role: 'viewer', act: 'widen' },
      // 160 bits, as setup makes them: nobody weakens their own way in.
      body: object({ secret: text(32, '^[A-Z2-7]{32}$'), code: text(16) }),
      answer: object({ enabled: { type: 'boolean' } }),
      handle: async (call) => {
        const { operator } = operatorOf(call)
        await totp.enable(operator, textOf(call.body, 'secret'), textOf(call.body, 'code'))
        return { enabled: true }
      },
    },
    {
      method: 'POST',
      path: '/api/auth/logout',
      summary: 'Ends the session and its event streams',
      access: { role: 'viewer', act: 'narrow' },
      body: object({}),
      answer: object({}),
      handle: async (call) => {
        if (call.principal.kind === 'operator') {
          await sessions.end(call.principal.secret)
        }
        call.setSession(undefined)
        return {}
      },
    },
  ]
}
