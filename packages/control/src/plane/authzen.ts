import type { IncomingMessage, ServerResponse } from 'node:http'
import type { VerifiedSvid } from '@sallyport/spiffe'
import type { Access } from '../access/access.ts'
import { pepOf } from '../access/pep.ts'
import { malformed, readQuestion, readQuestions } from '../access/request.ts'
import type { Members } from '../access/request.ts'
import type { Searches } from '../access/search.ts'
import type { Publisher } from '../domain/publisher.ts'
import { readObject, sendJson } from './answer.ts'
import type { PlaneRoute } from './routes.ts'

const MAX_BYTES = 262_144
const MAX_DEPTH = 16
const HOST = /^(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/
const REQUEST_ID = /^[\x20-\x7e]{1,256}$/

/** The endpoints (OpenID AuthZEN Authorization API 1.0, section 12) → metadata parameter (section 11). */
const ENDPOINTS: Readonly<Record<string, string>> = {
  '/access/v1/evaluation': 'access_evaluation_endpoint',
  '/access/v1/evaluations': 'access_evaluations_endpoint',
  '/access/v1/search/subject': 'search_subject_endpoint',
  '/access/v1/search/resource': 'search_resource_endpoint',
  '/access/v1/search/action': 'search_action_endpoint',
}

/** The decision point for enforcement points that are not gateways of ours. */
export function authzenRoutes(deps: {
  readonly access: Access
  readonly searches: Searches
  readonly publisher: Publisher
}): PlaneRoute[] {
  const { access, searches, publisher } = deps
  const post = (
    path: string,
    act: (caller: VerifiedSvid | undefined, body: Members) => Promise<unknown>,
  ): PlaneRoute => ({
    method: 'POST',
    path: new RegExp(`^${path}$`),
    who: 'anyone',
    async handle({ request, response, caller, recheck }) {
      echoRequestId(request, response)
      // First of all: nobody else's body is read.
      pepOf(caller, publisher.index())
      const limits = { maxBytes: MAX_BYTES, maxDepth: MAX_DEPTH, exactDecimals: true }
      const body = await readObject(request, limits)
      recheck()
      const answer = await act(caller, body)
      recheck()
      sendJson(response, answer)
    },
  })
  return [
    {
      method: 'GET',
      path: /^\/\.well-known\/authzen-configuration$/,
      who: 'anyone',
      async handle({ request, response, caller }) {
        echoRequestId(request, response)
        pepOf(caller, publisher.index())
        const { host = '' } = request.headers
        if (!HOST.test(host)) throw malformed('it names no host')
        const base = `https://${host}`
        sendJson(response, {
          policy_decision_point: base,
          ...Object.fromEntries(
            Object.entries(ENDPOINTS).map(([path, name]) => [name, `${base}${path}`]),
          ),
        })
      },
    },
    post('/access/v1/evaluation', async (caller, body) => {
      const [answer] = await access.evaluate(caller, [readQuestion(body)])
      return answer
    }),
    post('/access/v1/evaluations', async (caller, body) => {
      const { single, questions, semantic } = readQuestions(body)
      const answers = await access.evaluate(caller, questions, semantic)
      return single ? answers[0] : { evaluations: answers }
    }),
    post('/access/v1/search/subject', (caller, body) => searches.subjects(caller, body)),
    post('/access/v1/search/resource', (caller, body) => searches.resources(caller, body)),
    post('/access/v1/search/action', (caller, body) => searches.actions(caller, body)),
  ]
}

/** Section 12.1.3: the identifier that came is the one that goes, with refusals too. */
function echoRequestId(request: IncomingMessage, response: ServerResponse): void {
  const id = request.headers['x-request-id']
  if (id === undefined) return
  if (typeof id !== 'string' || !REQUEST_ID.test(id)) {
    throw malformed('`X-Request-ID` is not 1 to 256 printable characters')
  }
  response.setHeader('x-request-id', id)
}
