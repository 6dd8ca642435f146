/**
 * `node tools/fuzz-gateway.ts [--messages N] [--seed S]`: sends messages that are nearly HTTP/1.1 through a gateway to a
 * recording upstream, and looks for one that the upstream reads otherwise than it was decided, or that carries anything of the
 * caller's but its typed input. Ten million (`--messages 10000000`) take a night or two of one core. Exit code 1, with the
 * message, where one is found. `unheard` counts plain messages that a busy machine did not answer in time.
 */
import { parseArgs } from 'node:util'
import { fuzzGateway } from '../packages/gateway/test/support/near-http.ts'
import { startWorld } from '../packages/gateway/test/support/world.ts'

const ROUND = 2000

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      messages: { type: 'string', default: '20000' },
      seed: { type: 'string', default: String(Date.now() % 1e6) },
    },
  })
  const messages = Number(values.messages)
  const seed = Number(values.seed)
  const total = { messages: 0, plain: 0, unheard: 0, answered: 0, accepted: 0, forwarded: 0 }
  while (total.messages < messages) {
    // A world of its own for each round: what one has logged is not kept for hours.
    const world = await startWorld({ settings: { maxCallsPerSecond: 1e6, maxCallBurst: 1e6 } })
    try {
      // On a busy machine a round may take long.
      const agent = world.agent('teller', 'i1', 24 * 3600)
      const rest = Math.min(ROUND, messages - total.messages)
      const result = await fuzzGateway(world, agent, rest, seed + total.messages)
      total.messages += result.messages
      total.plain += result.plain
      total.unheard += result.unheard
      total.answered += result.answered
      total.accepted += result.accepted
      total.forwarded += result.forwarded
    } finally {
      await world.close()
    }
    process.stderr.write(`fuzz-gateway: ${total.messages} messages, seed ${seed}\n`)
  }
  process.stdout.write(`${JSON.stringify({ seed, ...total })}\n`)
}

await main()
