import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { createPatience, RefusedError } from '../src/index.ts'
import type { PutOff } from '../src/index.ts'

const limited = (retryAfterSeconds?: number, code = 'SP_LIMIT_REACHED'): RefusedError =>
  new RefusedError(code, 'a limit is reached', {
    status: 429,
    outcome: code === 'SP_OVERLOADED' ? 'refused' : 'limited',
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  })

/** Takes so many calls a window and refuses the rest, telling when the window ends. */
class Limit {
  granted = 0
  refused = 0
  /** Refusals of a call that came before the wait it was told was over. */
  early = 0
  #told = 0
  #began = performance.now()
  #left: number
  readonly #calls: number
  readonly #windowMs: number

  constructor(calls: number, windowMs: number) {
    this.#calls = calls
    this.#left = calls
    this.#windowMs = windowMs
  }

  async take(): Promise<number> {
    // As long as a call takes to get there.
    await sleep(1)
    const now = performance.now()
    while (now >= this.#began + this.#windowMs) {
      this.#began += this.#windowMs
      this.#left = this.#calls
    }
    if (this.#left > 0) {
      this.#left--
      return ++this.granted
    }
    this.refused++
    if (now < this.#told) this.early++
    this.#told = this.#began + this.#windowMs
    throw limited((this.#told - now) / 1000)
  }
}

describe('createPatience', () => {
  it('completes every call that a limit puts off, and waits as long as it was told', async () => {
    const limit = new Limit(10, 200)
    const patience = createPatience()
    const putOff: PutOff[] = []
    const calls = Array.from({ length: 30 }, () =>
      patience.run(
        'core.hold',
        () => limit.take(),
        (one) => putOff.push(one),
      ),
    )
    const results = await Promise.all(calls)
    assert.deepEqual(
      results.toSorted((a, b) => a - b),
      Array.from({ length: 30 }, (_, i) => i + 1),
    )
    // Each refusal is told to every call that waits for it.
    assert.ok(putOff.length >= limit.refused)
    assert.ok(putOff.every(({ error, waitMs }) => error.outcome === 'limited' && waitMs >= 50))
    // All thirty were under way when it was first reached; later at most the few that had room to go side by side.
    assert.ok(limit.early < 20 + 8, `${limit.early} came early`)
    assert.ok(limit.refused <= 20 + 10, `${limit.refused} refusals`)
  })

  it('is what keeps a caller from running into its limit: without it most calls are refused', async () => {
    const limit = new Limit(10, 200)
    const results = await Promise.allSettled(Array.from({ length: 30 }, () => limit.take()))
    assert.equal(results.filter(({ status }) => status === 'rejected').length, 20)
  })

  it('lets calls under another limit pass', async () => {
    const patience = createPatience()
    let asked = 0
    const held = patience.run('core.hold', () =>
      asked++ === 0 ? Promise.reject(limited(2)) : Promise.resolve('held'),
    )
    await sleep(20)
    assert.equal(await patience.run('core.list', () => Promise.resolve('listed')), 'listed')
    assert.equal(asked, 1)
    assert.equal(await held, 'held')
  })

  it('one call tries first, and the others follow it', async () => {
    const patience = createPatience()
    let open = false
    let together = 0
    let most = 0
    const call = async (): Promise<void> => {
      if (!open) throw limited(0.1)
      most = Math.max(most, ++together)
      await sleep(5)
      together--
    }
    const first = patience.run('x', call)
    await sleep(20)
    open = true
    await Promise.all([first, ...Array.from({ length: 6 }, () => patience.run('x', call))])
    assert.ok(most < 6, `${most} at once`)
  })

  it('takes an overloaded gateway for a limit, and every other refusal for an end', async () => {
    const patience = createPatience()
    let asked = 0
    const once = (thrown: Error) => () =>
      asked++ === 0 ? Promise.reject(thrown) : Promise.resolve('done')
    assert.equal(await patience.run('a', once(limited(0.05, 'SP_OVERLOADED'))), 'done')
    for (const error of [
      new RefusedError('SP_DENIED_FORBIDDEN', 'no', { status: 403, outcome: 'forbidden' }),
      new RefusedError('SP_UPSTREAM_REFUSED', 'no', {
        status: 429,
        outcome: 'refused',
        retryAfterSeconds: 1,
      }),
      // No wait is told: none would help.
      limited(),
      new Error('broken'),
    ]) {
      asked = 0
      await assert.rejects(patience.run('a', once(error)), error)
      assert.equal(asked, 1)
      assert.equal(await patience.run('a', once(error)), 'done')
    }
  })

  it('ends every wait with its signal', async () => {
    const stop = new AbortController()
    const patience = createPatience({ signal: stop.signal })
    const calls = Array.from({ length: 5 }, () =>
      patience.run('a', () => Promise.reject(limited(60))),
    )
    const ended = Promise.allSettled(calls)
    await sleep(20)
    stop.abort()
    for (const result of await ended) {
      assert.equal(result.status, 'rejected')
      // An aborted wait rejects with an error of that name.
      assert.equal((result as { readonly reason: Error }).reason.name, 'AbortError')
    }
  })
})
