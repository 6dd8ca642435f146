import assert from 'node:assert/strict'
import { createSecretKey, randomBytes } from 'node:crypto'
import {
  appendFile,
  mkdtemp,
  readdir,
  readFile,
  rm,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { openKeyring, readKeyring } from '../src/index.ts'
import type { Keyring } from '../src/index.ts'

const dirs: string[] = []
after(async () => {
  for (const dir of dirs) await rm(dir, { recursive: true, force: true })
})

async function freshDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'seal-'))
  dirs.push(dir)
  return join(dir, 'keyring')
}

const kek = createSecretKey(randomBytes(32))
const text = (value: string): Buffer => Buffer.from(value)
const code = (code: string): { code: string } => ({ code })

async function withKeyring<T>(dir: string, act: (ring: Keyring) => Promise<T>): Promise<T> {
  const ring = await openKeyring({ dir, kek })
  try {
    return await act(ring)
  } finally {
    await ring.close()
  }
}

test('what was sealed opens again, also after a restart', async () => {
  const dir = await freshDir()
  const sealed = await withKeyring(dir, (ring) => ring.seal('acct-1', text('memo'), 'r1/input'))
  assert.match(sealed.k, /^[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{12}$/)
  await withKeyring(dir, async (ring) => {
    assert.equal((await ring.open(sealed, 'r1/input')).toString(), 'memo')
    const again = await ring.seal('acct-1', text('memo'), 'r1/input')
    assert.equal(again.k, sealed.k)
    assert.notEqual(again.ct, sealed.ct)
    assert.notEqual((await ring.seal('acct-2', text('memo'), 'r1/input')).k, sealed.k)
  })
})

test('any bytes and any subject survive the round trip', async () => {
  await withKeyring(await freshDir(), (ring) =>
    fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary' }),
        fc.uint8Array(),
        fc.string(),
        async (subject, bytes, aad) => {
          const sealed = await ring.seal(subject, bytes, aad)
          assert.deepEqual(new Uint8Array(await ring.open(sealed, aad)), bytes)
        },
      ),
      { numRuns: 50 },
    ),
  )
})

test('a ciphertext opens only for the record and path it was made for', async () => {
  await withKeyring(await freshDir(), async (ring) => {
    const a = await ring.seal('s', text('a'), 'r1/input')
    const b = await ring.seal('t', text('b'), 'r2/input')
    await assert.rejects(ring.open(a, 'r2/input'), code('SP_SEAL_INVALID'))
    await assert.rejects(ring.open({ ...a, k: b.k }, 'r1/input'), code('SP_SEAL_INVALID'))
    await assert.rejects(ring.open({ ...a, iv: b.iv }, 'r1/input'), code('SP_SEAL_INVALID'))
    await assert.rejects(ring.open({ ...a, ct: '' }, 'r1/input'), code('SP_SEAL_INVALID'))
    await assert.rejects(
      ring.open({ ...a, k: `${a.k.slice(0, -1)}!` }, 'r1/input'),
      code('SP_SEAL_UNKNOWN_KEY'),
    )
    assert.equal((await ring.open(a, 'r1/input')).toString(), 'a')
  })
})

test('every single-bit flip of a ciphertext is noticed', async () => {
  await withKeyring(await freshDir(), async (ring) => {
    const sealed = await ring.seal('s', text('0123456789'), 'x')
    const bytes = Buffer.from(sealed.ct, 'base64url')
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = Buffer.from(bytes)
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      await assert.rejects(
        ring.open({ ...sealed, ct: flipped.toString('base64url') }, 'x'),
        code('SP_SEAL_INVALID'),
      )
    }
  })
})

test('erasure: nothing of the subject opens again, nothing of others is lost, no trace of the key stays', async () => {
  const dir = await freshDir()
  const { gone, kept, line } = await withKeyring(dir, async (ring) => {
    const gone = await ring.seal('acct-1', text('secret'), 'x')
    const kept = await ring.seal('acct-2', text('other'), 'x')
    const line = (await readFile(join(dir, 'keyring.jsonl'), 'utf8'))
      .split('\n')
      .find((entry) => entry.includes(`"k":"${gone.k}"`))
    assert.equal(await ring.erase('acct-1'), true)
    await assert.rejects(ring.open(gone, 'x'), code('SP_SEAL_ERASED'))
    assert.equal((await ring.open(kept, 'x')).toString(), 'other')
    assert.equal(await ring.erase('acct-1'), false)
    assert.equal(await ring.erase('acct-9'), false)
    return { gone, kept, line }
  })
  const wrapped = /"k":"[^"]+","iv":"[^"]+","ct":"([^"]+)"/.exec(line ?? '')?.[1]
  assert.ok(wrapped, 'the wrapped key stood in the file before')
  for (const name of await readdir(dir)) {
    assert.equal((await readFile(join(dir, name), 'utf8')).includes(wrapped), false)
  }
  await withKeyring(dir, async (ring) => {
    await assert.rejects(ring.open(gone, 'x'), code('SP_SEAL_ERASED'))
    assert.equal((await ring.open(kept, 'x')).toString(), 'other')
    const anew = await ring.seal('acct-1', text('new'), 'x')
    assert.notEqual(anew.k, gone.k)
    await assert.rejects(ring.open(gone, 'x'), code('SP_SEAL_ERASED'))
  })
})

