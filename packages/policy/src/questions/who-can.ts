import { SallyportError } from '@sallyport/base'
import type { Declaration } from '@sallyport/network'
import { Analyst } from './analyst.ts'
import type { CallAnswer, OperationAnswer } from './types.ts'

/**
 * Every declared agent and whether it can call an operation.
 *
 * @param name `SYSTEM.OPERATION`
 * @throws SallyportError `SP_USAGE_UNKNOWN_NAME`, `SP_CEDAR_*`
 */
export async function whoCan(declaration: Declaration, name: string): Promise<CallAnswer[]> {
  const analyst = await Analyst.of(declaration)
  const at = name.indexOf('.')
  const [system, operation] = [name.slice(0, at), name.slice(at + 1)]
  if (at < 0 || analyst.index.findOperation(system, operation) === undefined) {
    const names = declaration.network.systems.flatMap((each) =>
      each.operations.map((of) => `${each.name}.${of.name}`),
    )
    throw unknownName('operation', name, names)
  }
  return declaration.network.agents.map((agent) => analyst.call(agent, system, operation))
}

/**
 * Everything that an agent can do: the operations of its flows, and how the fields of their answers leave.
 *
 * @throws SallyportError `SP_USAGE_UNKNOWN_NAME`, `SP_CEDAR_*`
 */
export async function whatCan(declaration: Declaration, name: string): Promise<OperationAnswer[]> {
  const analyst = await Analyst.of(declaration)
  const agent = analyst.index.findAgent(name)
  if (agent === undefined) {
    const names = declaration.network.agents.map((each) => each.name)
    throw unknownName('agent', name, names)
  }
  return declaration.network.flows
    .filter(({ from }) => from === name)
    .flatMap(({ to, operations }) =>
      operations.map((operation) => analyst.operation(agent, to, operation)),
    )
}

export function unknownName(what: string, name: string, known: readonly string[]): SallyportError {
  return new SallyportError(
    'SP_USAGE_UNKNOWN_NAME',
    `the network declares no ${what} \`${name.slice(0, 100)}\``,
    { fix: `name one of ${known.slice(0, 50).join(', ')}${known.length > 50 ? ', …' : ''}` },
  )
}
