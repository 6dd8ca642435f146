import type { Agent, DataSet, Field, Flow, Limit, Network, Operation, System } from './types.ts'

/** Constant-time lookups over a network. Names that came from a caller are safe to pass. */
export interface NetworkIndex {
  readonly network: Network
  findAgent(name: string): Agent | undefined
  findSystem(name: string): System | undefined
  findOperation(system: string, operation: string): Operation | undefined
  findDataset(name: string): DataSet | undefined
  findField(dataset: string, field: string): Field | undefined
  /** The one declared flow that covers a call; absent means `SP_NO_FLOW`. */
  findFlow(agent: string, system: string, operation: string): Flow | undefined
  /** Limits that count a call, in the order declared. */
  limitsFor(agent: string, system: string, operation: string): readonly Limit[]
  /** The kind that tokens of `DATASET.FIELD` are made and restored by; the name itself unless fields share one. */
  tokenKind(field: string): string
}

export function indexNetwork(network: Network): NetworkIndex {
  const agents = new Map(network.agents.map((agent) => [agent.name, agent]))
  const systems = new Map(network.systems.map((system) => [system.name, system]))
  const datasets = new Map(network.datasets.map((dataset) => [dataset.name, dataset]))
  // System and data set names hold no dot and agent names no blank, so the joined keys are unambiguous.
  const operations = new Map(
    network.systems.flatMap((system) =>
      system.operations.map((operation) => [`${system.name}.${operation.name}`, operation]),
    ),
  )
  const fields = new Map(
    network.datasets.flatMap((dataset) =>
      dataset.fields.map((field) => [`${dataset.name}.${field.name}`, field]),
    ),
  )
  const flows = new Map(
    network.flows.flatMap((flow) =>
      flow.operations.map((operation) => [`${flow.from} ${flow.to}.${operation}`, flow]),
    ),
  )
  const limits = new Map<string, Limit[]>()
  for (const limit of network.limits) {
    for (const agent of limit.agents) {
      for (const operation of limit.operations) {
        const key = `${agent} ${operation}`
        limits.set(key, [...(limits.get(key) ?? []), limit])
      }
    }
  }
  return {
    network,
    findAgent: (name) => agents.get(name),
    findSystem: (name) => systems.get(name),
    findOperation: (system, operation) => operations.get(`${system}.${operation}`),
    findDataset: (name) => datasets.get(name),
    findField: (dataset, field) => fields.get(`${dataset}.${field}`),
    findFlow: (agent, system, operation) => flows.get(`${agent} ${system}.${operation}`),
    limitsFor: (agent, system, operation) => limits.get(`${agent} ${system}.${operation}`) ?? [],
    tokenKind: (field) => fields.get(field)?.tokenKind ?? field,
  }
}
