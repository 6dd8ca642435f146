import type { GrpcBinding, Operation, System } from '@sallyport/network'
import { plain } from '../inventory/plain.ts'
import type { noOperation } from '../serve/http.ts'
import type { Enforced } from '../state/bundles.ts'

/** A method of a system, with what its messages are read by. */
export interface Method {
  readonly system: System
  readonly operation: Operation
  readonly binding: GrpcBinding
  readonly types: NonNullable<System['grpc']>
}

const known = new WeakMap<Enforced['decider'], ReadonlyMap<string, readonly Method[]>>()

/** Path → methods, of every system that is enforced. */
export function methodsOf({ decider }: Enforced): ReadonlyMap<string, readonly Method[]> {
  let methods = known.get(decider)
  if (!methods) {
    const all = decider.index.network.systems.flatMap((system) =>
      system.operations.flatMap((operation): Method[] => {
        const { binding } = operation
        const { grpc: types } = system
        return binding.kind === 'grpc' && types ? [{ system, operation, binding, types }] : []
      }),
    )
    methods = Map.groupBy(all, ({ binding }) => binding.path)
    known.set(decider, methods)
  }
  return methods
}

/** What nobody declared, for the inventory: a method of a service that is known, or a service that is not. */
export function strange(enforced: Enforced, path: string): Parameters<typeof noOperation>[0] {
  const service = path.slice(0, path.lastIndexOf('/') + 1)
  const method = [...methodsOf(enforced)].find(([own]) => own.startsWith(service))
  const system = method?.[1][0]?.system.name
  return system === undefined
    ? { kind: 'destination', name: plain.tool(service.slice(1, -1)) }
    : { kind: 'operation', system, name: plain.tool(path.slice(1)) }
}
