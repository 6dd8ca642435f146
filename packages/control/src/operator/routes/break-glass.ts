import { sha256Hex } from '@sallyport/base'
import type { ReviewStatement } from '@sallyport/wire'
import type { ControlContext } from '../../domain/context.ts'
import {
  assertionSchema,
  passkeySignature,
  presenceOptions,
  signingOptions,
  verifyPresence,
} from '../ceremony.ts'
import { actorOf, found, operatorOf, textOf } from '../route.ts'
import type { Route } from '../route.ts'
import { any, listOf, object, openObject, text, time } from '../schema.ts'

const own = { role: 'viewer', act: 'widen' } as const
const view = openObject({
  id: text(64),
  operator: text(256),
  roles: listOf(text(32)),
  reason: text(500),
  incidentId: text(64),
  openedAt: time,
  endsAt: time,
  open: { type: 'boolean' },
  'review?': any('`{by, at, text}`'),
  reviewBy: time,
  overdue: { type: 'boolean' },
})
const sentence = text(500)
const options = any('PublicKeyCredentialRequestOptionsJSON')

/** Declared roles for an emergency. */
export function breakGlassRoutes({ operators, breakGlass }: ControlContext): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/break-glass',
      summary: 'Who broke the glass, newest first, and what waits for a review',
      access: { role: 'viewer', act: 'read', local: true },
      answer: listOf(view),
      handle: () => breakGlass.list(),
    },
    {
      method: 'GET',
      path: '/api/break-glass/{id}',
      summary: 'One of them with every act done under it',
      access: { role: 'viewer', act: 'read', local: true },
      answer: view,
      handle: async ({ params }) => found(await breakGlass.get(params['id'] ?? ''), 'break-glass'),
    },
    {
      method: 'POST',
      path: '/api/break-glass/options',
      summary: 'The ceremony of opening it for this reason',
      access: own,
      body: object({ reason: sentence }),
      answer: options,
      handle: (call) => {
        const { operator } = operatorOf(call)
        return presenceOptions(operators, operator, opening(textOf(call.body, 'reason')))
      },
    },
    {
      method: 'POST',
      path: '/api/break-glass/open',
      summary: 'Gives this session the declared roles, loudly and for minutes',
      access: own,
      body: object({ reason: sentence, response: assertionSchema }),
      answer: view,
      handle: async (call) => {
        const session = operatorOf(call)
        const reason = textOf(call.body, 'reason')
        const { response = null } = call.body
        await verifyPresence(operators, session.operator, opening(reason), response)
        return breakGlass.open(session, reason)
      },
    },
    {
      method: 'POST',
      path: '/api/break-glass/{id}/end',
      summary: 'Ends it: one’s own, for responders anybody’s',
      access: { role: 'viewer', act: 'narrow', local: true },
      body: object({}),
      answer: object({}),
      handle: async (call) => {
        const id = call.params['id'] ?? ''
        if (call.principal.kind === 'operator') {
          const { operator, roles } = call.principal.view
          const only = roles.every((role) => role === 'viewer')
          const one = only ? await breakGlass.get(id) : undefined
          if (only) found(one?.operator === operator ? one : undefined, 'break-glass')
        }
        await breakGlass.end(id, actorOf(call))
        return {}
      },
    },
    {
      method: 'POST',
      path: '/api/break-glass/{id}/review/options',
      summary: 'The review to sign, in these words, and the ceremony for it',
      access: { role: 'approver', act: 'widen' },
      body: object({ text: sentence }),
      answer: openObject({ statement: any('ReviewStatement'), options }),
      handle: async (call) => {
        const { operator: by } = operatorOf(call)
        const input = { id: call.params['id'] ?? '', by, text: textOf(call.body, 'text') }
        return signingOptions(operators, by, await breakGlass.reviewStatement(input))
      },
    },
    {
      method: 'POST',
      path: '/api/break-glass/{id}/review',
      summary: 'Keeps what another operator found, signed, and closes the incident',
      access: { role: 'approver', act: 'widen' },
      body: object({ statement: openObject({ text: sentence }), response: assertionSchema }),
      answer: object({}),
      handle: async (call) => {
        const { operator: by } = operatorOf(call)
        await breakGlass.review({
          ...{ id: call.params['id'] ?? '', by },
          // Compared, member by member, with the statement that was asked for.
          statement: call.body['statement'] as unknown as ReviewStatement,
          signature: passkeySignature(by, call.body['response']),
        })
        return {}
      },
    },
  ]
}

const opening = (reason: string): string => `break-glass:${sha256Hex(reason)}`
