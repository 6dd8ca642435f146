import type { DeclarationStatement } from '@sallyport/wire'
import type { ControlContext } from '../../domain/context.ts'
import { assertionSchema, passkeySignature, signingOptions } from '../ceremony.ts'
import { actorOf, operatorOf, textOf } from '../route.ts'
import type { Route } from '../route.ts'
import { any, choice, listOf, object, openObject, text, time } from '../schema.ts'

const admin = { role: 'admin', act: 'widen' } as const
/** Neither widens: what is proposed or in shadow allows nothing. So the local administrator may, without a session (ADR 6). */
const prepare = { ...admin, local: true } as const
const digest = text(64, '^[0-9a-f]{64}$')
const proposal = openObject({ digest, diff: listOf(any('one change')) })

const report = openObject({
  digest,
  against: digest,
  stage: choice('draft', 'shadow'),
  minutes: time,
  required: time,
  counts: openObject({ agreed: time, denyToAllow: time, allowToDeny: time }),
  changes: listOf(any('one kind of difference, with examples')),
})

/** Changing the declaration: proposed by one, in force when a quorum has signed it. */
export function declarationRoutes({ bundles, operators }: ControlContext): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/declaration/proposals',
      summary: 'Declarations that wait for signatures',
      access: { role: 'viewer', act: 'read', local: true },
      answer: listOf(proposal),
      handle: () => bundles.proposals(),
    },
    {
      method: 'POST',
      path: '/api/declaration/propose',
      summary: 'Checks a declaration and keeps it for signing',
      access: prepare,
      body: object({ declaration: any('`{network, policies}`') }),
      maxBytes: 1_048_576,
      answer: proposal,
      handle: (call) =>
        bundles.propose({
          declaration: call.body['declaration'],
          by: actorOf(call),
        }),
    },
    {
      method: 'POST',
      path: '/api/declaration/shadow',
      summary: 'Puts a proposed declaration into shadow: decided by as well, without effect',
      access: prepare,
      body: object({ digest }),
      answer: report,
      handle: async (call) => {
        const wanted = textOf(call.body, 'digest')
        await bundles.startShadow({ digest: wanted, by: actorOf(call) })
        return bundles.shadowReport(wanted)
      },
    },
    {
      method: 'POST',
      path: '/api/declaration/shadow/stop',
      summary: 'Takes whatever is in shadow out of it',
      access: prepare,
      body: object({}),
      answer: object({}),
      handle: async () => {
        await bundles.stopShadow()
        return {}
      },
    },
    {
      method: 'GET',
      path: '/api/declaration/{digest}/shadow',
      summary: 'What a declaration would have decided otherwise while it was in shadow',
      access: { role: 'viewer', act: 'read', local: true },
      answer: report,
      handle: ({ params }) => bundles.shadowReport(params['digest'] ?? ''),
    },
    {
      method: 'POST',
      path: '/api/declaration/sign/options',
      summary: 'The declaration statement to sign, and the ceremony for it',
      access: admin,
      body: object({ digest }),
      answer: openObject({
        statement: any('digest, epoch and serial'),
        options: any('PublicKeyCredentialRequestOptionsJSON'),
      }),
      handle: async (call) => {
        const statement = await bundles.statement(textOf(call.body, 'digest'))
        return signingOptions(operators, operatorOf(call).operator, statement)
      },
    },
    {
      method: 'POST',
      path: '/api/declaration/sign',
      summary: 'Adds a signature; the last one of the quorum brings the declaration into force',
      access: admin,
      body: object({
        digest,
        statement: any('digest, epoch and serial'),
        response: assertionSchema,
      }),
      answer: openObject({ live: { type: 'boolean' }, signed: listOf(text(256)), quorum: time }),
      handle: (call) => {
        const { operator } = operatorOf(call)
        return bundles.sign({
          digest: textOf(call.body, 'digest'),
          operator,
          // Compared, member by member, with the statement that was asked for.
          statement: call.body['statement'] as unknown as DeclarationStatement,
          signature: passkeySignature(operator, call.body['response']),
        })
      },
    },
  ]
}
