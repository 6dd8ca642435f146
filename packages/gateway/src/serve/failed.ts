import type { Finish, Grant, Pipeline } from '../calls/pipeline.ts'
import type { Ending } from '../edge/ending.ts'
import { toRefusal } from '../refusal.ts'
import type { Refusal } from '../refusal.ts'
import type { Stats } from '../stats.ts'
import type { UpstreamAnswer } from '../upstream/exchange.ts'

/** What stops a granted call before it goes out, wherever it comes from. */
const UNSENT: ReadonlySet<string> = new Set([
  'SP_CREDENTIAL_MISSING',
  'SP_MCP_CHANGED',
  'SP_MCP_PROGRAM',
  'SP_UPSTREAM_OPEN',
])

/** Why a system could not be had, in words of ours: nothing that a system or a caller said is in them. */
const SAID: ReadonlySet<string> = new Set([
  'SP_CREDENTIAL_MISSING',
  'SP_MCP_CHANGED',
  'SP_MCP_PROGRAM',
  'SP_UPSTREAM_ADDRESS',
  'SP_UPSTREAM_ENCODING',
  'SP_UPSTREAM_FAILED',
  'SP_UPSTREAM_RESPONSE',
  'SP_UPSTREAM_TIMEOUT',
])

/** What ends a granted call whose system did nothing wrong: its caller may not have the answer any more. */
const CUT =
  /^SP_(?:QUARANTINED|DENIED_|NEEDS_|NO_FLOW|MANDATE_|DECLARATION_CHANGED|STALE|SVID_|ACCESS_TOKEN_|FOREIGN_)/

/**
 * Records a granted call that went wrong; where its system is at fault, with why: callers are not told.
 *
 * @param answer of the upstream, where there was one
 * @param sent what its caller had of it already
 * @returns what its caller is told
 */
export function callFailed(
  { pipeline, stats }: { readonly pipeline: Pipeline; readonly stats: Stats },
  grant: Grant,
  error: unknown,
  signal: Pick<Ending, 'aborted'>,
  answer?: UpstreamAnswer,
  sent: Pick<Finish, 'bytesOut' | 'released'> = { bytesOut: 0, released: {} },
): Refusal {
  const refusal = toRefusal(error)
  refusal.decision = grant.id
  const cut = CUT.test(refusal.code)
  // Of a body that was on its way.
  const ofCaller = refusal.code.startsWith('SP_REQUEST_')
  if (!cut && !ofCaller) stats.upstreamErrors++
  if (SAID.has(refusal.code) && !signal.aborted) {
    const { code, detail } = refusal
    pipeline.audit.boundedEvent('upstream-failed', {
      ...{ code, subject: grant.caller.instance },
      facts: {
        ...{ decision: grant.id, system: grant.call.system },
        ...(detail === undefined ? {} : { detail: detail.slice(0, 1000) }),
      },
    })
  }
  // Nobody reads on: what is left of it must not keep its connection from other calls.
  answer?.body.destroy()
  pipeline.finish(grant, {
    status: refusal.status,
    result: cut ? 'cut' : signal.aborted ? 'aborted' : ofCaller ? 'cut' : 'upstream-error',
    ...sent,
    // Whatever is not known not to have been sent may have been.
    forwarded: !refusal.unsent && !UNSENT.has(refusal.code),
  })
  return refusal
}
