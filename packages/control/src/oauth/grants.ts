import type { Clock } from '@sallyport/base'
import type { Evidence, Grants } from '@sallyport/oauth'
import { parseSpiffeId } from '@sallyport/spiffe'
import type { OperatorSet } from '@sallyport/wire'
import type { AlarmBell } from '../domain/alarms.ts'
import type { Sessions } from '../domain/sessions.ts'
import type { Store } from '../store/store.ts'

export interface GrantDeps {
  readonly store: Store
  readonly clock: Clock
  readonly alarms: Pick<AlarmBell, 'raise'>
  readonly sessions: Pick<Sessions, 'onEnded'>
  readonly operatorSet: () => OperatorSet | undefined
  readonly sessionMinutes: () => number
  /** Whether an agent's SPIFFE id or an `operator:NAME` is declared and not cut off. */
  readonly standing: (subject: string) => boolean
  /** Makes all that was made from it count no more. */
  readonly revoke: (family: { readonly jti: string; readonly client: string }) => Promise<void>
  readonly onError: (error: unknown) => void
}

/** @see Grants */
export function createGrants(deps: GrantDeps): Grants {
  const { store, clock, standing } = deps
  const end: Grants['end'] = async (hash, why) => {
    const known = await store.run((db) =>
      db.selectFrom('oauth_grants').select('client').where('hash', '=', hash).executeTakeFirst(),
    )
    // Published first: what is gone here without that would count at gateways for as long as its tokens do.
    if (known) await deps.revoke({ jti: hash, client: known.client })
    const row = await store.run(async (db) => {
      await db.deleteFrom('oauth_artefacts').where('grant_hash', '=', hash).execute()
      return db
        .deleteFrom('oauth_grants')
        .where('hash', '=', hash)
        .returningAll()
        .executeTakeFirst()
    })
    // Of several who end it at once, one tells.
    if (!row || why === 'revoked') return
    await deps.alarms.raise({
      kind: 'token-reused',
      operator: nameOf(row.subject),
      text: `a code or refresh token of \`${row.client}\` for \`${nameOf(row.subject)}\` was presented twice; all that came of it has ended`,
    })
  }
  // At another control plane it ends when it is next asked for.
  deps.sessions.onEnded((id) => {
    if (id !== undefined) endOf(id).catch(deps.onError)
  })
  return {
    end,
    async open({ hash, subject, client, evidence, lifetime }) {
      const since = clock.now()
      await store.run((db) =>
        db
          .insertInto('oauth_grants')
          .values({
            hash,
            subject,
            client,
            ...rowOf(evidence),
            since,
            expires_at: since + lifetime * 1000,
          })
          .execute(),
      )
    },
    async holds(hash) {
      const now = clock.now()
      const row = await store.run((db) =>
        db
          .selectFrom('oauth_grants')
          .innerJoin('sessions', 'sessions.id', 'oauth_grants.session_id')
          .select(['oauth_grants.subject', 'client', 'since', 'started_at'])
          .select('oauth_grants.credential_id as credential')
          .where('oauth_grants.hash', '=', hash)
          .where('oauth_grants.expires_at', '>', now)
          .executeTakeFirst(),
      )

      if (!row) return false
      const { client, since, credential, subject } = row
      const keys = deps.operatorSet()?.keys ?? []
      return (
        now < row.started_at + deps.sessionMinutes() * 60_000 &&
        standing(subject) &&
        standing(client) &&
        keys.some((key) => key.credentialId === credential && key.operator === nameOf(subject)) &&
        !(await cutSince(store, client, since))
      )
    },
  }

  async function endOf(session: string): Promise<void> {
    const rows = await store.run((db) =>
      db.selectFrom('oauth_grants').select('hash').where('session_id', '=', session).execute(),
    )
    for (const { hash } of rows) await end(hash, 'revoked')
  }
}

/** Whether an instance was cut off since, by itself or with all of its agent, released or not. */
export async function cutSince(store: Store, client: string, since: number): Promise<boolean> {
  const { trustDomain, segments } = parseSpiffeId(client)
  const whole = `spiffe://${trustDomain}/${segments.slice(0, 2).join('/')}`
  const cut = await store.run((db) =>
    db
      .selectFrom('quarantines')
      .select('id')
      .where('subject', 'in', [client, whole])
      .where('at', '>=', since)
      .executeTakeFirst(),
  )
  return cut !== undefined
}

/** The name in `operator:NAME`. */
export const nameOf = (subject: string): string => subject.slice('operator:'.length)

function rowOf({ credential, session, signed }: Evidence): {
  credential_id: string
  session_id: string
  signed: string
} {
  return { credential_id: credential, session_id: session, signed }
}
