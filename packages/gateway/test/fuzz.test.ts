import assert from 'node:assert/strict'
import { it } from 'node:test'
import { fuzzGateway } from './support/near-http.ts'
import { startWorld } from './support/world.ts'

for (const codec of ['llhttp', 'lean'] as const) {
  it(
    `forwards nothing that the upstream reads otherwise, whatever nearly is HTTP, ${codec} towards systems`,
    { timeout: 120_000 },
    async () => {
      const settings = { codec, maxCallsPerSecond: 1e6, maxCallBurst: 1e6 }
      const world = await startWorld({ settings })
      try {
        const result = await fuzzGateway(world, world.agent('teller'), 300, 20_261_126)
        // It reached what it is to try: messages that are served, and many that are not.
        assert.ok(result.plain > 10 && result.forwarded > 20, JSON.stringify(result))
        assert.equal(result.unheard, 0)
        assert.ok(result.accepted < result.messages * 0.8, JSON.stringify(result))
      } finally {
        await world.close()
      }
    },
  )
}
