import type { Clock } from '@sallyport/base'
import { Refusal } from '../refusal.ts'
import type { Bundles } from '../state/bundles.ts'
import type { Liveness } from '../state/liveness.ts'
import type { Grant, Pipeline } from './pipeline.ts'

export interface AgainParts {
  readonly pipeline: Pick<Pipeline, 'redecide'>
  readonly liveness: Liveness
  readonly bundles: Bundles
  readonly clock: Clock
}

/**
 * Decides a granted call that lasts again, for its caller as it stands by now.
 *
 * @throws Refusal `SP_SVID_EXPIRED`; as `Pipeline.redecide`
 */
export function decideAgain(
  { pipeline, liveness, bundles, clock }: AgainParts,
  before: Pick<Grant, 'caller' | 'call' | 'mandate'>,
): ReturnType<Pipeline['redecide']> {
  const { instance } = before.caller
  if (!liveness.isLive(instance, clock.now(), (serial) => bundles.isRevoked(serial))) {
    throw new Refusal('SP_SVID_EXPIRED', 'the identity has ended', { status: 401 })
  }
  return pipeline.redecide(before)
}
