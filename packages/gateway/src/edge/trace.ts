import { createHash } from 'node:crypto'
import type { DecisionRecord } from '@sallyport/wire'

/** The trace that a caller says its call is part of (W3C Trace Context). Nobody vouches for it, and nothing is decided by it. */
export interface Trace {
  readonly ids: NonNullable<DecisionRecord['trace']>
  /** Of its flags those that mean something: sampled, and that its id is random. */
  readonly flags: number
}

/** `version-trace-parent-flags`, and of versions to come whatever follows. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const ZEROS = /^0+$/
const SAMPLED = 1
/** Sampled, and random (Level 2). All others are to be set to zero. */
const KNOWN_FLAGS = 3

/**
 * Reads a `traceparent` by the recommendation.
 *
 * @returns undefined where it is none: a trace that is broken must not break the call
 */
export function readTraceparent(text: string): Trace | undefined {
  const [, version, traceId = '', parentId = '', flags = '', rest] = TRACEPARENT.exec(text) ?? []
  if (version === undefined || version === 'ff' || ZEROS.test(traceId) || ZEROS.test(parentId)) {
    return undefined
  }
  const isOurs = version === '00'
  if (isOurs && rest !== undefined) return undefined
  return {
    // In the order of their names, as they are logged.
    ids: { parentId, traceId },
    // Of a version to come only this one is known to mean the same (“Versioning of traceparent”).
    flags: Number.parseInt(flags, 16) & (isOurs ? KNOWN_FLAGS : SAMPLED),
  }
}

/**
 * The same trace as it goes on from a decision. The caller's own span stays behind: what the next one sees as its parent is the decision, found
 * again as the first 16 hex digits of the SHA-256 of its id.
 *
 * @param decision id of the decision
 */
export function traceparentOf({ ids, flags }: Trace, decision: string): string {
  const span = createHash('sha256').update(decision).digest('hex').slice(0, 16)
  return `00-${ids.traceId}-${span}-0${flags}`
}
