import { errorCode } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { kindOf } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { assertFresh } from '@sallyport/transport'
import type { Tokens } from '../edge/tokens.ts'
import { declarationChanged, quarantined, Refusal } from '../refusal.ts'
import type { Bundles, Enforced } from '../state/bundles.ts'
import type { ForeignTrust } from '../state/foreign.ts'
import type { Liveness } from '../state/liveness.ts'
import type { Caller, TypedCall } from './types.ts'

const identity = (code: string, message: string): Refusal =>
  new Refusal(code, message, { status: 401, close: true })

/** Whom a certificate is for. */
interface Holder {
  readonly instance: string
  readonly agent: string
}

/** The first door, walked through again by every request: who calls, and may they still call at all? */
export class Standing {
  readonly #bundles: Bundles
  readonly #clock: Clock
  readonly #trustDomain: string
  readonly #tokens: Tokens
  readonly #foreign: ForeignTrust
  readonly #liveness: Liveness
  /** What certificates of this network say of who they are for, which is no question of time. */
  readonly #known = new WeakMap<VerifiedSvid, Holder>()

  constructor(
    bundles: Bundles,
    clock: Clock,
    trustDomain: string,
    tokens: Tokens,
    foreign: ForeignTrust,
    liveness: Liveness,
  ) {
    this.#bundles = bundles
    this.#clock = clock
    this.#trustDomain = trustDomain
    this.#tokens = tokens
    this.#foreign = foreign
    this.#liveness = liveness
  }

  /**
   * The agent behind a verified certificate: one of ours, or a declared one of another trust domain.
   *
   * @throws Refusal `SP_SVID_EXPIRED`, `SP_SVID_NOT_YET_VALID`, `SP_SVID_UNTRUSTED`, `SP_SVID_REVOKED`, `SP_QUARANTINED`, `SP_NOT_AN_AGENT`,
   *   `SP_FOREIGN_*`
   */
  check(svid: VerifiedSvid): Holder {
    this.valid(svid)
    const known = this.#known.get(svid)
    if (known) return known
    const instance = svid.id.uri
    if (svid.id.trustDomain !== this.#trustDomain) {
      return { instance, agent: this.#foreign.check(svid).name }
    }
    const kind = kindOf(svid.id)
    if (kind?.kind !== 'agent') {
      throw identity('SP_NOT_AN_AGENT', 'only agents of this network may call')
    }
    const holder = { instance, agent: kind.name }
    this.#known.set(svid, holder)
    return holder
  }

  /**
   * Whether a verified certificate still counts, whoever it is of.
   *
   * @throws Refusal `SP_SVID_EXPIRED`, `SP_SVID_NOT_YET_VALID`, `SP_SVID_UNTRUSTED`, `SP_SVID_REVOKED`, `SP_QUARANTINED`
   */
  valid(svid: VerifiedSvid): void {
    try {
      assertFresh(svid, this.#clock.now())
    } catch (error) {
      throw identity(errorCode(error), 'the certificate is not valid now')
    }
    if (this.#bundles.isRetired(svid.root)) {
      throw identity('SP_SVID_UNTRUSTED', 'the root of the certificate was retired')
    }
    if (this.#bundles.isRevoked(svid.serial)) {
      throw identity('SP_SVID_REVOKED', 'the certificate was revoked')
    }
    if (this.#bundles.isQuarantined(svid.id.uri)) {
      throw quarantined()
    }
  }

  /**
   * The same of a caller that was let in before, and of the token that it came with.
   *
   * @throws Refusal as `check`; `SP_ACCESS_TOKEN_*`
   */
  recheck({ svid, token }: Caller): void {
    this.check(svid)
    this.#recheckToken(token)
  }

  /** @throws Refusal `SP_ACCESS_TOKEN_*` where a token that was accepted does not count any more */
  #recheckToken(token: Caller['token']): void {
    if (!token) return
    try {
      this.#tokens.check(token)
    } catch (error) {
      throw new Refusal(errorCode(error), 'the access token is no longer valid', {
        status: 401,
        cause: error,
      })
    }
  }

  /** @throws Refusal `SP_ACCESS_TOKEN_SCOPE` where the caller's token is not for this call */
  demandScope(caller: Caller, typed: TypedCall): void {
    this.#tokens.demandScope(caller, typed)
  }

  /**
   * The same for what outlasts the certificate that it began with: its instance must have shown another one meanwhile that counts.
   *
   * @throws Refusal `SP_SVID_EXPIRED`, `SP_QUARANTINED`, `SP_ACCESS_TOKEN_*`, `SP_FOREIGN_*`
   */
  recheckLasting({ instance, svid, token }: Caller): void {
    const bundles = this.#bundles
    if (
      !this.#liveness.isLive(instance, this.#clock.now(), (serial) => bundles.isRevoked(serial))
    ) {
      throw new Refusal('SP_SVID_EXPIRED', 'the identity has ended', { status: 401 })
    }
    if (bundles.isQuarantined(instance)) throw quarantined()
    this.#recheckToken(token)
    // Another trust domain may be trusted no more, or for others.
    if (svid.id.trustDomain !== this.#trustDomain) this.#foreign.check(svid)
  }

  /** Whether the holder of this certificate, verified in this very turn, may be connected. */
  admits(svid: VerifiedSvid): boolean | string {
    try {
      const foreign = svid.id.trustDomain !== this.#trustDomain
      const { agent } = this.check(svid)
      const { enforced } = this.#bundles
      if (!foreign && enforced && !enforced.decider.index.findAgent(agent))
        return 'the agent is not declared'
      return true
    } catch (error) {
      return errorCode(error)
    }
  }

  /** What was enforced last, however old: to tell of a refusal in the caller's protocol, never to decide by. */
  get lastKnown(): Enforced | undefined {
    return this.#bundles.enforced
  }

  /** Whether calls that only read would be decided now. */
  get isFresh(): boolean {
    try {
      this.enforced(false)
      return true
    } catch {
      return false
    }
  }

  /**
   * What calls are decided by, if it is fresh enough.
   *
   * @param strict for writes and restricted data
   * @throws Refusal `SP_STALE`, `SP_GATEWAY_NOT_READY`
   */
  enforced(strict: boolean): Enforced {
    const { enforced, ageMs } = this.#bundles
    if (!enforced) {
      throw new Refusal('SP_GATEWAY_NOT_READY', 'the gateway is not ready', { status: 503 })
    }
    const { stalenessSeconds, strictStalenessSeconds } = enforced.settings
    // Written so that a budget that is no number is none.
    if (!(ageMs <= 1000 * (strict ? strictStalenessSeconds : stalenessSeconds))) {
      throw new Refusal('SP_STALE', 'the gateway has been cut off for too long', { status: 503 })
    }
    return enforced
  }

  /**
   * The declaration that a call was typed and decided by must still be the one in force: between a request's first byte and
   * here its caller may have taken all the time it liked.
   *
   * @throws Refusal `SP_DECLARATION_CHANGED`
   */
  demandCurrent({ decider }: Enforced): void {
    if (this.#bundles.enforced?.decider.digest === decider.digest) return
    throw declarationChanged()
  }
}
