import { parseSpiffeId } from '@sallyport/spiffe'
import { foreignAgentsOf, isOfForeignAgent } from './federation.ts'
import type { ForeignAgent } from './federation.ts'
import type { Agent, DataSet, Field, Flow, Limit, Network, Operation, System } from './types.ts'

/** Constant-time lookups over a network. Names that came from a caller are safe to pass. */
export interface NetworkIndex {
  readonly network: Network
  findAgent(name: string): Agent | undefined
  /** An agent of another trust domain, by `NAME@TRUST-DOMAIN`. */
  findForeignAgent(name: string): ForeignAgent | undefined
  /** Whether this is the SPIFFE id of an instance of the caller of that name, an agent or a foreign one. */
  isInstanceOf(spiffeId: string, caller: string): boolean
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
  const foreign = new Map(foreignAgentsOf(network).map((agent) => [agent.name, agent]))
  const systems = new Map(network.systems.map((system) => [system.name, system]))
  const datasets = new Map(network.datasets.map((dataset) => [dataset.name, dataset]))
  // Nested, since a joined key would be a new text, hashed anew, for every look-up.
  const operations = new Map(
    network.systems.map((system) => [
      system.name,
      new Map(system.operations.map((operation) => [operation.name, operation])),
    ]),
  )
  const fields = new Map(
    network.datasets.map((dataset) => [
      dataset.name,
      new Map(dataset.fields.map((field) => [field.name, field])),
    ]),
  )
  const tokenKinds = new Map<string, string | undefined>(
    network.datasets.flatMap((dataset) =>
      dataset.fields.map((field) => [`${dataset.name}.${field.name}`, field.tokenKind] as const),
    ),
  )
  const flows = new Map<string, Map<string, Map<string, Flow>>>()
  for (const flow of network.flows) {
    const byOperation = inner(inner(flows, flow.from), flow.to)
    for (const operation of flow.operations) byOperation.set(operation, flow)
  }
  const limits = new Map<string, Map<string, readonly Limit[]>>()
  for (const limit of network.limits.map(frozen)) {
    for (const agent of limit.agents) {
      const byOperation = inner(limits, agent)
      for (const operation of limit.operations) {
        byOperation.set(operation, Object.freeze([...(byOperation.get(operation) ?? []), limit]))
      }
    }
  }
  return {
    network,
    findAgent: (name) => agents.get(name),
    findForeignAgent: (name) => foreign.get(name),
    isInstanceOf: (spiffeId, caller) => {
      const other = foreign.get(caller)
      if (other) return isOfForeignAgent(other, parseSpiffeId(spiffeId))
      return (
        agents.has(caller) &&
        spiffeId.startsWith(`spiffe://${network.trustDomain}/agent/${caller}/`)
      )
    },
    findSystem: (name) => systems.get(name),
    findOperation: (system, operation) => operations.get(system)?.get(operation),
    findDataset: (name) => datasets.get(name),
    findField: (dataset, field) => fields.get(dataset)?.get(field),
    findFlow: (agent, system, operation) => flows.get(agent)?.get(system)?.get(operation),
    limitsFor: (agent, system, operation) =>
      limits.get(agent)?.get(`${system}.${operation}`) ?? NO_LIMITS,
    tokenKind: (field) => tokenKinds.get(field) ?? field,
  }
}

const NO_LIMITS: readonly Limit[] = Object.freeze([])

/** A copy that cannot be changed: outcomes hand limits out, and share them with the outcomes that follow. */
function frozen(limit: Limit): Limit {
  const copy = structuredClone(limit)
  for (const part of [copy, copy.agents, copy.operations, copy.maxSum]) Object.freeze(part)
  return copy
}

function inner<T>(maps: Map<string, Map<string, T>>, key: string): Map<string, T> {
  let map = maps.get(key)
  if (map === undefined) maps.set(key, (map = new Map<string, T>()))
  return map
}
