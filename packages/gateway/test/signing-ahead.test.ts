import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { BroadcastChannel } from 'node:worker_threads'
import { SigningAhead } from '../src/upstream/signing/ahead.ts'

const p256 = (): KeyObject => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const key = p256()
const STUCK = new URL('support/stuck-signer.ts', import.meta.url)

const isSigned = (text: string, signature: string, by: KeyObject): boolean =>
  verify(
    by.asymmetricKeyType === 'ec' ? 'sha256' : null,
    Buffer.from(text),
    { key: createPublicKey(by), dsaEncoding: 'ieee-p1363' },
    Buffer.from(signature, 'base64url'),
  )

const none = (error: unknown): void => {
  throw new Error('the signing thread has ended', { cause: error })
}

async function using<T>(run: (signing: SigningAhead) => Promise<T>, onEnd = none): Promise<T> {
  const signing = new SigningAhead(onEnd)
  try {
    return await run(signing)
  } finally {
    await signing.close()
  }
}

/** A signature that is there in time: of the first of several tries, on a machine that has no processor to spare. */
async function signed(signing: SigningAhead, text: string, by = key): Promise<string> {
  for (let wait = 1; wait < 10_000; wait *= 2) {
    const ticket = signing.begin(text, by)
    await delay(wait)
    const signature = ticket === undefined ? undefined : signing.take(ticket)
    if (signature !== undefined) return signature
  }
  return assert.fail('it is never signed in time')
}

