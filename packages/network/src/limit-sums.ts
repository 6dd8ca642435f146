import { MAX_DECIMAL } from '@sallyport/base'
import type { Report } from './check.ts'
import type { Located } from './read-yaml.ts'
import type { NetworkIndex } from './network-index.ts'
import type { InputType, Limit, Operation } from './types.ts'

/** Whether what a limit sums can be summed. @param operations by `SYSTEM.OPERATION` */
export function checkSum(
  { id, maxSum, operations: names }: Limit,
  operations: ReadonlyMap<string, Operation>,
  located: Located,
  report: Report,
): void {
  if (!maxSum) return
  const pointer = `/limits/${id}/maxSum`
  const kinds = new Set<InputType['type']>()
  for (const name of names) {
    const operation = operations.get(name)
    if (!operation) continue
    const { required, schema } = operation.input.members[maxSum.input] ?? {}
    const isNumber = schema?.type === 'long' || schema?.type === 'decimal'
    if (required === true && isNumber && schema.minimum >= 0) kinds.add(schema.type)
    else {
      report(
        'SP_NETWORK_RULE',
        located.at(`${pointer}/input`),
        `\`${maxSum.input}\` is no required number among the inputs of \`${name}\` that is never negative`,
        'a sum that a caller can leave out or push down is no ceiling',
        'name such an input, or set `minimum: 0` and `required` in the API description',
      )
    }
  }
  if (kinds.size > 1) {
    report(
      'SP_NETWORK_RULE',
      located.at(`${pointer}/input`),
      `\`${maxSum.input}\` is an \`integer\` of one operation of \`${id}\` and a \`number\` of another`,
      'one of them is likely to be in minor units, and a sum has one unit',
      'write a limit for each',
    )
  } else if (kinds.has('decimal') && maxSum.max > MAX_DECIMAL) {
    report(
      'SP_NETWORK_RULE',
      located.at(`${pointer}/max`),
      `the sum of \`${id}\` is beyond 10^11`,
      'decimals are counted exactly up to there',
      'set a lower one',
    )
  }
}

/** What a sum is counted in: units of the input that it sums, or their ten-thousandths where that is a decimal. */
export function sumScale(
  { findOperation }: Pick<NetworkIndex, 'findOperation'>,
  { maxSum, operations: [first = ''] }: Limit,
): 1 | 10_000 {
  const dot = first.indexOf('.')
  const operation = findOperation(first.slice(0, dot), first.slice(dot + 1))
  const type = maxSum && operation?.input.members[maxSum.input]?.schema.type
  return type === 'decimal' ? 10_000 : 1
}
