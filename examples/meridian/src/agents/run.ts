import { setTimeout as sleep } from 'node:timers/promises'
import { RefusedError } from '@sallyport/agent'
import { emitter, failureCode } from '../events.ts'
import { joinFabric } from '../fabric.ts'
import { Bank } from './bank.ts'

/** One round of an agent's work; resolves to how long to rest before the next, in milliseconds. */
export type Round = (bank: Bank) => Promise<number>

/**
 * Runs an agent until it is told to stop: enrols, then one round after the other. A round that fails is tried again a
 * little later; a refusal is said aloud and not argued with.
 */
export async function runAgent(name: string, round: Round): Promise<void> {
  const emit = emitter(name)
  const stop = new AbortController()
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort())
  const identity = await joinFabric(emit)
  const bank = new Bank(identity, emit, stop.signal)
  emit('started', { pid: process.pid, instance: identity.spiffeId })
  let failures = 0
  while (!stop.signal.aborted) {
    let rest: number
    try {
      rest = await round(bank)
      failures = 0
    } catch (error) {
      if (stop.signal.aborted) break
      failures++
      if (error instanceof RefusedError)
        emit('refused', { code: error.code, outcome: error.outcome })
      else emit('round-failed', { code: failureCode(error) })
      rest = Math.min(5000, 250 * 2 ** Math.min(failures, 5))
    }
    await sleep(rest, undefined, { signal: stop.signal }).catch(() => undefined)
  }
  identity.stop()
  await bank.close()
  emit('stopped')
  process.exit(0)
}
