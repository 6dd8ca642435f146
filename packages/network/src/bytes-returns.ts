import type { Report } from './check.ts'
import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import type { Network, Operation } from './types.ts'

/** Answers of bytes leave whole or not at all: they are of one class, which one field states. */
export function checkBytes(network: Network, located: Located, report: Report): void {
  for (const system of network.systems) {
    for (const operation of system.operations) {
      const wrong = wrongOf(network, operation)
      if (wrong === undefined) continue
      report(
        'SP_NETWORK_RETURNS',
        located.keyAt(`/systems/${system.name}/operations/${escapePointer(operation.name)}`),
        `the answers of \`${operation.name}\` are bytes, and ${wrong}`,
        'nothing of them can be held back: the whole of them leaves by its one class, or the call is denied',
        'write `returns: { $: DATASET }`, of a data set with one field that has no data set of its own, or `{ $: public }`',
      )
    }
  }
}

function wrongOf(network: Network, { binding, returns }: Operation): string | undefined {
  if (binding.kind !== 'http' || !binding.bytes) return undefined
  const [path, ...others] = Object.keys(returns)
  if (path !== '$' || others.length > 0) return '`returns` does not say what the whole of them is'
  const { $: target } = returns
  if (target === 'public') return undefined
  const dataset = network.datasets.find(({ name }) => name === target)
  // That there is none is said elsewhere.
  if (!dataset) return undefined
  const [field, ...more] = dataset.fields
  return field && more.length === 0 && field.dataset === undefined
    ? undefined
    : `\`${dataset.name}\` is no data set of one field`
}
