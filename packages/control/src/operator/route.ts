import type { ServerResponse } from 'node:http'
import { SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { OperatorRole } from '@sallyport/network'
import { RANK } from '../domain/session-rules.ts'
import type { Seen, SessionView } from '../domain/sessions.ts'
import type { ObjectSchema, Schema } from './schema.ts'

/** Who is asking. `local` came over the admin socket, whose file mode is what authenticates it. */
export type Principal =
  | { readonly kind: 'nobody' }
  | { readonly kind: 'local' }
  | { readonly kind: 'operator'; readonly secret: string; readonly view: SessionView }

export interface Access {
  /** The least role; `anyone` also before sign-in. */
  readonly role: OperatorRole | 'anyone'
  /** Whatever widens, or prepares it, needs a passkey session. */
  readonly act: 'read' | 'narrow' | 'widen'
  /** Answered on the admin socket too. */
  readonly local?: true
}

export interface ApiCall {
  readonly principal: Principal
  /** What the request shows of the browser. */
  readonly seen: Seen
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, string>>
  readonly body: Readonly<Record<string, JsonValue>>
  /** `Last-Event-ID`, where the client resumes a stream. */
  readonly lastEventId: string | undefined
  /** Sets or (undefined) clears the session cookie. */
  setSession(secret: string | undefined): void
}

interface RouteBase {
  readonly method: 'GET' | 'POST'
  /** With `{name}` for one segment. */
  readonly path: string
  readonly summary: string
  readonly access: Access
  readonly query?: ObjectSchema
  readonly body?: ObjectSchema
  /** Bytes of body (default 64 KiB). */
  readonly maxBytes?: number
  /** What a 200 carries. */
  readonly answer: Schema
}

/** One operation: what dispatches, what checks, and what the OpenAPI document says are this one entry. */
export type Route =
  | (RouteBase & { handle(call: ApiCall): Promise<unknown> })
  | (RouteBase & { stream(call: ApiCall, response: ServerResponse): Promise<void> })

/**
 * The first door of every call.
 *
 * @throws SallyportError `SP_API_SESSION`, `SP_API_ROLE`, `SP_API_PASSKEY`, `SP_API_LOCAL`
 */
export function authorise({ role, act, local }: Access, principal: Principal): void {
  if (principal.kind === 'local') {
    if (local) return
    throw new SallyportError(
      'SP_API_LOCAL',
      'the admin socket gives reads and narrowing acts only',
      {
        fix: 'Do this in the console, with a passkey.',
      },
    )
  }
  if (role === 'anyone') return
  if (principal.kind === 'nobody') {
    throw new SallyportError('SP_API_SESSION', 'sign in first')
  }
  const { roles, method } = principal.view
  if (!roles.some((held) => RANK[held] >= RANK[role])) {
    throw new SallyportError('SP_API_ROLE', `this needs the role \`${role}\``)
  }
  if (act === 'widen' && method !== 'passkey') {
    throw new SallyportError(
      'SP_API_PASSKEY',
      'this needs a session that was opened with a passkey',
      {
        fix: 'Sign out and sign in with your passkey.',
      },
    )
  }
}

/** The signed-in operator. @throws SallyportError `SP_API_SESSION` */
export function operatorOf({ principal }: ApiCall): SessionView {
  if (principal.kind === 'operator') return principal.view
  throw new SallyportError('SP_API_SESSION', 'sign in first')
}

/** Whose name an act is recorded under. */
export function actorOf(call: ApiCall): string {
  return call.principal.kind === 'local' ? 'local-admin' : operatorOf(call).operator
}

/** A member that the route's schema has checked to be a string. */
export function textOf(members: Readonly<Record<string, JsonValue>>, name: string): string {
  const value = members[name]
  if (typeof value !== 'string')
    throw new SallyportError('SP_API_INPUT', `\`${name}\` must be a string`)
  return value
}

export function found<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new SallyportError('SP_API_NOT_FOUND', `there is no such ${what}`)
  return value
}
