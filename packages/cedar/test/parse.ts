import assert from 'node:assert/strict'
import * as wasm from '@cedar-policy/cedar-wasm/nodejs'
import { liftIntegers } from '../src/est.ts'
import type { PolicyEst } from '../src/est.ts'
import { tokenise } from '../src/lex.ts'

/** A policy as the parser gives it, in this thread: for tests of what comes after the parser. */
export function parseSource(source: string): {
  readonly est: PolicyEst
  readonly integers: ReadonlyMap<number, bigint>
} {
  const lifted = liftIntegers(source, tokenise(source))
  const answer = wasm.policyToJson(lifted.source)
  assert.ok(answer.type === 'success', `${source}: ${JSON.stringify(answer)}`)
  // The binding's PolicyJson is the same format in looser types.
  return { est: answer.json as unknown as PolicyEst, integers: lifted.integers }
}
