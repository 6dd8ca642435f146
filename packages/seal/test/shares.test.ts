import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import { combineShares, commitmentOf, decodeShare, splitSecret } from '../src/shares.ts'

const refused = { code: 'SP_SEAL_SHARE' }

test('any threshold of the shares recovers the secret, in any order; one less does not', async () => {
  const secret = randomBytes(32)
  const { shares } = await splitSecret(secret, 5, 3)
  const decoded = shares.map(decodeShare)
  for (let a = 0; a < 5; a++) {
    for (let b = 0; b < 5; b++) {
      for (let c = 0; c < 5; c++) {
        const picked = [...new Set([a, b, c])].flatMap((i) => decoded[i] ?? [])
        if (picked.length < 2) continue
        const found = await combineShares(picked)
        assert.equal(found.equals(secret), picked.length === 3)
      }
    }
  }
})

test('a share names its set, its index and the threshold, and is 72 letters in groups of six', async () => {
  const { set, shares, commitments } = await splitSecret(randomBytes(32), 5, 3)
  for (const [i, text] of shares.entries()) {
    assert.match(text, /^([0-9A-HJKMNP-TV-Z]{6}-){11}[0-9A-HJKMNP-TV-Z]{6}$/)
    const share = decodeShare(text)
    assert.deepEqual([share.set, share.index, share.threshold], [set, i + 1, 3])
    assert.equal(commitmentOf(share), commitments[i])
  }
  assert.equal(new Set(commitments).size, 5)
})

test('a share typed in small letters, with spaces, and with O, I and L for digits is the same share', async () => {
  const { shares } = await splitSecret(randomBytes(32), 2, 2)
  const [text = ''] = shares
  const sloppy = ` ${text.toLowerCase().replaceAll('-', ' ').replaceAll('0', 'o').replaceAll('1', 'l')}\n`
  assert.deepEqual(decodeShare(sloppy), decodeShare(text))
})

test('one wrong letter, a missing one, two swapped: told, never a share', async () => {
  const [text = ''] = (await splitSecret(randomBytes(32), 2, 2)).shares
  assert.equal(decodeShare(text).index, 1)
  const letters = text.replaceAll('-', '')
  const alphabet = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
  for (let i = 0; i < letters.length; i++) {
    const own = letters.charAt(i)
    for (const other of alphabet) {
      if (other === own) continue
      const wrong = letters.slice(0, i) + other + letters.slice(i + 1)
      assert.throws(() => decodeShare(wrong), refused)
    }
    assert.throws(() => decodeShare(letters.slice(0, i) + letters.slice(i + 1)), refused)
    const next = letters.charAt(i + 1)
    if (next && next !== own) {
      const swapped = letters.slice(0, i) + next + own + letters.slice(i + 2)
      assert.throws(() => decodeShare(swapped), refused)
    }
  }
  for (const bad of ['', '-', 'U'.repeat(72), '€'.repeat(72), text + text, ' '.repeat(1e6)]) {
    assert.throws(() => decodeShare(bad), refused)
  }
})

test('no text but a share is one, and the refusal says nothing of it but its length', () => {
  const refusal =
    /^this is not a share: it (is too long|has a letter that no share has|has \d+ letters instead of 72)$/
  fc.assert(
    fc.property(fc.string({ maxLength: 100, unit: 'binary' }), (text) => {
      assert.throws(() => decodeShare(`${text}%`), { ...refused, message: refusal })
    }),
  )
})

test('numbers of shares that cannot be made are refused', async () => {
  for (const [count, threshold] of [
    [1, 1],
    [5, 1],
    [2, 3],
    [256, 3],
    [2.5, 2],
    [Number.NaN, 2],
  ] as const) {
    await assert.rejects(splitSecret(randomBytes(32), count, threshold), { code: 'SP_SEAL_SHARES' })
  }
  await assert.rejects(splitSecret(randomBytes(31), 5, 3), { code: 'SP_SEAL_SHARES' })
  assert.equal((await splitSecret(randomBytes(32), 255, 255)).shares.length, 255)
})
