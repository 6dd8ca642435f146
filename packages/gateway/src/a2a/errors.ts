import { RPC } from '../adapters/jsonrpc.ts'
import { problemOf } from '../edge/answer.ts'
import { Refusal } from '../refusal.ts'

/** Error codes of A2A (1.0, section 5.4; 0.3, section 8.2), and ours. */
const A2A = {
  taskNotFound: -32001,
  taskNotCancelable: -32002,
  pushNotSupported: -32003,
  unsupported: -32004,
  contentType: -32005,
  versionNotSupported: -32009,
  /** A2A keeps -32001 for tasks: what is refused here has a code of its own. */
  refused: -32050,
} as const

const NAMED: Readonly<Record<string, number>> = {
  SP_A2A_TASK: A2A.taskNotFound,
  SP_A2A_PUSH: A2A.pushNotSupported,
  SP_A2A_UNSUPPORTED: A2A.unsupported,
  SP_A2A_FILE: A2A.contentType,
  SP_A2A_VERSION: A2A.versionNotSupported,
  SP_A2A_METHOD: RPC.methodNotFound,
}

/** What a peer may say of a request, and its caller may learn: the code alone. */
const TOLD: ReadonlySet<number> = new Set([
  A2A.taskNotFound,
  A2A.taskNotCancelable,
  A2A.pushNotSupported,
  A2A.unsupported,
  A2A.contentType,
  RPC.invalidParams,
])

/** A refusal by the peer, with the code that it gave. */
export class PeerRefusal extends Refusal {
  readonly rpc: number

  constructor(code: unknown) {
    const known = typeof code === 'number' && TOLD.has(code)
    super('SP_UPSTREAM_REFUSED', 'the agent refused the request', {
      status: 422,
      detail: `JSON-RPC error ${JSON.stringify(code)}`,
    })
    this.rpc = known ? code : A2A.refused
  }
}

/** @returns members of a JSON-RPC error for it; `data` is what HTTP has as its body */
export function a2aError(
  refusal: Refusal,
  decision: string,
): { readonly code: number; readonly message: string; readonly data: unknown } {
  const code =
    refusal instanceof PeerRefusal
      ? refusal.rpc
      : (NAMED[refusal.code] ??
        (/^SP_(?:A2A_MESSAGE|INPUT_|TOKEN_)/.test(refusal.code) ? RPC.invalidParams : A2A.refused))
  return { code, message: refusal.message, data: problemOf(refusal, decision) }
}

/** @param what of the message is not as it must be */
export const badMessage = (what: string): Refusal =>
  new Refusal('SP_A2A_MESSAGE', `the request is not accepted: ${what}`, { status: 400 })

/** Another's task, and none at all: nobody can tell the one from the other. */
export const noTask = (): Refusal =>
  new Refusal('SP_A2A_TASK', 'there is no such task', { status: 404 })
