import { createHash, randomBytes } from 'node:crypto'
import { newId, SallyportError } from '@sallyport/base'
import type { Network } from '@sallyport/network'
import type { Alarm } from '../../src/domain/alarms.ts'
import {
  addressOf,
  endsOf,
  isBound,
  isLive,
  personOf,
  userAgentOf,
} from '../../src/domain/session-rules.ts'
import type { SessionRow } from '../../src/domain/session-rules.ts'
import type { Sessions, SessionView } from '../../src/domain/sessions.ts'

type Kept = SessionRow & { readonly csrf: string }

/** Sessions in memory, judged by the real rules. */
export function memorySessions(deps: {
  readonly now: () => number
  readonly network: Network
  readonly credentialsOf: (operator: string) => readonly string[]
  readonly alarms: Alarm[]
}): Sessions {
  const { now, network, credentialsOf, alarms } = deps
  const rows = new Map<string, Kept>()
  const listeners = new Set<(id: string | undefined) => void>()
  const person = (row: Kept | undefined) =>
    row && isLive(row, network, now()) ? personOf(row, network, credentialsOf) : undefined
  const entryOf = (id: string) => [...rows].find(([, row]) => row.id === id)
  const remove = (id: string): boolean => {
    const entry = entryOf(id)
    if (!entry) return false
    rows.delete(entry[0])
    for (const listener of listeners) listener(id)
    return true
  }
  const viewOf = (row: Kept): SessionView | undefined => {
    const whose = person(row)
    const { id, method, csrf } = row
    return whose && { id, ...whose, method, csrf, ...endsOf(row, network) }
  }
  return {
    start: async (input, seen) => {
      if (input.method === 'oidc') throw new SallyportError('SP_INTERNAL', 'not in memory')
      const session = randomBytes(32).toString('base64url')
      const row: Kept = {
        id: newId('ses', now()),
        operator: input.operator,
        method: input.method,
        credential_id: input.method === 'passkey' ? input.credentialId : null,
        ...{ provider: null, subject: null, display_name: null, groups: null },
        user_agent: userAgentOf(seen),
        address: addressOf(seen),
        started_at: now(),
        last_used: now(),
        csrf: randomBytes(16).toString('base64url'),
      }
      const view = viewOf(row)
      if (!view) throw new SallyportError('SP_API_LOGIN', 'no session')
      rows.set(hashed(session), row)
      return { session, view }
    },
    find: async (session, seen) => {
      const row = rows.get(hashed(session))
      if (!row) return undefined
      const view = viewOf(row)
      if (view && isBound(row, seen, network)) return view
      if (remove(row.id) && view) {
        const { operator } = row
        alarms.unshift({ id: '', at: now(), kind: 'session-reused', operator, text: 'reused' })
      }
      return undefined
    },
    touch: async ({ id }) => {
      const entry = entryOf(id)
      if (entry) rows.set(entry[0], { ...entry[1], last_used: now() })
    },
    end: async (session) => {
      const row = rows.get(hashed(session))
      if (row) remove(row.id)
    },
    list: async (operator) =>
      [...rows.values()].flatMap((row) => {
        const whose = person(row)
        if (!whose || (operator !== undefined && operator !== row.operator)) return []
        const { id, method, user_agent: userAgent, address } = row
        const { started_at: startedAt, last_used: lastUsed } = row
        const ends = endsOf(row, network)
        return [{ id, ...whose, method, userAgent, address, startedAt, lastUsed, ...ends }]
      }),
    revoke: async (id, _by, operator) => {
      const entry = entryOf(id)
      if (!entry || (operator !== undefined && entry[1].operator !== operator)) return false
      return remove(id)
    },
    living: async (ids) => new Set(ids.filter((id) => person(entryOf(id)?.[1]) !== undefined)),
    onEnded: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

const hashed = (secret: string): string => createHash('sha256').update(secret).digest('hex')
