import type { IncomingMessage, ServerResponse } from 'node:http'
import { SallyportError } from '@sallyport/base'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { compareRevision } from '@sallyport/wire'
import type { FeedItem, Revision } from '@sallyport/wire'
import type { Approvals } from '../domain/approvals.ts'
import type { Checkpoints } from '../domain/checkpoints.ts'
import type { Decisions } from '../domain/decisions.ts'
import type { Identities } from '../domain/identities.ts'
import type { Limits } from '../domain/limits.ts'
import type { Publisher } from '../domain/publisher.ts'
import type { Rollback } from '../domain/rollback.ts'
import type { Quarantines } from '../domain/quarantine.ts'
import {
  booleanIn,
  integerIn,
  malformed,
  readBody,
  readObject,
  sendJson,
  textIn,
} from './answer.ts'
import type { Hub } from './hub.ts'

const SMALL = 16_384
const CALL = 524_288
const FEED = 16 << 20
const LONG_POLL_MS = 25_000

interface PlaneCall {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly url: URL
  readonly caller: VerifiedSvid | undefined
  /** Judges the caller again, as on arrival: a body may take its time. @throws SallyportError */
  readonly recheck: () => void
}

export interface PlaneRoute {
  readonly method: 'GET' | 'POST'
  readonly path: RegExp
  /** `either`: with a certificate, which then has to be good, or without. */
  readonly who: 'anonymous' | 'anyone' | 'either' | 'gateway'
  /** Open to quarantined and revoked callers too. */
  readonly always?: boolean
  handle(call: PlaneCall): Promise<void>
}

export interface RouteDeps {
  readonly identities: Identities
  readonly approvals: Approvals
  readonly decisions: Decisions
  readonly checkpoints: Checkpoints
  readonly limits: Limits
  readonly quarantine: Quarantines
  readonly publisher: Publisher
  readonly rollback: Rollback
  readonly hub: Hub
  /** Takes note of a renewal. @throws SallyportError `SP_RENEW_FLOOD` */
  readonly renewing: (spiffeId: string) => void
}

