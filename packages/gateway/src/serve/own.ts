import type { Approvals } from '../calls/approvals.ts'
import { sendJson } from '../edge/answer.ts'
import { Refusal } from '../refusal.ts'
import type { Sessions } from '../state/sessions.ts'
import type { RequestContext } from './context.ts'
import { noOperation } from './http.ts'

/** The gateway's own calls: `/.sallyport/whoami` and `/.sallyport/approvals/{id}`. */
export class OwnCalls {
  readonly #approvals: Approvals
  readonly #sessions: Sessions
  readonly #gateway: string

  constructor(approvals: Approvals, sessions: Sessions, gateway: string) {
    this.#approvals = approvals
    this.#sessions = sessions
    this.#gateway = gateway
  }

  /** @throws Refusal `SP_NO_OPERATION`, `SP_APPROVAL_UNKNOWN`, `SP_APPROVAL_UNAVAILABLE` */
  async serve({ request, res, caller }: RequestContext): Promise<void> {
    const { segments, query } = request.target
    const [, call, id] = segments
    if (request.method !== 'GET' || query.size > 0) throw noOperation()
    if (call === 'whoami' && segments.length === 2) {
      const { instance, agent, svid } = caller
      const body = { instance, agent, notAfter: svid.notAfter, gateway: this.#gateway }
      sendJson(res, { status: 200, body: JSON.stringify(body) })
      return
    }
    if (call !== 'approvals' || id === undefined || segments.length !== 3) throw noOperation()
    const approval = await this.#approvals.status(id)
    const own =
      approval.instance === caller.instance || this.#sessions.isRequester(id, caller.instance)
    if (!own) {
      // As if there were none: whose approvals exist is nobody else's business.
      throw new Refusal('SP_APPROVAL_UNKNOWN', 'there is no such approval', { status: 404 })
    }
    sendJson(res, { status: 200, body: JSON.stringify({ status: approval.status }) })
  }
}
