import { canonicalJson, errorCode, sha256Hex } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { Call, Need } from '@sallyport/decide'
import { verifyApprovals } from '@sallyport/wire'
import type { ApprovalStatement, OperatorSet, Signed } from '@sallyport/wire'
import type { PlaneClient } from '../plane/client.ts'
import { Refusal } from '../refusal.ts'
import type { Enforced } from '../state/bundles.ts'

/** What operators signed for one call, verified here. */
export interface VerifiedApproval {
  readonly id: string
  /** Operators, sorted. */
  readonly approvers: readonly string[]
  /** SHA-256 hex of each statement, for the log. */
  readonly statements: readonly string[]
}

/** As the control plane names them. */
const APPROVAL_ID = /^[a-z0-9_]{1,64}$/
const MAX_STATEMENTS = 64

/** Approvals: asked for and used up at the control plane, verified here against the operators' own keys. */
export class Approvals {
  readonly #client: PlaneClient
  readonly #used: Set<string>

  /** @param used approvals that this gateway has used up: the control plane's word for it is not enough */
  constructor(client: PlaneClient, used: Set<string>) {
    this.#client = client
    this.#used = used
  }

  /**
   * Asks for an approval of exactly this call; the same call asked again has the same open one.
   *
   * @throws Refusal `SP_APPROVAL_UNAVAILABLE`; `SP_APPROVAL_FLOOD` where too many questions of this instance are open
   */
  async request(
    call: Call,
    need: Need,
    decisionId: string,
    declarationDigest: string,
  ): Promise<string> {
    const { instance, agent, system, operation, input } = call
    const answer = await this.#ask({
      method: 'POST',
      path: '/v1/approvals',
      body: {
        decisionId,
        instance,
        agent,
        system,
        operation,
        input,
        count: need.count,
        declarationDigest,
      },
      also: [429],
    })
    if (answer.status === 429) throw flood()
    const { approvalId } = answer.body
    if (typeof approvalId === 'string' && APPROVAL_ID.test(approvalId)) return approvalId
    throw unavailable(undefined)
  }

  /**
   * The operators who signed for exactly this call. Nothing that the control plane says of it counts in its favour.
   *
   * @param owner of the calling agent: nobody approves for what is their own
   * @throws Refusal `SP_APPROVAL_UNKNOWN`, `SP_APPROVAL_DENIED`, `SP_APPROVAL_USED`, `SP_APPROVAL_UNAVAILABLE`
   */
  async verify(
    id: string,
    call: Call,
    operators: OperatorSet | undefined,
    declarationDigest: string,
    owner: string | undefined,
  ): Promise<VerifiedApproval> {
    const body = await this.#fetch(id)
    if (body['status'] === 'denied') throw denied()
    if (body['status'] === 'used') throw used()
    const signed = asSigned(body['signed'])
    if (!operators) return { id, approvers: [], statements: [] }
    const { instance, system, operation, input } = call
    try {
      const signers = verifyApprovals(signed, operators, {
        approvalId: id,
        instance,
        system,
        operation,
        input,
        declarationDigest,
        now: call.time,
      })
      const approvers = signers.filter((signer) => signer !== owner)
      const statements = signed
        .slice(0, MAX_STATEMENTS)
        .map(({ statement }) => sha256Hex(canonicalJson(statement)))
      return { id, approvers, statements }
    } catch (error) {
      if (errorCode(error) === 'SP_SIGNATURE_DENIED') throw denied()
      throw unusable(error)
    }
  }

  /**
   * Uses an approval up for one decision.
   *
   * @throws Refusal `SP_APPROVAL_USED`, `SP_APPROVAL_UNAVAILABLE`
   */
  async use(id: string, decisionId: string): Promise<void> {
    if (this.#used.has(id)) throw used()
    this.#used.add(id)
    try {
      const answer = await this.#ask({
        method: 'POST',
        path: `/v1/approvals/${id}/use`,
        body: { decisionId },
        also: [404, 409],
      })
      if (answer.status !== 200) throw used()
    } catch (error) {
      // Nothing went out on the strength of it.
      this.#used.delete(id)
      throw error
    }
  }

  /** `{status}` and whose it is, where the control plane says so. @throws Refusal as `verify` */
  async status(id: string): Promise<{ status: string; instance: string | undefined }> {
    const { status, instance } = await this.#fetch(id)
    if (typeof status !== 'string') throw unavailable(undefined)
    return { status, instance: typeof instance === 'string' ? instance : undefined }
  }

  async #fetch(id: string): Promise<{ readonly [key: string]: JsonValue }> {
    if (!APPROVAL_ID.test(id)) throw unknown()
    const answer = await this.#ask({ method: 'GET', path: `/v1/approvals/${id}`, also: [404] })
    if (answer.status === 404) throw unknown()
    return answer.body
  }

  async #ask(
    request: Parameters<PlaneClient['request']>[0],
  ): Promise<Awaited<ReturnType<PlaneClient['request']>>> {
    try {
      return await this.#client.request(request)
    } catch (cause) {
      throw unavailable(cause)
    }
  }
}

const APPROVING: readonly string[] = ['approver', 'admin']

/**
 * The evidence of a call that was approved, as it counts by now: of those who are operators still, may approve, and do not own its agent.
 * The approval itself was used up when the call was granted.
 */
export function stillApproving(
  { agent, evidence }: Pick<Call, 'agent' | 'evidence'>,
  {
    operators,
    decider,
  }: Pick<Enforced, 'operators'> & { readonly decider: Pick<Enforced['decider'], 'index'> },
): Call['evidence'] {
  if (evidence.approvals.length === 0) return evidence
  const owner = decider.index.findAgent(agent)?.owner
  const approvals = evidence.approvals.filter(
    (name) =>
      name !== owner &&
      operators?.keys.some(
        ({ operator, roles }) =>
          operator === name && roles.some((role) => APPROVING.includes(role)),
      ),
  )
  return { approvals }
}

function asSigned(value: JsonValue | undefined): readonly Signed<ApprovalStatement>[] {
  if (!Array.isArray(value)) throw unusable(undefined)
  // Only the outer shape is read here; every member is compared with the call, and the signature covers them all.
  const signed = value as unknown as readonly Signed<ApprovalStatement>[]
  const shaped = signed.every(
    (item: Partial<Signed<ApprovalStatement>> | null) =>
      typeof item?.statement === 'object' &&
      item.statement !== null &&
      Array.isArray(item.signatures),
  )
  if (!shaped) throw unusable(undefined)
  return signed
}

const flood = (): Refusal =>
  new Refusal('SP_APPROVAL_FLOOD', 'too many approvals of this agent wait for a person', {
    status: 429,
    outcome: 'limited',
    retryAfterSeconds: 30,
  })

const unknown = (): Refusal =>
  new Refusal('SP_APPROVAL_UNKNOWN', 'there is no such approval', { status: 404 })

const denied = (): Refusal =>
  new Refusal('SP_APPROVAL_DENIED', 'the approval was denied', {
    status: 403,
    outcome: 'forbidden',
  })

const used = (): Refusal =>
  new Refusal('SP_APPROVAL_USED', 'the approval cannot be used again', { status: 403 })

const unusable = (cause: unknown): Refusal =>
  new Refusal('SP_APPROVAL_INVALID', 'the approval cannot be used for this call', {
    status: 403,
    cause,
  })

const unavailable = (cause: unknown): Refusal =>
  new Refusal('SP_APPROVAL_UNAVAILABLE', 'approvals cannot be reached', { status: 503, cause })
