import { createPrivateKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import type { Clock } from '@sallyport/base'
import type { Call } from '@sallyport/decide'
import type { System } from '@sallyport/network'
import { serviceId } from '@sallyport/spiffe'
import type { IdentityMaterial } from '@sallyport/transport'
import { signedCallToken, unsignedCallToken } from '@sallyport/wire'
import type { Going, UpstreamRequest } from '../calls/types.ts'
import type { Trace } from '../edge/trace.ts'
import { hashOf } from './request-hash.ts'
import type { SigningAhead } from './signing/ahead.ts'

/** What the credential of a request depends on. */
export interface Addressed {
  /** SPIFFE id of the caller. */
  readonly caller: string
  /** What was decided by beside the caller itself, told to services of the network. */
  readonly delegation: Pick<Call, 'onBehalfOf' | 'mandate'>
  readonly system: System
  readonly decision: string
  /** `SYSTEM.OPERATION`. */
  readonly operation: string
  readonly request: UpstreamRequest
  /** The trace of the caller, of which services of the network learn, and nobody else. */
  readonly trace: Trace | undefined
}

/** A call of the pipeline as whoever forwards it is told of it. */
export function addressed({ id, caller, call, upstream, typed }: Going): Addressed {
  const { system, operation } = typed
  return {
    caller: caller.instance,
    delegation: call,
    system,
    decision: id,
    operation: `${system.name}.${operation.name}`,
    request: upstream,
    trace: caller.trace,
  }
}

/** A token that was made before its call may go. */
interface Ready {
  /** Header and payload. */
  readonly unsigned: string
  /** By which its signature is asked for, if it is being signed. */
  readonly ticket: number | undefined
  /** Whose key it is for. */
  readonly identity: IdentityMaterial
  readonly decision: string
  /** By the clock that never goes back. */
  readonly at: number
}

/** How old a token that waited may be when it goes: nearly all of its 30 seconds is for the way. */
const MAX_WAITED_MS = 2000

/** Call tokens for services of the network, each for one request, and good for one. */
export class CallTokens {
  readonly #gateway: string
  readonly #clock: Clock
  readonly #signing: Pick<SigningAhead, 'begin' | 'take'>
  readonly #ready = new WeakMap<UpstreamRequest, Ready>()
  #key: { readonly pem: string; readonly key: KeyObject } | undefined

  /** @param gateway SPIFFE id of this gateway */
  constructor(gateway: string, clock: Clock, signing: Pick<SigningAhead, 'begin' | 'take'>) {
    this.#gateway = gateway
    this.#clock = clock
    this.#signing = signing
  }

  /**
   * Makes the token of a request that is to be asked for with `of`: it is signed in another thread, while the record of the call is on its way to the
   * disk.
   *
   * @throws SallyportError `SP_CALL_TOKEN_KEY`
   */
  prepare(call: Addressed, service: string, identity: IdentityMaterial): void {
    const { request, decision } = call
    const unsigned = this.#unsigned(call, service, identity)
    const ticket = this.#signing.begin(unsigned, this.#keyOf(identity))
    this.#ready.set(request, {
      ...{ unsigned, ticket, identity, decision },
      at: this.#clock.monotonic(),
    })
  }

  /**
   * The token of a request: the one that was made ready, once, else a new one.
   *
   * @param identity of the connection that it travels on
   * @throws SallyportError `SP_CALL_TOKEN_KEY`
   */
  of(call: Addressed, service: string, identity: IdentityMaterial): string {
    const { request, decision } = call
    const ready = this.#ready.get(request)
    this.#ready.delete(request)
    const signature = ready?.ticket === undefined ? undefined : this.#signing.take(ready.ticket)
    const fits =
      ready?.identity === identity &&
      ready.decision === decision &&
      this.#clock.monotonic() - ready.at <= MAX_WAITED_MS
    if (!fits) {
      return signedCallToken(this.#unsigned(call, service, identity), this.#keyOf(identity))
    }
    const { unsigned } = ready
    return signature === undefined
      ? signedCallToken(unsigned, this.#keyOf(identity))
      : `${unsigned}.${signature}`
  }

  #unsigned(
    { caller, decision, operation, request, delegation: { onBehalfOf, mandate } }: Addressed,
    service: string,
    identity: IdentityMaterial,
  ): string {
    return unsignedCallToken(
      {
        iss: this.#gateway,
        sub: caller,
        aud: serviceId(identity.trustDomain, service),
        ...{ decision, operation },
        request: hashOf(request),
        ...(onBehalfOf === undefined ? {} : { obo: onBehalfOf }),
        ...(mandate === undefined ? {} : { mandate: mandate.id }),
      },
      this.#keyOf(identity),
      this.#clock.now(),
    )
  }

  #keyOf({ keyPem }: IdentityMaterial): KeyObject {
    if (this.#key?.pem !== keyPem) this.#key = { pem: keyPem, key: createPrivateKey(keyPem) }
    return this.#key.key
  }
}
