import assert from 'node:assert/strict'
import { createCipheriv, createDecipheriv, hash, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { createBarrier, fileStorage, openBarrier } from '../src/index.ts'
import type { Barrier, Unsealer } from '../src/index.ts'
import { MemoryStorage } from './support/memory.ts'

const FIVE = { count: 5, threshold: 3 }
const code = (value: string): { code: string } => ({ code: value })
const sealed = code('SP_SEAL_SEALED')
const wrongShare = code('SP_SEAL_SHARE')
const invalid = code('SP_SEAL_INVALID')
const corrupt = code('SP_SEAL_CORRUPT')
const text = (value: string): Buffer => Buffer.from(value)

/** An unsealer with a key of its own, as an HSM has one. */
function unsealer(id: string, key = randomBytes(32)): Unsealer {
  return {
    id,
    async wrap(rootKey, context) {
      const iv = randomBytes(12)
      const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(context))
      return Buffer.concat([iv, cipher.update(rootKey), cipher.final(), cipher.getAuthTag()])
    },
    async unwrap(wrapped, context) {
      const decipher = createDecipheriv('aes-256-gcm', key, wrapped.subarray(0, 12))
      decipher.setAAD(Buffer.from(context)).setAuthTag(wrapped.subarray(-16))
      return Buffer.concat([decipher.update(wrapped.subarray(12, -16)), decipher.final()])
    },
  }
}

async function fresh(options: { maxUses?: number; leaseUses?: number } = {}): Promise<{
  storage: MemoryStorage
  barrier: Barrier
  shares: readonly string[]
}> {
  const storage = new MemoryStorage()
  return { storage, ...(await createBarrier({ storage, shares: FIVE, ...options })) }
}

async function unsealed(storage: MemoryStorage, shares: readonly string[]): Promise<Barrier> {
  const barrier = await openBarrier({ storage })
  for (const share of shares.slice(0, 3)) await barrier.unsealWithShare(share)
  assert.equal(barrier.status().state, 'unsealed')
  return barrier
}

test('what was encrypted opens again, also after a restart and unsealing with any three of five shares', async () => {
  const { storage, barrier, shares } = await fresh()
  const ct = await barrier.encrypt('secret/openai', 1, text('sk-1'))
  assert.equal((await barrier.decrypt('secret/openai', 1, ct)).toString(), 'sk-1')
  for (const order of [
    [0, 1, 2],
    [4, 2, 0],
    [3, 4, 1],
  ]) {
    const again = await openBarrier({ storage })
    assert.equal(again.status().state, 'sealed')
    for (const [given, i] of order.entries()) {
      assert.equal(again.status().state, given === 0 ? 'sealed' : 'half-unsealed')
      assert.equal(again.status().shares?.given, given)
      await assert.rejects(again.decrypt('secret/openai', 1, ct), sealed)
      await again.unsealWithShare(shares[i] ?? '')
    }
    assert.equal(again.status().state, 'unsealed')
    assert.equal((await again.decrypt('secret/openai', 1, ct)).toString(), 'sk-1')
  }
})

test('any path, version and bytes survive the round trip, and open nowhere else', async () => {
  const { barrier } = await fresh()
  const path = fc.string({ minLength: 1, maxLength: 40, unit: 'binary' })
  const version = fc.nat(Number.MAX_SAFE_INTEGER)
  await fc.assert(
    fc.asyncProperty(
      ...[path, version, path, version, fc.uint8Array({ maxLength: 200 })],
      async (p, v, otherPath, otherVersion, bytes) => {
        const ct = await barrier.encrypt(p, v, bytes)
        assert.deepEqual(await barrier.decrypt(p, v, ct), Buffer.from(bytes))
        if (p !== otherPath) await assert.rejects(barrier.decrypt(otherPath, v, ct), invalid)
        if (v !== otherVersion) await assert.rejects(barrier.decrypt(p, otherVersion, ct), invalid)
      },
    ),
  )
})

test('MUST-reject 14: a ciphertext swapped between paths, versions, key terms or barriers does not open', async () => {
  const { barrier } = await fresh()
  const one = await barrier.encrypt('secret/a', 1, text('one'))
  assert.equal((await barrier.decrypt('secret/a', 1, one)).toString(), 'one')
  await assert.rejects(barrier.decrypt('secret/b', 1, one), invalid)
  await assert.rejects(barrier.decrypt('secret/a', 2, one), invalid)
  await assert.rejects(barrier.decrypt('secret/a1', 1, one), invalid)
  await assert.rejects(barrier.decrypt('1 secret/a', 1, one), invalid)
  // Lone surrogates have one and the same UTF-8 form; they are not one path.
  const odd = await barrier.encrypt('\ud800', 1, text('odd'))
  await assert.rejects(barrier.decrypt('\ud801', 1, odd), invalid)
  await barrier.rotate()
  const moved = Buffer.from(one)
  moved.writeUInt32BE(2, 1)
  await assert.rejects(barrier.decrypt('secret/a', 1, moved), invalid)
  const other = await fresh()
  await assert.rejects(other.barrier.decrypt('secret/a', 1, one), invalid)
})

