import type { BackchannelStatement } from '@sallyport/wire'
import type { Backchannel } from '../../domain/backchannel.ts'
import type { ControlContext } from '../../domain/context.ts'
import { assertionSchema, passkeySignature, signingOptions } from '../ceremony.ts'
import { operatorOf } from '../route.ts'
import type { Route } from '../route.ts'
import { any, listOf, object, openObject, text } from '../schema.ts'

const person = { role: 'viewer', act: 'widen' } as const

/** Agents that ask people out of band (OpenID Connect CIBA Core 1.0): each sees and decides what they themselves were asked. */
export function backchannelRoutes({ backchannel, operators }: ControlContext): Route[] {
  return backchannel === undefined ? [] : routesOf(backchannel, operators)
}

function routesOf(backchannel: Backchannel, operators: ControlContext['operators']): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/backchannel',
      summary: 'What agents ask the person who is signed in',
      access: { role: 'viewer', act: 'read' },
      answer: listOf(any('BackchannelView')),
      handle: (call) => backchannel.list(operatorOf(call).operator),
    },
    {
      method: 'POST',
      path: '/api/backchannel/{id}/options',
      summary: 'The statement to sign, and the ceremony for it',
      access: person,
      body: object({}),
      answer: openObject({
        statement: any('BackchannelStatement'),
        options: any('PublicKeyCredentialRequestOptionsJSON'),
      }),
      handle: async (call) => {
        const { operator } = operatorOf(call)
        const { statement } = await backchannel.get(call.params['id'] ?? '', operator)
        return signingOptions(operators, operator, statement)
      },
    },
    {
      method: 'POST',
      path: '/api/backchannel/{id}/allow',
      summary: 'Lets the agent act for the person, for exactly what was signed',
      access: person,
      body: object({ statement: any('BackchannelStatement'), response: assertionSchema }),
      answer: object({ status: text(16) }),
      handle: async (call) => {
        const { operator, id: session } = operatorOf(call)
        await backchannel.allow({
          ...{ id: call.params['id'] ?? '', operator, session },
          // Whatever it is: it counts only if it equals, member by member, the statement that was asked for.
          statement: call.body['statement'] as unknown as BackchannelStatement,
          signature: passkeySignature(operator, call.body['response']),
        })
        return { status: 'allowed' }
      },
    },
    {
      method: 'POST',
      path: '/api/backchannel/{id}/refuse',
      summary: 'Refuses the agent',
      access: { role: 'viewer', act: 'narrow' },
      body: object({}),
      answer: object({ status: text(16) }),
      handle: async (call) => {
        await backchannel.refuse(call.params['id'] ?? '', operatorOf(call).operator)
        return { status: 'refused' }
      },
    },
  ]
}