test('erasing while others seal loses no key', async () => {
  const dir = await freshDir()
  const sealed = await withKeyring(dir, async (ring) => {
    const before = await Promise.all(
      Array.from({ length: 20 }, (_, i) => ring.seal(`s${i}`, text(`v${i}`), 'x')),
    )
    const [during] = await Promise.all([
      Promise.all(Array.from({ length: 40 }, (_, i) => ring.seal(`t${i % 10}`, text('w'), 'x'))),
      ring.erase('s0'),
      ring.erase('s1'),
    ])
    return [...before.slice(2), ...during]
  })
  await withKeyring(dir, async (ring) => {
    for (const value of sealed) assert.ok((await ring.open(value, 'x')).length > 0)
  })
})

test('neither subjects nor plaintext nor data keys are on disk, and the file is private', async () => {
  const dir = await freshDir()
  await withKeyring(dir, (ring) => ring.seal('customer-4711', text('plaintext'), 'x'))
  const content = await readFile(join(dir, 'keyring.jsonl'), 'utf8')
  assert.equal(/customer-4711|plaintext/.test(content), false)
  assert.equal((await stat(join(dir, 'keyring.jsonl'))).mode & 0o777, 0o600)
  assert.equal((await stat(dir)).mode & 0o777, 0o700)
})

test('a data key is durable before its first ciphertext is returned', async () => {
  const dir = await freshDir()
  const ring = await openKeyring({ dir, kek })
  const sealed = await ring.seal('s', text('v'), 'x')
  // A second reader sees what a crash at this moment would leave; nothing was flushed or closed.
  const copy = await freshDir()
  await withKeyring(copy, async () => undefined)
  await writeFile(join(copy, 'keyring.jsonl'), await readFile(join(dir, 'keyring.jsonl')))
  await withKeyring(copy, async (other) => {
    assert.equal((await other.open(sealed, 'x')).toString(), 'v')
  })
  await ring.close()
})

test('a tail torn at any byte is cut off; acknowledged keys stay', async () => {
  const dir = await freshDir()
  const file = join(dir, 'keyring.jsonl')
  const first = await withKeyring(dir, (ring) => ring.seal('a', text('1'), 'x'))
  const whole = await readFile(file)
  await withKeyring(dir, (ring) => ring.seal('b', text('2'), 'x'))
  const longer = await readFile(file)
  let later = first
  for (let size = whole.length; size < longer.length; size += 7) {
    await writeFile(file, longer.subarray(0, size))
    await withKeyring(dir, async (ring) => {
      assert.equal((await ring.open(first, 'x')).toString(), '1')
      later = await ring.seal('c', text('3'), 'x')
    })
    await withKeyring(dir, async (ring) => {
      await ring.open(first, 'x')
      assert.equal((await ring.open(later, 'x')).toString(), '3')
    })
  }
  await truncate(file, whole.length)
  await appendFile(file, Buffer.alloc(100))
  await withKeyring(dir, (ring) => ring.open(first, 'x'))
})

test('damage before the last line is refused, not skipped', async () => {
  const dir = await freshDir()
  const file = join(dir, 'keyring.jsonl')
  await withKeyring(dir, async (ring) => {
    await ring.seal('a', text('1'), 'x')
    await ring.seal('b', text('2'), 'x')
  })
  const good = await readFile(file)
  const bad = Buffer.from(good)
  bad[good.indexOf('"t":"key"') + 20] = 0x21
  await writeFile(file, bad)
  await assert.rejects(openKeyring({ dir, kek }), code('SP_SEAL_CORRUPT'))
  await writeFile(file, good)
  await withKeyring(dir, (ring) => ring.flush())
})

test('another wrapping key opens nothing', async () => {
  const dir = await freshDir()
  await withKeyring(dir, (ring) => ring.seal('a', text('1'), 'x'))
  await assert.rejects(
    openKeyring({ dir, kek: createSecretKey(randomBytes(32)) }),
    code('SP_SEAL_KEK'),
  )
  await assert.rejects(
    openKeyring({ dir, kek: createSecretKey(randomBytes(16)) }),
    code('SP_SEAL_KEK'),
  )
})

