import { hash } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import { coveringPayments, readPayments } from './payment.ts'
import type { Payment } from './payment.ts'

/** Who acts now, and below it who acted before (RFC 8693, section 4.1). */
export interface Act {
  readonly sub: string
  readonly act?: Act
}

/** What an access token of the network says (RFC 9068, section 2.2). */
export interface AccessClaims {
  readonly iss: string
  /** For whom: an agent's SPIFFE id, or `operator:NAME`. */
  readonly sub: string
  /** The URI of exactly one system. */
  readonly aud: string
  readonly client_id: string
  readonly iat: number
  readonly exp: number
  readonly jti: string
  /** Names of operations of the system, separated by spaces. */
  readonly scope: string
  /** The holder, by each name given; whoever presents the token must be all of them. */
  readonly cnf: {
    /** Thumbprint of a certificate (RFC 8705, section 3.1). */
    readonly 'x5t#S256'?: string
    /** Thumbprint of a key that proofs are signed with (RFC 9449, section 6.1). */
    readonly jkt?: string
    /** The SPIFFE id of the instance: renewing its certificate keeps the token. */
    readonly spiffe_id?: string
  }
  readonly act?: Act
  /** Who may exchange the token to act in the holder's place (RFC 8693, section 4.4). */
  readonly may_act?: { readonly sub: string }
  readonly authorization_details?: readonly Payment[]
  /** Who gave the details first: the person who signed them, or the instance that asked for them by itself. */
  readonly details_by?: string
  /** Ids of the tokens that this one was made from, first one first. */
  readonly prior?: readonly string[]
  /** Serial numbers of the certificates that subject and actors had: one that is revoked voids the token. */
  readonly serials?: readonly string[]
}

/** Of the header, as RFC 9068 has it. */
export const TOKEN_TYPE = 'at+jwt'
/** Seconds: no token lives longer. */
export const MAX_LIFETIME = 300
/** A subject and this many who act for it. */
export const MAX_ACTORS = 4
const MAX_SERIALS = MAX_ACTORS + 1
const SERIAL = /^[0-9a-f]{1,64}$/
const ID = /^[A-Za-z0-9_-]{1,128}$/

/** The actors of a token, the current one first. */
export function actorsOf(claims: Pick<AccessClaims, 'act'>): readonly string[] {
  const actors: string[] = []
  for (let act = claims.act; act; act = act.act) actors.push(act.sub)
  return actors
}

/** Who may present the token: the one who acts now, or else the subject itself. */
export function presenterOf(claims: Pick<AccessClaims, 'act' | 'sub'>): string {
  return claims.act?.sub ?? claims.sub
}

/** What somebody else than the caller agreed to, and this call keeps to. */
export interface Consented {
  /** At most this much in this call, in minor units of the currency. */
  readonly amount: number
  readonly currency: string
  readonly creditor: string
  /** Who agreed: `operator:NAME`, or an agent's SPIFFE id. */
  readonly by: string
}

/**
 * The payment in a token that covers a call; the tightest, where several do. What the caller asked for by itself is its own limit, and
 * nobody's consent.
 */
export function consentTo(
  claims: AccessClaims,
  operation: string,
  input: Readonly<Record<string, unknown>>,
): Consented | undefined {
  const { authorization_details: details, details_by: by } = claims
  if (by === undefined || by === presenterOf(claims)) return undefined
  const [covering] = coveringPayments(details, operation, input).toSorted(
    (one, other) => one.amount - other.amount,
  )
  if (!covering) return undefined
  const { amount, currency, creditor } = covering
  return { amount, currency, creditor, by }
}

/** Thumbprint of a certificate, as `x5t#S256` has it (RFC 8705, section 3.1). @param der the certificate */
export function certificateThumbprint(der: Buffer): string {
  return hash('sha256', der, 'base64url')
}

/** @returns the names in a `scope` */
export function scopesOf(scope: string): readonly string[] {
  return scope === '' ? [] : scope.split(' ')
}

/**
 * Reads the payload of a token whose signature was verified. Members that are unknown change nothing and are left out; those
 * that are known have exactly their shape.
 *
 * @throws SallyportError `SP_ACCESS_TOKEN_INVALID`
 */
export function readClaims(payload: Readonly<Record<string, unknown>>): AccessClaims {
  const { act, may_act: mayAct, authorization_details: details, prior, serials } = payload
  const { details_by: by } = payload
  const iat = seconds(payload, 'iat')
  const exp = seconds(payload, 'exp')
  if (exp <= iat || exp - iat > MAX_LIFETIME) throw bad('it lives too long')
  return {
    iss: text(payload, 'iss'),
    sub: text(payload, 'sub'),
    aud: text(payload, 'aud'),
    client_id: text(payload, 'client_id'),
    jti: text(payload, 'jti', ID),
    iat,
    exp,
    scope: payload['scope'] === undefined ? '' : text(payload, 'scope'),
    cnf: readConfirmation(payload['cnf']),
    ...(act === undefined ? {} : { act: readAct(act, MAX_ACTORS) }),
    ...(mayAct === undefined ? {} : { may_act: { sub: text(object(mayAct, 'may_act'), 'sub') } }),
    ...(details === undefined ? {} : { authorization_details: readPayments(details) }),
    ...(by === undefined ? {} : { details_by: text(payload, 'details_by') }),
    ...(prior === undefined ? {} : { prior: texts(prior, 'prior', MAX_ACTORS * 2, ID) }),
    ...(serials === undefined ? {} : { serials: texts(serials, 'serials', MAX_SERIALS, SERIAL) }),
  }
}

function readConfirmation(value: unknown): AccessClaims['cnf'] {
  const cnf = object(value, 'cnf')
  const names = ['x5t#S256', 'jkt', 'spiffe_id'] as const
  const unknown = Object.keys(cnf).find((name) => !names.some((known) => known === name))
  // A way of binding that is not understood cannot be checked.
  if (unknown !== undefined) throw bad('it is bound in an unknown way')
  const found: Partial<Record<(typeof names)[number], string>> = {}
  for (const name of names) if (cnf[name] !== undefined) found[name] = text(cnf, name)
  if (Object.keys(found).length === 0) throw bad('it is bound to nobody')
  return found
}

function readAct(value: unknown, left: number): Act {
  if (left === 0) throw bad('too many act in turn')
  const act = object(value, 'act')
  const sub = text(act, 'sub')
  return act['act'] === undefined ? { sub } : { sub, act: readAct(act['act'], left - 1) }
}

function object(value: unknown, name: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw bad(`\`${name}\` is not an object`)
  }
  // Checked just above.
  return value as Readonly<Record<string, unknown>>
}

function text(of: Readonly<Record<string, unknown>>, name: string, pattern?: RegExp): string {
  const value = Object.hasOwn(of, name) ? of[name] : undefined
  if (typeof value !== 'string' || value === '' || value.length > 2048) {
    throw bad(`\`${name}\` is not one text`)
  }
  if (pattern && !pattern.test(value)) throw bad(`\`${name}\` is malformed`)
  return value
}

function texts(value: unknown, name: string, max: number, pattern: RegExp): readonly string[] {
  if (!Array.isArray(value) || value.length > max) throw bad(`\`${name}\` is not a short list`)
  return value.map((entry: unknown) => text({ [name]: entry }, name, pattern))
}

function seconds(of: Readonly<Record<string, unknown>>, name: string): number {
  const value = of[name]
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw bad(`\`${name}\` is not a time`)
  }
  return value
}

function bad(detail: string): SallyportError {
  return new SallyportError('SP_ACCESS_TOKEN_INVALID', 'the access token is not valid', { detail })
}
