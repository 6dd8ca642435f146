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
  const restore = (tokenOf: string, token: string): string =>
    tokeniser.restore(index.tokenKind(tokenOf), token)
  try {
    return readInput(operation.input, raw(), { restore })
  } catch (error) {
    if (index.findFlow(agent, system.name, operation.name)) throw error
    return {}
  }
}
