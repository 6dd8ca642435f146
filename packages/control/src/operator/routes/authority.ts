import type { RootStatement } from '@sallyport/wire'
import type { ControlContext } from '../../domain/context.ts'
import { assertionSchema, passkeySignature, signingOptions } from '../ceremony.ts'
import { actorOf, operatorOf } from '../route.ts'
import type { Route } from '../route.ts'
import { any, choice, listOf, object, openObject, text, time } from '../schema.ts'

const root = openObject({
  fingerprint: text(64, '^[0-9a-f]{64}$'),
  'notAfter?': time,
  state: choice('prepared', 'trusted', 'active', 'outgoing', 'retired'),
  preparedAt: time,
  preparedBy: text(256),
  'trustedAt?': time,
  'activatedAt?': time,
  'retiredAt?': time,
  'signed?': listOf(text(256)),
  'quorum?': time,
  'waitsUntil?': time,
})
const roots = openObject({ roots: listOf(root) })

const generations = {
  rootNotAfter: time,
  belowRoot: any('whether signing certificates stand between the root and what is issued'),
  generations: listOf(
    openObject({
      id: text(64),
      state: choice('prepared', 'active', 'retired'),
      notBefore: time,
      notAfter: time,
      preparedAt: time,
      'activatedAt?': time,
      'retiredAt?': time,
    }),
  ),
}
const view = openObject(generations)

/** It stands below the same root and is replaced by itself all the time: nobody may do more by it. So the local administrator may. */
const rotate = { role: 'admin', act: 'narrow', local: true } as const

/** Signing another root into every verifier's trust is what takes the passkeys of a quorum; all around it is preparation or takes away. */
const admin = { role: 'admin', act: 'widen' } as const
const prepare = { ...admin, local: true } as const

/** The signing authority and its successors, and those of the trust root. */
export function authorityRoutes({ authority, roots: all, operators }: ControlContext): Route[] {
  const list = async (act: Promise<unknown>): Promise<unknown> => ({ roots: await act })
  return [
    {
      method: 'POST',
      path: '/api/ca/root/prepare',
      summary: 'Makes a successor of the trust root, which nobody trusts yet',
      access: prepare,
      body: object({}),
      answer: roots,
      handle: (call) => list(all.prepare({ by: actorOf(call) })),
    },
    {
      method: 'POST',
      path: '/api/ca/root/cancel',
      summary: 'Forgets a prepared successor that is not trusted yet',
      access: rotate,
      body: object({}),
      answer: roots,
      handle: () => list(all.cancel()),
    },
    {
      method: 'POST',
      path: '/api/ca/root/sign/options',
      summary: 'The root statement to sign, and the ceremony for it',
      access: admin,
      body: object({}),
      answer: openObject({
        statement: any('the certificate of the root, and the operator set that signs'),
        options: any('PublicKeyCredentialRequestOptionsJSON'),
      }),
      handle: async (call) =>
        signingOptions(operators, operatorOf(call).operator, await all.statement()),
    },
    {
      method: 'POST',
      path: '/api/ca/root/sign',
      summary: 'Adds a signature; with the last one of the quorum every verifier trusts the root',
      access: admin,
      body: object({ statement: any('as it was asked for'), response: assertionSchema }),
      answer: openObject({ live: { type: 'boolean' }, signed: listOf(text(256)), quorum: time }),
      handle: (call) => {
        const { operator } = operatorOf(call)
        return all.sign({
          operator,
          // Compared, member by member, with the statement that was asked for.
          statement: call.body['statement'] as unknown as RootStatement,
          signature: passkeySignature(operator, call.body['response']),
        })
      },
    },
    {
      method: 'POST',
      path: '/api/ca/root/activate',
      summary: 'Signs below the trusted successor from now on',
      access: rotate,
      body: object({}),
      answer: roots,
      handle: (call) => list(all.activate({ by: actorOf(call) })),
    },
    {
      method: 'POST',
      path: '/api/ca/root/retire',
      summary: 'Ends trust in a root that does not sign any more',
      access: rotate,
      body: object({ 'fingerprint?': text(64, '^[0-9a-f]{8,64}$') }),
      answer: roots,
      handle: (call) => {
        const { fingerprint: given } = call.body
        const fingerprint = typeof given === 'string' ? given : undefined
        return list(all.retire({ by: actorOf(call), fingerprint }))
      },
    },
    {
      method: 'GET',
      path: '/api/ca',
      summary: 'The signing authority: what is active, its successor, and what is still trusted',
      access: { role: 'viewer', act: 'read', local: true },
      answer: openObject({ ...generations, roots: listOf(root) }),
      handle: async () => ({ ...authority.view(), roots: await all.view() }),
    },
    {
      method: 'POST',
      path: '/api/ca/prepare',
      summary: 'Prepares a successor of the signing authority now',
      access: rotate,
      body: object({}),
      answer: view,
      handle: async () => authority.prepare(),
    },
    {
      method: 'POST',
      path: '/api/ca/activate',
      summary: 'Puts the prepared successor in use',
      access: rotate,
      body: object({}),
      answer: view,
      handle: async () => authority.activate(),
    },
  ]
}
