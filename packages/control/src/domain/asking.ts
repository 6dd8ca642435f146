import { sql } from 'kysely'
import { canonicalJson, newId, parseJson, sha256Hex, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { ApprovalStatement, OperatorSet, Signed } from '@sallyport/wire'
import type { Store, Tx } from '../store/store.ts'
import type { ApprovalRequest, Approvals, ApprovalStatus, ApprovalView } from './approvals.ts'
import type { Events } from './events.ts'
import type { IncidentLog } from './incident-log.ts'
import type { Publisher } from './publisher.ts'
import { checkSignature, hasRole, noOperators } from './signers.ts'

const ROLES = ['approver', 'admin']
const MAX_COUNT = 10
const MAX_INPUT = 262_144
/** Questions that one instance has open at once: more would bury everybody else's, and wear people out. */
export const MAX_OPEN = 50
const OPEN: readonly ApprovalStatus[] = ['pending', 'approved']

export interface ApprovalDeps {
  readonly store: Store
  readonly clock: Clock
  readonly publisher: Publisher
  readonly incidents: IncidentLog
  readonly events: Events
  readonly operatorSet: () => OperatorSet | undefined
  /** Told of every change of status, for the streams to gateways. */
  readonly onStatus: (approval: ApprovalView) => void
}

export interface ApprovalKeeper extends Approvals {
  /** Marks what has run out. */
  expire(): Promise<void>
}

/** @see Approvals */
export function createApprovals(deps: ApprovalDeps): ApprovalKeeper {
  const { store, clock, events } = deps
  const read = (id: string): Promise<ApprovalView | undefined> =>
    store.run(async (db) => (await load(db as Tx, clock.now(), { id }))[0])
  const changed = (approval: ApprovalView): void => {
    deps.onStatus(approval)
    events.publish('approval', { id: approval.id, status: approval.status, agent: approval.agent })
  }
  return {
    async request(request) {
      const { approval, fresh } = await store.transaction((tx) => ask(tx, deps, request))
      if (fresh) changed(approval)
      return { approvalId: approval.id, expiresAt: approval.expiresAt }
    },
    list: (filter = {}) => store.run((db) => load(db as Tx, clock.now(), filter)),
    get: read,
    ofDecision: (decisionId) =>
      store.run((db) => load(db as Tx, clock.now(), { decision: decisionId })),
    async canDecide(approval, operator) {
      const refusal = await store.run((db) => refusalOf(db as Tx, deps, approval, operator))
      return refusal ? { canDecide: false, reason: refusal.message } : { canDecide: true }
    },
    statement: (id, operator, decision) =>
      store.run(async (db) => {
        const { approval, nonce } = await find(db as Tx, clock.now(), id)
        const refusal = await refusalOf(db as Tx, deps, approval, operator)
        if (refusal) throw refusal
        return statementOf(approval, nonce, operator, decision)
      }),
    async decide(input) {
      const approval = await store.transaction((tx) => decide(tx, deps, input))
      changed(approval)
      return approval
    },
    async use(id, decisionId) {
      const used = await store.run((db) =>
        db
          .updateTable('approvals')
          .set({ status: 'used', used_at: clock.now(), used_by: decisionId })
          .where('id', '=', id)
          .where('status', '=', 'approved')
          .where('expires_at', '>', clock.now())
          .returning('id')
          .executeTakeFirst(),
      )
      const approval = await read(id)
      if (!approval) throw unknown()
      if (!used) {
        if (approval.status === 'used') {
          throw new SallyportError('SP_APPROVAL_USED', 'this approval has been used already')
        }
        throw closed(approval)
      }
      changed(approval)
    },
    async expire() {
      const rows = await store.run((db) =>
        db
          .updateTable('approvals')
          .set({ status: 'expired' })
          .where('status', 'in', OPEN)
          .where('expires_at', '<=', clock.now())
          .returning('id')
          .execute(),
      )
      for (const { id } of rows) {
        const approval = await read(id)
        if (approval) changed(approval)
      }
    },
  }
}

async function ask(
  tx: Tx,
  deps: ApprovalDeps,
  request: ApprovalRequest,
): Promise<{ approval: ApprovalView; fresh: boolean }> {
  const now = deps.clock.now()
  const index = deps.publisher.index()
  const { bundle } = deps.publisher.current()
  const input = canonicalJson(request.input)
  const { count } = request
  if (!Number.isSafeInteger(count) || count < 1 || count > MAX_COUNT || input.length > MAX_INPUT) {
    throw new SallyportError('SP_APPROVAL_REQUEST', 'the request for an approval is not valid')
  }
  if (
    !index.findOperation(request.system, request.operation) ||
    !index.isInstanceOf(request.instance, request.agent)
  ) {
    throw new SallyportError('SP_APPROVAL_REQUEST', 'the request names what is not declared')
  }
  if (request.declarationDigest !== bundle.declarationDigest) throw stale()
  const { decisionId, ...covered } = request
  const asked = sha256Hex(canonicalJson(covered))
  // What has run out makes room for the same question asked anew.
  await tx
    .updateTable('approvals')
    .set({ status: 'expired' })
    .where('asked', '=', asked)
    .where('status', 'in', OPEN)
    .where('expires_at', '<=', now)
    .execute()
  // A denial stays one for as long as the question would have stood: asking again is no way around it.
  const denied = await tx
    .selectFrom('approvals')
    .select('id')
    .where('asked', '=', asked)
    .where('status', '=', 'denied')
    .where('expires_at', '>', now)
    .executeTakeFirst()
  if (denied) return { approval: (await find(tx, now, denied.id)).approval, fresh: false }
  const id = newId('apr', now)
  const inserted = await tx
    .insertInto('approvals')
    .values({
      id,
      asked,
      status: 'pending',
      instance: request.instance,
      agent: request.agent,
      system: request.system,
      operation: request.operation,
      input,
      count,
      declaration_digest: request.declarationDigest,
      nonce: newId('non', now),
      decision_id: decisionId,
      requested_at: now,
      expires_at: now + index.network.settings.approvalTtlSeconds * 1000,
      used_at: null,
      used_by: null,
    })
    .onConflict((conflict) =>
      conflict
        .column('asked')
        .where('status', 'in', [sql.lit('pending' as const), sql.lit('approved' as const)])
        .doNothing(),
    )
    .returning('id')
    .executeTakeFirst()
  const [approval] = await load(tx, now, inserted ? { id } : { asked })
  if (!approval) throw unknown()
  if (inserted) {
    await checkFlood(tx, now, request.instance)
    const text = `asked for approval of ${request.system}.${request.operation}`
    await deps.incidents.note(tx, request.instance, [
      { at: now, kind: 'approval', text, decisionId },
    ])
  }
  return { approval, fresh: inserted !== undefined }
}

/** @throws SallyportError `SP_APPROVAL_FLOOD`, which takes the question just asked back */
async function checkFlood(tx: Tx, now: number, instance: string): Promise<void> {
  const { open } = await tx
    .selectFrom('approvals')
    .select(sql<number>`count(*)::int`.as('open'))
    .where('instance', '=', instance)
    .where('status', '=', 'pending')
    .where('expires_at', '>', now)
    .executeTakeFirstOrThrow()
  if (open <= MAX_OPEN) return
  throw new SallyportError(
    'SP_APPROVAL_FLOOD',
    'too many approvals are waiting for this instance',
    {
      fix: 'decide those that wait; an instance that asks this much may be hijacked',
    },
  )
}

async function decide(
  tx: Tx,
  deps: ApprovalDeps,
  input: Parameters<Approvals['decide']>[0],
): Promise<ApprovalView> {
  const now = deps.clock.now()
  await tx.selectFrom('approvals').select('id').where('id', '=', input.id).forUpdate().execute()
  const { approval, nonce } = await find(tx, now, input.id)
  const refusal = await refusalOf(tx, deps, approval, input.operator)
  if (refusal) throw refusal
  const decision = input.statement.decision === 'deny' ? 'deny' : 'approve'
  const expected = statementOf(approval, nonce, input.operator, decision)
  checkSignature({
    set: deps.operatorSet(),
    operator: input.operator,
    expected,
    given: input.statement,
    signature: input.signature,
    roles: ROLES,
    codes: { statement: 'SP_APPROVAL_STATEMENT', role: 'SP_APPROVAL_ROLE' },
  })
  const signed: Signed<ApprovalStatement> = { statement: expected, signatures: [input.signature] }
  await tx
    .insertInto('approval_statements')
    .values({
      approval_id: input.id,
      approver: input.operator,
      decision,
      signed: canonicalJson(signed),
      at: now,
    })
    .execute()
  const approvers = approval.statements.length + 1
  if (decision === 'deny' || approvers >= approval.count) {
    await tx
      .updateTable('approvals')
      .set({ status: decision === 'deny' ? 'denied' : 'approved' })
      .where('id', '=', input.id)
      .execute()
  }
  const verb = decision === 'deny' ? 'denied' : 'approved'
  await deps.incidents.note(tx, approval.instance, [
    { at: now, kind: 'approval', text: `${input.operator} ${verb} ${approval.id}` },
  ])
  return (await find(tx, now, input.id)).approval
}

function statementOf(
  approval: ApprovalView,
  nonce: string,
  approver: string,
  decision: 'approve' | 'deny',
): ApprovalStatement {
  const { instance, system, operation, input, declarationDigest, expiresAt } = approval
  return {
    kind: 'approval',
    approvalId: approval.id,
    decision,
    approver,
    instance,
    system,
    operation,
    input,
    declarationDigest,
    nonce,
    expiresAt,
  }
}

/** Why this operator may not decide it now; undefined where they may. */
async function refusalOf(
  tx: Tx,
  deps: ApprovalDeps,
  approval: ApprovalView,
  operator: string,
): Promise<SallyportError | undefined> {
  const set = deps.operatorSet()
  if (!set) return noOperators()
  if (approval.status !== 'pending') return closed(approval)
  if (approval.declarationDigest !== deps.publisher.current().bundle.declarationDigest) {
    return stale()
  }
  if (!hasRole(set, operator, ROLES)) {
    return new SallyportError('SP_APPROVAL_ROLE', 'an approver or admin has to decide this')
  }
  const enrolled = await tx
    .selectFrom('instances')
    .select('enrolled_by')
    .where('spiffe_id', '=', approval.instance)
    .executeTakeFirst()
  const owner = deps.publisher.index().findAgent(approval.agent)?.owner
  if (owner === operator || enrolled?.enrolled_by === operator) {
    return new SallyportError(
      'SP_APPROVAL_SELF',
      'who owns or enrolled an agent cannot approve for it',
      {
        fix: 'another operator has to decide this one',
      },
    )
  }
  if (approval.statements.some(({ statement }) => statement.approver === operator)) {
    return new SallyportError('SP_APPROVAL_CLOSED', 'you have decided this already')
  }
  return undefined
}

const unknown = (): SallyportError =>
  new SallyportError('SP_APPROVAL_UNKNOWN', 'there is no such approval')

const stale = (): SallyportError =>
  new SallyportError('SP_APPROVAL_STALE', 'the declaration changed since this was asked', {
    fix: 'let the agent ask again',
  })

const closed = ({ status }: ApprovalView): SallyportError =>
  new SallyportError('SP_APPROVAL_CLOSED', `this approval is ${status}`)

async function find(
  tx: Tx,
  now: number,
  id: string,
): Promise<{ approval: ApprovalView; nonce: string }> {
  const [approval] = await load(tx, now, { id })
  const row = await tx
    .selectFrom('approvals')
    .select('nonce')
    .where('id', '=', id)
    .executeTakeFirst()
  if (!approval || !row) throw unknown()
  return { approval, nonce: row.nonce }
}

async function load(
  tx: Tx,
  now: number,
  filter: { id?: string; asked?: string; status?: ApprovalStatus; decision?: string },
): Promise<ApprovalView[]> {
  let query = tx.selectFrom('approvals').selectAll().orderBy('requested_at', 'desc').limit(500)
  const { id, asked, status, decision } = filter
  if (id !== undefined) query = query.where('id', '=', id)
  if (asked !== undefined) query = query.where('asked', '=', asked).where('status', 'in', OPEN)
  if (decision !== undefined) {
    query = query.where((eb) =>
      eb.or([eb('decision_id', '=', decision), eb('used_by', '=', decision)]),
    )
  }
  if (status !== undefined) query = query.where('status', '=', status)
  const rows = await query.execute()
  if (rows.length === 0) return []
  const signed = await tx
    .selectFrom('approval_statements')
    .select(['approval_id', 'signed'])
    .where(
      'approval_id',
      'in',
      rows.map((row) => row.id),
    )
    .orderBy('at')
    .execute()
  return rows.map((row) => ({
    id: row.id,
    // Time decides, whether or not the sweep has passed yet.
    status: OPEN.includes(row.status) && row.expires_at <= now ? 'expired' : row.status,
    agent: row.agent,
    instance: row.instance,
    system: row.system,
    operation: row.operation,
    input: parseJson(row.input),
    count: row.count,
    requestedAt: row.requested_at,
    expiresAt: row.expires_at,
    decisionId: row.decision_id,
    declarationDigest: row.declaration_digest,
    statements: signed
      .filter(({ approval_id }) => approval_id === row.id)
      // Canonical text that `decide` wrote.
      .map((entry) => parseJson(entry.signed) as unknown as Signed<ApprovalStatement>),
  }))
}
