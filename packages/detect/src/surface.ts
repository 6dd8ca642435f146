import type { Network } from '@sallyport/network'

/** What the declaration says about the reach of agents and the weight of operations. */
export interface Surface {
  readonly agents: ReadonlySet<string>
  /** `SYSTEM.OPERATION` of every declared operation. */
  readonly operations: ReadonlySet<string>
  /** Agent → `SYSTEM.OPERATION` it has a flow to. */
  readonly reach: ReadonlyMap<string, ReadonlySet<string>>
  /** `SYSTEM.OPERATION` → why a forbidden attempt at it is grave. */
  readonly grave: ReadonlyMap<string, 'personal data' | 'a write to a critical system'>
}

/** Derives the surface that signals are judged against. */
export function surfaceOf(network: Network): Surface {
  const systems = new Map(network.systems.map((system) => [system.name, system]))
  const datasets = new Map(network.datasets.map((dataset) => [dataset.name, dataset]))
  const operations = new Set<string>()
  const grave = new Map<string, 'personal data' | 'a write to a critical system'>()
  for (const system of network.systems) {
    for (const operation of system.operations) {
      const key = `${system.name}.${operation.name}`
      operations.add(key)
      const critical = system.criticality === 'critical' || system.criticality === 'high'
      const personal = Object.values(operation.returns).some((name) =>
        datasets
          .get(name)
          ?.fields.some((field) => field.class === 'restricted' && field.tags.includes('pii')),
      )
      if (personal) grave.set(key, 'personal data')
      else if (operation.kind === 'write' && critical) {
        grave.set(key, 'a write to a critical system')
      }
    }
  }
  const reach = new Map<string, Set<string>>()
  for (const flow of network.flows) {
    const reached = reach.get(flow.from) ?? new Set<string>()
    reach.set(flow.from, reached)
    const all = systems.get(flow.to)?.operations.map((operation) => operation.name) ?? []
    const named = flow.operations.includes('*') ? all : flow.operations
    for (const operation of named) reached.add(`${flow.to}.${operation}`)
  }
  return {
    agents: new Set(network.agents.map((agent) => agent.name)),
    operations,
    reach,
    grave,
  }
}
