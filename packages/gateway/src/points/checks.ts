import { X509Certificate } from 'node:crypto'
import { errorCode, parseJson, SallyportError } from '@sallyport/base'
import type { Clock, JsonValue } from '@sallyport/base'
import { incapable, unobserved } from '@sallyport/decide'
import { kindOf, verifySvid } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import type { EnforcementAbility, EnforcementPoint, System } from '@sallyport/network'
import { bundlesOf } from '@sallyport/transport'
import type { IdentityHolder } from '@sallyport/transport'
import { forwardHttp, matchRoute, rawInput } from '../adapters/http.ts'
import type { Pipeline } from '../calls/pipeline.ts'
import type { Standing } from '../calls/standing.ts'
import type { Caller, TypedCall } from '../calls/types.ts'
import { problemOf } from '../edge/answer.ts'
import { JSON_TYPE, MAX_DEPTH } from '../edge/body.ts'
import { canonicalise } from '../edge/canonical.ts'
import type { CanonicalRequest } from '../edge/canonical.ts'
import { demandNoExpectation } from '../edge/headers.ts'
import type { Tokens } from '../edge/tokens.ts'
import { routeName } from '../inventory/names.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import { noOperation } from '../serve/http.ts'
import { typedInput } from '../serve/typed.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Enforced } from '../state/bundles.ts'

/** What an enforcement point tells of a request that it holds until it has an answer. */
export interface PointQuestion {
  /** The system that it fronts; undefined where it fronts one only. */
  readonly system: string | undefined
  /** The caller's certificate, PEM, percent-encoded: the enforcement point verified that the caller has its key. */
  readonly certificate: string
  readonly method: string
  /** Path and query, as they came. */
  readonly target: string
  /** Of other versions nobody sees by its head whether a body follows. */
  readonly isHttp1: boolean
  /** Names and values in turn, `host` among them. */
  readonly rawHeaders: readonly string[]
  /** Whether headers of one name, each sent by itself, would be shown as one with commas between them. */
  readonly areHeadersMerged: boolean
  /** Undefined where it shows none to anyone. */
  readonly body: Buffer | undefined
  readonly isBodyWhole: boolean
}

/** What it is told. */
export type PointAnswer =
  | {
      readonly allowed: true
      readonly decision: string
      /** Whether the request's `authorization` was for us. */
      readonly tokenTaken: boolean
    }
  | {
      readonly allowed: false
      readonly status: number
      readonly code: string
      readonly decision: string
      /** Problem document (RFC 9457), JSON. */
      readonly body: string
    }

export interface PointParts {
  readonly standing: Standing
  readonly tokens: Tokens
  readonly pipeline: Pipeline
  readonly holder: IdentityHolder
  readonly settings: GatewaySettings
  readonly clock: Clock
  /** Counts a call of a session in. @returns counts it out @throws Refusal `SP_OVERLOADED` */
  enter(session: string): () => void
}

/** Whoever asks: a service that the declaration names as an enforcement point. */
interface Point {
  readonly id: string
  readonly systems: readonly string[]
  readonly can: ReadonlySet<EnforcementAbility>
}

/** Characters of a percent-encoded certificate; what is longer is none of ours. */
const MAX_CERTIFICATE = 16_384

/**
 * Decides requests that enforcement points of somebody else's make hold: Envoy, Istio, nginx. The same doors as of calls through this gateway,
 * within what the declaration says that each of them can do.
 */
export class PointChecks {
  readonly #parts: PointParts

  constructor(parts: PointParts) {
    this.#parts = parts
  }

  /** Whether the holder of this certificate may ask at all. */
  admits(svid: VerifiedSvid): boolean | string {
    try {
      this.#point(svid, this.#parts.standing.enforced(false))
      return true
    } catch (error) {
      return errorCode(error)
    }
  }

