import type { ControlContext } from '../../domain/context.ts'
import type { JoinKind } from '../../domain/joinTokens.ts'
import type { OperatorsStatement } from '../../domain/operators.ts'
import { assertionSchema, passkeySignature, signingOptions } from '../ceremony.ts'
import { actorOf, found, operatorOf, textOf } from '../route.ts'
import type { Route } from '../route.ts'
import { any, choice, listOf, object, openObject, text, time } from '../schema.ts'

const admin = { role: 'admin', act: 'widen' } as const
// Preparing: an enrolled key is nothing before a quorum signed it, an enrolled instance nothing but what the declaration says.
const adminOrLocal = { ...admin, local: true } as const

/** Letting people and workloads in. */
export function peopleRoutes({ identities, operators }: ControlContext): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/operators',
      summary: 'Declared operators, and the operator set that waits for signatures',
      access: { role: 'viewer', act: 'read', local: true },
      answer: openObject({
        operators: listOf(any('one')),
        proposed: any('or null'),
        version: time,
      }),
      handle: async () => ({
        operators: operators.list(),
        version: operators.set()?.version ?? 0,
        proposed: (await operators.proposed()) ?? null,
      }),
    },
    {
      method: 'POST',
      path: '/api/operators/links',
      summary: 'A one-time link with which a declared operator enrols a passkey',
      access: adminOrLocal,
      body: object({ operator: text(256) }),
      answer: object({ link: text(256), url: text(1024), expiresAt: time }),
      handle: (call) =>
        operators.createLink({ operator: textOf(call.body, 'operator'), by: actorOf(call) }),
    },
    {
      method: 'POST',
      path: '/api/operators/removal',
      summary: 'Proposes to take an operator’s keys away',
      access: admin,
      body: object({ operator: text(256) }),
      answer: object({}),
      handle: (call) =>
        operators.proposeRemoval({ operator: textOf(call.body, 'operator'), by: actorOf(call) }),
    },
    {
      method: 'POST',
      path: '/api/operators/sign/options',
      summary: 'The proposed operator set to sign, and the ceremony for it',
      access: admin,
      body: object({}),
      answer: openObject({
        statement: any('the operator set'),
        options: any('PublicKeyCredentialRequestOptionsJSON'),
      }),
      handle: async (call) => {
        const { statement } = found(await operators.proposed(), 'proposed operator set')
        return signingOptions(operators, operatorOf(call).operator, statement)
      },
    },
    {
      method: 'POST',
      path: '/api/operators/sign',
      summary: 'Adds a signature; the last one of the quorum brings the set into force',
      access: admin,
      body: object({ statement: any('the operator set'), response: assertionSchema }),
      answer: openObject({ active: { type: 'boolean' }, signed: listOf(text(256)), quorum: time }),
      handle: (call) => {
        const { operator } = operatorOf(call)
        return operators.signProposed({
          operator,
          // Compared, member by member, with the statement that was asked for.
          statement: call.body['statement'] as unknown as OperatorsStatement,
          signature: passkeySignature(operator, call.body['response']),
        })
      },
    },
    {
      method: 'POST',
      path: '/api/join-tokens',
      summary: 'A one-use token with which a declared workload enrols',
      access: adminOrLocal,
      body: object({ kind: choice('agent', 'service', 'gateway'), name: text(256) }),
      answer: object({ token: text(256), expiresAt: time }),
      handle: (call) =>
        identities.create({
          // The body schema admits only these words.
          kind: textOf(call.body, 'kind') as JoinKind,
          name: textOf(call.body, 'name'),
          by: actorOf(call),
        }),
    },
  ]
}
