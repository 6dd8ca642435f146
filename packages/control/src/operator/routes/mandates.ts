import type { MandateGrant, MandateStatement } from '@sallyport/wire'
import type { ControlContext } from '../../domain/context.ts'
import type { MandateDraft } from '../../domain/mandates.ts'
import { assertionSchema, passkeySignature, signingOptions } from '../ceremony.ts'
import { actorOf, found, operatorOf, textOf } from '../route.ts'
import type { ApiCall, Route } from '../route.ts'
import { any, listOf, object, openObject, text, time } from '../schema.ts'

const ID = '^mdt_[A-Za-z0-9_\\-]{43}$'
const mandate = openObject({ id: text(64, ID), status: text(16), statement: any('the mandate') })
const DAY = 86_400

const draft = object({
  delegate: text(2048),
  task: text(512),
  grants: listOf(any('MandateGrant')),
  uses: { type: 'integer', minimum: 1, maximum: 1_000_000 },
  lifetimeSeconds: { type: 'integer', minimum: 1, maximum: 90 * DAY },
})

const draftOf = ({ body }: ApiCall): MandateDraft => ({
  delegate: textOf(body, 'delegate'),
  task: textOf(body, 'task'),
  // Of whatever shape: drawing up checks all of it.
  grants: body['grants'] as unknown as readonly MandateGrant[],
  uses: Number(body['uses']),
  lifetimeSeconds: Number(body['lifetimeSeconds']),
})

/** Task grants: given with a passkey, ended with a session. */
export function mandateRoutes({ mandates, operators }: ControlContext): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/mandates',
      summary: 'Mandates that are held here, newest first',
      access: { role: 'viewer', act: 'read', local: true },
      answer: listOf(mandate),
      handle: () => mandates.list(),
    },
    {
      method: 'GET',
      path: '/api/mandates/{id}',
      summary: 'One mandate',
      access: { role: 'viewer', act: 'read', local: true },
      answer: mandate,
      handle: async ({ params }) => found(await mandates.get(params['id'] ?? ''), 'mandate'),
    },
    {
      method: 'POST',
      path: '/api/mandates/check',
      summary: 'What a mandate would say, by nobody yet; nothing is kept',
      access: { role: 'viewer', act: 'read', local: true },
      body: draft,
      answer: any('MandateStatement'),
      handle: async (call) => mandates.draw('somebody', draftOf(call)),
    },
    {
      method: 'POST',
      path: '/api/mandates/options',
      summary: 'The mandate to sign, drawn up and checked, and the ceremony for it',
      access: { role: 'approver', act: 'widen' },
      body: draft,
      answer: openObject({
        statement: any('MandateStatement'),
        options: any('PublicKeyCredentialRequestOptionsJSON'),
      }),
      handle: async (call) => {
        const { operator } = operatorOf(call)
        const statement = mandates.draw(operator, draftOf(call))
        return signingOptions(operators, operator, statement)
      },
    },
    {
      method: 'POST',
      path: '/api/mandates',
      summary: 'Gives the signed mandate',
      access: { role: 'approver', act: 'widen' },
      body: object({ statement: any('MandateStatement'), response: assertionSchema }),
      answer: mandate,
      handle: (call) => {
        const { operator } = operatorOf(call)
        return mandates.give({
          operator,
          // Of whatever shape: giving checks all of it, and the signature covers all of it.
          statement: call.body['statement'] as unknown as MandateStatement,
          signature: passkeySignature(operator, call.body['response']),
        })
      },
    },
    {
      method: 'POST',
      path: '/api/mandates/{id}/revoke',
      summary: 'Ends a mandate and everything below it',
      access: { role: 'responder', act: 'narrow', local: true },
      body: object({ reason: text(1024) }),
      answer: openObject({
        id: text(64),
        revision: openObject({ epoch: time, n: time }),
        'appliedMs?': any('ms'),
      }),
      handle: (call) =>
        mandates.revoke({
          id: call.params['id'] ?? '',
          reason: textOf(call.body, 'reason'),
          by: actorOf(call),
        }),
    },
  ]
}
