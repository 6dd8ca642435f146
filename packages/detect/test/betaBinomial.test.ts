import assert from 'node:assert/strict'
import { test } from 'node:test'
import { betaBinomialTail, logGamma } from '../src/betaBinomial.ts'

test('ln Γ equals ln (n − 1)! at whole numbers', () => {
  let factorial = 1
  for (let n = 1; n <= 20; n++) {
    assert.ok(Math.abs(logGamma(n) - Math.log(factorial)) < 1e-8)
    factorial *= n
  }
})

test('the tail of beta-binomial(n, 1, 1), which is uniform on 0…n', () => {
  for (let k = 0; k <= 10; k++) {
    assert.ok(Math.abs(betaBinomialTail(k, 10, 1, 1) - (11 - k) / 11) < 1e-8)
  }
})