describe('signing ahead', () => {
  it('signs what it is given, with either kind of key, and with the one that it is given with it', () =>
    using(async (signing) => {
      const others = [p256(), generateKeyPairSync('ed25519').privateKey, key]
      for (const by of [key, ...others]) {
        const signature = await signed(signing, 'head.payload', by)
        assert.ok(isSigned('head.payload', signature, by))
        assert.ok(!isSigned('head.payloae', signature, by))
      }
    }))

  it('gives to each ticket the signature of its own text, whoever comes when', () =>
    using(async (signing) => {
      const keys = [key, p256()]
      await signed(signing, 'the thread runs')
      let random = 20_261_127
      const next = (below: number): number => {
        random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0
        return (random >>> 8) % below
      }
      const held: { ticket: number; text: string; by: KeyObject }[] = []
      let had = 0
      let missed = 0
      // Ten times around the ring and more: some are taken at once, some late, some never. Until the thread had its turns, too.
      const until = performance.now() + 60_000
      for (let i = 0; i < 6000 || (had <= 500 && performance.now() < until); i++) {
        const by = keys[Math.floor(i / 500) % 2] ?? key
        const text = `${i}.${'x'.repeat(next(900))}`
        const ticket = signing.begin(text, by)
        if (ticket !== undefined && next(10) > 0) held.push({ ticket, text, by })
        if (next(3) === 0) continue
        const [one] = held.splice(next(held.length), 1)
        if (!one) continue
        const signature = signing.take(one.ticket)
        if (signature === undefined) missed++
        else {
          had++
          assert.ok(isSigned(one.text, signature, one.by), `ticket ${one.ticket}`)
        }
        if (i % 64 === 0) await delay(next(4))
      }
      assert.ok(had > 500, `${had} were signed in time`)
      assert.ok(missed > 0, 'some were not, or this shows only half')
    }))

  it('gives a signature once', () =>
    using(async (signing) => {
      await signed(signing, 'the thread runs')
      const ticket = signing.begin('once', key)
      assert.ok(ticket !== undefined)
      await delay(50)
      signing.take(ticket)
      assert.equal(signing.take(ticket), undefined)
    }))

  it('has what is longer than a slot, and what there is no room for, signed by its owner', async () => {
    const signing = new SigningAhead(none, { file: STUCK })
    assert.equal(signing.begin('x'.repeat(2049), key), undefined)
    const tickets = Array.from({ length: 600 }, (_, i) => signing.begin(`${i}`, key))
    assert.equal(tickets.filter((ticket) => ticket !== undefined).length, 512)
    await signing.close()
  })

  it('signs in the end what nobody comes for, and forgets it', () =>
    using(async (signing) => {
      for (let i = 0; i < 600; i++) signing.begin(`${i}`, key)
      assert.ok(isSigned('later', await signed(signing, 'later'), key))
    }))

  it('leaves alone what its thread has in hand, however long it takes', async () => {
    const signing = new SigningAhead(none, { file: STUCK })
    const channel = new BroadcastChannel('stuck-signer')
    const begun = once(channel, 'message')
    const first = signing.begin('first', key)
    assert.ok(first !== undefined)
    // From the second on, each gives its place back at once: only the first is begun.
    for (let i = 1; i < 512; i++) {
      const ticket = signing.begin(`${i}`, key)
      assert.ok(ticket !== undefined)
      assert.equal(signing.take(ticket), undefined)
    }
    await begun
    channel.close()
    assert.equal(signing.begin('in its place', key), undefined)
    assert.equal(signing.take(first), undefined)
    assert.equal(signing.begin('in its place', key), undefined)
    await signing.close()
  })

  it('is not ended by a key that cannot sign, nor tells of its end when it is closed', () =>
    using(async (signing) => {
      const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
      const ticket = signing.begin('x', p384)
      await signed(signing, 'signed all the same')
      assert.ok(ticket !== undefined)
      assert.equal(signing.take(ticket), undefined)
      await signing.close()
      assert.equal(signing.begin('y', key), undefined)
    }))

  it('says once that its thread has ended, and has everything signed by its owner from then on', async () => {
    let tell = none
    let ends = 0
    const ended = new Promise((resolve) => {
      tell = (error) => {
        ends++
        resolve(error)
      }
    })
    const file = new URL('data:text/javascript,throw new Error("it cannot run")')
    const onEnd = (error: unknown): void => {
      tell(error)
    }
    const signing = new SigningAhead(onEnd, { file })
    const ticket = signing.begin('x', key)
    assert.ok(ticket !== undefined)
    assert.match(String(await ended), /it cannot run/)
    assert.equal(signing.take(ticket), undefined)
    assert.equal(signing.begin('y', key), undefined)
    await signing.close()
    assert.equal(ends, 1)
  })

  it('is tried again where its thread cannot be started: seldom, and said once; calls go on', async () => {
    // What no thread can be made of; a URL may become another.
    const file = new URL('https://nowhere.example/')
    let now = 5000
    const told: unknown[] = []
    const signing = new SigningAhead(none, {
      file,
      clock: { monotonic: () => now },
      onUnstarted: (error) => {
        told.push(error)
      },
    })
    /** When it is tried within so many milliseconds, one after the other: each try reads what the thread would run. */
    const triesWithin = (ms: number): number[] => {
      const tries: number[] = []
      const began = now
      Object.defineProperty(file, 'href', {
        configurable: true,
        get: () => {
          if (tries.at(-1) !== now - began) tries.push(now - began)
          return 'https://nowhere.example/'
        },
      })
      for (const end = now + ms; now < end; now += 250) {
        assert.equal(signing.begin('x', key), undefined)
      }
      return tries
    }
    const tries = triesWithin(240_000)
    const waited = tries.map((at, i) => at - (tries[i - 1] ?? 0)).slice(1)
    assert.deepEqual(waited, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000])
    assert.equal(told.length, 1)
    assert.match(String(told[0]), /URL/)

    // As soon as one can be started, it signs; what was refused before is not in its way.
    Reflect.deleteProperty(file, 'href')
    file.href = new URL('../src/upstream/signing/thread.ts', import.meta.url).href
    now += 60_000
    const signature = await signed(signing, 'head.payload')
    assert.ok(isSigned('head.payload', signature, key))
    assert.equal(told.length, 1)
    await signing.close()
  })
})
