import type { ApprovalStatement } from '@sallyport/wire'
import type { ApprovalStatus } from '../../domain/approvals.ts'
import type { ControlContext } from '../../domain/context.ts'
import { assertionSchema, passkeySignature, signingOptions } from '../ceremony.ts'
import { found, operatorOf, textOf } from '../route.ts'
import type { Route } from '../route.ts'
import { any, choice, listOf, object, openObject, text } from '../schema.ts'
import { asSeenBy } from './reads.ts'

const viewer = { role: 'viewer', act: 'read', local: true } as const
const signing = { role: 'approver', act: 'widen' } as const
const approval = openObject({ id: text(64), status: text(16), canDecide: { type: 'boolean' } })

/** The inbox: calls that wait for a person. */
export function approvalRoutes(context: ControlContext): Route[] {
  const { approvals, operators } = context
  return [
    {
      method: 'GET',
      path: '/api/approvals',
      summary: 'Approvals, newest first',
      access: viewer,
      query: object({ 'status?': choice('pending', 'approved', 'denied', 'expired', 'used') }),
      answer: listOf(approval),
      handle: async ({ query, principal }) => {
        // The query schema admits only these words.
        const status = query['status'] as ApprovalStatus | undefined
        const all = await approvals.list(status === undefined ? {} : { status })
        return Promise.all(all.map((one) => asSeenBy(context, one, principal)))
      },
    },
    {
      method: 'GET',
      path: '/api/approvals/{id}',
      summary: 'One approval',
      access: viewer,
      answer: approval,
      handle: async ({ params, principal }) =>
        asSeenBy(context, found(await approvals.get(params['id'] ?? ''), 'approval'), principal),
    },
    {
      method: 'POST',
      path: '/api/approvals/{id}/options',
      summary: 'The statement to sign, over the exact arguments, and the ceremony for it',
      access: signing,
      body: object({ decision: choice('approve', 'deny') }),
      answer: openObject({
        statement: any('ApprovalStatement'),
        options: any('PublicKeyCredentialRequestOptionsJSON'),
      }),
      handle: async (call) => {
        const { operator } = operatorOf(call)
        const decision = textOf(call.body, 'decision') === 'approve' ? 'approve' : 'deny'
        const statement = await approvals.statement(call.params['id'] ?? '', operator, decision)
        return signingOptions(operators, operator, statement)
      },
    },
    {
      method: 'POST',
      path: '/api/approvals/{id}/decide',
      summary: 'Records the signed decision',
      access: signing,
      body: object({ statement: any('ApprovalStatement'), response: assertionSchema }),
      answer: approval,
      handle: async (call) => {
        const { operator } = operatorOf(call)
        const decided = await approvals.decide({
          id: call.params['id'] ?? '',
          operator,
          // Whatever it is: it counts only if it equals, member by member, the statement that was asked for.
          statement: call.body['statement'] as unknown as ApprovalStatement,
          signature: passkeySignature(operator, call.body['response']),
        })
        return asSeenBy(context, decided, call.principal)
      },
    },
  ]
}
