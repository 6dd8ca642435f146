import type { ControlContext } from '../../domain/context.ts'
import { assertionSchema, presenceOptions, verifyPresence } from '../ceremony.ts'
import { operatorOf, textOf } from '../route.ts'
import type { Route } from '../route.ts'
import { any, listOf, object, openObject, text, time } from '../schema.ts'

const access = { role: 'approver', act: 'widen' } as const
const recovery = openObject({
  operator: text(256),
  confirmedBy: text(256),
  confirmedAt: time,
  expiresAt: time,
})

/** A second operator's word that another may sign in by a code. */
export function recoveryRoutes({ operators, recoveries }: ControlContext): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/recoveries',
      summary: 'Sign-ins by code that were confirmed and not used yet',
      access: { role: 'viewer', act: 'read', local: true },
      answer: listOf(recovery),
      handle: () => recoveries.list(),
    },
    {
      method: 'POST',
      path: '/api/recoveries/options',
      summary: 'The ceremony of confirming that an operator may sign in by a code',
      access,
      body: object({ operator: text(256) }),
      answer: any('PublicKeyCredentialRequestOptionsJSON'),
      handle: (call) =>
        presenceOptions(
          operators,
          operatorOf(call).operator,
          purposeOf(textOf(call.body, 'operator')),
        ),
    },
    {
      method: 'POST',
      path: '/api/recoveries/confirm',
      summary: 'Lets another operator sign in by a code, once, within minutes',
      access,
      body: object({ operator: text(256), response: assertionSchema }),
      answer: recovery,
      handle: async (call) => {
        const by = operatorOf(call).operator
        const operator = textOf(call.body, 'operator')
        await verifyPresence(operators, by, purposeOf(operator), call.body['response'] ?? null)
        return recoveries.confirm({ operator, by })
      },
    },
  ]
}

const purposeOf = (operator: string): string => `recovery:${operator}`
