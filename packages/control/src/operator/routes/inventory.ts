import type { ControlContext } from '../../domain/context.ts'
import type { Route } from '../route.ts'
import { choice, listOf, openObject, text, time } from '../schema.ts'

const viewer = { role: 'viewer', act: 'read', local: true } as const

/** What is declared and when it was used; what was asked for and is not. */
export function inventoryRoutes({ inventory }: ControlContext): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/inventory',
      summary: 'What is declared, who answers for it, and when it was last used',
      access: viewer,
      answer: listOf(
        openObject({
          kind: choice('agent', 'service', 'system', 'operation', 'dataset'),
          name: text(512),
          owner: text(256),
          calls: time,
        }),
      ),
      handle: () => inventory.declared(),
    },
    {
      method: 'GET',
      path: '/api/inventory/drift',
      summary: 'What was asked for and is declared nowhere, with what would declare it',
      access: viewer,
      answer: listOf(
        openObject({
          kind: choice('caller', 'operation', 'field', 'destination', 'flow'),
          name: text(512),
          calls: time,
          first: time,
          last: time,
        }),
      ),
      handle: () => inventory.drift(),
    },
  ]
}
