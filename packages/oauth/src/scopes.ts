import type { NetworkIndex } from '@sallyport/network'
import { agentOf } from './clients.ts'

/** The operations of a system that flows declare for the agent behind a client id: all that a scope for it can name. */
export function operationsFor(
  { network }: NetworkIndex,
  clientId: string,
  trustDomain: string,
  system: string,
): readonly string[] {
  const agent = agentOf(clientId, trustDomain)
  if (!agent) return []
  const flows = network.flows.filter(({ from, to }) => from === agent.name && to === system)
  return [...new Set(flows.flatMap(({ operations }) => operations))].toSorted()
}
