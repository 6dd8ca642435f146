import { randomBytes } from 'node:crypto'
import { newId, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Network } from '@sallyport/network'
import { sql } from 'kysely'
import type { Store } from '../store/store.ts'
import type { Acts } from './acts.ts'
import type { AlarmBell } from './alarms.ts'
import type { Elevation } from './emergencies.ts'
import type { Events } from './events.ts'
import { REVISION_CHANNEL } from './publisher.ts'
import { secretHash } from './secrets.ts'
import type { Vouching } from './secrets.ts'
import { once } from './serially.ts'
import { addressOf, endsOf, isBound, isLive, operatorNameOf, personOf } from './session-rules.ts'
import { userAgentOf } from './session-rules.ts'
import type { Person, SessionRow } from './session-rules.ts'
import type { Sessions, SessionView, SignIn } from './sessions.ts'

/** Uses closer together than this are one in the database. */
const TOUCH_MS = 10_000
const LISTED = 500

export interface SessionKeeper extends Sessions {
  /** Another control plane may have ended some. */
  refresh(): void
}

/** @see Sessions */
export function createSessions(deps: {
  readonly store: Store
  readonly clock: Clock
  readonly secrets: Vouching
  readonly alarms: AlarmBell
  readonly events: Events
  readonly acts: Acts
  readonly onError: (error: unknown) => void
  readonly network: () => Network
  /** Passkeys in force. */
  readonly credentialsOf: (operator: string) => readonly string[]
  /** What break-glass adds in this session. */
  readonly elevation: (session: string, operator: string) => Promise<Elevation | undefined>
}): SessionKeeper {
  const { store, clock, network, credentialsOf } = deps
  const listeners = new Set<(id: string | undefined) => void>()

  /** In the audit log where that can be written. Where not, people still have to get in, to contain and to mend it. */
  const recorded = (event: string, facts: Readonly<Record<string, string>>): Promise<void> =>
    deps.acts.record(event, facts).catch(deps.onError)

  const personIn = (row: SessionRow): Person | undefined =>
    isLive(row, network(), clock.now()) ? personOf(row, network(), credentialsOf) : undefined
  const viewOf = (row: SessionRow & { readonly csrf: string }, person: Person): SessionView => ({
    id: row.id,
    ...person,
    method: row.method,
    csrf: row.csrf,
    ...endsOf(row, network()),
  })
  /** Gone from the database first; then every stream that it opened, here and on other control planes. */
  const remove = async (id: string, why: string): Promise<boolean> => {
    const gone = await store.run(async (db) => {
      const row = await db
        .deleteFrom('sessions')
        .where('id', '=', id)
        .returning('operator')
        .executeTakeFirst()
      // What it had by break-glass nobody can use any more.
      await db
        .updateTable('break_glass')
        .set({ ended_at: clock.now() })
        .where('session_id', '=', id)
        .where('ended_at', 'is', null)
        .where('expires_at', '>', clock.now())
        .execute()
      if (row) await sql`SELECT pg_notify(${REVISION_CHANNEL}, '')`.execute(db)
      return row
    })
    if (!gone) return false
    for (const listener of listeners) listener(id)
    deps.events.publish('session', { id, operator: gone.operator, ended: why })
    await recorded('session-ended', { session: id, operator: gone.operator, why })
    return true
  }

  const elevated = async (view: SessionView): Promise<SessionView> => {
    const more = await deps.elevation(view.id, view.operator)
    if (!more) return view
    const roles = [...new Set([...view.roles, ...more.roles])]
    return { ...view, roles, breakGlass: { id: more.id, endsAt: more.endsAt } }
  }

  return {
    async start(input, seen) {
      const now = clock.now()
      const csrf = randomBytes(24).toString('base64url')
      const row: SessionRow = {
        id: newId('ses', now),
        ...openedBy(input, network()),
        user_agent: userAgentOf(seen),
        address: addressOf(seen),
        started_at: now,
        last_used: now,
      }
      const session = deps.secrets.issue('session', factsOf(row))
      const person = personOf(row, network(), credentialsOf)
      if (!person) {
        throw new SallyportError('SP_API_LOGIN', 'what was shown opens no session here', {
          fix: 'ask an admin of this network whether you are declared',
        })
      }
      await store.run((db) =>
        db
          .insertInto('sessions')
          .values({
            ...row,
            hash: secretHash('session', session),
            csrf,
            groups: row.groups && JSON.stringify(row.groups),
          })
          .execute(),
      )
      const { id, operator, method, address } = row
      deps.events.publish('session', { id, operator, method })
      await recorded('session-opened', { session: id, operator, method, address })
      return { session, view: viewOf({ ...row, csrf }, person) }
    },
    async find(session, seen) {
      const row = await store.run((db) =>
        db
          .selectFrom('sessions')
          .selectAll()
          .where('hash', '=', secretHash('session', session))
          .executeTakeFirst(),
      )
      // Who signed in is in the cookie's own MAC: an entry that somebody else made opens nothing.
      if (!row || !deps.secrets.vouches('session', session, factsOf(row))) return undefined
      const person = personIn(row)
      if (!person) {
        await remove(row.id, 'over')
        return undefined
      }
      if (isBound(row, seen, network())) return elevated(viewOf(row, person))
      // Of many that come at once, the one that ends it tells.
      if (await remove(row.id, 'reused')) {
        await deps.alarms.raise({
          kind: 'session-reused',
          operator: row.operator,
          text: `the session of \`${row.operator}\` was shown by another browser, at ${addressOf(seen)}, and has ended`,
        })
      }
      return undefined
    },
    async touch({ id, idleAt }) {
      const now = clock.now()
      const ends = endsOf({ started_at: now, last_used: now }, network())
      if (ends.idleAt - idleAt < TOUCH_MS) return
      await store.run((db) =>
        db
          .updateTable('sessions')
          .set({ last_used: now })
          .where('id', '=', id)
          .where('last_used', '<', now)
          .execute(),
      )
    },
    async end(session) {
      const row = await store.run((db) =>
        db
          .selectFrom('sessions')
          .select('id')
          .where('hash', '=', secretHash('session', session))
          .executeTakeFirst(),
      )
      if (row) await remove(row.id, 'signed out')
    },
    async list(operator) {
      const rows = await store.run((db) => {
        const all = db.selectFrom('sessions').selectAll().orderBy('started_at', 'desc')
        const some = operator === undefined ? all : all.where('operator', '=', operator)
        return some.limit(LISTED).execute()
      })
      return rows.flatMap((row) => {
        const person = personIn(row)
        if (!person) return []
        const { id, method, user_agent: userAgent, address } = row
        const { started_at: startedAt, last_used: lastUsed } = row
        const { operator: name, roles } = person
        const ends = endsOf(row, network())
        return [
          { id, operator: name, method, roles, userAgent, address, startedAt, lastUsed, ...ends },
        ]
      })
    },
    async revoke(id, by, operator) {
      const row = await store.run((db) =>
        db.selectFrom('sessions').select('operator').where('id', '=', id).executeTakeFirst(),
      )
      if (!row || (operator !== undefined && row.operator !== operator)) return false
      return remove(id, `revoked by ${by}`)
    },
    async living(ids) {
      if (ids.length === 0) return new Set()
      const rows = await store.run((db) =>
        db.selectFrom('sessions').selectAll().where('id', 'in', ids).execute(),
      )
      return new Set(rows.filter((row) => personIn(row)).map(({ id }) => id))
    },
    refresh() {
      for (const listener of listeners) listener(undefined)
    },
    onEnded(listener) {
      listeners.add(listener)
      return once(() => listeners.delete(listener))
    },
  }
}

/** All that a session is, but for when it was used last. */
function factsOf(row: SessionRow): Readonly<Record<string, unknown>> {
  const { id, operator, method, credential_id, provider, subject, display_name, groups } = row
  const { user_agent, address, started_at } = row
  return {
    ...{ id, operator, method, credential_id, provider, subject, display_name, groups },
    ...{ user_agent, address, started_at },
  }
}

function openedBy(
  input: SignIn,
  network: Network,
): Pick<
  SessionRow,
  'operator' | 'method' | 'credential_id' | 'provider' | 'subject' | 'display_name' | 'groups'
> {
  const none = { provider: null, subject: null, display_name: null, groups: null }
  switch (input.method) {
    case 'passkey':
      return {
        ...{ operator: input.operator, method: 'passkey', credential_id: input.credentialId },
        ...none,
      }
    case 'totp':
      return { operator: input.operator, method: 'totp', credential_id: null, ...none }
    case 'oidc':
      return {
        operator: operatorNameOf(network, input.provider, input.subject),
        method: 'oidc',
        credential_id: null,
        provider: input.provider,
        subject: input.subject,
        display_name: input.displayName,
        groups: input.groups,
      }
  }
}
