import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { canBacktrack, matchesPattern } from '../src/pattern.ts'

describe('declared patterns', () => {
  const matched: [pattern: string, fits: string, not: string][] = [
    ['^[a-z]+$', 'abc', 'ab1'],
    // Not anchored, as JSON Schema says.
    ['b', 'abc', 'ac'],
    // `u`: one character is one code point.
    ['^.$', '😀', '😀😀'],
    ['^\\p{Lu}$', 'Ä', 'ä'],
    ['^([a-z]+-)+[0-9]{2}$', 'ab-cd-12', 'ab-cd-1'],
    ['^(?:a|b)*c$', 'abac', 'abad'],
  ]
  for (const [pattern, fits, not] of matched) {
    it(`matches ${pattern}, the first time and again`, () => {
      for (let round = 0; round < 2; round++) {
        assert.equal(matchesPattern(pattern, fits), true)
        assert.equal(matchesPattern(pattern, not), false)
      }
    })
  }

  it('meets no text of more than 4,096 characters', () => {
    for (const pattern of ['^a*$', '^(a)*$']) {
      assert.equal(matchesPattern(pattern, 'a'.repeat(4096)), true)
      assert.equal(matchesPattern(pattern, 'a'.repeat(4097)), false)
    }
  })

  it('refuses what is no regular expression, each time', () => {
    for (let round = 0; round < 2; round++) {
      assert.throws(() => matchesPattern('[', 'a'), {
        code: 'SP_INPUT_SCHEMA',
        message: 'the declared pattern cannot be used',
        detail: '`[` is not a regular expression',
      })
    }
    assert.throws(
      () => matchesPattern('[', 'a'),
      ({ cause }: Error) => cause instanceof SyntaxError,
    )
  })

  const plain = [
    '^abc$',
    '^[a-z]+$',
    '^ab+$',
    'a{2,5}',
    'a{3}b{44}c*',
    // Quantifiers that are ordinary characters.
    '^[*+?][{(]+$',
    '[^*]+x',
    '\\+\\*\\?a+',
    '\\(x\\)+',
    '(a)\\.+',
    '(a)[bc]+',
    '(a)b{2,}',
    // The question mark of a group is no quantifier.
    '(?:a)b+',
    '(?=a)b+',
    '(?!a)b+',
    '(?<=a)b+',
    '(?<!a)b+',
    '(?<name>a)b+',
  ]
  const watched = [
    'a+b+',
    'a?b*',
    'a*b*c*',
    'a{2,}b{3,4}',
    'a{12,}b{10,20}',
    'a+b{2,}',
    '(a)+',
    '(a)*',
    '(a)?',
    '(a){2}',
    '(?:a)*',
    '(?<name>a)+',
  ]
  for (const pattern of plain) {
    it(`runs ${pattern} as it is`, () => assert.equal(canBacktrack(pattern), false))
  }
  for (const pattern of watched) {
    it(`runs ${pattern} under watch`, () => assert.equal(canBacktrack(pattern), true))
  }

  const slow: [pattern: string, fits: string][] = [
    ['^(a+)+$', 'aaa'],
    ['^(a|a)*$', 'aaa'],
    ['^(?:a?){30}a{30}$', 'a'.repeat(30)],
    ['a*a*a*a*a*b', 'aab'],
    ['(x+x+)+y', 'xxy'],
  ]
  for (const [pattern, fits] of slow) {
    it(`is not held up by ${pattern}`, () => {
      // Unwatched, none of these would end within a person's life.
      assert.equal(matchesPattern(pattern, `${'a'.repeat(29)}${'x'.repeat(2000)}!`), false)
      assert.equal(matchesPattern(pattern, fits), true)
    })
  }
})
