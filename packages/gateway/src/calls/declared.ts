import { isDeepStrictEqual } from 'node:util'
import type { NetworkIndex, Operation, System } from '@sallyport/network'
import { declarationChanged } from '../refusal.ts'
import type { TypedCall } from './types.ts'

type Typed = Pick<TypedCall, 'system' | 'operation'>

/** Of an operation that a call lasts of: what it was compared with last. A declaration stays for long, and what is open is looked at often. */
const compared = new WeakMap<
  Operation,
  { readonly by: System; readonly found: Operation | undefined }
>()

/**
 * What a call was typed as, as it is declared now. What was asked of another system, or of an operation that meant something else, has an answer
 * that nothing declared now describes.
 *
 * @throws Refusal `SP_DECLARATION_CHANGED`
 */
export function demandDeclared({ system, operation }: Typed, index: NetworkIndex): Typed {
  const declared = index.findSystem(system.name)
  if (declared === system) return { system, operation }
  if (!declared) throw declarationChanged()
  let last = compared.get(operation)
  if (last?.by !== declared) {
    const found = index.findOperation(system.name, operation.name)
    const same =
      isDeepStrictEqual(found, operation) && isDeepStrictEqual(led(declared), led(system))
    compared.set(operation, (last = { by: declared, found: same ? found : undefined }))
  }
  if (!last.found) throw declarationChanged()
  return { system: declared, operation: last.found }
}

/**
 * What leads calls to a system, bounds them, or says how they are read. Everything else of it policies read, and those are asked. Of tables,
 * what a statement knows of them says more.
 */
const led = ({ protocol, upstream, grpc, llm, a2a, opaque, onBehalfOf }: System): unknown => ({
  ...{ protocol, upstream, grpc, llm, a2a, opaque, onBehalfOf },
})
