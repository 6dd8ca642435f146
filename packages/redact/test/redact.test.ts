import assert from 'node:assert/strict'
import { test } from 'node:test'
import { aessiv } from '@noble/ciphers/aes.js'
import fc from 'fast-check'
import { createTokeniser, mask } from '../src/index.ts'

const key = Buffer.alloc(32, 7)
const tokeniser = createTokeniser(key)
const invalid = { code: 'SP_TOKEN_INVALID' }

test('the kept library is AES-SIV of RFC 5297: vector of appendix A.1', () => {
  const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))
  const cipher = aessiv(
    hex('fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff'),
    hex('101112131415161718191a1b1c1d1e1f2021222324252627'),
  )
  assert.equal(
    Buffer.from(cipher.encrypt(hex('112233445566778899aabbccddee'))).toString('hex'),
    '85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c',
  )
})

test('masks keep what their style says and hide all else', () => {
  assert.equal(mask('anything', 'full'), '***')
  assert.equal(mask('4111 1111 1111 1234', 'last4'), '***1234')
  assert.equal(mask('DE89370400440532013000', 'last4'), '***3000')
  assert.equal(mask('1234567', 'last4'), '***')
  assert.equal(mask(12_345_678, 'last4'), '***5678')
  assert.equal(mask('Ada Lovelace', 'first1'), 'A***')
  assert.equal(mask('👩‍🚀 Ada', 'first1'), '👩‍🚀***')
  assert.equal(mask('A', 'first1'), '***')
  assert.equal(mask('1985-12-31', 'year'), '1985')
  assert.equal(mask('1985-12-31T10:00:00Z', 'year'), '1985')
  for (const value of ['1985', '31.12.1985', '1985-12-31 is when']) {
    assert.equal(mask(value, 'year'), '***')
  }
  for (const value of [null, true, { a: 'b' }, ['1985-12-31'], []]) {
    for (const style of ['full', 'last4', 'first1', 'year', 'plain', '']) {
      assert.equal(mask(value, style), '***')
    }
  }
})

test('a mask shows at most half of a value', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom('full', 'last4', 'first1'),
      (value, style) => {
        const shown = mask(value, style)
        assert.ok(typeof shown === 'string' && shown.includes('***'))
        if (style === 'last4') {
          assert.ok(shown.length <= 3 + 8)
          if (value.length < 8) assert.equal(shown, '***')
        }
      },
    ),
  )
})

test('a token restores to its value, is stable, and fits URLs and id patterns', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), (value) => {
      const token = tokeniser.tokenise('customers.name', value)
      assert.match(token, /^tok_customers-name_[A-Za-z0-9_-]+$/)
      assert.equal(tokeniser.tokenise('customers.name', value), token)
      assert.equal(createTokeniser(key).tokenise('customers.name', value), token)
      assert.equal(tokeniser.restore('customers.name', token), value)
      assert.ok(tokeniser.isToken(token))
    }),
  )
})

test('different values have different tokens', () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), (a, b) => {
      fc.pre(a !== b)
      assert.notEqual(tokeniser.tokenise('k.v', a), tokeniser.tokenise('k.v', b))
    }),
  )
})

test('tokens of short values all have one length', () => {
  const lengths = new Set(
    ['', 'a', 'exactly15bytes!'].map((v) => tokeniser.tokenise('k', v).length),
  )
  assert.equal(lengths.size, 1)
})

test('a token of another kind, key or spelling is refused', () => {
  const token = tokeniser.tokenise('accounts.id', 'acct-1')
  assert.equal(tokeniser.restore('accounts.id', token), 'acct-1')
  const body = token.slice('tok_accounts-id_'.length)
  assert.throws(() => tokeniser.restore('accounts.iban', token), invalid)
  assert.throws(() => tokeniser.restore('accounts.iban', `tok_accounts-iban_${body}`), invalid)
  // `accounts-id` is written the same in a token, but is another kind.
  assert.throws(() => tokeniser.restore('accounts-id', token), invalid)
  assert.throws(() => createTokeniser(Buffer.alloc(32, 8)).restore('accounts.id', token), invalid)
  for (const other of [
    `${token}=`,
    ` ${token}`,
    `x${token.slice(1)}`,
    `${token}\n`,
    token.toUpperCase(),
    token.slice(0, -1),
    'tok_accounts-id_',
    'acct-1',
    '',
    `tok_accounts-id_${Buffer.alloc(20_000).toString('base64url')}`,
  ]) {
    assert.throws(() => tokeniser.restore('accounts.id', other), invalid)
  }
})

test('no changed character of a token is accepted, however it is spelled', () => {
  const prefix = 'tok_k_'
  const token = tokeniser.tokenise('k', 'value')
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  for (let at = prefix.length; at < token.length; at++) {
    for (const c of at === token.length - 1 ? alphabet : 'Aa0_') {
      if (c === token[at]) continue
      const forged = token.slice(0, at) + c + token.slice(at + 1)
      assert.throws(() => tokeniser.restore('k', forged), invalid)
    }
  }
})

test('random strings are never tokens', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 64 }), (bytes) => {
      const forged = `tok_k_${Buffer.from(bytes).toString('base64url')}`
      assert.throws(() => tokeniser.restore('k', forged), invalid)
    }),
  )
  assert.equal(tokeniser.isToken('tok_k_short'), false)
  assert.equal(tokeniser.isToken('acct-1'), false)
})

test('bad kinds, values and keys are refused', () => {
  for (const kind of ['', '.', 'a..b', 'a b', 'a/b', '1a', 'é']) {
    assert.throws(() => tokeniser.tokenise(kind, 'v'), { code: 'SP_TOKEN_KIND' })
  }
  assert.throws(() => tokeniser.tokenise('k', '\ud800'), { code: 'SP_TOKEN_VALUE' })
  assert.throws(() => tokeniser.tokenise('k', 'x'.repeat(4097)), { code: 'SP_TOKEN_VALUE' })
  assert.equal(tokeniser.restore('k', tokeniser.tokenise('k', 'x'.repeat(4096))).length, 4096)
  assert.throws(() => createTokeniser(Buffer.alloc(16)), { code: 'SP_TOKEN_KEY' })
})