test('a ciphertext with any bit changed, cut or lengthened does not open', async () => {
  const { barrier } = await fresh()
  const ct = await barrier.encrypt('p', 0, text('value'))
  for (let i = 0; i < ct.length * 8; i++) {
    const bad = Buffer.from(ct)
    bad[i >> 3] = (bad[i >> 3] ?? 0) ^ (1 << (i & 7))
    await assert.rejects(barrier.decrypt('p', 0, bad), /SP_SEAL_|does not open|no key/)
  }
  for (let n = 0; n < ct.length; n++) {
    await assert.rejects(barrier.decrypt('p', 0, ct.subarray(0, n)), invalid)
  }
  await assert.rejects(barrier.decrypt('p', 0, Buffer.concat([ct, Buffer.alloc(1)])), invalid)
  assert.equal((await barrier.decrypt('p', 0, ct)).toString(), 'value')
})

test('a path or version that cannot be bound is refused', async () => {
  const { barrier } = await fresh()
  for (const [path, version] of [
    ['', 1],
    ['x'.repeat(4097), 1],
    ['p', -1],
    ['p', 1.5],
    ['p', Number.NaN],
    ['p', 2 ** 53],
  ] as const) {
    await assert.rejects(barrier.encrypt(path, version, text('x')), code('SP_SEAL_PATH'))
    await assert.rejects(barrier.decrypt(path, version, Buffer.alloc(40, 1)), code('SP_SEAL_PATH'))
  }
})

test('sealed, everything but unsealing is refused; sealing again forgets keys and shares', async () => {
  const { storage, barrier, shares } = await fresh()
  const ct = await barrier.encrypt('p', 0, text('x'))
  const locked = await openBarrier({ storage })
  const acts = (): Promise<unknown>[] => [
    locked.encrypt('p', 0, text('x')),
    locked.decrypt('p', 0, ct),
    locked.rotate(),
    locked.refresh(),
    locked.beginRekey(FIVE, shares),
    locked.confirmRekey(shares),
    locked.cancelRekey(),
    locked.setUnsealer(unsealer('x'), shares),
  ]
  for (const act of acts()) await assert.rejects(act, sealed)
  assert.throws(() => locked.isStale(ct), sealed)
  assert.throws(() => locked.terms(), sealed)
  await locked.unsealWithShare(shares[0] ?? '')
  for (const act of acts()) await assert.rejects(act, { ...sealed, detail: /1 of 3/ })
  await locked.unsealWithShare(shares[1] ?? '')
  locked.seal()
  assert.equal(locked.status().state, 'sealed')
  await locked.unsealWithShare(shares[2] ?? '')
  assert.equal(locked.status().shares?.given, 1)
  await locked.unsealWithShare(shares[3] ?? '')
  await locked.unsealWithShare(shares[4] ?? '')
  assert.equal((await locked.decrypt('p', 0, ct)).toString(), 'x')
  await assert.rejects(locked.unsealWithShare(shares[0] ?? ''), code('SP_SEAL_UNSEALED'))
  locked.seal()
  for (const act of acts()) await assert.rejects(act, sealed)
})

test('the same share again counts once; a share of another set, a forged and a mistyped one are told and spoil nothing', async () => {
  const { storage, shares } = await fresh()
  const other = await fresh()
  const barrier = await openBarrier({ storage })
  await barrier.unsealWithShare(shares[0] ?? '')
  const twice = await barrier.unsealWithShare((shares[0] ?? '').toLowerCase())
  assert.deepEqual([twice.state, twice.shares?.given], ['half-unsealed', 1])
  await assert.rejects(barrier.unsealWithShare(other.shares[1] ?? ''), {
    ...wrongShare,
    detail: /is of the set/,
  })
  await assert.rejects(barrier.unsealWithShare((shares[1] ?? '').slice(0, -1)), wrongShare)
  await assert.rejects(barrier.unsealWithShare(forged(shares[1] ?? '')), {
    ...wrongShare,
    detail: /none of the shares/,
  })
  assert.equal(barrier.status().shares?.given, 1)
  await barrier.unsealWithShare(shares[1] ?? '')
  assert.equal((await barrier.unsealWithShare(shares[2] ?? '')).state, 'unsealed')
})

