import assert from 'node:assert/strict'
import { it } from 'node:test'
import { fuzzGateway } from './support/near-http.ts'
import { startWorld } from './support/world.ts'

it(
  'forwards nothing that the upstream reads otherwise, whatever nearly is HTTP',
  { timeout: 120_000 },
  async () => {
    const world = await startWorld({ settings: { maxCallsPerSecond: 1e6, maxCallBurst: 1e6 } })
    try {
      const result = await fuzzGateway(world, world.agent('teller'), 500, 20_261_126)
      // It reached what it is to try: messages that are served, and many that are not.
      assert.ok(result.plain > 20 && result.forwarded > 40, JSON.stringify(result))
      assert.equal(result.unheard, 0)
      assert.ok(result.accepted < result.messages * 0.8, JSON.stringify(result))
    } finally {
      await world.close()
    }
  },
)
