import { sql } from 'kysely'
import { newId, SallyportError } from '@sallyport/base'
import { agentId, gatewayId, kindOf, publicKeyFromCsr, serviceId } from '@sallyport/spiffe'
import type { VerifiedSvid } from '@sallyport/spiffe'
import type { Tx } from '../store/store.ts'
import { agentIsCut } from './cutting.ts'
import type { Events } from './events.ts'
import type { JoinKind, JoinTokens } from './joinTokens.ts'
import type { Quarantines } from './quarantine.ts'
import { createRenewals, issueFirst, quarantined, unknown } from './renewals.ts'
import type { Enrolled, IssueDeps } from './renewals.ts'
import { createVouching, secretHash } from './secrets.ts'
import type { Vouching } from './secrets.ts'

const TOKEN_MS = 10 * 60_000
/** What one machine or pod may have at a time. */
const MAX_PER_PROOF = 64
const NAME = /^[A-Za-z0-9._-]{1,64}$/

export interface Identities extends JoinTokens {
  /**
   * Exchanges a join token for a first SVID. The token is spent with it, in one transaction.
   *
   * @throws SallyportError `SP_JOIN_TOKEN`, `SP_JOIN_NAME`, `SP_QUARANTINED`, or what spiffe says of the request
   */
  enrol(token: string, csr: string): Promise<Enrolled>
  /**
   * Enrols an instance of an agent that proved what it is. Whoever proved the same and is quarantined does not come back by
   * proving it again.
   *
   * @param evidence.by what was proven, in one spelling
   * @param within more that must hold in the same transaction
   * @throws SallyportError `SP_JOIN_NAME`, `SP_QUARANTINED`, or what spiffe says of the request
   */
  enrolAttested(
    evidence: { readonly agent: string; readonly by: string },
    csr: string,
    within?: (tx: Tx) => Promise<void>,
  ): Promise<Enrolled>
  /**
   * Renews the one certificate of an instance's lineage. The same request again (the same key) has the same answer; another
   * key under a superseded certificate means that two hold it: the instance is quarantined.
   *
   * @throws SallyportError `SP_RENEW_SUPERSEDED`, `SP_RENEW_UNKNOWN`, `SP_QUARANTINED`
   */
  renew(peer: VerifiedSvid, csr: string): Promise<Enrolled>
}

export interface IdentityDeps extends IssueDeps {
  readonly quarantine: Quarantines
  readonly events: Events
  /** Told of new agents, so that their risk is known to gateways before their first call. */
  readonly onEnrolled: (spiffeId: string) => Promise<void>
}

export function createIdentities(deps: IdentityDeps): Identities {
  const { store, clock, trust, quarantine } = deps
  const { trustDomain } = trust.pins
  const renew = createRenewals(deps)
  const secrets = createVouching(trust)
  return {
    async create({ kind, name, by }) {
      checkDeclared(deps, kind, name)
      const expiresAt = clock.now() + TOKEN_MS
      const token = secrets.issue('join', { kind, name, by, expiresAt })
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
      const { enrolled, kind } = await store.transaction((tx) =>
        enrol(tx, { ...deps, secrets }, token, key),
      )
      deps.events.publish('agent', { spiffeId: enrolled.spiffeId, enrolled: true })
      if (kind === 'agent') await deps.onEnrolled(enrolled.spiffeId)
      if (kind !== 'gateway') return enrolled
      return { ...enrolled, pins: { ...trust.pins, roots: trust.rootsPem } }
    },
    async enrolAttested({ agent, by }, csr, within) {
      const key = publicKeyFromCsr(csr)
      const enrolled = await store.transaction(async (tx) => {
        await within?.(tx)
        const admitted = await admit(tx, deps, { kind: 'agent', name: agent, by })
        const cut = await tx
          .selectFrom('quarantines')
          .innerJoin('instances', 'instances.spiffe_id', 'quarantines.subject')
          .select('quarantines.id')
          .where((eb) =>
            eb.or([
              eb('instances.enrolled_by', '=', by),
              // Who proves less may be whoever proved more, and the other way round: an account of which one pod is cut off.
              sql<boolean>`starts_with(instances.enrolled_by, ${`${by}/`})`,
              sql<boolean>`starts_with(${by}, instances.enrolled_by || '/')`,
            ]),
          )
          .where('quarantines.released_at', 'is', null)
          .executeTakeFirst()
        if (cut) throw quarantined()
        const { running } = await tx
          .selectFrom('instances')
          .select(({ fn }) => fn.countAll<string>().as('running'))
          .where('enrolled_by', '=', by)
          .where('not_after', '>', clock.now())
          .executeTakeFirstOrThrow()
        if (Number(running) >= MAX_PER_PROOF) {
          throw new SallyportError('SP_ATTESTATION_REFUSED', 'the attestation is not accepted', {
            detail: `${by} has ${MAX_PER_PROOF} instances already`,
          })
        }
        return issueFirst(tx, deps, admitted, key)
      })
      deps.events.publish('agent', { spiffeId: enrolled.spiffeId, enrolled: true })
      await deps.onEnrolled(enrolled.spiffeId)
      return enrolled
    },
    async renew(peer, csr) {
      const { uri } = peer.id
      if (kindOf(peer.id) === undefined || peer.id.trustDomain !== trustDomain) throw unknown()
      if (quarantine.isQuarantined(uri)) throw quarantined()
      const key = publicKeyFromCsr(csr)
      const renewed = await renew({ peer, key })
      if (renewed !== 'superseded') return renewed
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
  deps: IdentityDeps & { readonly secrets: Vouching },
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
  const { kind, name, created_by: by, expires_at: expiresAt } = spent
  if (!deps.secrets.vouches('join', token, { kind, name, by, expiresAt })) throw badToken()
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
  const spiffeId = await admit(tx, deps, { kind, name, by: spent.created_by })
  await tx
    .updateTable('join_tokens')
    .set({ used_for: spiffeId })
    .where('hash', '=', spent.hash)
    .execute()
  return { enrolled: await issueFirst(tx, deps, spiffeId, key), kind }
}

/** Takes note of a new instance; its first certificate is the caller's to issue. */
async function admit(
  tx: Tx,
  deps: IdentityDeps,
  { kind, name, by }: { readonly kind: JoinKind; readonly name: string; readonly by: string },
): Promise<string> {
  const now = deps.clock.now()
  const { trustDomain } = deps.trust.pins
  checkDeclared(deps, kind, name)
  if (kind === 'agent' && agentIsCut(deps.quarantine, trustDomain, name)) throw quarantined()
  const instance = newId('i', now).slice(2)
  const spiffeId =
    kind === 'gateway'
      ? gatewayId(trustDomain, name)
      : kind === 'agent'
        ? agentId(trustDomain, name, instance)
        : serviceId(trustDomain, name, instance)
  if (deps.quarantine.isQuarantined(spiffeId)) throw quarantined()
  const times = { first_seen: now, last_seen: now, risk_at: now }
  await tx
    .insertInto('instances')
    .values({
      spiffe_id: spiffeId,
      kind,
      name,
      enrolled_by: by,
      ...times,
      serial: '',
      not_after: 0,
    })
    // A gateway that lost its key comes back under its name.
    .onConflict((conflict) =>
      conflict.column('spiffe_id').doUpdateSet({ enrolled_by: by, last_seen: now }),
    )
    .execute()
  return spiffeId
}

const badToken = (): SallyportError =>
  new SallyportError('SP_JOIN_TOKEN', 'the join token is not valid, was used, or has expired', {
    fix: 'ask for a new one with `sallyport agent enroll NAME`',
  })
