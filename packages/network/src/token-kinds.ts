import { indexNetwork } from './network-index.ts'
import type { InputSchema, InputType, Network } from './types.ts'

/**
 * The network with every input's `tokenOf` turned from the `DATASET.FIELD` that the declaration names into the kind
 * that tokens of that field are made under, so that whoever restores them cannot use another. Kinds that fields share
 * hold no dot and `DATASET.FIELD` does: the two cannot be confused, and resolving twice changes nothing.
 */
export function withTokenKinds(network: Network): Network {
  const index = indexNetwork(network)
  const type = (given: InputType): InputType => {
    switch (given.type) {
      case 'string':
        return given.tokenOf === undefined
          ? given
          : { ...given, tokenOf: index.tokenKind(given.tokenOf) }
      case 'set':
        return { ...given, items: type(given.items) }
      case 'record':
        return record(given)
      default:
        return given
    }
  }
  const record = (given: InputSchema): InputSchema => ({
    ...given,
    members: Object.fromEntries(
      Object.entries(given.members).map(([name, member]) => [
        name,
        { ...member, schema: type(member.schema) },
      ]),
    ),
    ...(given.variants !== undefined && {
      variants: { ...given.variants, of: given.variants.of.map(record) },
    }),
  })
  return {
    ...network,
    systems: network.systems.map((system) => ({
      ...system,
      operations: system.operations.map((operation) => ({
        ...operation,
        input: record(operation.input),
      })),
    })),
  }
}
