import { canonicalJson, parseJson, SallyportError } from '@sallyport/base'
import {
  anything,
  either,
  demand,
  finite,
  integer,
  list,
  map,
  members,
  oneOf,
  onBehalfOfShape,
  text,
} from './shape.ts'
import type { Check } from './shape.ts'
import type {
  ApprovalRecord,
  AuditRecord,
  DecisionRecord,
  EventRecord,
  LabelRecord,
  OutcomeRecord,
  Revision,
  SealedValue,
  ShadowOutcome,
} from './types.ts'

/** What a tlog entry may hold (C2SP tlog-tiles). */
const MAX_RECORD_BYTES = 65_535

const id = text(256)
const spiffeId = text(2048)
const digest = text(64, /^[0-9a-f]{64}$/)
const sealed = members<SealedValue>({ k: text(128), iv: text(64), ct: text(MAX_RECORD_BYTES) }, {})
const base = { v: oneOf(1), at: integer(), gateway: spiffeId }

const needs = list(
  members<DecisionRecord['needs'][number]>(
    { kind: oneOf('approval', 'mandate'), count: integer(1, 64) },
    {},
  ),
  16,
)
const code = text(64, /^SP_[A-Z0-9_]+$/)

const decision = members<DecisionRecord>(
  {
    ...base,
    kind: oneOf('decision'),
    id,
    instance: spiffeId,
    agent: id,
    system: id,
    operation: id,
    decision: oneOf('allow', 'deny', 'needs'),
    code,
    reasons: list(id, 1024),
    errors: list(
      members<DecisionRecord['errors'][number]>({ policyId: id, message: text() }, {}),
      1024,
    ),
    needs,
    revision: members<Revision>({ epoch: integer(), n: integer() }, {}),
    declarationDigest: digest,
    stateDigest: digest,
    labels: list(id, 1024),
    risk: finite(0, 100),
    requestHash: digest,
    peer: members<DecisionRecord['peer']>(
      { serial: text(128) },
      { group: text(128), source: text(128) },
    ),
  },
  {
    approvalId: id,
    decidedAt: integer(),
    approvers: list(id, 64),
    onBehalfOf: onBehalfOfShape,
    mandate: members<NonNullable<DecisionRecord['mandate']>>(
      { id, delegator: spiffeId, depth: integer(1, 16), task: text(1024), chain: list(id, 16) },
      {},
    ),
    payment: sealed,
    input: sealed,
    why: sealed,
    shadow: members<ShadowOutcome>(
      { digest, decision: oneOf('allow', 'deny', 'needs'), code },
      { needs, changes: list(text(512), 32) },
    ),
    pep: members<NonNullable<DecisionRecord['pep']>>(
      { id: spiffeId, unobserved: list(id, 16) },
      {},
    ),
    trace: members<NonNullable<DecisionRecord['trace']>>(
      { traceId: text(32, /^[0-9a-f]{32}$/), parentId: text(16, /^[0-9a-f]{16}$/) },
      {},
    ),
  },
)

const outcome = members<OutcomeRecord>(
  {
    ...base,
    kind: oneOf('outcome'),
    decisionId: id,
    status: integer(0, 999),
    result: oneOf('completed', 'upstream-error', 'aborted', 'cut'),
    durationMs: finite(0, Number.MAX_SAFE_INTEGER),
    bytesOut: integer(),
    released: map(
      members<OutcomeRecord['released'][string]>(
        { records: integer(), maxWholeClass: text(32) },
        {},
      ),
    ),
  },
  { answerSha256: digest, bodySha256: digest, bytesIn: integer() },
)

const labels = members<LabelRecord>(
  { ...base, kind: oneOf('labels'), decisionId: id, instance: spiffeId, added: list(id, 1024) },
  {},
)

const approvalUsed = members<ApprovalRecord>(
  {
    ...base,
    kind: oneOf('approval-used'),
    decisionId: id,
    approvalId: id,
    approvers: list(id, 64),
    statements: list(digest, 64),
  },
  {},
)

const event = members<EventRecord>(
  {
    ...base,
    kind: oneOf('event'),
    event: id,
    facts: map(either(text(), finite(-Number.MAX_VALUE, Number.MAX_VALUE), oneOf(true, false))),
  },
  { code: text(64), subject: spiffeId },
)

const byKind: Readonly<Record<AuditRecord['kind'], Check>> = {
  decision,
  outcome,
  labels,
  'approval-used': approvalUsed,
  event,
}
const SHAPES: ReadonlyMap<string, Check> = new Map(Object.entries(byKind))

/**
 * The bytes of a record as the log holds them: canonical JSON (RFC 8785) of exactly the declared shape.
 *
 * @throws SallyportError `SP_RECORD_INVALID`, `SP_RECORD_TOO_LARGE`
 */
export function encodeRecord(record: AuditRecord): Uint8Array {
  const bytes = Buffer.from(textOf(record))
  if (bytes.length > MAX_RECORD_BYTES) {
    throw new SallyportError('SP_RECORD_TOO_LARGE', 'the audit record is too large to be logged', {
      detail: `${bytes.length} bytes, the limit is ${MAX_RECORD_BYTES}`,
    })
  }
  return bytes
}

/** The canonical form of a record that has its declared shape. */
function textOf(record: AuditRecord): string {
  return SHAPES.get(record.kind)?.write?.(record) ?? canonicalJson(checkRecord(record))
}

/**
 * Reads a record back. Bytes that are not the canonical form of what they say are refused: one record, one leaf.
 *
 * @throws SallyportError `SP_RECORD_INVALID`
 */
export function decodeRecord(bytes: Uint8Array): AuditRecord {
  let value: unknown
  try {
    value = parseJson(bytes, { maxBytes: MAX_RECORD_BYTES, maxDepth: 16 })
  } catch (cause) {
    throw new SallyportError('SP_RECORD_INVALID', 'the audit record is not valid', { cause })
  }
  const record = checkRecord(value)
  if (!Buffer.from(canonicalJson(record)).equals(bytes)) {
    throw new SallyportError('SP_RECORD_INVALID', 'the audit record is not in canonical form')
  }
  return record
}

function checkRecord(value: unknown): AuditRecord {
  const message = 'the audit record is not valid'
  demand(anything, value, 'SP_RECORD_INVALID', message)
  // Only `kind` is read, and whatever it is gets compared with the known ones.
  const kind = value === null ? undefined : (value as { readonly kind?: unknown }).kind
  const shape = typeof kind === 'string' ? SHAPES.get(kind) : undefined
  if (!shape)
    throw new SallyportError('SP_RECORD_INVALID', message, { detail: 'its kind is unknown' })
  demand(shape, value, 'SP_RECORD_INVALID', message)
  // The shape of its kind admits exactly an AuditRecord.
  return value as AuditRecord
}
