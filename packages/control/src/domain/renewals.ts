import { sql } from 'kysely'
import { sha256Hex, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { VerifiedSvid } from '@sallyport/spiffe'
import { rootProof } from '@sallyport/wire'
import type { RootProof } from '@sallyport/wire'
import type { Authority } from '../authority/authority.ts'
import type { Store, Tx } from '../store/store.ts'
import type { Trust } from '../trust.ts'
import { batched } from './batch.ts'
import { subjectsOf } from './incident-log.ts'
import type { Publisher } from './publisher.ts'

/** What an enrolment or a renewal answers. */
export interface Enrolled {
  readonly spiffeId: string
  readonly chain: string
  readonly roots: string
  /** What makes the roots believable that came after the first; absent where there are none. */
  readonly rootProof?: RootProof
  /** Milliseconds since the epoch. */
  readonly notAfter: number
  readonly pins?: Trust['pins']
  /** With the first certificate: what the proof of roots begins with. */
  readonly genesisKey?: string
}

export interface IssueDeps {
  readonly store: Store
  readonly clock: Clock
  readonly trust: Trust
  readonly issuer: Pick<Authority, 'issue' | 'ready' | 'root'>
  readonly publisher: Publisher
}

interface Renewal {
  readonly peer: VerifiedSvid
  /** SubjectPublicKeyInfo, DER. */
  readonly key: Buffer
}

type Answer = Enrolled | 'superseded' | SallyportError

/** Renewals decided together: signing is the larger part of one, so that a batch is over within milliseconds. */
const TOGETHER = 32

/**
 * Renews certificates, many in one transaction where many come at once: after an outage of the control plane a whole network
 * asks within seconds.
 *
 * @returns the renewed one, or `superseded` where the certificate was renewed before, with another key
 * @throws SallyportError `SP_RENEW_UNKNOWN`, `SP_QUARANTINED`, or what the issuer says
 */
export function createRenewals(
  deps: IssueDeps,
): (renewal: Renewal) => Promise<Enrolled | 'superseded'> {
  const ask = batched<Renewal, Answer>({
    max: TOGETHER,
    keyOf: ({ peer }) => peer.id.uri,
    work: (renewals) => deps.store.transaction((tx) => renewAll(tx, deps, renewals)),
  })
  return async (renewal) => {
    const answer = await ask(renewal)
    if (answer instanceof SallyportError) throw answer
    return answer
  }
}

async function renewAll(
  tx: Tx,
  deps: IssueDeps,
  renewals: readonly Renewal[],
): Promise<readonly Answer[]> {
  await deps.issuer.ready()
  const ids = renewals.map(({ peer }) => peer.id.uri)
  const presented = renewals.map(({ peer }) => peer.serial)
  // The lock makes one of two renewals that race the later one. Everybody who takes several takes them in this order.
  const { rows: instances } = await sql<{ spiffe_id: string; serial: string }>`
    SELECT spiffe_id, serial FROM instances WHERE spiffe_id = ANY(${ids}::text[])
     ORDER BY spiffe_id FOR UPDATE`.execute(tx)
  // Read after the lock is held: a quarantine takes the same lock, and whichever comes second sees the first.
  const { rows: found } = await sql<{ instance: string; owner: string | null; cut: boolean }>`
    SELECT asked.instance, certificates.spiffe_id AS owner,
           EXISTS (SELECT FROM quarantines WHERE released_at IS NULL
                    AND subject IN (asked.instance, asked.agent)) AS cut
      FROM unnest(${presented}::text[], ${ids}::text[], ${ids.map(agentOf)}::text[])
             AS asked(serial, instance, agent)
      LEFT JOIN certificates ON certificates.serial = asked.serial`.execute(tx)
  const current = new Map(instances.map((row) => [row.spiffe_id, row.serial]))
  const stateOf = new Map(found.map((row) => [row.instance, row]))

  const fresh: Issue[] = []
  const late: Renewal[] = []
  const judged = renewals.map(({ peer, key }): Answer | 'late' => {
    const { uri } = peer.id
    const serial = current.get(uri)
    const state = stateOf.get(uri)
    if (serial === undefined || state?.owner !== uri) return unknown()
    if (state.cut) return quarantined()
    if (serial !== peer.serial) {
      late.push({ peer, key })
      return 'late'
    }
    const { issue, enrolled } = sign(deps, uri, key, peer.serial)
    fresh.push(issue)
    return enrolled
  })
  await record(tx, fresh)
  const repeated = await answersOf(tx, deps, late)
  return judged.map((answer) => (answer === 'late' ? (repeated.shift() ?? 'superseded') : answer))
}

/** The answers that got lost: a client asks again with the key it made, and nobody else can use what this returns. */
async function answersOf(tx: Tx, deps: IssueDeps, late: readonly Renewal[]): Promise<Answer[]> {
  if (late.length === 0) return []
  const rows = await tx
    .selectFrom('certificates')
    .select(['renews', 'chain', 'not_after', 'key_digest'])
    .where(
      'renews',
      'in',
      late.map(({ peer }) => peer.serial),
    )
    .execute()
  const nextOf = new Map(rows.map((row) => [row.renews, row]))
  return late.map(({ peer, key }) => {
    const next = nextOf.get(peer.serial)
    if (next?.key_digest !== sha256Hex(key)) return 'superseded'
    return {
      spiffeId: peer.id.uri,
      chain: next.chain,
      ...rootsOf(deps),
      notAfter: next.not_after,
    }
  })
}

interface Issue {
  readonly serial: string
  readonly spiffeId: string
  readonly keyDigest: string
  readonly chain: string
  readonly notAfter: number
  readonly at: number
  readonly renews: string | null
  readonly root: string
}

function rootsOf({ trust, publisher }: IssueDeps): Pick<Enrolled, 'roots' | 'rootProof'> {
  const proof = rootProof(publisher.current().bundle)
  return { roots: trust.rootsPem, ...(proof ? { rootProof: proof } : {}) }
}

function sign(
  deps: IssueDeps,
  spiffeId: string,
  key: Buffer,
  renews: string | null,
): { issue: Issue; enrolled: Enrolled } {
  const at = deps.clock.now()
  const { svidTtlSeconds } = deps.publisher.index().network.settings
  const svid = deps.issuer.issue({
    spiffeId,
    publicKeySpki: key,
    ttlSeconds: svidTtlSeconds,
    now: at,
  })
  const { chainPem: chain, serial, notAfter } = svid
  return {
    issue: {
      ...{ serial, spiffeId, keyDigest: sha256Hex(key), chain, notAfter, at, renews },
      root: deps.issuer.root,
    },
    enrolled: { spiffeId, chain, ...rootsOf(deps), notAfter },
  }
}

/** Signs and records one certificate: the first one of an instance. */
export async function issueFirst(
  tx: Tx,
  deps: IssueDeps,
  spiffeId: string,
  key: Buffer,
): Promise<Enrolled> {
  await deps.issuer.ready()
  const { issue, enrolled } = sign(deps, spiffeId, key, null)
  await record(tx, [issue])
  return { ...enrolled, genesisKey: deps.trust.pins.genesisKey }
}

/** `spiffe://TD/agent/NAME` of an agent's instance: what a quarantine of the whole agent names; the id itself otherwise. */
const agentOf = (id: string): string => subjectsOf(id).at(-1) ?? id

async function record(tx: Tx, issues: readonly Issue[]): Promise<void> {
  if (issues.length === 0) return
  const serials = issues.map(({ serial }) => serial)
  const ids = issues.map(({ spiffeId }) => spiffeId)
  const ends = issues.map(({ notAfter }) => notAfter)
  const times = issues.map(({ at }) => at)
  await sql`
    WITH made AS (
      SELECT * FROM unnest(${serials}::text[], ${ids}::text[], ${issues.map(({ keyDigest }) => keyDigest)}::text[],
                           ${issues.map(({ chain }) => chain)}::text[], ${ends}::bigint[], ${times}::bigint[],
                           ${issues.map(({ renews }) => renews)}::text[], ${issues.map(({ root }) => root)}::text[])
        AS made(serial, spiffe_id, key_digest, chain, not_after, issued_at, renews, root)
    ), kept AS (
      INSERT INTO certificates (serial, spiffe_id, key_digest, chain, not_after, issued_at, renews, root)
      SELECT * FROM made
    )
    UPDATE instances SET serial = made.serial, not_after = made.not_after, last_seen = made.issued_at
      FROM made WHERE instances.spiffe_id = made.spiffe_id`.execute(tx)
}

export const quarantined = (): SallyportError =>
  new SallyportError('SP_QUARANTINED', 'this identity is quarantined')

export const unknown = (): SallyportError =>
  new SallyportError('SP_RENEW_UNKNOWN', 'this certificate is not one that can be renewed', {
    fix: 'enrol anew with a join token',
  })
