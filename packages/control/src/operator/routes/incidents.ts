import type { ControlContext } from '../../domain/context.ts'
import { actorOf, found, textOf } from '../route.ts'
import type { Route } from '../route.ts'
import { listOf, object, openObject, text } from '../schema.ts'

const viewer = { role: 'viewer', act: 'read', local: true } as const
const incident = openObject({ id: text(64), status: text(16), subject: text(2048) })

/** What was noticed, and that it was nothing. */
export function incidentRoutes({ incidents }: ControlContext): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/incidents',
      summary: 'Incidents, newest first',
      access: viewer,
      answer: listOf(incident),
      handle: () => incidents.list(),
    },
    {
      method: 'GET',
      path: '/api/incidents/{id}',
      summary: 'One incident with its timeline',
      access: viewer,
      answer: incident,
      handle: async ({ params }) => found(await incidents.get(params['id'] ?? ''), 'incident'),
    },
    {
      method: 'POST',
      path: '/api/incidents/{id}/close',
      summary: 'Closes an open incident as a false alarm',
      // It takes an alarm away, so a code or an identity provider is not enough for it.
      access: { role: 'responder', act: 'widen', local: true },
      body: object({ reason: text(1024) }),
      answer: incident,
      handle: (call) =>
        incidents.dismiss({
          id: call.params['id'] ?? '',
          reason: textOf(call.body, 'reason'),
          by: actorOf(call),
        }),
    },
  ]
}