  /**
   * Decides one request. Never rejects: whatever goes wrong is a refusal.
   *
   * @param asker who asks, as its connection proved
   * @param read reads the question
   */
  async check(asker: VerifiedSvid, read: () => PointQuestion): Promise<PointAnswer> {
    const { pipeline } = this.#parts
    let caller: Caller | undefined
    let subject: string | undefined = asker.id.uri
    try {
      const enforced = this.#parts.standing.enforced(false)
      const point = this.#point(asker, enforced)
      const question = read()
      const certificate = certificateOf(question)
      const svid = this.#callerSvid(certificate)
      subject = svid.id.uri
      caller = this.#caller(svid, point)
      const leave = this.#parts.enter(caller.session)
      try {
        const answer = await this.#decide(enforced, point, question, caller, certificate)
        // Time has passed: one that is cut off meanwhile is told nothing that it could let through.
        this.#point(asker, enforced)
        return answer
      } finally {
        leave()
      }
    } catch (error) {
      const refusal = toRefusal(error)
      let decision = refusal.decision ?? ''
      try {
        if (decision === '' && caller) decision = await pipeline.refuseUntyped(caller, refusal, '?')
        else if (!caller) decision = pipeline.refuseStranger(subject, refusal)
      } catch (second) {
        return refused(toRefusal(second), '')
      }
      return refused(refusal, decision)
    }
  }

  async #decide(
    enforced: Enforced,
    point: Point,
    question: PointQuestion,
    bare: Caller,
    certificate: Buffer,
  ): Promise<PointAnswer> {
    const { tokens, pipeline } = this.#parts
    const { method, target, rawHeaders } = question
    const request = canonicalise({ method, url: target, httpVersion: '1.1', rawHeaders })
    demandNoExpectation(request.headers)
    // A gateway forwards a spelling of its own; here the caller's goes on, and these two are not read alike everywhere.
    const mark = target.indexOf('?')
    if (mark >= 0 && /[+;]/.test(target.slice(mark))) {
      throw new Refusal('SP_REQUEST_TARGET', 'the request target is not in canonical form', {
        status: 400,
        detail: 'a `+` or `;` in the query that is not percent-encoded',
      })
    }
    const system = systemOf(point, question, enforced)
    const { trace } = request.headers
    const caller = await tokens.accept({
      request,
      caller: trace === undefined ? bare : { ...bare, trace },
      certificate: () => certificate,
      system,
    })
    const typed = this.#type(enforced, point, question, request, caller, system)
    const grant = await pipeline.authorise(enforced, caller, typed, request.headers)
    await pipeline.handOver(grant)
    return { allowed: true, decision: grant.id, tokenTaken: caller.token !== undefined }
  }

  #type(
    enforced: Enforced,
    point: Point,
    question: PointQuestion,
    request: CanonicalRequest,
    caller: Caller,
    system: System,
  ): TypedCall {
    const { segments, query } = request.target
    const routes = enforced.routes.get(system.name) ?? []
    const match = matchRoute(routes, request.method, segments)
    if (!match) {
      const name = routeName(routes, request.method, segments)
      throw noOperation({ kind: 'operation', system: system.name, name })
    }
    const { operation, binding } = match.route
    // The caller's own spelling goes on, and of these there are several.
    if (binding.body) throw cannot('the body is not JSON')
    const body = this.#body(point, question, request)
    const merged = Object.entries(binding.parameters).some(
      ([name, place]) =>
        place === 'header' && request.headers.all.get(name.toLowerCase())?.includes(','),
    )
    if (question.areHeadersMerged && merged) {
      throw cannot('a header of its input may have been sent twice')
    }
    const input = typedInput(enforced, caller.agent, system, operation, NO_TOKENS, () =>
      rawInput(match, { query, headers: request.headers.all }, body),
    )
    const declared = enforced.decider.index.findFlow(caller.agent, system.name, operation.name)
    const upstream = declared
      ? forwardHttp(match.route, input, '')
      : { method: request.method, path: '/', body: undefined }
    return {
      system,
      operation,
      input,
      upstream: () => upstream,
      rewrite: ({ outcome }) => {
        // Limits and labels are kept here, before the answer.
        const lacking = incapable(point.can, operation, outcome, { limits: true, labels: [] })
        if (lacking !== undefined) throw cannot(lacking)
        return upstream
      },
    }
  }

  /** The body that is forwarded, where anyone sees it. @throws Refusal where there may be one that nobody saw */
  #body({ can }: Point, question: PointQuestion, request: CanonicalRequest): JsonValue | undefined {
    const { body, isBodyWhole, isHttp1 } = question
    if (!can.has('body') || body === undefined) {
      if (request.hasBody) throw cannot('the request has a body')
      if (!isHttp1) throw cannot('whether the request has a body is not seen')
      return undefined
    }
    const stated = request.headers.contentLength
    if (!isBodyWhole || (stated !== undefined && stated !== body.length)) {
      throw cannot('the body is not shown whole')
    }
    if (body.length === 0) {
      // Nobody announces a body in pieces and sends none.
      if (request.headers.chunked) throw cannot('the body is not shown')
      return undefined
    }
    if (!JSON_TYPE.test(request.headers.contentType ?? '')) {
      throw new Refusal('SP_REQUEST_BODY', 'the request body is not `application/json`', {
        status: 415,
      })
    }
    const { maxBodyBytes } = this.#parts.settings
    return parseJson(body, { maxBytes: maxBodyBytes, maxDepth: MAX_DEPTH, exactDecimals: true })
  }

  /** @throws Refusal `SP_PEP_UNDECLARED`, or for a certificate that does not count any more */
  #point(svid: VerifiedSvid, { decider }: Enforced): Point {
    this.#parts.standing.valid(svid)
    const { network } = decider.index
    const kind = svid.id.trustDomain === network.trustDomain ? kindOf(svid.id) : undefined
    const declared: EnforcementPoint | undefined =
      kind?.kind === 'service'
        ? network.services.find(({ name }) => name === kind.name)?.enforcementPoint
        : undefined
    if (!declared) {
      throw new Refusal('SP_PEP_UNDECLARED', 'the caller is no declared enforcement point', {
        status: 403,
        close: true,
      })
    }
    // Whatever else it is declared for, these protocols tell it of no projection, and us of no outcome.
    const can = new Set(declared.can.filter((ability) => ability === 'body'))
    return { id: svid.id.uri, systems: declared.systems, can }
  }

  #callerSvid(certificate: Buffer): VerifiedSvid {
    const { holder, clock } = this.#parts
    try {
      return verifySvid([certificate], bundlesOf(holder.current()), { now: clock.now() })
    } catch (error) {
      throw new Refusal(errorCode(error), 'the certificate of the caller is not accepted', {
        status: 401,
        cause: error,
      })
    }
  }

  #caller(svid: VerifiedSvid, { id, can }: Point): Caller {
    const { instance, agent } = this.#parts.standing.check(svid)
    return { instance, agent, session: instance, svid, point: { id, unobserved: unobserved(can) } }
  }
}

