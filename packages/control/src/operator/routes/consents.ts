import type { ConsentStatement } from '@sallyport/wire'
import type { ControlContext } from '../../domain/context.ts'
import type { ConsentKey, Consents } from '../../domain/consents.ts'
import { assertionSchema, passkeySignature, signingOptions } from '../ceremony.ts'
import { operatorOf, textOf } from '../route.ts'
import type { ApiCall, Route } from '../route.ts'
import { any, object, openObject, text } from '../schema.ts'

const person = { role: 'viewer', act: 'widen' } as const
const ticket = text(64, '^[A-Za-z0-9_\\-]+$')
const onward = object({ redirect: text(2048) })

/** Agents that ask a person to act for them (RFC 6749, section 4.1): the person decides here. */
export function consentRoutes({ consents, operators }: ControlContext): Route[] {
  return consents === undefined ? [] : routesOf(consents, operators)
}

function routesOf(consents: Consents, operators: ControlContext['operators']): Route[] {
  return [
    {
      method: 'POST',
      path: '/api/consents/{id}/view',
      summary: 'What an agent asks a person for',
      access: person,
      body: object({ ticket }),
      answer: openObject({ statement: any('ConsentStatement'), agent: text(64) }),
      handle: (call) => consents.view(keyOf(call)),
    },
    {
      method: 'POST',
      path: '/api/consents/{id}/options',
      summary: 'The statement to sign, and the ceremony for it',
      access: person,
      body: object({ ticket }),
      answer: openObject({
        statement: any('ConsentStatement'),
        options: any('PublicKeyCredentialRequestOptionsJSON'),
      }),
      handle: async (call) => {
        const { statement } = await consents.view(keyOf(call))
        return signingOptions(operators, operatorOf(call).operator, statement)
      },
    },
    {
      method: 'POST',
      path: '/api/consents/{id}/allow',
      summary: 'Lets the agent act for the person, for exactly what was signed',
      access: person,
      body: object({ ticket, statement: any('ConsentStatement'), response: assertionSchema }),
      answer: onward,
      handle: (call) =>
        consents.allow({
          ...keyOf(call),
          session: operatorOf(call).id,
          // Whatever it is: it counts only if it equals, member by member, the statement that was asked for.
          statement: call.body['statement'] as unknown as ConsentStatement,
          signature: passkeySignature(operatorOf(call).operator, call.body['response']),
        }),
    },
    {
      method: 'POST',
      path: '/api/consents/{id}/refuse',
      summary: 'Refuses the agent',
      access: { role: 'viewer', act: 'narrow' },
      body: object({ ticket }),
      answer: onward,
      handle: (call) => consents.refuse(keyOf(call)),
    },
  ]
}

function keyOf(call: ApiCall): ConsentKey {
  const { operator } = operatorOf(call)
  return { id: call.params['id'] ?? '', ticket: textOf(call.body, 'ticket'), operator }
}
