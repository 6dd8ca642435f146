import { router, text } from './http.ts'
import type { Handler } from './http.ts'

/** The message gateway: queues what the notifier sends; the demo delivers nothing. */
export function messages(): Handler {
  let count = 0
  return router([
    {
      method: 'POST',
      path: '/v1/messages',
      answer: ({ body }) => {
        text(body, 'to')
        text(body, 'template', 60)
        text(body, 'caseId', 64)
        count++
        return { message: { id: `msg_${String(count).padStart(6, '0')}`, status: 'queued' } }
      },
    },
  ])
}