test('a data key is never used beyond its budget, restarts included', async () => {
  const dir = await freshDir()
  const options = { dir, kek, maxUses: 6, leaseUses: 2 }
  const uses = new Map<string, number>()
  for (let start = 0; start < 14; start++) {
    const ring = await openKeyring(options)
    const sealed = await Promise.all(
      Array.from({ length: start === 0 ? 9 : 1 }, () => ring.seal('s', text('v'), 'x')),
    )
    for (const { k } of sealed) uses.set(k, (uses.get(k) ?? 0) + 1)
    await ring.close()
  }
  assert.ok(uses.size >= 3, 'keys were rotated')
  for (const count of uses.values()) assert.ok(count <= 6, `a key was used ${count} times`)
  assert.equal([...uses.values()].includes(6), true, 'a key was used up to its budget')
  await assert.rejects(openKeyring({ dir, kek, maxUses: 2 ** 32 }), code('SP_SEAL_BUDGET'))
})

test('seals that wait for one key share it, and one write', async () => {
  const dir = await freshDir()
  await withKeyring(dir, async (ring) => {
    const sealed = await Promise.all(
      Array.from({ length: 200 }, (_, i) => ring.seal(`s${i % 20}`, text('v'), 'x')),
    )
    assert.equal(new Set(sealed.map(({ k }) => k)).size, 20)
  })
  const lines = (await readFile(join(dir, 'keyring.jsonl'), 'utf8')).trimEnd().split('\n')
  assert.ok(lines.length <= 4, `${lines.length} writes for 20 keys`)
})

test('a keyring that cannot write refuses, and stays refusing', async () => {
  const ring = await openKeyring({ dir: await freshDir(), kek })
  const sealed = await ring.seal('a', text('1'), 'x')
  // The file is taken from under it: every later write fails.
  await ring.close()
  assert.equal(ring.failed, false)
  await assert.rejects(ring.seal('b', text('2'), 'x'), code('SP_SEAL_STORAGE'))
  assert.equal(ring.failed, true)
  await assert.rejects(ring.seal('b', text('2'), 'x'), code('SP_SEAL_STORAGE'))
  await assert.rejects(ring.erase('a'), code('SP_SEAL_STORAGE'))
  await assert.rejects(ring.open(sealed, 'x'), code('SP_SEAL_ERASED'))
})

test('a reader opens what another process sealed, and changes nothing, not even a torn line', async () => {
  const dir = await freshDir()
  await withKeyring(dir, async (ring) => {
    const sealed = await ring.seal('acct-1', text('memo'), 'r1/input')
    const gone = await ring.seal('acct-2', text('memo'), 'r2/input')
    await ring.erase('acct-2')
    const file = join(dir, 'keyring.jsonl')
    await appendFile(file, '0123456789abcdef [{"t":"ke')
    const before = await readFile(file)
    const reader = await readKeyring({ dir, kek })
    assert.equal(reader.openNow(sealed, 'r1/input').toString(), 'memo')
    assert.throws(() => reader.openNow(sealed, 'r2/input'), code('SP_SEAL_INVALID'))
    assert.throws(() => reader.openNow(gone, 'r2/input'), code('SP_SEAL_ERASED'))
    await reader.close()
    assert.deepEqual(await readFile(file), before)
    await assert.rejects(
      readKeyring({ dir, kek: createSecretKey(randomBytes(32)) }),
      code('SP_SEAL_KEK'),
    )
  })
  await assert.rejects(readKeyring({ dir: `${dir}-none`, kek }), code('SP_SEAL_STORAGE'))
  await assert.rejects(readdir(`${dir}-none`))
})

test('what can be sealed at once is; what needs a key or a lease first is not, and texts are their UTF-8', async () => {
  const dir = await freshDir()
  const ring = await openKeyring({ dir, kek, maxUses: 6, leaseUses: 2 })
  assert.equal(ring.sealNow('s', 'early', 'x'), undefined)
  const making = ring.seal('s', 'first', 'x')
  // The key is made, and stands on no disk yet.
  assert.equal(ring.sealNow('s', 'early', 'x'), undefined)
  const first = await making
  const second = ring.sealNow('s', '', 'x')
  assert.ok(second)
  assert.equal(ring.sealNow('s', 'beyond the lease', 'x'), undefined)
  const third = await ring.seal('s', 'memo \u20ac \ud83d\ude00', 'x')
  assert.deepEqual(
    [first, second, third].map((sealed) => ring.openNow(sealed, 'x').toString()),
    ['first', '', 'memo \u20ac \ud83d\ude00'],
  )
  assert.equal(new Set([first.iv, second.iv, third.iv]).size, 3)
  assert.throws(() => ring.openNow(second, 'y'), code('SP_SEAL_INVALID'))
  await ring.erase('s')
  assert.equal(ring.sealNow('s', 'erased', 'x'), undefined)
  await ring.close()
})
