import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Gone } from '../src/edge/ending.ts'

describe('a caller that may go', () => {
  it('tells whoever listens, each once, functions and objects alike', () => {
    const gone = new Gone()
    const told: string[] = []
    const third = { handleEvent: () => told.push('third') }
    gone.addEventListener('abort', () => told.push('first'))
    gone.addEventListener('abort', () => told.push('second'))
    gone.addEventListener('abort', third)
    assert.deepEqual([gone.aborted, gone.reason], [false, undefined])
    gone.abort()
    gone.abort()
    assert.deepEqual(told, ['first', 'second', 'third'])
    assert.equal(gone.aborted, true)
    assert.equal((gone.reason as Error).name, 'AbortError')
  })

  it('tells nobody who listens no more, or began to after it', () => {
    const gone = new Gone()
    const told: string[] = []
    const first = (): number => told.push('first')
    const others = ['second', 'third'].map((name) => () => {
      told.push(name)
    })
    for (const one of [first, ...others]) gone.addEventListener('abort', one)
    gone.removeEventListener('abort', first)
    if (others[0]) gone.removeEventListener('abort', others[0])
    gone.addEventListener('abort', () => told.push('fourth'))
    gone.abort()
    gone.addEventListener('abort', () => told.push('late'))
    gone.abort()
    assert.deepEqual(told.toSorted(), ['fourth', 'third'])
  })

  it('is as an `AbortSignal` is to those who listen', () => {
    const controller = new AbortController()
    const gone = new Gone()
    for (const [ending, abort] of [
      [
        controller.signal,
        () => {
          controller.abort()
        },
      ],
      [
        gone,
        () => {
          gone.abort()
        },
      ],
    ] as const) {
      let times = 0
      ending.addEventListener('abort', { handleEvent: () => times++ })
      abort()
      abort()
      assert.equal(times, 1)
      assert.ok(ending.aborted && ending.reason instanceof Error)
    }
  })
})
