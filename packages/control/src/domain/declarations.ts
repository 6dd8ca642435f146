import { canonicalJson, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { createDecider, createTableRows } from '@sallyport/decide'
import { deriveEntities, deriveSchema, indexNetwork, isBackchannelPing } from '@sallyport/network'
import type { Declaration } from '@sallyport/network'
import { declarationDigest } from '@sallyport/wire'
import type { DeclarationStatement, OperatorSet, PasskeySignature } from '@sallyport/wire'
import type { Store, Tx } from '../store/store.ts'
import type { Bundles, ProposalView } from './bundles.ts'
import { declarationDiff } from './declaration-diff.ts'
import { drawSerial, overtaken, serialOf } from './declaration-serials.ts'
import type { Events } from './events.ts'
import { loadDeclarationBody } from './publisher.ts'
import type { Change, Publisher } from './publisher.ts'
import { laterOf } from './rollback.ts'
import {
  demandShadowed,
  endShadow,
  shadowReport,
  stageOf,
  startShadow,
  stopShadow,
} from './shadow.ts'
import type { ShadowStage } from './shadow.ts'
import { checkSignature, signersOf } from './signers.ts'

const ROLES = ['admin']

export interface BundlesDeps {
  readonly store: Store
  readonly clock: Clock
  readonly publisher: Publisher
  readonly events: Events
  readonly operatorSet: () => OperatorSet | undefined
}

/** @see Bundles */
export function createBundles(deps: BundlesDeps): Bundles {
  const { store, publisher, events } = deps
  const current = () => publisher.current().bundle
  return {
    current: () => publisher.current(),
    declaration: () => current().declaration,
    index: () => publisher.index(),
    digest: () => current().declarationDigest,
    revision: () => current().revision,
    onChange: (listener) => publisher.onChange(listener),
    async propose({ declaration, by }) {
      const checked = await checkDeclaration(declaration, current().trustDomain)
      const digest = declarationDigest(checked)
      if (digest === current().declarationDigest) {
        throw new SallyportError('SP_DECLARATION_INVALID', 'this declaration is in force already')
      }
      const row = { digest, proposed_by: by, proposed_at: deps.clock.now() }
      const serial = await store.transaction(async (tx) => {
        await tx
          .insertInto('declarations')
          .values({ ...row, body: canonicalJson(checked) })
          .onConflict((conflict) => conflict.doNothing())
          .execute()
        return drawSerial(tx, digest, row.proposed_at)
      })
      events.publish('revision', { proposed: digest })
      return store.run(async (db) => {
        const tx = db as Tx
        const statement = statementOf(
          digest,
          await epochToSign(tx, current().revision.epoch),
          serial,
        )
        return view(deps, row, checked, [], await stageOf(tx, deps, digest), statement)
      })
    },
    startShadow: (input) => startShadow(deps, input),
    stopShadow: () => stopShadow(deps),
    shadowReport: (digest) => shadowReport(deps, digest),
    proposals: () => store.run((db) => proposals(db as Tx, deps)),
    statement: (digest) =>
      store.transaction(async (tx) => {
        await loadDeclarationBody(tx, digest)
        const serial = await drawSerial(tx, digest, deps.clock.now())
        return statementOf(digest, await epochToSign(tx, current().revision.epoch), serial)
      }),
    async sign(input) {
      const { result, revision } = await publisher.publish((tx, next) =>
        sign(tx, deps, input, next.epoch),
      )
      return { ...result, ...(result.live ? { revision } : {}) }
    },
  }
}

/**
 * The epoch that signatures are for: the next one, where gateways know a later revision than this database.
 *
 * @param epoch the one that runs
 */
async function epochToSign(tx: Tx, epoch: number): Promise<number> {
  const later = await laterOf(tx)
  return later === undefined ? epoch : Math.max(later.revision.epoch, epoch) + 1
}

interface Numbered extends DeclarationStatement {
  readonly serial: number
}

const statementOf = (digest: string, epoch: number, serial: number): Numbered => ({
  kind: 'declaration',
  digest,
  epoch,
  serial,
})

/**
 * Everything that a gateway does with a declaration, done once before anybody is asked to sign it.
 *
 * @throws SallyportError `SP_DECLARATION_INVALID`
 */
async function checkDeclaration(value: unknown, trustDomain: string): Promise<Declaration> {
  try {
    // What is no declaration fails one of the derivations below, each of which reads all of its part.
    const declaration = value as Declaration
    canonicalJson(declaration)
    checkPoints(declaration)
    indexNetwork(declaration.network)
    deriveSchema(declaration.network)
    deriveEntities(declaration.network)
    const decider = await createDecider({ declaration })
    await createTableRows({ declaration, decider, alias: 'sp_row' })
    if (declaration.network.trustDomain !== trustDomain) {
      throw new SallyportError('SP_DECLARATION_INVALID', 'the trust domain cannot change')
    }
    return declaration
  } catch (cause) {
    if (cause instanceof SallyportError && cause.code === 'SP_STORE_UNAVAILABLE') throw cause
    throw new SallyportError('SP_DECLARATION_INVALID', 'the declaration cannot be enforced', {
      detail: cause instanceof Error ? cause.message : String(cause),
      fix: 'run `sallyport check` on it and propose what that accepts',
      cause,
    })
  }
}

/** What no derivation reads, and the control plane itself relies on. */
function checkPoints({ network }: Declaration): void {
  const texts = (value: unknown): boolean =>
    Array.isArray(value) && value.every((item) => typeof item === 'string')
  const fits = network.services.every(
    ({ enforcementPoint: point }) =>
      point === undefined || (texts(point.systems) && texts(point.can)),
  )
  const { shadowMinutes = 0 } = network.settings
  const reached = network.agents.every(
    ({ backchannelPing: ping }) => ping === undefined || isBackchannelPing(ping),
  )
  if (fits && reached && Number.isSafeInteger(shadowMinutes) && shadowMinutes >= 0) return
  throw new SallyportError(
    'SP_DECLARATION_INVALID',
    'an enforcement point, a `backchannelPing` or `shadowMinutes` is not of its shape',
  )
}

async function sign(
  tx: Tx,
  deps: BundlesDeps,
  input: Parameters<Bundles['sign']>[0],
  current: number,
): Promise<Change<{ live: boolean; signed: readonly string[]; quorum: number }>> {
  const { digest } = input
  const body = await loadDeclarationBody(tx, digest)
  const { bundle } = deps.publisher.current()
  const epoch = await epochToSign(tx, current)
  const opens = epoch !== current
  if (!opens && digest === bundle.declarationDigest) {
    throw new SallyportError('SP_DECLARATION_UNKNOWN', 'this declaration is in force already')
  }
  if (await wasSuperseded(tx, digest, epoch)) {
    throw new SallyportError(
      'SP_DECLARATION_UNKNOWN',
      'this declaration was replaced, and does not return within its epoch',
    )
  }
  const serial = await serialOf(tx, digest)
  if (serial === undefined) throw overtaken()
  const expected = statementOf(digest, epoch, serial)
  const set = checkSignature({
    set: deps.operatorSet(),
    operator: input.operator,
    expected,
    given: input.statement,
    signature: input.signature,
    roles: ROLES,
    codes: { statement: 'SP_DECLARATION_STATEMENT', role: 'SP_DECLARATION_ROLE' },
  })
  await tx
    .insertInto('declaration_signatures')
    .values({
      digest,
      epoch,
      serial,
      operator: input.operator,
      signature: JSON.stringify(input.signature),
      at: deps.clock.now(),
    })
    // By the passkey that they have now: an earlier one may have left the set.
    .onConflict((conflict) =>
      conflict
        .columns(['digest', 'epoch', 'serial', 'operator'])
        .doUpdateSet({ signature: JSON.stringify(input.signature), at: deps.clock.now() }),
    )
    .execute()
  const signed = signersOf(expected, await signaturesOf(tx, expected), set, ROLES)
  const live = signed.length >= set.quorum
  if (live) {
    // Of those that were in force before the restore each has been through the shadow already.
    const before = [bundle.declarationDigest, (await laterOf(tx))?.declarationDigest]
    if (!opens || !before.includes(digest)) await demandShadowed(tx, deps, digest)
    await endShadow(tx, deps.clock.now())
    await tx
      .insertInto('superseded_declarations')
      .values({ epoch: current, digest: bundle.declarationDigest })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
    await tx.deleteFrom('later_bundle').execute()
  }
  return {
    result: { live, signed, quorum: set.quorum },
    changed: live,
    ...(live ? { declaration: { digest, serial, body } } : {}),
    ...(live && opens ? { epoch } : {}),
  }
}

async function wasSuperseded(tx: Tx, digest: string, epoch: number): Promise<boolean> {
  const row = await tx
    .selectFrom('superseded_declarations')
    .select('digest')
    .where('epoch', '=', epoch)
    .where('digest', '=', digest)
    .executeTakeFirst()
  return row !== undefined
}

async function signaturesOf(tx: Tx, statement: Numbered): Promise<PasskeySignature[]> {
  const rows = await tx
    .selectFrom('declaration_signatures')
    .select('signature')
    .where('digest', '=', statement.digest)
    .where('epoch', '=', statement.epoch)
    .where('serial', '=', statement.serial)
    .execute()
  // Only signatures that verified were written.
  return rows.map(({ signature }) => signature as PasskeySignature)
}

async function proposals(tx: Tx, deps: BundlesDeps): Promise<readonly ProposalView[]> {
  const { declarationDigest: inForce, revision } = deps.publisher.current().bundle
  const epoch = await epochToSign(tx, revision.epoch)
  // For a new epoch what is in force is signed again.
  const signedAlready = epoch === revision.epoch ? inForce : ''
  const rows = await tx
    .selectFrom('declarations as d')
    .select(['d.digest', 'd.proposed_by', 'd.proposed_at'])
    .where('d.digest', '!=', signedAlready)
    .where((eb) =>
      eb.not(
        eb.exists(
          eb
            .selectFrom('superseded_declarations as s')
            .select('s.digest')
            .whereRef('s.digest', '=', 'd.digest')
            .where('s.epoch', '=', epoch),
        ),
      ),
    )
    .orderBy('d.proposed_at', 'desc')
    .limit(50)
    .execute()
  const views: ProposalView[] = []
  for (const row of rows) {
    const body = await loadDeclarationBody(tx, row.digest)
    const serial = await serialOf(tx, row.digest)
    const statement = serial === undefined ? undefined : statementOf(row.digest, epoch, serial)
    const signatures = statement ? await signaturesOf(tx, statement) : []
    const stage = await stageOf(tx, deps, row.digest)
    views.push(view(deps, row, body, signatures, stage, statement))
  }
  return views
}

function view(
  deps: BundlesDeps,
  row: { digest: string; proposed_by: string; proposed_at: number },
  body: Declaration,
  signatures: readonly PasskeySignature[],
  shadow: ShadowStage,
  statement: Numbered | undefined,
): ProposalView {
  const { bundle } = deps.publisher.current()
  const set = deps.operatorSet()
  return {
    digest: row.digest,
    ...(statement ? { serial: statement.serial } : {}),
    proposedBy: row.proposed_by,
    proposedAt: row.proposed_at,
    signed: set && statement ? signersOf(statement, signatures, set, ROLES) : [],
    quorum: set?.quorum ?? bundle.declaration.network.quorum,
    diff: declarationDiff(bundle.declaration, body),
    shadow,
  }
}
