import { canonicalJson, parseJson, SallyportError, sha256Hex } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { POLL_INTERVAL } from '@sallyport/oauth'
import type {
  AuthorisationServer,
  BackchannelQuestion,
  BackchannelQuestions,
  BackchannelTold,
  Evidence,
} from '@sallyport/oauth'
import type { Barrier } from '@sallyport/seal'
import { parseSpiffeId } from '@sallyport/spiffe'
import type { BackchannelStatement, OperatorSet } from '@sallyport/wire'
import { sql } from 'kysely'
import type { Acts } from '../domain/acts.ts'
import { MAX_OPEN } from '../domain/asking.ts'
import type { Backchannel, BackchannelView } from '../domain/backchannel.ts'
import type { Events } from '../domain/events.ts'
import type { Publisher } from '../domain/publisher.ts'
import { checkSignature } from '../domain/signers.ts'
import type { Store, Tx } from '../store/store.ts'
import { CONSENT_ROLES } from './consents.ts'
import { cutSince, nameOf } from './grants.ts'
import { createPings } from './ping.ts'

/** Questions of one agent, whichever instance, that one person has before them at once. */
const MAX_EACH = 8
const SHOWN = 100
const CODES = { statement: 'SP_BACKCHANNEL_STATEMENT', role: 'SP_CONSENT_ROLE' }

interface Row {
  readonly id: string
  readonly status: 'pending' | 'allowed' | 'refused'
  readonly operator: string
  readonly client: string
  readonly agent: string
  readonly statement: string
  readonly requested_at: number
  readonly expires_at: number
  /** Under the barrier. */
  readonly ping: string | null
}

export interface BackchannelDeps {
  readonly store: Store
  readonly clock: Clock
  readonly publisher: Publisher
  readonly events: Events
  readonly acts: Acts
  readonly operatorSet: () => OperatorSet | undefined
  readonly standing: (subject: string) => boolean
  readonly barrier: Pick<Barrier, 'encrypt' | 'decrypt'>
  readonly onError: (error: unknown) => void
  readonly server: () => Promise<AuthorisationServer>
}

/** @see Backchannel */
export function createBackchannel(deps: BackchannelDeps): Backchannel & BackchannelQuestions {
  const { store, clock, acts, events } = deps
  const tell = createPings(deps)
  const changed = (question: { readonly id: string; readonly agent: string }, status: string) =>
    events.publish('approval', { id: question.id, status, agent: question.agent })

  async function statusOf(row: Row): Promise<BackchannelView['status']> {
    if (row.status !== 'pending') return row.status
    if (row.expires_at <= clock.now()) return 'expired'
    // Cut off meanwhile, and be it released since: whoever asks again is asked about again.
    const stands = deps.standing(row.client) && deps.standing(`operator:${row.operator}`)
    if (!stands || (await cutSince(store, row.client, row.requested_at))) return 'ended'
    return 'pending'
  }

  async function viewOf(row: Row): Promise<BackchannelView> {
    const index = deps.publisher.index()
    const statement = statementIn(row)
    const system = statement.resource.split('/').at(-1) ?? ''
    return {
      id: row.id,
      status: await statusOf(row),
      statement,
      agent: row.agent,
      agentDescription: index.findAgent(row.agent)?.description ?? '',
      system,
      systemDescription: index.findSystem(system)?.description ?? '',
      operations: statement.scope.map((name) => ({
        name,
        description: index.findOperation(system, name)?.description ?? '',
      })),
      requestedAt: row.requested_at,
    }
  }

  async function find(id: string, operator: string): Promise<Row> {
    const row = await store.run((db) =>
      db
        .selectFrom('backchannel_requests')
        .selectAll()
        .where('id', '=', id)
        .where('operator', '=', operator)
        .executeTakeFirst(),
    )
    if (row) return row
    throw new SallyportError('SP_BACKCHANNEL_UNKNOWN', 'nobody asked you this')
  }

  async function open(id: string, operator: string): Promise<Row> {
    const row = await find(id, operator)
    const status = await statusOf(row)
    if (status !== 'pending') throw closed(status)
    return row
  }

  async function decide(row: Row, evidence: Evidence | undefined): Promise<void> {
    const status = evidence ? 'allowed' : 'refused'
    // Of two decisions at once, one is taken.
    const won = await store.run((db) =>
      db
        .updateTable('backchannel_requests')
        // Whoever is told comes at once, however short ago it asked.
        .set({ status, ...(row.ping === null ? {} : { polled_at: 0 }) })
        .where('id', '=', row.id)
        .where('status', '=', 'pending')
        .where('expires_at', '>', clock.now())
        .returning('id')
        .executeTakeFirst(),
    )
    if (!won) throw closed('decided')
    const statement = statementIn(row)
    // On the record before it counts, with the signature: the grant that keeps it too ends, and its row goes.
    await acts.record(
      `backchannel-${status}`,
      { operator: row.operator, request: row.id, statement: evidence?.signed ?? row.statement },
      row.client,
    )
    await (await deps.server()).decide(questionIn(row, statement), evidence)
    changed(row, status)
    // It is decided, whether its agent can be told or not.
    if (row.ping !== null) void ping(row.ping, row).catch(deps.onError)
  }

  async function ping(sealed: string, { id, client, agent, expires_at: end }: Row): Promise<void> {
    const opened = await deps.barrier.decrypt(pathOf(id), 0, Buffer.from(sealed, 'base64url'))
    // Sealed by `ask` below, for this very request.
    const secret = JSON.parse(opened.toString()) as BackchannelTold
    // As long as there is something to fetch.
    const until = Math.max(end, clock.now() + 2 * POLL_INTERVAL * 1000)
    await tell(secret, until, () =>
      deps.standing(client) ? deps.publisher.index().findAgent(agent)?.backchannelPing : undefined,
    )
  }

  return {
    async ask(question, told) {
      const sealed =
        told &&
        (await deps.barrier.encrypt(pathOf(question.id), 0, Buffer.from(JSON.stringify(told))))
      const row = rowOf(question, clock.now(), sealed?.toString('base64url') ?? null)
      await store.transaction((tx) => ask(tx, clock.now(), row))
      changed(row, 'pending')
    },
    async poll(id) {
      const now = clock.now()
      const row = await store.run((db) =>
        db.selectFrom('backchannel_requests').selectAll().where('id', '=', id).executeTakeFirst(),
      )
      if (!row || (await statusOf(row)) === 'ended') return 'gone'
      const counted = await store.run((db) =>
        db
          .updateTable('backchannel_requests')
          .set({ polled_at: now })
          .where('id', '=', id)
          .where('polled_at', '<=', now - POLL_INTERVAL * 1000)
          .returning('id')
          .executeTakeFirst(),
      )
      return counted ? 'fine' : 'early'
    },
    async list(operator) {
      const rows = await store.run((db) =>
        db
          .selectFrom('backchannel_requests')
          .selectAll()
          .where('operator', '=', operator)
          .orderBy('requested_at', 'desc')
          .limit(SHOWN)
          .execute(),
      )
      return Promise.all(rows.map(viewOf))
    },
    get: async (id, operator) => viewOf(await find(id, operator)),
    async allow({ id, operator, session, statement: given, signature }) {
      const row = await open(id, operator)
      const expected = statementIn(row)
      checkSignature({
        set: deps.operatorSet(),
        operator,
        ...{ expected, given, signature },
        roles: CONSENT_ROLES,
        codes: CODES,
      })
      const signed = canonicalJson({ statement: expected, signatures: [signature] })
      await decide(row, { credential: signature.credentialId, session, signed })
    },
    refuse: async (id, operator) => decide(await open(id, operator), undefined),
  }
}

