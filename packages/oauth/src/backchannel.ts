import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { NetworkIndex } from '@sallyport/network'
import { errors, Provider } from 'oidc-provider'
import type { BackchannelModel, Context } from 'oidc-provider'
import { artefactHash, grantHash } from './artefacts.ts'
import type { Artefacts } from './artefacts.ts'
import { OFFLINE, oidcScopeOf } from './consent.ts'
import { MAX_REFRESH } from './grants.ts'
import type { Evidence, Grants } from './grants.ts'
import { readPayments } from './payment.ts'
import type { Payment } from './payment.ts'
import { systemOf } from './resource.ts'
import { operationsFor } from './scopes.ts'

export const BACKCHANNEL_KIND = 'BackchannelAuthenticationRequest'
/** Seconds between two polls of one request: CIBA Core's own, where a server names no other (section 7.3). */
export const POLL_INTERVAL = 5
/** Kept apart from the request, under the barrier. */
export const NOTIFICATION_TOKEN = 'client_notification_token'
/** Seconds that a question stands at most, and where the client asks for no other time. */
const MAX_WAIT = 600
const WAIT = 300
/** A question that runs out at once makes room for the next, and people would be flooded all the same. */
const MIN_WAIT = 60
/** One line of plain words: nothing that turns text around or hides it. */
const MESSAGE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]{1,160}$/u

/** What a client asks a person out of band. */
export interface BackchannelQuestion {
  /** Names it; whoever knows it can present nothing. */
  readonly id: string
  /** `operator:NAME`. */
  readonly subject: string
  /** SPIFFE id of the client. */
  readonly client: string
  readonly resource: string
  /** Operations, sorted. */
  readonly scope: readonly string[]
  readonly details: readonly Payment[]
  readonly message: string
  /** Seconds that it may go on without asking again; 0 for one token. */
  readonly refreshSeconds: number
  /** Milliseconds since the epoch. */
  readonly expiresAt: number
}

/** What a client is told with that its question is decided; whoever knows it can pretend that one is. */
export interface BackchannelTold {
  readonly authReqId: string
  readonly token: string
}

/** Where questions wait for people. */
export interface BackchannelQuestions {
  /** @throws SallyportError `SP_BACKCHANNEL_FLOOD`, `SP_BACKCHANNEL_REFUSED` */
  ask(question: BackchannelQuestion, told: BackchannelTold | undefined): Promise<void>
  /** Counts a poll. @returns `gone` where the question stands no longer, `early` where the last poll was too short ago */
  poll(id: string): Promise<'gone' | 'early' | 'fine'>
}

interface BackchannelDeps {
  readonly trustDomain: string
  readonly clock: Clock
  readonly network: () => NetworkIndex
  readonly standing: (subject: string) => boolean
  readonly artefacts: Artefacts
  readonly questions: BackchannelQuestions
  readonly grants: Grants
}

/** Client-initiated backchannel authentication (CIBA), poll and ping mode: a person is asked where they are, not where the agent is. */
export function backchannel(deps: BackchannelDeps): {
  readonly feature: Readonly<Record<string, unknown>>
  /** Seconds that a request stands. */
  readonly wait: (ctx: Context | undefined) => number
} {
  const refuse = (name: string) => (_ctx: Context, value: unknown) => {
    if (value !== undefined) throw new errors.InvalidRequest(`${name} is not supported`)
  }
  return {
    wait: (ctx) => {
      const asked = Number(ctx?.oidc.params['requested_expiry'] ?? WAIT)
      return Math.max(MIN_WAIT, Math.min(MAX_WAIT, asked))
    },
    feature: {
      enabled: true,
      deliveryModes: ['poll', 'ping'],
      processLoginHint: (_ctx: Context, hint: string) => {
        const subject = hint.startsWith('operator:') ? hint : `operator:${hint}`
        return deps.standing(subject) ? subject : undefined
      },
      processLoginHintToken: () => {
        throw new errors.InvalidRequest('login_hint_token is not supported')
      },
      verifyUserCode: (_ctx: Context, _account: unknown, code: unknown) =>
        refuse('user_code')(_ctx, code),
      validateRequestContext: refuse('request_context'),
      validateBindingMessage: (_ctx: Context, message: unknown) => {
        if (typeof message === 'string' && MESSAGE.test(message)) return
        throw new errors.InvalidBindingMessage('binding_message is missing, or not one plain line')
      },
      triggerAuthenticationDevice: async (_ctx: Context, request: BackchannelModel) => {
        try {
          await deps.questions.ask(questionOf(request, deps), toldOf(request))
        } catch (error) {
          // Nobody was asked, so nobody may poll.
          await request.destroy()
          if (error instanceof SallyportError && error.code.startsWith('SP_BACKCHANNEL_')) {
            throw new errors.AccessDenied(error.message)
          }
          throw error
        }
      },
    },
  }
}

