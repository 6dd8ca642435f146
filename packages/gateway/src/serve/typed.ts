import { readInput } from '@sallyport/decide'
import type { CedarJson } from '@sallyport/cedar'
import type { Operation, System } from '@sallyport/network'
import type { Tokeniser } from '@sallyport/redact'
import type { Enforced } from '../state/bundles.ts'

/**
 * Reads an operation's typed input for an agent. Where no flow leads to the operation, what is wrong with the input is
 * nobody's business: the call is decided, and denied, without it.
 *
 * @throws SallyportError `SP_INPUT_*`, `SP_TOKEN_*`
 */
export function typedInput(
  enforced: Enforced,
  agent: string,
  system: System,
  operation: Operation,
  tokeniser: Pick<Tokeniser, 'restore'>,
  raw: () => unknown,
): Record<string, CedarJson> {
  const { index } = enforced.decider
  const read = (): Record<string, CedarJson> =>
    readInput(operation.input, raw(), {
      restore: (tokenOf, token) => tokeniser.restore(index.tokenKind(tokenOf), token),
    })
  if (index.findFlow(agent, system.name, operation.name)) return read()
  try {
    return read()
  } catch {
    return {}
  }
}