test('rotated, older ciphertexts open and are named stale; newer ones use the new key', async () => {
  const { storage, barrier, shares } = await fresh()
  const old = await barrier.encrypt('p', 1, text('old'))
  assert.equal(barrier.isStale(old), false)
  assert.equal(await barrier.rotate(), 2)
  const young = await barrier.encrypt('p', 2, text('young'))
  assert.deepEqual([barrier.isStale(old), barrier.isStale(young)], [true, false])
  const again = await unsealed(storage, shares)
  assert.equal((await again.decrypt('p', 1, old)).toString(), 'old')
  assert.equal((await again.decrypt('p', 2, young)).toString(), 'young')
  assert.deepEqual(
    again.terms().map(({ term, active }) => [term, active]),
    [
      [1, false],
      [2, true],
    ],
  )
})

test('the nonce cap: a data key is never used more often than its budget, also over restarts; the next one is made unasked', async () => {
  const options = { maxUses: 10, leaseUses: 4 }
  const { storage, barrier, shares } = await fresh(options)
  const uses = new Map<number, number>()
  const use = async (over: Barrier): Promise<void> => {
    const term = (await over.encrypt('p', 0, text('x'))).readUInt32BE(1)
    uses.set(term, (uses.get(term) ?? 0) + 1)
  }
  await Promise.all(Array.from({ length: 30 }, () => use(barrier)))
  for (let run = 0; run < 10; run++) {
    const again = await openBarrier({ storage, ...options })
    for (const share of shares.slice(0, 3)) await again.unsealWithShare(share)
    for (let i = 0; i < 3; i++) await use(again)
  }
  assert.ok(uses.size > 6)
  for (const [term, count] of uses) assert.ok(count <= 8, `term ${term} was used ${count} times`)
  const { terms } = { terms: (await unsealed(storage, shares)).terms() }
  for (const { spent } of terms) assert.ok(spent <= 10)
  await assert.rejects(openBarrier({ storage, maxUses: 2 ** 32 }), code('SP_SEAL_BUDGET'))
  await assert.rejects(openBarrier({ storage, leaseUses: 0 }), code('SP_SEAL_BUDGET'))
})

test('rotations have an end before the document is too long to be read: no number of them locks anybody out', async () => {
  const storage = new MemoryStorage()
  const options = { storage, maxTerms: 5, maxUses: 4, leaseUses: 2 }
  const { barrier, shares } = await createBarrier({ ...options, shares: FIVE })
  for (let term = 2; term <= 5; term++) assert.equal(await barrier.rotate(), term)
  await assert.rejects(barrier.rotate(), code('SP_SEAL_BUDGET'))
  // What is encrypted still finds keys.
  for (let i = 0; i < 10; i++) await barrier.encrypt('p', 0, text('x'))
  assert.ok(barrier.terms().length > 5)
  assert.equal((await unsealed(storage, shares)).terms().length, barrier.terms().length)
})

test('two processes on one store: each finds what the other rotated to, and their leases do not overlap', async () => {
  const { storage, barrier, shares } = await fresh({ maxUses: 100, leaseUses: 5 })
  const second = await unsealed(storage, shares)
  const mine = await barrier.encrypt('p', 0, text('mine'))
  await second.rotate()
  const theirs = await second.encrypt('p', 0, text('theirs'))
  assert.equal((await barrier.decrypt('p', 0, theirs)).toString(), 'theirs')
  assert.equal((await second.decrypt('p', 0, mine)).toString(), 'mine')
  await second.rotate()
  await barrier.refresh()
  assert.equal((await barrier.encrypt('p', 0, text('x'))).readUInt32BE(1), 3)
  const both = [barrier, second]
  await Promise.all(both.flatMap((b) => [b.encrypt('p', 0, text('x')), b.rotate(), b.rotate()]))
  await barrier.refresh()
  assert.equal(barrier.terms().length, 7)
})