/** Of a client that is told: oidc-provider drops what every other one sends. */
function toldOf({ jti, params }: BackchannelModel): BackchannelTold | undefined {
  const token = params[NOTIFICATION_TOKEN]
  if (token === undefined) return undefined
  // Its shape was checked before; 128 bits in base64url (CIBA Core, section 7.1).
  if (typeof token === 'string' && token.length >= 22) return { authReqId: jti, token }
  throw new errors.InvalidRequest('client_notification_token is too short to be a secret')
}

function questionOf(
  { jti, accountId, clientId, params, expiration }: BackchannelModel,
  { trustDomain, network, clock }: BackchannelDeps,
): BackchannelQuestion {
  const { resource, scope: wanted, authorization_details: text, binding_message: message } = params
  if (typeof resource !== 'string' || typeof message !== 'string') {
    throw new errors.InvalidTarget('resource is missing, or there are several')
  }
  const system = systemOf(trustDomain, resource) ?? ''
  const asked = typeof wanted === 'string' ? wanted.split(' ') : []
  const scope = operationsFor(network(), clientId, trustDomain, system).filter((name) =>
    asked.includes(name),
  )
  if (scope.length === 0) {
    throw new errors.InvalidScope('nothing of the scope is declared for this client')
  }
  // Parsed and validated once before, by oidc-provider.
  const details = typeof text === 'string' ? readPayments(JSON.parse(text) as unknown) : []
  if (!details.every(({ operations }) => operations.every((one) => scope.includes(one)))) {
    throw new errors.InvalidAuthorizationDetails('the details name operations outside the scope')
  }
  return {
    id: artefactHash(BACKCHANNEL_KIND, jti),
    subject: accountId,
    ...{ client: clientId, resource, scope, details, message },
    refreshSeconds: asked.includes(OFFLINE) ? MAX_REFRESH : 0,
    expiresAt: clock.now() + expiration * 1000,
  }
}

/** Counts a poll of whoever is being served. @throws OAuth errors `slow_down`, `expired_token` */
export async function checkPoll(
  hash: string,
  kept: Readonly<Record<string, unknown>>,
  questions: BackchannelQuestions,
  now: number,
): Promise<void> {
  // Of somebody else's request nothing is counted: its own client must not be slowed down by it.
  if (kept['clientId'] !== Provider.ctx?.oidc.client.clientId) return
  if (!(now < Number(kept['exp']) * 1000)) throw new errors.ExpiredToken('nobody decided in time')
  const found = await questions.poll(hash)
  if (found === 'early') throw new errors.SlowDown('it was asked for too soon')
  if (found === 'gone') throw new errors.AccessDenied('whoever asked or was asked may not now')
}

/**
 * Hands a person's decision over, for the client's next poll.
 *
 * @param question as it was asked, and signed
 * @param evidence undefined where the person refused
 * @returns false where the request is there no longer
 */
export async function decideBackchannel(
  provider: Provider,
  { artefacts, grants, clock }: Pick<BackchannelDeps, 'artefacts' | 'grants' | 'clock'>,
  question: BackchannelQuestion,
  evidence: Evidence | undefined,
): Promise<boolean> {
  const { id, subject, client, resource, scope, details } = question
  const found = await artefacts.find({ hash: id })
  if (!found || found.consumed !== null) return false
  // Written by oidc-provider, through the adapter.
  const kept = JSON.parse(found.payload) as Readonly<Record<string, unknown>>
  if (kept['clientId'] !== client || kept['accountId'] !== subject) return false
  let decided: Readonly<Record<string, unknown>> = {
    error: 'access_denied',
    errorDescription: 'the person refused',
  }
  let grant: string | null = null
  if (evidence) {
    const given = new provider.Grant({ accountId: subject, clientId: client })
    given.addResourceScope(resource, scope.join(' '))
    const oidc = oidcScopeOf(String(kept['scope']))
    if (oidc !== '') given.addOIDCScope(oidc)
    const grantId = await given.save()
    grant = grantHash(grantId)
    const lifetime = question.refreshSeconds || MAX_WAIT
    await grants.open({ hash: grant, subject, client, evidence, lifetime })
    decided = { grantId, ...(details.length > 0 ? { rar: details } : {}) }
  }
  // Whoever was allowed in the last second has the time of a poll.
  const expiresAt = Math.max(question.expiresAt, clock.now() + 2 * POLL_INTERVAL * 1000)
  return artefacts.put(
    {
      ...{ kind: BACKCHANNEL_KIND, hash: id, grant, alias: null, expiresAt },
      payload: JSON.stringify({ ...kept, ...decided, exp: Math.ceil(expiresAt / 1000) }),
    },
    true,
  )
}