/** @throws SallyportError `SP_BACKCHANNEL_REFUSED`, `SP_BACKCHANNEL_FLOOD` */
async function ask(tx: Tx, now: number, row: Row & { readonly asked: string }): Promise<void> {
  const { client, agent, operator, asked } = row
  // Counted one after the other: many that come at once would each see the others not yet there.
  await sql`SELECT pg_advisory_xact_lock(hashtextextended(${`backchannel ${agent}`}, 0))`.execute(
    tx,
  )
  const all = tx
    .selectFrom('backchannel_requests')
    .select(sql<number>`count(*)::int`.as('count'))
    .where('expires_at', '>', now)
  // A refusal stays one for as long as the question would have stood: asking again is no way around it.
  const refused = await all
    .where('asked', '=', asked)
    .where('status', '=', 'refused')
    .executeTakeFirstOrThrow()
  if (refused.count > 0) {
    throw new SallyportError('SP_BACKCHANNEL_REFUSED', 'the person refused this just now')
  }
  const waiting = all.where('status', '=', 'pending')
  const each = await waiting
    .where('agent', '=', agent)
    .where('operator', '=', operator)
    .executeTakeFirstOrThrow()
  const own = await waiting.where('client', '=', client).executeTakeFirstOrThrow()
  const calls = await tx
    .selectFrom('approvals')
    .select(sql<number>`count(*)::int`.as('count'))
    .where('instance', '=', client)
    .where('status', '=', 'pending')
    .where('expires_at', '>', now)
    .executeTakeFirstOrThrow()
  if (each.count >= MAX_EACH || own.count + calls.count >= MAX_OPEN) {
    throw new SallyportError(
      'SP_BACKCHANNEL_FLOOD',
      'too many questions of this agent wait for an answer',
      { fix: 'wait for those to be decided; an agent that asks this much may be hijacked' },
    )
  }
  await tx
    .insertInto('backchannel_requests')
    .values({ ...row, polled_at: 0 })
    .execute()
}

/** What is sealed for one request opens for no other. */
const pathOf = (id: string): string => `backchannel/${id}`

function rowOf(
  question: BackchannelQuestion,
  now: number,
  ping: string | null,
): Row & { readonly asked: string } {
  const { id, expiresAt, ...asked } = question
  const { subject, client, resource, scope, details, message, refreshSeconds } = question
  const statement: BackchannelStatement = {
    kind: 'backchannel',
    ...{ subject, client, resource, scope, details, message, refreshSeconds, expiresAt },
    nonce: id,
  }
  return {
    id,
    asked: sha256Hex(canonicalJson(asked)),
    status: 'pending',
    operator: nameOf(subject),
    client,
    agent: parseSpiffeId(client).segments[1] ?? '',
    statement: canonicalJson(statement),
    requested_at: now,
    expires_at: expiresAt,
    ping,
  }
}

function statementIn({ statement }: Row): BackchannelStatement {
  // Canonical text that `rowOf` wrote.
  return parseJson(statement) as unknown as BackchannelStatement
}

function questionIn({ id }: Row, statement: BackchannelStatement): BackchannelQuestion {
  const { kind: _kind, nonce: _id, ...rest } = statement
  // Its details were read as payments when it was asked.
  return { ...rest, id, details: rest.details as BackchannelQuestion['details'] }
}

function closed(status: string): SallyportError {
  return new SallyportError('SP_BACKCHANNEL_CLOSED', `this request is ${status}`)
}
