import type { Declaration, PolicySource } from '@sallyport/network'
import { shown } from './limits.ts'
import type { LimitChange } from './types.ts'

interface Sides {
  readonly declaration: Declaration
  readonly foreign: readonly PolicySource[]
}

/**
 * What changes for agents of other trust domains: who vouches for them, which there are, where they may go and what decides it, each
 * as it is written. Whatever is not simply gone counts as widened; of a policy that is gone too, since it may have forbidden.
 */
export function foreignChanges(before: Sides, after: Sides): LimitChange[] {
  const [old, next] = [partsOf(before), partsOf(after)]
  const names = [...new Set([...old.keys(), ...next.keys()])].toSorted()
  return names.flatMap((what): LimitChange[] => {
    const [a, b] = [old.get(what), next.get(what)]
    if (shown(a) === shown(b)) return []
    const narrowed = b === undefined && !what.startsWith('policy ')
    const direction = narrowed ? 'narrowed' : 'widened'
    return [{ direction, what, before: shown(a), after: shown(b) }]
  })
}

function partsOf({ declaration: { network }, foreign }: Sides): ReadonlyMap<string, unknown> {
  const parts = new Map<string, unknown>()
  for (const { agents = [], trustDomain, ...endpoint } of network.federation ?? []) {
    parts.set(`federation ${trustDomain}`, endpoint)
    for (const { name, ...agent } of agents) parts.set(`foreign agent ${name}`, agent)
  }
  for (const { from, to, operations, purpose } of network.flows) {
    if (!from.includes('@')) continue
    for (const operation of operations) parts.set(`flow ${from} to ${to}.${operation}`, purpose)
  }
  for (const { id, source } of foreign) {
    parts.set(`policy ${id}, for other trust domains`, source)
  }
  return parts
}
