import type { RedRow } from './types.ts'

const test = 'packages/gateway/test/decimals.test.ts'
const MINOR = 'are no minor units: what is agreed in those never covers them'

/** Numbers with places behind the point, where something takes them for whole ones, or for others. */
export const DECIMALS: readonly RedRow[] = [
  {
    id: 'decimal.mandate',
    threat: 'five of a currency pass as five of its hundredths under a mandate',
    file: 'packages/gateway/src/calls/mandates.ts',
    from: 'input: cedarInput(operation, input)',
    to: 'input',
    test,
    name: MINOR,
    says: '5.00 is 500 cents',
  },
  {
    id: 'decimal.payment',
    threat:
      'five of a currency pass as five of its hundredths under the payment that a token names',
    file: 'packages/gateway/src/edge/tokens.ts',
    from: 'const typed = cedarInput(operation, input)',
    to: 'const typed = input',
    test,
    name: MINOR,
    says: 'SP_ACCESS_TOKEN_SCOPE',
  },
  {
    id: 'decimal.digits',
    threat: 'a system that reads digits acts on more than was decided on',
    file: 'packages/gateway/src/edge/body.ts',
    from: 'exactDecimals: true',
    to: 'exactDecimals: false',
    test,
    name: 'that are none are refused, and so is what only a double makes one',
  },
  {
    id: 'decimal.limit',
    threat: 'a limit counts ten-thousandths of what is paid',
    file: 'packages/gateway/src/calls/limits.ts',
    from: 'isDecimal && typeof given',
    to: '!isDecimal && typeof given',
    test,
    name: 'are counted by limits to the last ten-thousandth',
  },
  {
    id: 'decimal.sum',
    threat: 'a limit lets through ten thousand times what it says',
    file: 'packages/control/src/domain/counting.ts',
    from: 'limit.maxSum.max * sumScale(index, limit)',
    to: 'limit.maxSum.max * 10_000',
    test: 'packages/control/test/limits.test.ts',
    name: 'sums never exceed the limit, whatever the amounts and their order',
  },
]
