import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Call } from '@sallyport/decide'
import { kindOf, parseSpiffeId, TrustBundle, verifySvid } from '@sallyport/spiffe'
import type { IdentityHolder } from '@sallyport/transport'
import {
  coverOf,
  holdsMandate,
  MANDATE_ID,
  mandateId,
  readMandateToken,
  verifyMandate,
} from '@sallyport/wire'
import type {
  DecisionRecord,
  HopUse,
  MandateSigner,
  OperatorSet,
  VerifiedMandate,
} from '@sallyport/wire'
import type { PlaneClient } from '../plane/client.ts'
import { Refusal } from '../refusal.ts'
import type { Bundles, Enforced } from '../state/bundles.ts'
import type { SessionScope } from '../state/sessions.ts'
import type { Caller, TypedCall } from './types.ts'

export interface MandatesOptions {
  readonly client: PlaneClient
  readonly holder: IdentityHolder
  readonly bundles: Bundles
  readonly clock: Clock
}

/** Chains that are remembered; one more makes room by forgetting the oldest. */
const MAX_REMEMBERED = 2048
/** How far the clock of whoever signed may be from this gateway's. */
const SKEW_MS = 2000

/** A chain that verified, and what by. */
export interface Remembered {
  readonly mandate: VerifiedMandate
  readonly signers: readonly MandateSigner[]
  /** What it was verified by: where one of them is another now, it is verified again. */
  readonly operators: OperatorSet | undefined
  readonly rootsPem: string
  readonly chain: unknown
}

/** A mandate that covers one call of its holder, whole chain verified. */
export interface CallMandate {
  readonly known: Remembered
  readonly mandate: VerifiedMandate
  /** What the call takes of each hop, root first. */
  readonly uses: readonly HopUse[]
  /** As policies read it. */
  readonly facts: NonNullable<Call['mandate']>
  readonly record: NonNullable<DecisionRecord['mandate']>
  readonly scope: SessionScope
  /** Whoever passed it on, each to be allowed the very same call. */
  readonly delegators: readonly Delegator[]
}

/** An instance that passed a mandate on, with the one that it was given itself. */
interface Delegator {
  readonly instance: string
  readonly agent: string
  readonly mandate: NonNullable<Call['mandate']> | undefined
  readonly scope: SessionScope
}

/** Mandates that callers present: looked up, verified here, and held against the call. */
export class Mandates {
  readonly #options: MandatesOptions
  readonly #known = new Map<string, Remembered>()
  #trust: { readonly pem: string; readonly bundles: ReadonlyMap<string, TrustBundle> } | undefined

  constructor(options: MandatesOptions) {
    this.#options = options
  }

  /**
   * The mandate that a caller presents, if it covers exactly this call.
   *
   * @param presented an id, or a whole chain as a token
   * @throws Refusal `SP_MANDATE_*`
   */
  async present(
    presented: string,
    caller: Caller,
    typed: Pick<TypedCall, 'system' | 'operation' | 'input'>,
    { operators }: Enforced,
  ): Promise<CallMandate> {
    const known = await this.#verified(presented, operators)
    const { mandate } = known
    if (!holdsMandate(mandate.delegate, caller.instance)) {
      throw refusal('SP_MANDATE_HOLDER', 'the mandate was given to somebody else', mandate.delegate)
    }
    const { system, operation, input } = typed
    const call = { system: system.name, operation: operation.name, input }
    const uses = mandate.hops.map((hop, index) => {
      const use = coverOf(hop, call)
      if (use) return use
      const detail = `hop ${index + 1}, ${mandate.chain[index] ?? ''}`
      throw refusal('SP_MANDATE_CALL', 'the mandate does not cover the call', detail)
    })
    const facts = factsAt(mandate, mandate.depth)
    if (!facts) throw refusal('SP_MANDATE_FORMAT', 'the mandate is malformed', 'no hop')
    return {
      known,
      mandate,
      uses,
      facts,
      record: { ...facts, chain: mandate.chain },
      scope: scopeAt(mandate, mandate.depth, caller.instance),
      delegators: delegatorsOf(mandate),
    }
  }

  /**
   * Whether a mandate that was verified still holds: in this very turn, without looking anything up.
   *
   * @throws Refusal `SP_MANDATE_*`
   */
  check({ known }: CallMandate): void {
    this.#current(known, this.#options.bundles.enforced?.operators)
  }

  async #verified(presented: string, operators: OperatorSet | undefined): Promise<Remembered> {
    if (!MANDATE_ID.test(presented)) {
      let chain
      try {
        chain = readMandateToken(presented)
      } catch (error) {
        throw told(error)
      }
      const leaf = chain.at(-1)
      const id = leaf ? mandateId(leaf.statement) : ''
      return this.#known.has(id) ? this.#recall(id, operators) : this.#verify(id, chain, operators)
    }
    if (this.#known.has(presented)) return this.#recall(presented, operators)
    return this.#verify(presented, await this.#lookUp(presented), operators)
  }

