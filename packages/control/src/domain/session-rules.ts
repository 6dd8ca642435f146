import type { Network, OperatorRole } from '@sallyport/network'
import { addressKey } from '../site/addresses.ts'
import type { Seen, SignInMethod } from './sessions.ts'

export const SESSION_MINUTES = 480
const IDLE_MINUTES = 15
/** A clock that went back further than this since the last use says nothing about how old a session is. */
const MAX_BACK_MS = 60_000
const MAX_USER_AGENT = 512

export const RANK: Readonly<Record<OperatorRole, number>> = {
  viewer: 1,
  responder: 2,
  approver: 3,
  admin: 4,
}

/** What is kept of a session. */
export interface SessionRow {
  readonly id: string
  readonly operator: string
  readonly method: SignInMethod
  readonly credential_id: string | null
  readonly provider: string | null
  readonly subject: string | null
  readonly display_name: string | null
  readonly groups: readonly string[] | null
  readonly user_agent: string
  readonly address: string
  readonly started_at: number
  readonly last_used: number
}

export interface Person {
  readonly operator: string
  readonly displayName: string
  readonly roles: readonly OperatorRole[]
}

/** When a session ends, at the latest and for want of use. Settings that were shortened count at once. */
export function endsOf(
  row: Pick<SessionRow, 'started_at' | 'last_used'>,
  { settings }: Network,
): { expiresAt: number; idleAt: number } {
  const minutes = settings.sessionMinutes ?? SESSION_MINUTES
  const idle = settings.sessionIdleMinutes ?? IDLE_MINUTES
  return {
    expiresAt: row.started_at + minutes * 60_000,
    idleAt: row.last_used + idle * 60_000,
  }
}

/** Whether time is left. One whose last use lies in the future has no age: it ends. */
export function isLive(
  row: Pick<SessionRow, 'started_at' | 'last_used'>,
  network: Network,
  now: number,
): boolean {
  const { expiresAt, idleAt } = endsOf(row, network)
  return now < expiresAt && now < idleAt && row.last_used - now <= MAX_BACK_MS
}

/**
 * Whose session it is by the declaration and the operator set in force; undefined where what opened it no longer is.
 *
 * @param credentialsOf passkeys in force, by operator
 */
export function personOf(
  row: SessionRow,
  network: Network,
  credentialsOf: (operator: string) => readonly string[],
): Person | undefined {
  if (row.method === 'oidc') return federated(row, network)
  const operator = network.operators.find(({ name }) => name === row.operator)
  if (!operator) return undefined
  const credentials = credentialsOf(row.operator)
  const held =
    row.method === 'passkey'
      ? row.credential_id !== null && credentials.includes(row.credential_id)
      : credentials.length > 0
  if (!held) return undefined
  const { name, displayName, roles } = operator
  return { operator: name, displayName, roles }
}

function federated(row: SessionRow, network: Network): Person | undefined {
  const provider = network.identityProviders?.find(({ name }) => name === row.provider)
  if (!provider || provider.disabled || row.subject === null) return undefined
  const name = operatorNameOf(network, provider.name, row.subject)
  // Linked to somebody else meanwhile, or no longer: whoever it was signs in anew.
  if (name !== row.operator) return undefined
  const operator = network.operators.find((one) => one.name === name)
  const own = Math.max(0, ...(operator?.roles ?? []).map((role) => RANK[role]))
  const most = Math.min(RANK[provider.maxRole], operator ? own : Infinity)
  const { map } = provider.groups
  const mapped = (row.groups ?? []).flatMap((group) =>
    Object.hasOwn(map, group) ? (map[group] ?? []) : [],
  )
  const roles = [...new Set(mapped)].filter((role) => RANK[role] <= most)
  if (roles.length === 0) return undefined
  return { operator: name, displayName: operator?.displayName ?? row.display_name ?? name, roles }
}

/** The declared operator that an account is linked to; else a name that no declaration can give. */
export function operatorNameOf(network: Network, provider: string, subject: string): string {
  const linked = network.operators.find(({ identities }) =>
    identities?.some((one) => one.provider === provider && one.subject === subject),
  )
  return linked?.name ?? `${provider}:${subject}`
}

/** Whether the request comes from where the session was opened, as far as that can be told. */
export function isBound(row: SessionRow, seen: Seen, { settings }: Network): boolean {
  if (row.user_agent !== userAgentOf(seen)) return false
  return settings.sessionBinding !== 'address' || row.address === addressOf(seen)
}

/** Longer ones are told apart by their beginning. */
export const userAgentOf = ({ userAgent }: Seen): string =>
  userAgent.slice(0, MAX_USER_AGENT).replaceAll('\0', '\uFFFD')

/** On one machine a browser may take either loopback. */
export function addressOf({ address }: Seen): string {
  const key = addressKey(address)
  return key.startsWith('127.') || address === '::1' ? 'loopback' : key
}
