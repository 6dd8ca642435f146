import { SallyportError } from '@sallyport/base'
import type { Responders } from '../domain/responders.ts'
import { readBody, sendJson, textIn } from './answer.ts'
import type { PlaneRoute } from './routes.ts'

const SMALL = 16_384

/** What an authorised service may do to others: take away, never give. */
export function responderRoutes(responders: Responders): PlaneRoute[] {
  return [
    {
      method: 'POST',
      path: /^\/v1\/quarantine$/,
      who: 'anyone',
      async handle({ request, response, caller, recheck }) {
        const body = await readBody(request, SMALL, ['subject', 'reason'])
        recheck()
        if (!caller) throw new SallyportError('SP_PLANE_IDENTITY', 'this call needs a certificate')
        const subject = textIn(body, 'subject', 2048)
        const reason = textIn(body, 'reason', 1024)
        sendJson(response, await responders.quarantine(caller.id, { subject, reason }))
      },
    },
  ]
}
