import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import type { Network } from '@sallyport/network'
import { Sessions } from '../src/state/sessions.ts'
import { declared } from './support/world.ts'

const MINUTE = 60_000
const ANN = 'spiffe://sallyport.test/agent/teller/1'
const BOB = 'spiffe://sallyport.test/agent/teller/2'

describe('labels that need a record', () => {
  let sessions: Sessions
  let network: Network
  // As the decider hands them out: one list for the same treatments, that nobody changes.
  const labels = Object.freeze(['pii', 'untrusted'])
  beforeEach(async () => {
    ;({ network } = await declared())
    sessions = await Sessions.rebuild({
      size: 0,
      read: () => {
        throw new Error('there is nothing to read')
      },
    })
  })

  it('are all of them, until they are added, and none for a minute', () => {
    assert.deepEqual(sessions.missing(ANN, labels, 1000), ['pii', 'untrusted'])
    sessions.add(ANN, labels, 1000)
    // Asked for again and again, by the very list and by another like it.
    for (const asked of [labels, labels, [...labels]]) {
      assert.deepEqual(sessions.missing(ANN, asked, 1000 + MINUTE - 1), [])
    }
    assert.deepEqual(sessions.missing(BOB, labels, 2000), ['pii', 'untrusted'])
    assert.deepEqual(sessions.missing(ANN, labels, 1000 + MINUTE), ['pii', 'untrusted'])
    // A clock that went back covers nothing.
    assert.deepEqual(sessions.missing(ANN, labels, 999), ['pii', 'untrusted'])
  })

  it('are those of which the minute is over', () => {
    sessions.add(ANN, labels, 1000)
    assert.deepEqual(sessions.missing(ANN, labels, 1000), [])
    sessions.add(ANN, ['pii'], 40_000)
    assert.deepEqual(sessions.missing(ANN, labels, 50_000), [])
    assert.deepEqual(sessions.missing(ANN, labels, 1000 + MINUTE), ['untrusted'])
    sessions.add(ANN, ['untrusted'], 1000 + MINUTE)
    assert.deepEqual(sessions.missing(ANN, labels, 1000 + MINUTE), [])
    assert.deepEqual(sessions.missing(ANN, labels, 40_000 + MINUTE), ['pii'])
  })

  it('are judged by each list for itself', () => {
    sessions.add(ANN, labels, 1000)
    assert.deepEqual(sessions.missing(ANN, labels, 1000), [])
    assert.deepEqual(sessions.missing(ANN, ['pii', 'secret'], 1000), ['secret'])
    const growing = ['pii']
    assert.deepEqual(sessions.missing(ANN, growing, 1000), [])
    growing.push('secret')
    assert.deepEqual(sessions.missing(ANN, growing, 1000), ['secret'])
  })

  it('count as touched when they were asked for last', () => {
    sessions.add(ANN, labels, 1000)
    for (const now of [2000, 3000]) sessions.missing(ANN, labels, now)
    assert.deepEqual(sessions.labelsOf(ANN, network, { since: 3000 }), ['pii', 'untrusted'])
    assert.deepEqual(sessions.labelsOf(ANN, network, { since: 3001 }), [])
    // What is touched under one list is touched under all.
    sessions.missing(ANN, ['pii'], 4000)
    assert.deepEqual(sessions.labelsOf(ANN, network, { since: 3500 }), ['pii'])
    // After another record of them, too.
    sessions.missing(ANN, labels, 5000)
    sessions.add(ANN, labels, 6000)
    sessions.missing(ANN, labels, 7000)
    assert.deepEqual(sessions.labelsOf(ANN, network, { since: 7000 }), ['pii', 'untrusted'])
  })

  it('keep when they were touched, whatever is asked for or added next', () => {
    sessions.add(ANN, labels, 1000)
    for (const now of [1000, 5000]) sessions.missing(ANN, labels, now)
    sessions.missing(ANN, Object.freeze(['pii']), 6000)
    assert.deepEqual(sessions.labelsOf(ANN, network, { since: 5000 }), ['pii', 'untrusted'])
    assert.deepEqual(sessions.labelsOf(ANN, network, { since: 5001 }), ['pii'])
    for (const now of [7000, 8000]) sessions.missing(ANN, labels, now)
    sessions.add(ANN, ['secret'], 7500)
    assert.deepEqual(sessions.labelsOf(ANN, network, { since: 8000 }), ['pii', 'untrusted'])
  })
})
