import { sql } from 'kysely'
import { canonicalJson, parseJson, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { indexNetwork } from '@sallyport/network'
import type { Declaration, NetworkIndex } from '@sallyport/network'
import { acceptBundle, compareRevision, declarationDigest, signBundle } from '@sallyport/wire'
import type {
  Bundle,
  BundleState,
  PasskeySignature,
  Revision,
  ShadowDeclaration,
  SignedBundle,
  TokenKey,
  TokenTrust,
} from '@sallyport/wire'
import { isVouched } from '../oauth/keys.ts'
import type { Store, Tx } from '../store/store.ts'
import type { Trust } from '../trust.ts'
import { mergeRoots, rootListOf } from '../authority/root-rows.ts'
import { followLinks, readLink } from './operator-links.ts'
import { once, serially } from './serially.ts'

/** What a change tells the publisher. */
export interface Change<T> {
  readonly result: T
  /** False where nothing changed after all: no new revision then. */
  readonly changed: boolean
  /** The declaration that comes into force with this revision. */
  readonly declaration?: {
    readonly digest: string
    readonly serial: number
    readonly body: Declaration
  }
  /** The epoch that begins with it; the one that runs where absent. */
  readonly epoch?: number
}

/**
 * Makes revisions: each change and the signed bundle that carries it are one transaction, ordered by a lock on the head
 * row, so that any number of control planes give each revision exactly one bundle.
 */
export interface Publisher {
  current(): SignedBundle<Declaration>
  index(): NetworkIndex
  /** Runs `act` under the lock. Listeners have been called when it resolves. */
  publish<T>(act: (tx: Tx, revision: Revision) => Promise<Change<T>>): Promise<{
    result: T
    revision: Revision
  }>
  onChange(listener: (signed: SignedBundle<Declaration>) => void): () => void
  /** Takes over what another control plane published. */
  refresh(): Promise<void>
}

export const REVISION_CHANNEL = 'sallyport_revision'

/**
 * Opens the head, making revision 1 the first time from the declaration that was pinned at `init`.
 *
 * @throws SallyportError `SP_DECLARATION_UNSIGNED` on a first start with another declaration than that of `init`;
 *   `SP_STORE_FOREIGN` where the database belongs to another trust root
 */
export async function createPublisher(deps: {
  readonly store: Store
  readonly trust: Trust
  readonly clock: Clock
  readonly declaration: Declaration
}): Promise<Publisher> {
  const { store, trust } = deps
  const first = await store.transaction((tx) => install(tx, deps))
  let current: SignedBundle<Declaration> | undefined = first.signed
  let network = indexNetwork(first.declaration.network)
  // What every gateway that saw the last bundle remembers: the check below is theirs.
  let seen: BundleState | undefined = current && acceptBundle(undefined, current, trust.pins)
  let declaration = first.declaration
  const listeners = new Set<(signed: SignedBundle<Declaration>) => void>()
  const turn = serially()

  const adopt = (signed: SignedBundle<Declaration>): void => {
    if (current && compareRevision(signed.bundle.revision, current.bundle.revision) <= 0) return
    current = signed
    if (signed.bundle.declaration !== declaration) {
      declaration = signed.bundle.declaration
      network = indexNetwork(declaration.network)
    }
    for (const listener of listeners) listener(signed)
  }

  const publisher: Publisher = {
    current() {
      if (!current) throw new SallyportError('SP_INTERNAL', 'no bundle has been published yet')
      return current
    },
    index: () => network,
    onChange(listener) {
      listeners.add(listener)
      return once(() => listeners.delete(listener))
    },
    publish: (act) =>
      turn(async () => {
        const done = await store.transaction(async (tx) => {
          const head = await lockHead(tx)
          const next = { epoch: head.epoch, n: head.n + 1 }
          const change = await act(tx, next)
          const revision = change.epoch === undefined ? next : { epoch: change.epoch, n: 1 }
          if (!change.changed) {
            return { result: change.result, revision: { epoch: head.epoch, n: head.n } }
          }
          const digest = change.declaration?.digest ?? head.declaration_digest
          const body = change.declaration?.body ?? (await bodyOf(tx, digest, declaration, seen))
          const serial = change.declaration?.serial ?? head.declaration_serial
          const named = { digest, serial, body }
          const bundle = await assemble(tx, deps, revision, named, current?.bundle.shadow)
          const signed = signBundle(bundle, trust.bundle)
          const state = accepted(seen, signed, deps)
          const { declaration: _carriedApart, shadow, ...plain } = bundle
          const rest = { ...plain, ...(shadow ? { shadow: { digest: shadow.digest } } : {}) }
          await sql`WITH head AS (
            UPDATE bundle_head SET epoch = ${revision.epoch}, n = ${revision.n},
              declaration_digest = ${digest}, declaration_serial = ${serial}, state = ${canonicalJson(rest)},
              signature = ${signed.signature}
          ) SELECT pg_notify(${REVISION_CHANNEL}, '')`.execute(tx)
          return { result: change.result, revision, signed, state }
        })
        if (done.signed) {
          seen = done.state
          adopt(done.signed)
        }
        return { result: done.result, revision: done.revision }
      }),
    refresh: () =>
      turn(async () => {
        const signed = await store.run((db) => loadHead(db as Tx, declaration, current))
        if (!signed || signed === current) return
        seen = acceptBundle(undefined, signed, trust.pins)
        adopt(signed)
      }),
  }
  if (!current || first.behind) {
    await publisher.publish(() => Promise.resolve({ result: undefined, changed: true }))
  }
  return publisher
}

/** Nothing leaves that gateways would refuse: one bundle they refuse would leave them without any later one. */
function accepted(
  seen: BundleState | undefined,
  signed: SignedBundle<Declaration>,
  { trust, clock }: { readonly trust: Trust; readonly clock: Clock },
): BundleState {
  return acceptBundle(seen, signed, trust.pins, { now: clock.now() })
}

interface Head {
  readonly epoch: number
  readonly n: number
  readonly declaration_digest: string
  readonly declaration_serial: number
}

async function lockHead(tx: Tx): Promise<Head> {
  return tx
    .selectFrom('bundle_head')
    .select(['epoch', 'n', 'declaration_digest', 'declaration_serial'])
    .forUpdate()
    .executeTakeFirstOrThrow()
}

interface Installed {
  readonly signed: SignedBundle<Declaration> | undefined
  readonly declaration: Declaration
  /** The database has been told what this data directory knows and the last bundle does not say. */
  readonly behind?: boolean
}

async function install(
  tx: Tx,
  deps: { readonly trust: Trust; readonly clock: Clock; readonly declaration: Declaration },
): Promise<Installed> {
  const { pins } = deps.trust
  const pinsDigest = declarationDigest(pins)
  await tx
    .insertInto('installation')
    .values({ trust_domain: pins.trustDomain, pins_digest: pinsDigest })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  const owner = await tx.selectFrom('installation').selectAll().executeTakeFirstOrThrow()
  if (owner.pins_digest !== pinsDigest) {
    throw new SallyportError('SP_STORE_FOREIGN', 'the database belongs to another trust root', {
      detail: `it serves ${owner.trust_domain}`,
      fix: 'use the data directory that this database was made with, or an empty database',
    })
  }
  await followLinks(tx, deps.clock, deps.trust.kept?.proof.operators)
  const behind = await mergeRoots(tx, pins, deps.trust.kept, deps.clock.now())
  const head = await tx.selectFrom('bundle_head').selectAll().executeTakeFirst()
  if (head) {
    const declaration = await loadDeclarationBody(tx, head.declaration_digest)
    const signed = head.n === 0 ? undefined : await rejoin(tx, head, declaration)
    return { signed, declaration, behind }
  }
  const digest = declarationDigest(deps.declaration)
  if (digest !== pins.genesisDigest) {
    throw new SallyportError(
      'SP_DECLARATION_UNSIGNED',
      'the declaration is not the one that the trust root was made with',
      {
        fix: 'start with the declaration of `sallyport init`; then propose the new one and have operators sign it',
      },
    )
  }
  await tx
    .insertInto('declarations')
    .values({
      digest,
      body: canonicalJson(deps.declaration),
      proposed_by: 'init',
      proposed_at: deps.clock.now(),
    })
    .execute()
  await tx
    .insertInto('bundle_head')
    .values({ epoch: 1, n: 0, declaration_digest: digest, state: '', signature: '' })
    .execute()
  return { signed: undefined, declaration: deps.declaration }
}

async function loadHead(
  tx: Tx,
  known: Declaration,
  current: SignedBundle<Declaration> | undefined,
): Promise<SignedBundle<Declaration> | undefined> {
  const head = await tx.selectFrom('bundle_head').selectAll().executeTakeFirst()
  if (!head || head.n === 0) return undefined
  const revision = current?.bundle.revision
  if (revision && compareRevision(head, revision) <= 0) return current
  const same = head.declaration_digest === current?.bundle.declarationDigest
  const body = same ? known : await loadDeclarationBody(tx, head.declaration_digest)
  return rejoin(tx, head, body, current?.bundle.shadow)
}

type Shadow = ShadowDeclaration<Declaration>

/** The head as it was signed: the declarations are kept once, apart from the state that changes with every revision. */
async function rejoin(
  tx: Tx,
  head: { readonly state: string; readonly signature: string },
  declaration: Declaration,
  known?: Shadow,
): Promise<SignedBundle<Declaration>> {
  // Written by `publish`; the signature over all of it is checked before it is used.
  const { shadow, ...rest } = parseJson(head.state, { maxBytes: 64 << 20 }) as unknown as Omit<
    Bundle<Declaration>,
    'declaration' | 'shadow'
  > & { readonly shadow?: Pick<Shadow, 'digest'> }
  const whole = shadow ? { shadow: await shadowWith(tx, shadow.digest, known) } : {}
  return { bundle: { ...rest, ...whole, declaration }, signature: head.signature }
}

async function shadowWith(tx: Tx, digest: string, known: Shadow | undefined): Promise<Shadow> {
  if (known?.digest === digest) return known
  return { digest, declaration: await loadDeclarationBody(tx, digest) }
}

/** @throws SallyportError `SP_DECLARATION_UNKNOWN` */
export async function loadDeclarationBody(tx: Tx, digest: string): Promise<Declaration> {
  const row = await tx
    .selectFrom('declarations')
    .select('body')
    .where('digest', '=', digest)
    .executeTakeFirst()
  if (!row) {
    throw new SallyportError('SP_DECLARATION_UNKNOWN', 'there is no declaration with this digest')
  }
  // Checked when it was proposed, or given to `startControl` as one.
  return parseJson(row.body, { maxBytes: 64 << 20 }) as unknown as Declaration
}

async function bodyOf(
  tx: Tx,
  digest: string,
  known: Declaration,
  seen: BundleState | undefined,
): Promise<Declaration> {
  if (seen === undefined || seen.declarationDigest === digest) return known
  return loadDeclarationBody(tx, digest)
}

async function assemble(
  tx: Tx,
  { trust, clock }: { readonly trust: Trust; readonly clock: Clock },
  revision: Revision,
  { digest, serial, body: declaration }: NonNullable<Change<unknown>['declaration']>,
  knownShadow: Shadow | undefined,
): Promise<Bundle<Declaration>> {
  const now = clock.now()
  // One round trip: this stands between a quarantine and the gateways.
  const { rows } = await sql<State>`SELECT
    (SELECT coalesce(json_agg(signature ORDER BY operator), '[]') FROM declaration_signatures
      WHERE digest = ${digest} AND epoch = ${revision.epoch} AND serial = ${serial}) AS signatures,
    (SELECT coalesce(json_agg(link ORDER BY version), '[]') FROM operator_sets) AS links,
    (SELECT coalesce(json_agg(json_build_object(
        'id', id, 'subject', subject, 'reason', reason, 'by', by, 'at', at) ORDER BY id), '[]')
       FROM quarantines WHERE released_at IS NULL) AS quarantined,
    (SELECT coalesce(json_agg(json_build_object(
        'statement', release_statement, 'signatures', (
          SELECT json_agg(signature ORDER BY operator) FROM release_signatures
           WHERE quarantine_id = quarantines.id)) ORDER BY id), '[]')
       FROM quarantines WHERE released_epoch = ${revision.epoch}) AS releases,
    (SELECT coalesce(json_agg(json_build_object(
        'serial', serial, 'notAfter', not_after) ORDER BY serial), '[]')
       FROM revoked_serials WHERE not_after > ${now}) AS revoked,
    (SELECT coalesce(json_agg(json_build_object(
        'id', id, 'notAfter', not_after) ORDER BY id), '[]')
       FROM revoked_mandates WHERE not_after > ${now}) AS revoked_mandates,
    (SELECT coalesce(json_object_agg(spiffe_id, json_build_object(
        'score', risk, 'at', risk_at)), '{}')
       FROM instances WHERE kind = 'agent' AND not_after > ${now}) AS risk,
    (SELECT coalesce(json_agg(json_build_object(
        'kid', kid, 'key', key, 'notAfter', not_after, 'signature', signature) ORDER BY kid), '[]')
       FROM token_keys WHERE not_after > ${now}) AS token_keys,
    (SELECT coalesce(json_agg(json_build_object('jti', jti, 'exp', exp) ORDER BY jti), '[]')
       FROM revoked_tokens WHERE exp > ${Math.floor(now / 1000)}) AS revoked_tokens,
    (SELECT digest FROM shadow_runs WHERE ended_at IS NULL) AS shadow,
    EXISTS (SELECT FROM trust_roots WHERE statement IS NOT NULL OR retired_at IS NOT NULL) AS roots`.execute(
    tx,
  )
  const [state] = rows
  if (!state) throw new SallyportError('SP_INTERNAL', 'the state could not be read')
  const operators = state.links.map(readLink)
  const roots = state.roots ? await rootListOf(tx) : undefined
  const latest = operators.at(-1)
  const history = operators.slice(0, -1)
  return {
    format: 'sallyport-bundle/1',
    trustDomain: trust.pins.trustDomain,
    revision,
    issuedAt: now,
    declaration,
    declarationDigest: digest,
    declarationSignatures: state.signatures,
    ...(serial > 0 ? { declarationSerial: serial } : {}),
    ...(latest ? { operators: { ...latest, ...(history.length > 0 ? { history } : {}) } } : {}),
    quarantined: state.quarantined,
    releases: state.releases.map(({ statement, signatures }) => ({
      // Kept as the canonical text of the statement that was signed.
      statement: parseJson(statement) as unknown as Bundle['releases'][number]['statement'],
      signatures,
    })),
    revokedSerials: state.revoked,
    ...(state.revoked_mandates.length > 0 ? { revokedMandates: state.revoked_mandates } : {}),
    risk: state.risk,
    ...(state.shadow === null ? {} : { shadow: await shadowWith(tx, state.shadow, knownShadow) }),
    ...tokensOf(state, trust),
    ...(roots ? { roots } : {}),
  }
}

/** As the one query above builds it: signatures are what was verified before it was written. */
interface State {
  readonly signatures: readonly PasskeySignature[]
  readonly links: readonly string[]
  readonly quarantined: Bundle['quarantined']
  readonly releases: readonly { statement: string; signatures: readonly PasskeySignature[] }[]
  readonly revoked: Bundle['revokedSerials']
  readonly revoked_mandates: NonNullable<Bundle['revokedMandates']>
  readonly risk: Bundle['risk']
  readonly token_keys: readonly (TokenKey & { readonly signature: string })[]
  readonly revoked_tokens: TokenTrust['revoked']
  readonly shadow: string | null
  /** Whether there are others than the first one. */
  readonly roots: boolean
}

/** Only keys that a control plane of this trust root vouched for: to write in the database is not enough. */
function tokensOf(
  { token_keys: rows, revoked_tokens: revoked }: State,
  trust: Trust,
): Pick<Bundle, 'tokens'> {
  const keys = rows
    .filter(({ signature, ...entry }) => isVouched(entry, signature, trust))
    .map(({ kid, key, notAfter }) => ({ kid, key, notAfter }))
  if (keys.length === 0) return {}
  return { tokens: { issuer: trust.relyingParty.origin, keys, revoked } }
}
