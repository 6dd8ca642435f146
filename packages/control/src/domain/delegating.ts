import { randomBytes } from 'node:crypto'
import { sql } from 'kysely'
import { canonicalJson, parseJson, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { InputSchema, InputType, NetworkIndex } from '@sallyport/network'
import { agentId, kindOf, parseSpiffeId, TrustBundle, verifySvid } from '@sallyport/spiffe'
import {
  holdsMandate,
  MANDATE_ID,
  mandateId,
  MAX_MANDATE_MS,
  readMandateStatement,
  verifyMandate,
} from '@sallyport/wire'
import type {
  MandateGrant,
  MandateStatement,
  OperatorSet,
  Revision,
  SignedMandate,
  VerifiedMandate,
} from '@sallyport/wire'
import type { Store, Tx } from '../store/store.ts'
import type { Trust } from '../trust.ts'
import type { MandateDraft, MandateHop, Mandates, MandateView } from './mandates.ts'
import type { Publisher } from './publisher.ts'
import type { Quarantines } from './quarantine.ts'
import { checkReason } from './text.ts'

/** How long a statement that was drawn up may wait for its signature. */
const MAX_WAIT_MS = 10 * 60_000
/** Mandates that one instance has in force: more would fill the store. */
const MAX_OPEN = 500
const LISTED = 500
/**
 * Revocations in force that one instance, and all of one agent, may have asked for: each stands in the bundle, and a bundle that is too long
 * is read by no gateway. People revoke without limit.
 */
const MAX_ENDED = 64
const MAX_ENDED_BY_AGENT = 1000

export interface MandateDeps {
  readonly store: Store
  readonly clock: Clock
  readonly trust: Trust
  readonly publisher: Publisher
  readonly quarantine: Pick<Quarantines, 'isQuarantined'>
  readonly operatorSet: () => OperatorSet | undefined
  readonly applied: (revision: Revision, since: number) => Promise<number | undefined>
}

/** @see Mandates */
export function createMandates(deps: MandateDeps): Mandates {
  const { store, clock, publisher } = deps
  return {
    draw: (operator, draft) => draw(deps, operator, draft),
    async give({ operator, statement, signature }) {
      const now = clock.now()
      readMandateStatement(statement)
      const waited = now - statement.issuedAt
      if (statement.delegator !== `operator:${operator}` || waited < 0 || waited > MAX_WAIT_MS) {
        throw new SallyportError('SP_MANDATE_STATEMENT', 'the mandate is not one that was drawn up')
      }
      checkDeclared(publisher.index(), statement)
      const chain = [{ statement, passkey: signature }]
      const { id } = await keep(deps, chain, `operator:${operator}`)
      const view = await viewOf(deps, id)
      if (!view) throw unknown()
      return view
    },
    async register(instance, chain) {
      const { id } = await keep(deps, chain, instance)
      return { id }
    },
    list: () => store.run((db) => views(db as Tx, clock.now())),
    get: (id) => viewOf(deps, id),
    chain: (id, concerning) =>
      store.run(async (db) => {
        const row = await db
          .selectFrom('mandates')
          .select('chain')
          .where('id', '=', id)
          .executeTakeFirst()
        const chain = row && chainOf(row.chain)
        if (chain && concerning !== undefined && !concerns(chain, concerning)) return undefined
        return chain
      }),
    async revoke({ id, reason, by }) {
      if (!MANDATE_ID.test(id)) throw unknown()
      const since = clock.monotonic()
      const why = checkReason(reason, 'SP_MANDATE_REQUEST')
      const { result, revision } = await publisher.publish((tx) =>
        revoke(tx, clock.now(), { id, reason: why, by }),
      )
      const appliedMs = result.fresh ? await deps.applied(revision, since) : undefined
      return { id, revision, ...(appliedMs === undefined ? {} : { appliedMs }) }
    },
    async reserve(decisionId, hops) {
      const state = await count(store, clock, decisionId, hops)
      return {
        granted: state === 'granted',
        ...(state === 'revoked' ? { revoked: true as const } : {}),
      }
    },
    async settle(decisionId, commit) {
      const { rows } = await store.run((db) =>
        sql<{
          state: string
        }>`SELECT settle_mandate(${decisionId}, ${commit}) AS state`.execute(db),
      )
      if (rows[0]?.state !== (commit ? 'committed' : 'released')) {
        throw new SallyportError('SP_MANDATE_UNKNOWN', 'there is no such open reservation')
      }
    },
    async sweep() {
      // A day beyond the end, for clocks and for whoever looks at what was.
      const before = clock.now() - 86_400_000
      await store.run(async (db) => {
        await db.deleteFrom('mandates').where('expires_at', '<', before).execute()
        await db.deleteFrom('revoked_mandates').where('not_after', '<', before).execute()
        await db.deleteFrom('mandate_counts').where('expires_at', '<', before).execute()
        await db
          .deleteFrom('mandate_reservations')
          .where('at', '<', before - MAX_MANDATE_MS)
          .execute()
      })
    },
  }
}

function draw(deps: MandateDeps, operator: string, draft: MandateDraft): MandateStatement {
  const { clock, publisher, trust } = deps
  const now = clock.now()
  const named = draft.delegate.startsWith('spiffe://')
    ? draft.delegate
    : agentId(trust.pins.trustDomain, draft.delegate, 'any').replace(/\/any$/, '')
  const statement = readMandateStatement({
    kind: 'mandate',
    nonce: randomBytes(18).toString('base64url'),
    delegator: `operator:${operator}`,
    delegate: named,
    task: draft.task,
    grants: draft.grants,
    issuedAt: now,
    notBefore: now,
    expiresAt: now + draft.lifetimeSeconds * 1000,
    uses: draft.uses,
  })
  checkDeclared(publisher.index(), statement)
  return statement
}

/** Whatever is not declared could never be called: it is a mistake of whoever wrote it. */
function checkDeclared(index: NetworkIndex, { delegate, grants }: MandateStatement): void {
  const { trustDomain } = index.network
  const [agent = ''] = delegate.slice(`spiffe://${trustDomain}/agent/`.length).split('/')
  if (!delegate.startsWith(`spiffe://${trustDomain}/agent/`) || !index.findAgent(agent)) {
    throw request(`no agent \`${delegate}\` is declared`)
  }
  for (const grant of grants) checkGrant(index, grant)
}

function checkGrant(index: NetworkIndex, grant: MandateGrant): void {
  const { system, operations, amount, counterparties } = grant
  const paths = [
    ...Object.keys(grant.arguments ?? {}),
    ...(amount ? [amount.input, ...(amount.currencyInput ? [amount.currencyInput] : [])] : []),
    ...(counterparties ? [counterparties.input] : []),
  ]
  for (const name of operations) {
    const operation = index.findOperation(system, name)
    if (!operation) throw request(`no operation \`${system}.${name}\` is declared`)
    const strange = paths.find((path) => !hasMember(operation.input, path.split('.')))
    if (strange !== undefined) throw request(`\`${system}.${name}\` has no input \`${strange}\``)
  }
}

function hasMember(schema: InputSchema, [name = '', ...rest]: readonly string[]): boolean {
  const member = Object.hasOwn(schema.members, name) ? schema.members[name] : undefined
  if (!member) return false
  const type: InputType = member.schema
  return rest.length === 0 || (type.type === 'record' && hasMember(type, rest))
}

/** Verifies a chain as a gateway would, now, and keeps it. @param by whose the last hop must be */
async function keep(deps: MandateDeps, given: unknown, by: string): Promise<VerifiedMandate> {
  const { store, clock } = deps
  const now = clock.now()
  const mandate = verify(deps, given, now)
  const leaf = mandate.hops.at(-1)
  if (leaf?.delegator !== by) throw request("the last hop is somebody else's")
  // It verified, so it is a chain of signed mandates.
  const chain = given as readonly SignedMandate[]
  await store.transaction(async (tx) => {
    await sql`SELECT pg_advisory_xact_lock(hashtextextended(${`mandates of ${by}`}, 0))`.execute(tx)
    const { open } = await tx
      .selectFrom('mandates')
      .select((eb) => eb.fn.countAll<number>().as('open'))
      .where('registered_by', '=', by)
      .where('expires_at', '>', now)
      .executeTakeFirstOrThrow()
    if (open >= MAX_OPEN) throw request('too many mandates of this delegator are in force')
    await tx
      .insertInto('mandates')
      .values({
        id: mandate.id,
        delegator: leaf.delegator,
        delegate: leaf.delegate,
        chain: canonicalJson(chain),
        ids: JSON.stringify(mandate.chain),
        registered_by: by,
        issued_at: leaf.issuedAt,
        expires_at: mandate.expiresAt,
      })
      // The same statement signed anew, by an SVID that lasts longer: everything else of it is what its id says.
      .onConflict((conflict) => conflict.column('id').doUpdateSet({ chain: canonicalJson(chain) }))
      .execute()
  })
  return mandate
}

function verify(deps: MandateDeps, chain: unknown, now: number): VerifiedMandate {
  const { trust, publisher, quarantine } = deps
  const { trustDomain } = trust.pins
  const { revokedMandates = [], revokedSerials } = publisher.current().bundle
  const anchors = new Map([[trustDomain, TrustBundle.fromPem(trustDomain, trust.rootsPem)]])
  return verifyMandate(chain, {
    trustDomain,
    now,
    operators: deps.operatorSet(),
    verifySvid(der) {
      const { id, serial, notAfter, publicKey } = verifySvid(der, anchors, { now })
      return { instance: id.uri, serial, notAfter, publicKey }
    },
    isRevoked: (id) => revokedMandates.some((one) => one.id === id),
    isSerialRevoked: (serial) => revokedSerials.some((one) => one.serial === serial),
    isCut: (instance) => quarantine.isQuarantined(instance),
  })
}

async function revoke(
  tx: Tx,
  now: number,
  { id, reason, by }: { readonly id: string; readonly reason: string; readonly by: string },
): Promise<{ result: { fresh: boolean }; changed: boolean }> {
  const row = await tx
    .selectFrom('mandates')
    .select(['chain', 'expires_at'])
    .where('id', '=', id)
    .executeTakeFirst()
  const agent = by.startsWith('spiffe://')
  if (agent && !(row && concerns(chainOf(row.chain), by))) throw unknown()
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('revoked_mandates')
    .values({
      id,
      // Of one that is only carried nobody here knows the end: it is the latest that it can be.
      not_after: row?.expires_at ?? now + MAX_MANDATE_MS,
      ...{ reason, by, at: now },
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst()
  const fresh = numInsertedOrUpdatedRows === 1n
  if (fresh && agent) await checkEnded(tx, now, by)
  return { result: { fresh }, changed: fresh }
}

/** The one just ended included, which this takes back. Under the lock on the head, so that no two count at once. @throws SallyportError `SP_MANDATE_REQUEST` */
async function checkEnded(tx: Tx, now: number, instance: string): Promise<void> {
  const siblings = instance.slice(0, instance.lastIndexOf('/') + 1)
  const { own, all } = await tx
    .selectFrom('revoked_mandates')
    .select([
      sql<number>`count(*) FILTER (WHERE by = ${instance})::int`.as('own'),
      sql<number>`count(*)::int`.as('all'),
    ])
    .where('not_after', '>', now)
    .where(sql<boolean>`starts_with(by, ${siblings})`)
    .executeTakeFirstOrThrow()
  if (own <= MAX_ENDED && all <= MAX_ENDED_BY_AGENT) return
  throw new SallyportError('SP_MANDATE_REQUEST', 'this agent has ended too many mandates', {
    fix: 'give mandates that end soon by themselves; an operator ends others',
  })
}

/** Whether an instance signed a hop or holds the last one: it may see the chain, and end it, which takes away only. */
function concerns(chain: readonly SignedMandate[], instance: string): boolean {
  const last = chain.at(-1)?.statement.delegate
  return (
    chain.some(({ statement }) => statement.delegator === instance) ||
    (last !== undefined && holdsMandate(last, instance))
  )
}

async function count(
  store: Store,
  clock: Clock,
  decisionId: string,
  hops: readonly MandateHop[],
): Promise<string> {
  const issuedAt = Math.min(...hops.map((hop) => hop.issuedAt))
  const { rows } = await store.run((db) =>
    sql<{ state: string }>`
      SELECT CASE
        WHEN EXISTS (SELECT FROM mandate_floor WHERE issued_after >= ${issuedAt}) THEN 'used'
        ELSE reserve_mandate(${decisionId}, ${canonicalJson(hops)}::jsonb, ${clock.now()})
      END AS state
    `.execute(db),
  )
  return rows[0]?.state ?? 'used'
}

interface Row {
  readonly id: string
  readonly chain: string
  readonly ids: readonly string[]
  readonly expires_at: number
  readonly used: number | null
}

async function views(tx: Tx, now: number, id?: string): Promise<MandateView[]> {
  let query = tx
    .selectFrom('mandates')
    .leftJoin('mandate_counts', (join) =>
      join.onRef('mandate_counts.id', '=', 'mandates.id').on('mandate_counts.grant_index', '=', -1),
    )
    .select([
      'mandates.id as id',
      'mandates.chain as chain',
      'mandates.ids as ids',
      'mandates.expires_at as expires_at',
      'mandate_counts.total as used',
    ])
    .orderBy('mandates.issued_at', 'desc')
    .limit(LISTED)
  if (id !== undefined) query = query.where('mandates.id', '=', id)
  const rows: readonly Row[] = await query.execute()
  const ids = [...new Set(rows.flatMap((row) => row.ids))]
  const revoked =
    ids.length === 0
      ? []
      : await tx.selectFrom('revoked_mandates').selectAll().where('id', 'in', ids).execute()
  const ended = new Map(revoked.map((row) => [row.id, row]))
  return rows.flatMap((row): MandateView[] => {
    const statement = chainOf(row.chain).at(-1)?.statement
    if (!statement || mandateId(statement) !== row.id) return []
    const end = row.ids.toReversed().flatMap((one) => ended.get(one) ?? [])[0]
    const over = row.expires_at <= now ? 'expired' : 'active'
    return [
      {
        id: row.id,
        status: end ? 'revoked' : over,
        statement,
        chain: row.ids,
        used: row.used ?? 0,
        ...(end ? { revoked: { id: end.id, reason: end.reason, by: end.by, at: end.at } } : {}),
      },
    ]
  })
}

const viewOf = ({ store, clock }: MandateDeps, id: string): Promise<MandateView | undefined> =>
  store.run(async (db) => (await views(db as Tx, clock.now(), id))[0])

function chainOf(text: string): readonly SignedMandate[] {
  // Canonical text of a chain that verified.
  return parseJson(text, { maxBytes: 1 << 20 }) as unknown as readonly SignedMandate[]
}

/** Whether an identity is one of an agent: nobody else delegates. */
export function isAgent(spiffeId: string): boolean {
  return kindOf(parseSpiffeId(spiffeId))?.kind === 'agent'
}

export function isGateway(spiffeId: string): boolean {
  return spiffeId !== '' && kindOf(parseSpiffeId(spiffeId))?.kind === 'gateway'
}

const request = (message: string): SallyportError =>
  new SallyportError('SP_MANDATE_REQUEST', message, {
    fix: 'name agents, systems, operations and inputs as the network declares them',
  })

const unknown = (): SallyportError =>
  new SallyportError('SP_MANDATE_UNKNOWN', 'there is no such mandate')
