import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Network } from '@sallyport/network'
import { kindOf, parseSpiffeId } from '@sallyport/spiffe'
import type { SpiffeId } from '@sallyport/spiffe'
import type { Quarantine, Revision } from '@sallyport/wire'
import type { Acts } from './acts.ts'
import type { Quarantines } from './quarantine.ts'

/** Enough to contain an outbreak; too few to take a bank down in a minute. */
const BURST = 20
const PER_SECOND = 0.1

/** Services that may contain: the declaration says so, and they let nobody back in. */
export interface Responders {
  /**
   * Cuts an agent, one of its instances or an instance of a service off, in the name of the service that asks.
   *
   * @throws SallyportError `SP_RESPONDER_UNDECLARED`, `SP_RESPONDER_FLOOD`, `SP_QUARANTINE_SUBJECT`, `SP_QUARANTINE_REASON`
   */
  quarantine(
    caller: SpiffeId,
    input: { readonly subject: string; readonly reason: string },
  ): Promise<{ quarantine: Quarantine; revision: Revision; appliedMs?: number }>
}

/** @see Responders */
export function createResponders(deps: {
  readonly clock: Clock
  readonly network: () => Network
  readonly quarantine: Pick<Quarantines, 'quarantine'>
  readonly acts: Acts
  readonly onError: (error: unknown) => void
}): Responders {
  const { clock, network, quarantine, acts, onError } = deps
  /** By declared name: more instances are not more. */
  const buckets = new Map<string, { tokens: number; at: number }>()

  const spend = (name: string): void => {
    const now = clock.monotonic()
    const { tokens, at } = buckets.get(name) ?? { tokens: BURST, at: now }
    const left = Math.min(BURST, tokens + ((now - at) / 1000) * PER_SECOND) - 1
    buckets.set(name, { tokens: Math.max(0, left), at: now })
    if (left >= 0) return
    throw new SallyportError('SP_RESPONDER_FLOOD', 'this service has cut off too many lately', {
      fix: 'wait a minute; people cut off without limit',
    })
  }

  return {
    async quarantine(caller, { subject, reason }) {
      const kind = kindOf(caller)
      const service =
        kind?.kind === 'service'
          ? network().services.find(({ name }) => name === kind.name)
          : undefined
      if (service?.responder !== true) {
        throw new SallyportError(
          'SP_RESPONDER_UNDECLARED',
          'this identity may not cut others off',
          {
            fix: 'declare `responder: true` at the service in network.yaml',
          },
        )
      }
      const target = parseSpiffeId(subject)
      const [first] = target.segments
      // Without gateways nothing is enforced; taking one away is for people.
      if (first !== 'agent' && first !== 'service') {
        throw new SallyportError(
          'SP_QUARANTINE_SUBJECT',
          'a service cuts off agents and services',
          {
            fix: 'an operator does this in the console',
          },
        )
      }
      spend(service.name)
      const done = await quarantine.quarantine({ subject, reason, by: caller.uri })
      // It is in force by now: whatever else fails does not take it back.
      const { id } = done.quarantine
      await acts.record('service-quarantine', { id, of: subject }, caller.uri).catch(onError)
      return done
    },
  }
}