/** The table of ARCHITECTURE.md, "Plane API". */
export function planeRoutes(deps: RouteDeps): PlaneRoute[] {
  const { identities, approvals, decisions, checkpoints, limits, quarantine, publisher, hub } = deps
  return [
    {
      method: 'POST',
      path: /^\/v1\/enroll$/,
      who: 'anonymous',
      async handle({ request, response }) {
        const body = await readBody(request, SMALL, ['token', 'csr'])
        sendJson(response, await identities.enrol(textIn(body, 'token'), textIn(body, 'csr', 8192)))
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/renew$/,
      who: 'anyone',
      async handle({ request, response, caller, recheck }) {
        const body = await readBody(request, SMALL, ['csr'])
        recheck()
        const peer = known(caller)
        deps.renewing(peer.id.uri)
        sendJson(response, await identities.renew(peer, textIn(body, 'csr', 8192)))
      },
    },
    {
      method: 'GET',
      path: /^\/v1\/status$/,
      who: 'anyone',
      always: true,
      async handle({ response, caller }) {
        const instance = known(caller).id.uri
        sendJson(response, { instance, quarantined: quarantine.isQuarantined(instance) })
      },
    },
    {
      method: 'GET',
      path: /^\/v1\/bundle$/,
      who: 'gateway',
      async handle({ response, url, caller }) {
        const wait = url.searchParams.get('wait')
        if (wait !== null) {
          const seen = revisionOf(wait)
          hub.note(known(caller).id.uri, seen)
          const gone = new AbortController()
          response.once('close', () => gone.abort())
          const until = performance.now() + LONG_POLL_MS
          while (
            compareRevision(publisher.current().bundle.revision, seen) <= 0 &&
            performance.now() < until &&
            !gone.signal.aborted
          ) {
            await hub.nextRevision(until - performance.now(), gone.signal)
          }
        }
        hub.vouch()
        sendJson(response, publisher.current())
      },
    },
    {
      method: 'GET',
      path: /^\/v1\/stream$/,
      who: 'gateway',
      async handle({ response, caller }) {
        hub.open(known(caller).id.uri, response)
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/later$/,
      who: 'gateway',
      async handle({ request, response, caller }) {
        const body = await readBody(request, FEED, ['bundle', 'signature'])
        // Of unknown shape still: `shown` verifies all of it before anything is read.
        const signed = body as unknown as Parameters<Rollback['shown']>[1]
        await deps.rollback.shown(known(caller).id.uri, signed)
        sendJson(response, {})
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/feed$/,
      who: 'gateway',
      async handle({ request, response, caller }) {
        const body = await readBody(request, FEED, ['shard', 'items'])
        const { items } = body
        if (!Array.isArray(items)) throw malformed('`items` is not a list')
        for (const item of items) checkItem(item)
        // Each has an index and a record now; `ingest` validates the records themselves.
        const feed = items as unknown as readonly FeedItem[]
        sendJson(
          response,
          await decisions.ingest(known(caller).id.uri, textIn(body, 'shard'), feed),
        )
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/feed\/checkpoint$/,
      who: 'gateway',
      async handle({ request, response, caller }) {
        const body = await readBody(request, SMALL, ['shard', 'checkpoint'])
        const note = textIn(body, 'checkpoint', 2048)
        await checkpoints.keep(known(caller).id.uri, textIn(body, 'shard'), note)
        sendJson(response, {})
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/approvals$/,
      who: 'gateway',
      async handle({ request, response }) {
        const names = ['decisionId', 'instance', 'agent', 'system', 'operation'] as const
        const body = await readBody(request, CALL, [
          ...names,
          'input',
          'count',
          'declarationDigest',
        ])
        sendJson(
          response,
          await approvals.request({
            decisionId: textIn(body, 'decisionId'),
            instance: textIn(body, 'instance', 2048),
            agent: textIn(body, 'agent'),
            system: textIn(body, 'system'),
            operation: textIn(body, 'operation'),
            input: body['input'],
            count: integerIn(body, 'count'),
            declarationDigest: textIn(body, 'declarationDigest', 64),
          }),
        )
      },
    },
    {
      method: 'GET',
      path: /^\/v1\/approvals\/[a-z0-9_]{1,64}$/,
      who: 'gateway',
      async handle({ response, url }) {
        const approval = await approvals.get(url.pathname.split('/')[3] ?? '')
        if (!approval) {
          throw new SallyportError('SP_APPROVAL_UNKNOWN', 'there is no such approval')
        }
        const { status, statements, instance } = approval
        sendJson(response, { status, signed: statements, instance })
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/approvals\/[a-z0-9_]{1,64}\/use$/,
      who: 'gateway',
      async handle({ request, response, url }) {
        const body = await readBody(request, SMALL, ['decisionId'])
        await approvals.use(url.pathname.split('/')[3] ?? '', textIn(body, 'decisionId'))
        sendJson(response, {})
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/limits\/reserve$/,
      who: 'gateway',
      async handle({ request, response }) {
        const names = ['limitId', 'instance', 'agent', 'amount', 'decisionId']
        const body = await readBody(request, SMALL, names)
        sendJson(
          response,
          await limits.reserve({
            limitId: textIn(body, 'limitId'),
            instance: textIn(body, 'instance', 2048),
            agent: textIn(body, 'agent'),
            amount: integerIn(body, 'amount'),
            decisionId: textIn(body, 'decisionId'),
          }),
        )
      },
    },
    {
      method: 'POST',
      path: /^\/v1\/limits\/settle$/,
      who: 'gateway',
      async handle({ request, response }) {
        const { amount, ...body } = await readObject(request, { maxBytes: SMALL })
        if (Object.keys(body).length > 2) throw malformed('it has a member that is not taken')
        await limits.settle({
          reservationId: textIn(body, 'reservationId'),
          commit: booleanIn(body, 'commit'),
          ...(amount === undefined ? {} : { amount: integerIn({ amount }, 'amount') }),
        })
        sendJson(response, {})
      },
    },
  ]
}

function known(caller: VerifiedSvid | undefined): VerifiedSvid {
  if (caller) return caller
  throw new SallyportError('SP_PLANE_IDENTITY', 'this call needs a certificate')
}

function revisionOf(text: string): Revision {
  const match = /^(\d{1,15})\.(\d{1,15})$/.exec(text)
  if (!match) throw malformed('`wait` is not written as EPOCH.N')
  return { epoch: Number(match[1]), n: Number(match[2]) }
}

function checkItem(item: unknown): void {
  const fits =
    typeof item === 'object' &&
    item !== null &&
    'index' in item &&
    'record' in item &&
    Object.keys(item).every((name) => ['index', 'record', 'explanation'].includes(name))
  if (!fits) throw malformed('an item has not exactly an index, a record and an explanation')
}
