import type { ControlContext } from '../../domain/context.ts'
import { RANK } from '../../domain/session-rules.ts'
import { actorOf, found } from '../route.ts'
import type { Principal, Route } from '../route.ts'
import { any, listOf, object, openObject, text, time } from '../schema.ts'

/** Who is signed in, and ending that. */
export function signedInRoutes({ sessions, alarms }: ControlContext): Route[] {
  return [
    {
      method: 'GET',
      path: '/api/sessions',
      summary: 'One’s own sessions; for admins those of everybody',
      access: { role: 'viewer', act: 'read', local: true },
      answer: listOf(
        openObject({
          id: text(64),
          operator: text(512),
          method: text(16),
          userAgent: any('as the browser states it'),
          address: text(64),
          startedAt: time,
          lastUsed: time,
          expiresAt: time,
          idleAt: time,
          current: { type: 'boolean' },
        }),
      ),
      handle: async ({ principal }) => {
        const listed = await sessions.list(ownOnly(principal, 'admin'))
        const own = principal.kind === 'operator' ? principal.view.id : ''
        return listed.map((one) => ({ ...one, current: one.id === own }))
      },
    },
    {
      method: 'POST',
      path: '/api/sessions/{id}/revoke',
      summary: 'Ends a session and its event streams: one’s own, for responders anybody’s',
      access: { role: 'viewer', act: 'narrow', local: true },
      body: object({}),
      answer: object({}),
      handle: async (call) => {
        const own = ownOnly(call.principal, 'responder')
        const done = await sessions.revoke(call.params['id'] ?? '', actorOf(call), own)
        found(done ? true : undefined, 'session')
        return {}
      },
    },
    {
      method: 'GET',
      path: '/api/alarms',
      summary: 'What people had to be told of, newest first',
      access: { role: 'viewer', act: 'read', local: true },
      answer: listOf(
        openObject({
          id: text(64),
          at: time,
          kind: text(32),
          operator: text(512),
          text: text(4096),
        }),
      ),
      handle: () => alarms.list(),
    },
  ]
}

/** The operator whose sessions are all that this caller may touch; undefined where anybody's. */
function ownOnly(principal: Principal, role: 'admin' | 'responder'): string | undefined {
  if (principal.kind !== 'operator') return undefined
  const { roles, operator } = principal.view
  return roles.some((held) => RANK[held] >= RANK[role]) ? undefined : operator
}
