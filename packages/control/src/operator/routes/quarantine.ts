import type { ControlContext } from '../../domain/context.ts'
import type { ReleaseStatement } from '../../domain/quarantine.ts'
import { assertionSchema, passkeySignature, signingOptions } from '../ceremony.ts'
import { actorOf, operatorOf, textOf } from '../route.ts'
import type { Route } from '../route.ts'
import { any, choice, listOf, object, openObject, text, time } from '../schema.ts'

const revision = openObject({ epoch: time, n: time })

/** Cutting off, and letting back in. */
export function quarantineRoutes({ operators, quarantine }: ControlContext): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/quarantine',
      summary: 'Quarantines in force, newest first; with those released where asked for',
      access: { role: 'viewer', act: 'read', local: true },
      query: object({ 'released?': choice('true', 'false') }),
      answer: listOf(openObject({ id: text(64), subject: text(2048), reason: text(4096) })),
      handle: ({ query }) => quarantine.list({ released: query['released'] === 'true' }),
    },
    {
      method: 'POST',
      path: '/api/quarantine',
      summary: 'Cuts an instance, or all of an agent, off at every layer',
      access: { role: 'responder', act: 'narrow', local: true },
      body: object({ subject: text(2048), reason: text(1024) }),
      answer: openObject({
        quarantine: any('what is in force'),
        revision,
        'appliedMs?': any('ms'),
      }),
      handle: (call) =>
        quarantine.quarantine({
          subject: textOf(call.body, 'subject'),
          reason: textOf(call.body, 'reason'),
          by: actorOf(call),
        }),
    },
    {
      method: 'POST',
      path: '/api/quarantine/{id}/release/options',
      summary: 'The release to sign, and the ceremony for it',
      access: { role: 'approver', act: 'widen' },
      body: object({ reason: text(1024) }),
      answer: openObject({
        statement: any('ReleaseStatement'),
        options: any('PublicKeyCredentialRequestOptionsJSON'),
      }),
      handle: async (call) => {
        const reason = textOf(call.body, 'reason')
        const statement = await quarantine.releaseStatement(call.params['id'] ?? '', reason)
        return signingOptions(operators, operatorOf(call).operator, statement)
      },
    },
    {
      method: 'POST',
      path: '/api/quarantine/{id}/release',
      summary: 'Adds a signature; the last one of the quorum ends the quarantine',
      access: { role: 'approver', act: 'widen' },
      body: object({ statement: any('ReleaseStatement'), response: assertionSchema }),
      answer: openObject({
        released: { type: 'boolean' },
        signed: listOf(text(256)),
        quorum: time,
      }),
      handle: (call) => {
        const { operator } = operatorOf(call)
        return quarantine.release({
          id: call.params['id'] ?? '',
          operator,
          // Compared, member by member, with the statement that was asked for.
          statement: call.body['statement'] as unknown as ReleaseStatement,
          signature: passkeySignature(operator, call.body['response']),
        })
      },
    },
  ]
}
