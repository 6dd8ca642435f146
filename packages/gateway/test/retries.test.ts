/** What is sent again to a system whose connection turned out to be closed, and what never is. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { startWorld } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

const GET = { path: '/bank/v1/accounts/ACC-1' }
const TRANSFER = { path: '/bank/v1/accounts/ACC-1/transfers', body: { amount: 5, to: 'bob' } }

for (const codec of ['llhttp', 'lean'] as const) {
  describe(`a connection that a system ends in place of an answer, ${codec}`, () => {
    let world: World
    let agent: TestAgent
    before(async () => {
      world = await startWorld({ settings: { codec } })
      agent = world.agent('teller')
    })
    after(() => world.close())

    /** Has the next so many requests end their connections. @returns how often the system was asked, and what the caller was told */
    const ask = async (
      what: { readonly path: string; readonly body?: unknown },
      broken: number,
    ): Promise<{ readonly asked: number; readonly status: number; readonly code: unknown }> => {
      const usual = world.bank.answer
      const from = world.bank.seen.length
      let left = broken
      world.bank.answer = (seen, res) => {
        if (left-- > 0) res.socket?.destroy()
        else usual(seen, res)
      }
      try {
        const { status, body } = await agent.ask(what)
        return { asked: world.bank.seen.length - from, status, code: body['code'] }
      } finally {
        world.bank.answer = usual
      }
    }

    it('has a read sent again, twice at most', async () => {
      assert.deepEqual(await ask(GET, 0), { asked: 1, status: 200, code: undefined })
      assert.deepEqual(await ask(GET, 1), { asked: 2, status: 200, code: undefined })
      assert.deepEqual(await ask(GET, 2), { asked: 3, status: 200, code: undefined })
      assert.deepEqual(await ask(GET, 9), { asked: 3, status: 502, code: 'SP_UPSTREAM_FAILED' })
    })

    it('never has a write sent again, on a fresh connection or a used one', async () => {
      const failed = { asked: 1, status: 502, code: 'SP_UPSTREAM_FAILED' }
      assert.deepEqual(await ask(TRANSFER, 1), failed)
      assert.deepEqual(await ask(TRANSFER, 0), { asked: 1, status: 200, code: undefined })
      assert.deepEqual(await ask(TRANSFER, 1), failed)
    })
  })
}
