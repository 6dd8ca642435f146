import type { ControlContext } from '../../domain/context.ts'
import { textOf } from '../route.ts'
import type { Route } from '../route.ts'
import { any, choice, listOf, object, openObject, text, time } from '../schema.ts'

/** Other trust domains: what is held of each. Which there are is declared, never added here. */
export function foreignRoutes({ foreigners }: ControlContext): Route[] {
  const view = listOf(
    openObject({
      trustDomain: text(255),
      url: text(512),
      profile: choice('https_web', 'https_spiffe'),
      'bundle?': any('the verified bundle document'),
      'sequence?': time,
      'fetchedAt?': time,
      'failure?': text(64),
    }),
  )
  return [
    {
      method: 'GET',
      path: '/api/federation',
      summary: 'Declared trust domains beside this one, each with its verified bundle',
      access: { role: 'viewer', act: 'read', local: true },
      answer: view,
      handle: () => Promise.resolve(foreigners.view()),
    },
    {
      method: 'POST',
      path: '/api/federation/refresh',
      summary: 'Fetches the bundle of a declared trust domain now',
      access: { role: 'responder', act: 'narrow', local: true },
      body: object({ trustDomain: text(255) }),
      answer: view,
      handle: async ({ body }) => {
        await foreigners.refresh(textOf(body, 'trustDomain'))
        return foreigners.view()
      },
    },
  ]
}
