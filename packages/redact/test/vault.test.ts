import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createVault } from '../src/index.ts'

const key = Buffer.alloc(32, 5)

describe('a vault', () => {
  it('gives the same value the same stand-in, and takes it back', () => {
    const vault = createVault(key)
    const token = vault.token('EMAIL', 'bob@example.com')
    assert.match(token, /^EMAIL_[0-9A-HJKMNP-TV-Z]{12}$/)
    assert.equal(vault.token('EMAIL', 'bob@example.com'), token)
    assert.equal(createVault(key).token('EMAIL', 'bob@example.com'), token)
    assert.notEqual(vault.token('EMAIL', 'rob@example.com'), token)
    assert.equal(vault.restore(`write to ${token}s.`), 'write to bob@example.coms.')
  })

  it('of another key makes others, and restores none of these', () => {
    const token = createVault(key).token('CARD', '4111111111111111')
    const other = createVault(Buffer.alloc(32, 6))
    assert.notEqual(other.token('CARD', '4111111111111111'), token)
    assert.equal(other.restore(token), token)
    assert.equal(createVault(key).restore(token), token)
    assert.throws(() => createVault(Buffer.alloc(16)), { code: 'SP_TOKEN_KEY' })
  })

  it('restores stand-ins that come in pieces, split anywhere', () => {
    const vault = createVault(key)
    const a = vault.token('IBAN', 'DE89370400440532013000')
    const b = vault.token('NAME', 'Ann "A" Lee')
    const text = `Pay ${a}, says ${b}; IBAN_ and ${a.slice(0, -1)}! ${a}${b}`
    const whole = vault.restore(text)
    assert.ok(whole.includes('DE89370400440532013000Ann "A" Lee'))
    for (let i = 0; i <= text.length; i++) {
      const stream = vault.restoring()
      assert.equal(stream.push(text.slice(0, i)) + stream.push(text.slice(i)) + stream.end(), whole)
    }
    const stream = vault.restoring((value) => JSON.stringify(value).slice(1, -1))
    const out =
      `{"n":"${b}"}`
        .split('')
        .map((c) => stream.push(c))
        .join('') + stream.end()
    assert.deepEqual(JSON.parse(out), { n: 'Ann "A" Lee' })
  })

  it('forgets the oldest where it has no room', () => {
    const vault = createVault(key, { maxEntries: 2 })
    const [a, b, c] = ['one', 'two', 'three'].map((value) => vault.token('ID', value))
    assert.equal(vault.restore(`${a} ${b} ${c}`), `${a} two three`)
    assert.deepEqual([vault.has(a ?? ''), vault.has(c ?? '')], [false, true])
    // Used again, it is no longer the oldest.
    vault.hold()()
    vault.token('ID', 'two')
    vault.token('ID', 'four')
    assert.equal(vault.restore(`${b} ${c}`), `two ${c}`)
  })

  it('takes no more memory than it may, and forgets nothing that a call needs', () => {
    const vault = createVault(key, { maxBytes: 10_000 })
    const long = (i: number): string => `${i}`.repeat(500)
    const before = vault.token('ID', long(1))
    const release = vault.hold()
    const held = Array.from({ length: 7 }, (_, i) => vault.token('ID', long(i + 2)))
    assert.equal(vault.restore(before), before, 'nobody held it')
    assert.throws(() => vault.token('ID', long(9)), { code: 'SP_REDACT_FULL' })
    held.forEach((token, i) => assert.equal(vault.restore(token), long(i + 2)))
    assert.ok(vault.bytes <= 10_000 && vault.bytes > 7000, String(vault.bytes))
    release()
    const after = vault.token('ID', long(9))
    assert.equal(vault.restore(after), long(9))
    assert.ok(vault.bytes <= 10_000)
  })
})