/** Only what a gateway forwards itself can have something put in the place of a token. */
const NO_TOKENS = {
  restore: (): never => {
    throw new SallyportError(
      'SP_INPUT_VALUE',
      'the input has a token, which only a gateway restores',
    )
  },
}

/** DER. @throws Refusal `SP_POINT_REQUEST` */
function certificateOf({ certificate }: PointQuestion): Buffer {
  try {
    if (certificate === '' || certificate.length > MAX_CERTIFICATE) throw new Error('absent')
    const pem = decodeURIComponent(certificate)
    // One, and nothing beside it: of two, the enforcement point may have verified the other.
    if (!/^-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*$/.test(pem)) {
      throw new Error('not one certificate')
    }
    return new X509Certificate(pem).raw
  } catch (cause) {
    throw new Refusal('SP_POINT_REQUEST', 'the question cannot be read', {
      status: 400,
      detail: 'the caller’s certificate is missing, or is not one',
      cause,
    })
  }
}

/** @throws Refusal `SP_PEP_SYSTEM`, whether there is such a system or not */
function systemOf({ systems }: Point, { system }: PointQuestion, { decider }: Enforced): System {
  const name = system ?? (systems.length === 1 ? systems[0] : undefined)
  const found =
    name !== undefined && systems.includes(name) ? decider.index.findSystem(name) : undefined
  if (!found) {
    throw new Refusal('SP_PEP_SYSTEM', 'the enforcement point does not front this system', {
      status: 403,
    })
  }
  if (found.protocol !== 'http') throw cannot(`the system speaks ${found.protocol}`)
  return found
}

const cannot = (detail: string): Refusal =>
  new Refusal('SP_PEP_INCAPABLE', 'the call is not possible by way of this enforcement point', {
    status: 403,
    detail,
  })

function refused(refusal: Refusal, decision: string): PointAnswer {
  const { status, code } = refusal
  return {
    allowed: false,
    status,
    code,
    decision,
    body: JSON.stringify(problemOf(refusal, decision)),
  }
}