test('new shares replace the old ones once a threshold of them was shown; the data stays as it is', async () => {
  const { storage, barrier, shares } = await fresh()
  const ct = await barrier.encrypt('p', 0, text('x'))
  await assert.rejects(barrier.beginRekey(FIVE, []), wrongShare)
  await assert.rejects(
    barrier.beginRekey(FIVE, [...shares.slice(0, 2), shares[0] ?? '']),
    wrongShare,
  )
  await assert.rejects(barrier.confirmRekey(shares), code('SP_SEAL_NO_REKEY'))
  await assert.rejects(barrier.cancelRekey(), code('SP_SEAL_NO_REKEY'))
  const next = await barrier.beginRekey({ count: 3, threshold: 2 }, shares.slice(1, 4))
  assert.deepEqual([barrier.status().rekeying?.count, barrier.status().rekeying?.threshold], [3, 2])
  await assert.rejects(barrier.confirmRekey(next.slice(0, 1)), wrongShare)
  await assert.rejects(barrier.confirmRekey(shares), wrongShare)
  const meanwhile = await unsealed(storage, shares)
  const locked = await openBarrier({ storage })
  await assert.rejects(locked.unsealWithShare(next[0] ?? ''), {
    ...wrongShare,
    detail: /not confirmed/,
  })
  assert.equal((await meanwhile.decrypt('p', 0, ct)).toString(), 'x')
  await barrier.confirmRekey(next.slice(1))
  const again = await openBarrier({ storage })
  await assert.rejects(again.unsealWithShare(shares[0] ?? ''), wrongShare)
  await again.unsealWithShare(next[0] ?? '')
  assert.equal((await again.unsealWithShare(next[2] ?? '')).state, 'unsealed')
  assert.equal((await again.decrypt('p', 0, ct)).toString(), 'x')
  await again.beginRekey(FIVE, next.slice(0, 2))
  await again.cancelRekey()
  assert.equal(again.status().rekeying, undefined)
})

test('a crash at each write of rotate, of rekey and of a lease leaves a barrier that opens, with all its data', async () => {
  for (const after of [false, true]) {
    for (let at = 1; at <= 4; at++) {
      const { storage, barrier, shares } = await fresh({ maxUses: 4, leaseUses: 2 })
      const ct = await barrier.encrypt('p', 0, text('x'))
      let next: readonly string[] = []
      const steps: (() => Promise<unknown>)[] = [
        () => barrier.rotate(),
        () => barrier.encrypt('q', 0, text('y')),
        async () => (next = await barrier.beginRekey(FIVE, shares.slice(0, 3))),
        () => barrier.confirmRekey(next.slice(0, 3)),
      ]
      storage.dieAt(at, after)
      let done = 0
      await assert.rejects(async () => {
        for (const step of steps) {
          await step()
          done++
        }
      }, code('SP_SEAL_STORAGE'))
      assert.equal(done, at - 1)
      storage.live()
      const replaced = at === 4 && after
      const again = await openBarrier({ storage })
      for (const share of (replaced ? next : shares).slice(1, 4)) await again.unsealWithShare(share)
      assert.equal((await again.decrypt('p', 0, ct)).toString(), 'x')
      const more = await again.encrypt('p', 1, text('more'))
      // The one that saw the failure goes on as well: it reads what is there.
      assert.equal((await barrier.decrypt('p', 1, more)).toString(), 'more')
      await barrier.rotate()
      assert.equal((await barrier.decrypt('p', 0, ct)).toString(), 'x')
    }
  }
})

test('a store that was cut, changed or put back is refused, and never opened by half', async () => {
  const { storage, barrier, shares } = await fresh()
  const before = storage.text ?? ''
  const ct = await barrier.encrypt('p', 0, text('x'))
  const good = storage.text ?? ''
  for (let n = 0; n < good.length; n += 7) {
    storage.text = good.slice(0, n)
    await assert.rejects(openBarrier({ storage }), corrupt)
  }
  storage.text = good.replace('"threshold":3', '"threshold":2')
  assert.notEqual(storage.text, good)
  await assert.rejects(openBarrier({ storage }), corrupt)
  storage.text = undefined
  await assert.rejects(openBarrier({ storage }), code('SP_SEAL_MISSING'))
  // Put back to a state before the lease was written down: uses would be forgotten.
  storage.text = before
  await assert.rejects(barrier.refresh(), corrupt)
  storage.text = good
  await barrier.refresh()
  assert.equal((await barrier.decrypt('p', 0, ct)).toString(), 'x')
  // With a checksum made anew, only the root key tells: here the spent uses of the data key.
  const { sha256Hex } = await import('@sallyport/base')
  const body = good.slice(17, -1).replace('"spent":65536', '"spent":0')
  assert.notEqual(body, good.slice(17, -1))
  storage.text = `${sha256Hex(body).slice(0, 16)} ${body}\n`
  const forgedStore = await openBarrier({ storage })
  for (const share of shares.slice(0, 2)) await forgedStore.unsealWithShare(share)
  await assert.rejects(forgedStore.unsealWithShare(shares[2] ?? ''), corrupt)
  assert.equal(forgedStore.status().state, 'sealed')
  await assert.rejects(barrier.refresh(), corrupt)
})

