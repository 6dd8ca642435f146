import type { ControlContext } from '../../domain/context.ts'
import type { Route } from '../route.ts'
import { any, choice, listOf, object, openObject, text, time } from '../schema.ts'

const view = openObject({
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
})

/** It stands below the same root and is replaced by itself all the time: nobody may do more by it. So the local administrator may. */
const rotate = { role: 'admin', act: 'narrow', local: true } as const

/** The signing authority and its successors. */
export function authorityRoutes({ authority }: ControlContext): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/ca',
      summary: 'The signing authority: what is active, its successor, and what is still trusted',
      access: { role: 'viewer', act: 'read', local: true },
      answer: view,
      handle: () => Promise.resolve(authority.view()),
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
