import { sql } from 'kysely'
import { newId, sha256Hex, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { agentId, gatewayId, kindOf, publicKeyFromCsr, serviceId } from '@sallyport/spiffe'
import type { Issuer, VerifiedSvid } from '@sallyport/spiffe'
import type { Store, Tx } from '../store/store.ts'
import type { Trust } from '../trust.ts'
import { agentIsCut } from './cutting.ts'
import type { Events } from './events.ts'
import { subjectsOf } from './incident-log.ts'
import type { JoinKind, JoinTokens } from './joinTokens.ts'
import type { Publisher } from './publisher.ts'
import type { Quarantines } from './quarantine.ts'
import { newSecret, secretHash } from './secrets.ts'

const TOKEN_MS = 10 * 60_000
const NAME = /^[A-Za-z0-9._-]{1,64}$/

/** What an enrolment or a renewal answers. */
interface Enrolled {
  readonly spiffeId: string
  readonly chain: string
  readonly roots: string
  /** Milliseconds since the epoch. */
  readonly notAfter: number
  readonly pins?: Trust['pins']
}

export interface Identities extends JoinTokens {
  /**
   * Exchanges a join token for a first SVID. The token is spent with it, in one transaction.
   *
   * @throws SallyportError `SP_JOIN_TOKEN`, `SP_JOIN_NAME`, `SP_QUARANTINED`, or what spiffe says of the request
   */
  enrol(token: string, csr: string): Promise<Enrolled>
  /**
   * Renews the one certificate of an instance's lineage. The same request again (the same key) has the same answer; another
   * key under a superseded certificate means that two hold it: the instance is quarantined.
   *
   * @throws SallyportError `SP_RENEW_SUPERSEDED`, `SP_RENEW_UNKNOWN`, `SP_QUARANTINED`
   */
  renew(peer: VerifiedSvid, csr: string): Promise<Enrolled>
}

export interface IdentityDeps {
  readonly store: Store
  readonly clock: Clock
  readonly trust: Trust
  readonly issuer: Issuer
  readonly publisher: Publisher
  readonly quarantine: Quarantines
  readonly events: Events
  /** Told of new agents, so that their risk is known to gateways before their first call. */
  readonly onEnrolled: (spiffeId: string) => Promise<void>
}

export function createIdentities(deps: IdentityDeps): Identities {
  const { store, clock, trust, quarantine } = deps
  const { trustDomain } = trust.pins
  return {
    async create({ kind, name, by }) {
      checkDeclared(deps, kind, name)
      const token = newSecret('join')
      const expiresAt = clock.now() + TOKEN_MS
      await store.run((db) =>
        db
          .insertInto('join_tokens')
          .values({
            hash: secretHash('join', token),
            kind,
            name,
            created_by: by,
            expires_at: expiresAt,
            used_at: null,
            used_for: null,
          })
          .execute(),
      )
      return { token, expiresAt }
    },
    async enrol(token, csr) {
      // Anyone may knock: what holds no token costs one look-up, not the check of a signature.
      await store.run((db) => peek(db as Tx, clock.now(), token))
      const key = publicKeyFromCsr(csr)
      const { enrolled, kind } = await store.transaction((tx) => enrol(tx, deps, token, key))
      deps.events.publish('agent', { spiffeId: enrolled.spiffeId, enrolled: true })
      if (kind === 'agent') await deps.onEnrolled(enrolled.spiffeId)
      return kind === 'gateway' ? { ...enrolled, pins: trust.pins } : enrolled
    },
    async renew(peer, csr) {
      const { uri } = peer.id
      if (kindOf(peer.id) === undefined || peer.id.trustDomain !== trustDomain) throw unknown()
      if (quarantine.isQuarantined(uri)) throw quarantined()
      const key = publicKeyFromCsr(csr)
      const renewed = await store.transaction((tx) => renew(tx, deps, peer, key))
      if (renewed) return renewed
      await quarantine.quarantine({
        subject: uri,
        reason: `certificate ${peer.serial.slice(0, 16)} was renewed from twice: two hold its key`,
        by: 'control',
      })
      throw new SallyportError(
        'SP_RENEW_SUPERSEDED',
        'this certificate was renewed already; the instance is quarantined',
        { detail: uri, fix: 'find out who else holds the key, then enrol anew with a join token' },
      )
    },
  }
}

function checkDeclared({ publisher }: IdentityDeps, kind: JoinKind, name: string): void {
  const index = publisher.index()
  const declared =
    kind === 'agent'
      ? index.findAgent(name) !== undefined
      : kind === 'gateway' || index.network.services.some((service) => service.name === name)
  if (!declared || !NAME.test(name)) {
    throw new SallyportError('SP_JOIN_NAME', `no ${kind} \`${name}\` is declared`, {
      fix: 'declare it in network.yaml first',
    })
  }
}

async function peek(tx: Tx, now: number, token: string): Promise<void> {
  const row = await tx
    .selectFrom('join_tokens')
    .select('hash')
    .where('hash', '=', secretHash('join', token))
    .where('used_at', 'is', null)
    .where('expires_at', '>', now)
    .executeTakeFirst()
  if (!row) throw badToken()
}

async function enrol(
  tx: Tx,
  deps: IdentityDeps,
  token: string,
  key: Buffer,
): Promise<{ enrolled: Enrolled; kind: JoinKind }> {
  const now = deps.clock.now()
  const { trustDomain } = deps.trust.pins
  const spent = await tx
    .updateTable('join_tokens')
    .set({ used_at: now })
    .where('hash', '=', secretHash('join', token))
    .where('used_at', 'is', null)
    .where('expires_at', '>', now)
    .returning(['hash', 'kind', 'name', 'created_by', 'expires_at'])
    .executeTakeFirst()
  if (!spent) throw badToken()
  const { kind, name } = spent
  checkDeclared(deps, kind, name)
  if (kind === 'agent' && agentIsCut(deps.quarantine, trustDomain, name)) throw quarantined()
  // Whoever made the token did not know: what is cut off must not come back under a token that it has kept.
  const siblings = `spiffe://${trustDomain}/${kind}/${name}/`
  const since = spent.expires_at - TOKEN_MS
  const cutSince = await tx
    .selectFrom('quarantines')
    .select('id')
    .where('released_at', 'is', null)
    .where('at', '>=', since)
    .where(sql<boolean>`starts_with(subject, ${siblings})`)
    .executeTakeFirst()
  if (cutSince) throw quarantined()
  const instance = newId('i', now).slice(2)
  const spiffeId =
    kind === 'gateway'
      ? gatewayId(trustDomain, name)
      : kind === 'agent'
        ? agentId(trustDomain, name, instance)
        : serviceId(trustDomain, name, instance)
  if (deps.quarantine.isQuarantined(spiffeId)) throw quarantined()
  await tx
    .updateTable('join_tokens')
    .set({ used_for: spiffeId })
    .where('hash', '=', spent.hash)
    .execute()
  const times = { first_seen: now, last_seen: now, risk_at: now }
  await tx
    .insertInto('instances')
    .values({
      spiffe_id: spiffeId,
      kind,
      name,
      enrolled_by: spent.created_by,
      ...times,
      serial: '',
      not_after: 0,
    })
    // A gateway that lost its key comes back under its name.
    .onConflict((conflict) =>
      conflict.column('spiffe_id').doUpdateSet({ enrolled_by: spent.created_by, last_seen: now }),
    )
    .execute()
  return { enrolled: await issue(tx, deps, spiffeId, key, null), kind }
}

/** @returns undefined where the certificate was renewed before, with another key */
async function renew(
  tx: Tx,
  deps: IdentityDeps,
  peer: VerifiedSvid,
  key: Buffer,
): Promise<Enrolled | undefined> {
  const spiffeId = peer.id.uri
  // The lock makes one of two renewals that race the later one.
  const row = await tx
    .selectFrom('instances')
    .select('serial')
    .where('spiffe_id', '=', spiffeId)
    .forUpdate()
    .executeTakeFirst()
  const presented = await tx
    .selectFrom('certificates')
    .select('spiffe_id')
    .where('serial', '=', peer.serial)
    .executeTakeFirst()
  if (!row || presented?.spiffe_id !== spiffeId) throw unknown()
  // A quarantine takes the same lock: whichever comes second sees the first.
  const cut = await tx
    .selectFrom('quarantines')
    .select('id')
    .where('subject', 'in', subjectsOf(spiffeId))
    .where('released_at', 'is', null)
    .executeTakeFirst()
  if (cut) throw quarantined()
  if (row.serial === peer.serial) return issue(tx, deps, spiffeId, key, peer.serial)
  const next = await tx
    .selectFrom('certificates')
    .select(['chain', 'not_after', 'key_digest'])
    .where('renews', '=', peer.serial)
    .executeTakeFirst()
  // The answer got lost and the client asks again with the key it made: nobody else can use what this returns.
  if (next?.key_digest !== keyDigest(key)) return undefined
  return {
    spiffeId,
    chain: next.chain,
    roots: deps.trust.rootsPem,
    notAfter: next.not_after,
  }
}

async function issue(
  tx: Tx,
  deps: IdentityDeps,
  spiffeId: string,
  key: Buffer,
  renews: string | null,
): Promise<Enrolled> {
  const now = deps.clock.now()
  const { svidTtlSeconds } = deps.publisher.index().network.settings
  const svid = deps.issuer.issue({
    spiffeId,
    publicKeySpki: key,
    ttlSeconds: svidTtlSeconds,
    now,
  })
  await tx
    .insertInto('certificates')
    .values({
      serial: svid.serial,
      spiffe_id: spiffeId,
      key_digest: keyDigest(key),
      chain: svid.chainPem,
      not_after: svid.notAfter,
      issued_at: now,
      renews,
    })
    .execute()
  await tx
    .updateTable('instances')
    .set({ serial: svid.serial, not_after: svid.notAfter, last_seen: now })
    .where('spiffe_id', '=', spiffeId)
    .execute()
  return {
    spiffeId,
    chain: svid.chainPem,
    roots: deps.trust.rootsPem,
    notAfter: svid.notAfter,
  }
}

const keyDigest = (spki: Buffer): string => sha256Hex(spki)

const quarantined = (): SallyportError =>
  new SallyportError('SP_QUARANTINED', 'this identity is quarantined')

const unknown = (): SallyportError =>
  new SallyportError('SP_RENEW_UNKNOWN', 'this certificate is not one that can be renewed', {
    fix: 'enrol anew with a join token',
  })

const badToken = (): SallyportError =>
  new SallyportError('SP_JOIN_TOKEN', 'the join token is not valid, was used, or has expired', {
    fix: 'ask for a new one with `sallyport agent enroll NAME`',
  })
