import type { Declaration } from '@sallyport/network'
import { declared } from '../../packages/gateway/test/support/world.ts'

/** As many as the figures are asked for at. */
const POLICIES = 1000

/** The network of the gateway's tests with 1,000 policies, those that decide among them. */
export async function declaration(): Promise<Declaration> {
  const { network, policies } = await declared()
  const more = Array.from({ length: POLICIES - policies.length }, (_, i) => ({
    id: `bench.${i}`,
    source: `@id("bench.${i}")\npermit (principal in Agent::"reader", action == Action::"bank.watch", resource)\nwhen { context.risk == ${i % 100} && context.time.hour == ${i % 24} };`,
    file: `policies/bench${i}.cedar`,
    line: 1,
  }))
  return { network, policies: [...policies, ...more] }
}