  #recall(id: string, operators: OperatorSet | undefined): Remembered {
    const known = this.#known.get(id)
    if (!known) throw unknown()
    return this.#current(known, operators)
  }

  /** What was verified, if everything that it was verified by is still so; verified anew otherwise. */
  #current(known: Remembered, operators: OperatorSet | undefined): Remembered {
    const { bundles, clock, holder } = this.#options
    const { mandate, signers, chain } = known
    const now = clock.now()
    const stands =
      known.operators === operators &&
      known.rootsPem === holder.current().rootsPem &&
      now < mandate.expiresAt &&
      !mandate.chain.some((id) => bundles.isMandateRevoked(id)) &&
      !mandate.delegators.some((instance) => bundles.isQuarantined(instance)) &&
      signers.every(({ notAfter, serial }) => now <= notAfter && !bundles.isRevoked(serial))
    return stands ? known : this.#verify(mandate.id, chain, operators)
  }

  #verify(id: string, chain: unknown, operators: OperatorSet | undefined): Remembered {
    const { bundles, clock, holder } = this.#options
    const { trustDomain, rootsPem } = holder.current()
    const now = clock.now()
    const signers: MandateSigner[] = []
    let mandate
    try {
      mandate = verifyMandate(chain, {
        trustDomain,
        now,
        operators,
        verifySvid: (der) => {
          const svid = verifySvid(der, this.#anchors(trustDomain, rootsPem), { now })
          const { serial, notAfter, publicKey } = svid
          const signer = { instance: svid.id.uri, serial, notAfter, publicKey }
          signers.push(signer)
          return signer
        },
        isRevoked: (one) => bundles.isMandateRevoked(one),
        isSerialRevoked: (serial) => bundles.isRevoked(serial),
        isCut: (instance) => bundles.isQuarantined(instance),
      })
    } catch (error) {
      this.#known.delete(id)
      throw told(error)
    }
    // What was asked for by its hash is that, whatever the control plane answered.
    if (mandate.id !== id) throw unknown()
    const known = { mandate, signers, operators, rootsPem, chain }
    this.#known.delete(id)
    const oldest = this.#known.keys().next().value
    if (this.#known.size >= MAX_REMEMBERED && oldest !== undefined) this.#known.delete(oldest)
    this.#known.set(id, known)
    return known
  }

  #anchors(trustDomain: string, pem: string): ReadonlyMap<string, TrustBundle> {
    if (this.#trust?.pem !== pem) {
      const bundle = TrustBundle.fromPem(trustDomain, pem)
      this.#trust = { pem, bundles: new Map([[trustDomain, bundle]]) }
    }
    return this.#trust.bundles
  }

  async #lookUp(id: string): Promise<unknown> {
    let answer
    try {
      answer = await this.#options.client.request({
        method: 'GET',
        path: `/v1/mandates/${id}`,
        also: [404],
      })
    } catch (cause) {
      throw unavailable(cause)
    }
    if (answer.status === 404) throw unknown()
    return answer.body['chain']
  }
}

/**
 * The first `depth` hops as policies read them; undefined where there is none. The task is that of the root, as is the delegator:
 * whoever passes a part on words it anew, and a policy must not take those words for the delegator's.
 */
function factsAt(mandate: VerifiedMandate, depth: number): CallMandate['facts'] | undefined {
  const [id, root] = [mandate.chain[depth - 1], mandate.hops[0]]
  if (id === undefined || !root) return undefined
  return { id, delegator: mandate.delegator, depth, task: root.task }
}

/**
 * The session that an instance is in under the first `depth` hops. A mandate opens a fresh one only where all of it comes from
 * outside: no instance of the same agent passed it on. What its delegators have touched comes with it.
 */
function scopeAt(mandate: VerifiedMandate, depth: number, instance: string): SessionScope {
  const hops = mandate.hops.slice(0, depth)
  const leaf = hops.at(-1)
  if (!leaf) return {}
  const also = hops.map(({ delegator }) => delegator).filter((one) => !one.startsWith('operator:'))
  const own = agentOf(instance)
  const outside = also.every((one) => agentOf(one) !== own)
  return { ...(outside ? { since: leaf.issuedAt - SKEW_MS } : {}), also }
}

function delegatorsOf(mandate: VerifiedMandate): Delegator[] {
  return mandate.hops.flatMap(({ delegator }, index) =>
    delegator.startsWith('operator:')
      ? []
      : [
          {
            instance: delegator,
            agent: agentOf(delegator),
            mandate: factsAt(mandate, index),
            scope: scopeAt(mandate, index, delegator),
          },
        ],
  )
}

const agentOf = (instance: string): string => kindOf(parseSpiffeId(instance))?.name ?? ''

/** Why, as a caller may know it; of what is not the mandate's fault, nothing. */
function told(error: unknown): unknown {
  if (!(error instanceof SallyportError) || !error.code.startsWith('SP_MANDATE_')) return error
  const malformed = error.code === 'SP_MANDATE_FORMAT' || error.code === 'SP_MANDATE_DEPTH'
  return new Refusal(error.code, error.message, {
    status: malformed ? 400 : 403,
    outcome: 'refused',
    ...(error.detail === undefined ? {} : { detail: error.detail }),
    cause: error,
  })
}

const refusal = (code: string, message: string, detail: string): Refusal =>
  new Refusal(code, message, { status: 403, outcome: 'refused', detail })

const unknown = (): Refusal =>
  new Refusal('SP_MANDATE_UNKNOWN', 'there is no such mandate', { status: 403 })

const unavailable = (cause: unknown): Refusal =>
  new Refusal('SP_MANDATE_UNAVAILABLE', 'mandates cannot be reached', { status: 503, cause })