test('an unsealer opens the barrier without people; another one, or one that lost its key, does not', async () => {
  const storage = new MemoryStorage()
  const hsm = unsealer('hsm:1')
  const { barrier, shares } = await createBarrier({ storage, unsealer: hsm, shares: FIVE })
  const ct = await barrier.encrypt('p', 0, text('x'))
  const again = await openBarrier({ storage })
  const failed = code('SP_SEAL_UNSEALER')
  await assert.rejects(again.unsealWith(unsealer('hsm:2')), failed)
  await assert.rejects(again.unsealWith(unsealer('hsm:1')), failed)
  assert.equal((await again.unsealWith(hsm)).state, 'unsealed')
  assert.equal((await again.decrypt('p', 0, ct)).toString(), 'x')
  // People's shares open it as well, and are asked for before the unsealer is replaced.
  const next = unsealer('hsm:2')
  await assert.rejects(again.setUnsealer(next, []), wrongShare)
  await again.setUnsealer(next, shares.slice(0, 3))
  await assert.rejects((await openBarrier({ storage })).unsealWith(hsm), failed)
  assert.equal((await (await openBarrier({ storage })).unsealWith(next)).state, 'unsealed')
  const forgetful: Unsealer = { ...unsealer('hsm:3'), unwrap: async () => randomBytes(32) }
  await again.refresh()
  await assert.rejects(again.setUnsealer(forgetful, shares.slice(0, 3)), failed)
  await again.setUnsealer(undefined, shares.slice(0, 3))
  await assert.rejects((await openBarrier({ storage })).unsealWith(next), failed)
  await unsealed(storage, shares)
})

test('without shares the unsealer cannot be taken away, nor a barrier made that nobody could unseal', async () => {
  const storage = new MemoryStorage()
  const none = code('SP_SEAL_SHARES')
  await assert.rejects(createBarrier({ storage }), none)
  const { barrier } = await createBarrier({ storage, unsealer: unsealer('hsm:1') })
  await assert.rejects(barrier.setUnsealer(undefined, []), none)
  const locked = await openBarrier({ storage })
  await assert.rejects(locked.unsealWithShare('x'), none)
  await assert.rejects(
    createBarrier({ storage, unsealer: unsealer('hsm:1') }),
    code('SP_SEAL_EXISTS'),
  )
  // Shares can be added later.
  const shares = await barrier.beginRekey(FIVE, [])
  await barrier.confirmRekey(shares.slice(0, 3))
  await unsealed(storage, shares)
})

test('in a file: 0600, replaced as a whole, and a write that a crash cut short changes nothing', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'barrier-'))
  try {
    const path = join(dir, 'seal', 'barrier')
    const storage = fileStorage(path)
    const { barrier, shares } = await createBarrier({ storage, shares: FIVE })
    const ct = await barrier.encrypt('p', 0, text('x'))
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    await assert.rejects(createBarrier({ storage, shares: FIVE }), code('SP_SEAL_EXISTS'))
    const whole = await readFile(path, 'utf8')
    for (const n of [0, 10, whole.length]) {
      await writeFile(`${path}.new`, whole.slice(0, n), { mode: 0o600 })
      const again = await openBarrier({ storage: fileStorage(path) })
      for (const share of shares.slice(2)) await again.unsealWithShare(share)
      assert.equal((await again.decrypt('p', 0, ct)).toString(), 'x')
      await again.rotate()
    }
    const broken = fileStorage(join(path, 'below-a-file'))
    await assert.rejects(openBarrier({ storage: broken }), code('SP_SEAL_STORAGE'))
  } finally {
    await rm(dir, { recursive: true })
  }
})

/** The share with another secret byte and a checksum that fits. */
function forged(share: string): string {
  const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
  const letters = share.replaceAll('-', '').split('')
  const bits = letters
    .map((letter) => alphabet.indexOf(letter).toString(2).padStart(5, '0'))
    .join('')
  const all = Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2)))
  all[20] = (all[20] ?? 0) ^ 1
  const input = Buffer.concat([text('sallyport-share/1 checksum '), all.subarray(0, -4)])
  hash('sha256', input, 'buffer').copy(all, all.length - 4, 0, 4)
  const changed = [...all].map((byte) => byte.toString(2).padStart(8, '0')).join('')
  return (changed.match(/.{5}/g) ?? [])
    .map((five) => alphabet.charAt(Number.parseInt(five, 2)))
    .join('')
}
