import type { Env } from './operators.ts'
import type { Clauses } from './clauses.ts'
import { NO_ERRORS } from './policy.ts'
import type { CompiledPolicy } from './policy.ts'
import { Slice } from './slice-memo.ts'
import type { SliceMemo } from './slice-memo.ts'
import type { CedarDecision } from './types.ts'
import { EvaluationError } from './value.ts'

/** What the policies of a slice come to: Cedar's rule, no more. */
export function answer(slice: Slice, clauses: Clauses, env: Env): CedarDecision {
  const { held, policies } = slice
  return held === undefined
    ? ofSeveral(policies ?? [], clauses, env)
    : ofOne(slice, held, clauses, env)
}

/** Fewer policies seldom read the same often enough for it to be kept. */
const FEW = 8

// Reused between decisions, which are synchronous and do not nest.
const permits: CompiledPolicy[] = []
const forbids: CompiledPolicy[] = []

function ofSeveral(slice: readonly CompiledPolicy[], clauses: Clauses, env: Env): CedarDecision {
  const many = slice.length > FEW
  if (many) clauses.begin(env)
  let permitted = 0
  let forbidden = 0
  let failed: Failure[] | undefined
  for (const policy of slice) {
    try {
      if (!(many ? clauses.holdAmong(policy, env) : clauses.hold(policy, env))) continue
      if (policy.effect === 'permit') permits[permitted++] = policy
      else forbids[forbidden++] = policy
    } catch (error) {
      failed ??= []
      failed.push(failure(policy, error))
    }
  }
  const allow = forbidden === 0 && permitted > 0
  return {
    decision: allow ? 'allow' : 'deny',
    reasons: allow ? idsInOrder(permits, permitted) : idsInOrder(forbids, forbidden),
    errors: failed === undefined ? NO_ERRORS : inOrder(failed),
  }
}

/** As `answer`, of the slice that a memory has at a place. */
export function answerAt(memo: SliceMemo, at: number, clauses: Clauses, env: Env): CedarDecision {
  const held = memo.held(at)
  if (held === undefined) return ofSeveral(memo.slice(at)?.policies ?? [], clauses, env)
  try {
    return clauses.holdFrom(memo.from(at), memo.to(at), env) ? held : NOT_PERMITTED
  } catch (error) {
    return failedAlone(memo.slice(at)?.only, error)
  }
}

function ofOne(slice: Slice, held: CedarDecision, clauses: Clauses, env: Env): CedarDecision {
  try {
    return clauses.hold(slice, env) ? held : NOT_PERMITTED
  } catch (error) {
    return failedAlone(slice.only, error)
  }
}

function failedAlone(only: CompiledPolicy | undefined, error: unknown): CedarDecision {
  if (only === undefined) throw error
  return { decision: 'deny', reasons: NO_REASONS, errors: inOrder([failure(only, error)]) }
}

interface Failure {
  readonly policy: CompiledPolicy
  readonly message: string
}

/** What a policy failed with; anything but an evaluation error is a fault of ours, and thrown. */
function failure(policy: CompiledPolicy, error: unknown): Failure {
  if (!(error instanceof EvaluationError)) throw error
  return { policy, message: error.message }
}

const NO_REASONS: CedarDecision['reasons'] = Object.freeze([])
const NOT_PERMITTED: CedarDecision = Object.freeze({
  decision: 'deny',
  reasons: NO_REASONS,
  errors: NO_ERRORS,
})

/** The ids of the first `count` policies. */
function idsInOrder(policies: readonly CompiledPolicy[], count: number): readonly string[] {
  const [only] = policies
  if (count === 0 || only === undefined) return NO_REASONS
  if (count === 1) return only.held.reasons
  const found = policies.slice(0, count)
  if (!isSorted(found)) found.sort(byOrder)
  return found.map(({ id }) => id)
}

/** A slice that is used again is put in order once, which spares each decision to sort its reasons. */
export function sorted(slice: Slice): Slice {
  if (slice.policies === undefined || isSorted(slice.policies)) return slice
  return new Slice(slice.policies.toSorted(byOrder))
}

function isSorted(policies: readonly CompiledPolicy[]): boolean {
  let last = -1
  for (const { order } of policies) {
    if (order < last) return false
    last = order
  }
  return true
}

function inOrder(failed: Failure[]): CedarDecision['errors'] {
  return failed
    .sort((a, b) => byOrder(a.policy, b.policy))
    .map(({ policy, message }) => ({ policyId: policy.id, message }))
}

const byOrder = (a: CompiledPolicy, b: CompiledPolicy): number => a.order - b.order
