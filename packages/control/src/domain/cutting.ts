import { canonicalJson, newId, parseJson, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { agentId, kindOf, parseSpiffeId } from '@sallyport/spiffe'
import type { OperatorSet, PasskeySignature, Quarantine, Revision } from '@sallyport/wire'
import type { Store, Tx } from '../store/store.ts'
import type { Events } from './events.ts'
import type { IncidentLog } from './incident-log.ts'
import type { Publisher } from './publisher.ts'
import type { Quarantines, QuarantineView, ReleaseStatement } from './quarantine.ts'
import { checkSignature, signersOf } from './signers.ts'
import { checkReason } from './text.ts'

const RELEASE_ROLES = ['approver', 'admin']

export interface QuarantineDeps {
  readonly store: Store
  readonly clock: Clock
  readonly trustDomain: string
  readonly publisher: Publisher
  readonly incidents: IncidentLog
  readonly events: Events
  readonly operatorSet: () => OperatorSet | undefined
  /** Resolves to the milliseconds until every connected gateway applied the revision; undefined where one did not in time. */
  readonly applied: (revision: Revision, since: number) => Promise<number | undefined>
}

/** @see Quarantines */
export function createQuarantines(deps: QuarantineDeps): Quarantines {
  const { store, clock, publisher, events } = deps
  let subjects = new Set(publisher.current().bundle.quarantined.map(({ subject }) => subject))
  publisher.onChange(({ bundle }) => {
    subjects = new Set(bundle.quarantined.map(({ subject }) => subject))
  })
  return {
    async quarantine({ subject, reason, by, risk = 0 }) {
      const since = clock.monotonic()
      const why = checkReason(reason, 'SP_QUARANTINE_REASON')
      checkSubject(subject, deps)
      const { result, revision } = await publisher.publish((tx) =>
        cut(tx, deps, { subject, reason: why, by, risk }),
      )
      if (result.fresh) events.publish('quarantine', { ...result.quarantine, inForce: true })
      const appliedMs = result.fresh ? await deps.applied(revision, since) : undefined
      return {
        quarantine: result.quarantine,
        revision,
        ...(appliedMs === undefined ? {} : { appliedMs }),
      }
    },
    list: (options = {}) => store.run((db) => list(db as Tx, deps, options.released === true)),
    isQuarantined: (spiffeId) => partsOf(spiffeId).some((subject) => subjects.has(subject)),
    releaseStatement: (id, reason) =>
      store.transaction(async (tx) => {
        const row = await lockInForce(tx, id)
        if (row.release_statement !== null) return readStatement(row.release_statement)
        const statement: ReleaseStatement = {
          kind: 'release',
          quarantineId: id,
          subject: row.subject,
          reason: checkReason(reason, 'SP_QUARANTINE_REASON'),
          nonce: newId('rel', clock.now()),
        }
        await tx
          .updateTable('quarantines')
          .set({ release_statement: canonicalJson(statement) })
          .where('id', '=', id)
          .execute()
        return statement
      }),
    async release(input) {
      const { result, revision } = await publisher.publish((tx, next) =>
        release(tx, deps, input, next.epoch),
      )
      if (result.released) events.publish('quarantine', { id: input.id, inForce: false })
      return { ...result, ...(result.released ? { revision } : {}) }
    },
  }
}

/** The id and whatever it is below: its agent, and of another trust domain any part of the path, and the domain. */
function partsOf(spiffeId: string): string[] {
  const segments = spiffeId.split('/')
  // `spiffe:`, nothing, and the trust domain come first.
  return segments.slice(2).map((_, index) => segments.slice(0, index + 3).join('/'))
}

/** @throws SallyportError `SP_QUARANTINE_SUBJECT` for what can be no subject here */
function checkSubject(subject: string, { trustDomain, publisher }: QuarantineDeps): void {
  const id = parseSpiffeId(subject)
  const { federation = [] } = publisher.index().network
  // Of a federated trust domain anything: an instance, a part of its paths, or the domain with all that it vouches for.
  if (federation.some((domain) => domain.trustDomain === id.trustDomain)) return
  const wholeAgent = id.segments.length === 2 && id.segments[0] === 'agent'
  const kind = kindOf(id)?.kind
  if (id.trustDomain !== trustDomain || kind === 'control' || (!kind && !wholeAgent)) {
    throw unknownSubject(subject)
  }
}

function unknownSubject(subject: string): SallyportError {
  return new SallyportError('SP_QUARANTINE_SUBJECT', `nothing here is called \`${subject}\``, {
    fix: 'name an instance by its SPIFFE id, an agent by `spiffe://TRUST-DOMAIN/agent/NAME`, or a federated trust domain by `spiffe://TRUST-DOMAIN`',
  })
}

interface Cut {
  readonly result: { readonly quarantine: Quarantine; readonly fresh: boolean }
  readonly changed: boolean
}

async function cut(
  tx: Tx,
  deps: QuarantineDeps,
  input: { subject: string; reason: string; by: string; risk: number },
): Promise<Cut> {
  const { subject, reason, by } = input
  const now = deps.clock.now()
  const inForce = await tx
    .selectFrom('quarantines')
    .select(['id', 'subject', 'reason', 'by', 'at'])
    .where('subject', '=', subject)
    .where('released_at', 'is', null)
    .executeTakeFirst()
  if (inForce) return { result: { quarantine: inForce, fresh: false }, changed: false }
  const foreign = parseSpiffeId(subject).trustDomain !== deps.trustDomain
  const own = foreign ? '' : agentNameOf(subject)
  const instances = await tx
    .selectFrom('instances')
    .select(['spiffe_id', 'risk'])
    .where((eb) =>
      eb.or([
        eb('spiffe_id', '=', subject),
        eb.and([eb('kind', '=', 'agent'), eb('name', '=', own)]),
      ]),
    )
    .orderBy('spiffe_id')
    // A renewal holds this lock, so that no certificate escapes the revocation below.
    .forUpdate()
    .execute()
  // A subject that nothing is called would give a false sense of containment.
  if (!foreign && instances.length === 0 && !deps.publisher.index().findAgent(own)) {
    throw unknownSubject(subject)
  }
  const quarantine: Quarantine = { id: newId('qua', now), subject, reason, by, at: now }
  await tx
    .insertInto('quarantines')
    .values({ ...quarantine, release_statement: null, released_at: null, released_epoch: null })
    .execute()
  if (instances.length > 0) {
    await tx
      .insertInto('revoked_serials')
      .columns(['serial', 'not_after', 'at'])
      .expression((eb) =>
        eb
          .selectFrom('certificates')
          .select((row) => ['serial', 'not_after', row.val(now).as('at')])
          .where(
            'spiffe_id',
            'in',
            instances.map(({ spiffe_id }) => spiffe_id),
          )
          .where('not_after', '>', now),
      )
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }
  await deps.incidents.raise(tx, {
    subject,
    status: 'contained',
    risk: Math.max(input.risk, ...instances.map(({ risk }) => risk)),
    entry: { at: now, kind: 'quarantine', text: `quarantined by ${by}: ${reason}` },
  })
  return { result: { quarantine, fresh: true }, changed: true }
}

/** NAME of `spiffe://TD/agent/NAME`, or an impossible name for any other subject. */
function agentNameOf(subject: string): string {
  const id = parseSpiffeId(subject)
  const [kind, name, instance] = id.segments
  return kind === 'agent' && name !== undefined && instance === undefined ? name : ''
}

interface QuarantineRow extends Quarantine {
  readonly release_statement: string | null
  readonly released_at: number | null
}

async function lockInForce(tx: Tx, id: string): Promise<QuarantineRow> {
  const row = await tx
    .selectFrom('quarantines')
    .selectAll()
    .where('id', '=', id)
    .where('released_at', 'is', null)
    .forUpdate()
    .executeTakeFirst()
  if (row) return row
  throw new SallyportError('SP_QUARANTINE_UNKNOWN', `no quarantine \`${id}\` is in force`)
}

async function release(
  tx: Tx,
  deps: QuarantineDeps,
  input: Parameters<Quarantines['release']>[0],
  epoch: number,
): Promise<{
  result: { released: boolean; signed: readonly string[]; quorum: number }
  changed: boolean
}> {
  const row = await lockInForce(tx, input.id)
  const expected = row.release_statement === null ? undefined : readStatement(row.release_statement)
  if (!expected) {
    throw new SallyportError('SP_QUARANTINE_STATEMENT', 'no release of this has been asked for yet')
  }
  const set = checkSignature({
    set: deps.operatorSet(),
    operator: input.operator,
    expected,
    given: input.statement,
    signature: input.signature,
    roles: RELEASE_ROLES,
    codes: { statement: 'SP_QUARANTINE_STATEMENT', role: 'SP_QUARANTINE_ROLE' },
  })
  await tx
    .insertInto('release_signatures')
    .values({
      quarantine_id: input.id,
      operator: input.operator,
      signature: JSON.stringify(input.signature),
    })
    // By the passkey that they have now: an earlier one may have left the set.
    .onConflict((conflict) =>
      conflict
        .columns(['quarantine_id', 'operator'])
        .doUpdateSet({ signature: JSON.stringify(input.signature) }),
    )
    .execute()
  const signed = signersOf(expected, await signaturesOf(tx, input.id), set, RELEASE_ROLES)
  const released = signed.length >= set.quorum
  if (released) {
    const now = deps.clock.now()
    await tx
      .updateTable('quarantines')
      .set({ released_at: now, released_epoch: epoch })
      .where('id', '=', input.id)
      .execute()
    await deps.incidents.close(tx, row.subject, {
      at: now,
      kind: 'release',
      text: `released by ${signed.join(', ')}: ${expected.reason}`,
    })
  }
  return { result: { released, signed, quorum: set.quorum }, changed: released }
}

async function signaturesOf(tx: Tx, id: string): Promise<PasskeySignature[]> {
  const rows = await tx
    .selectFrom('release_signatures')
    .select('signature')
    .where('quarantine_id', '=', id)
    .execute()
  // Only signatures that verified were written.
  return rows.map(({ signature }) => signature as PasskeySignature)
}

function readStatement(text: string): ReleaseStatement {
  // Canonical text that `releaseStatement` wrote.
  return parseJson(text) as unknown as ReleaseStatement
}

async function list(
  tx: Tx,
  deps: QuarantineDeps,
  released: boolean,
): Promise<readonly QuarantineView[]> {
  let query = tx.selectFrom('quarantines').selectAll().orderBy('at', 'desc').limit(500)
  if (!released) query = query.where('released_at', 'is', null)
  const set = deps.operatorSet()
  const views: QuarantineView[] = []
  for (const row of await query.execute()) {
    const { id, subject, reason, by, at } = row
    const statement = row.release_statement === null ? null : readStatement(row.release_statement)
    views.push({
      id,
      subject,
      reason,
      by,
      at,
      ...(row.released_at === null ? {} : { releasedAt: row.released_at }),
      ...(statement && set
        ? {
            release: {
              statement,
              signed: signersOf(statement, await signaturesOf(tx, id), set, RELEASE_ROLES),
              quorum: set.quorum,
            },
          }
        : {}),
    })
  }
  return views
}

/** Whether an enrolment under this agent's name is barred. */
export function agentIsCut(quarantines: Quarantines, trustDomain: string, agent: string): boolean {
  return quarantines.isQuarantined(agentId(trustDomain, agent, 'any'))
}
