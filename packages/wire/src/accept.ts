import { canonicalJson, sha256Hex, SallyportError } from '@sallyport/base'
import { compareRevision, verifyBundle } from './bundle.ts'
import { operatorChain } from './operators.ts'
import { verifyQuorum } from './quorum.ts'
import { followRoots } from './roots.ts'
import type { Bundle, BundleState, OperatorSet, SignedBundle, TrustPins } from './types.ts'

/**
 * The whole rule by which a gateway takes a bundle, or refuses it and goes on with the one it has:
 *
 * - signed with the pinned bundle key, for this trust domain, declaration and digest agreeing;
 * - never older than one seen, and one revision is one bundle;
 * - operator sets follow their chain; a new declaration or a new epoch needs a quorum of admins over (digest, epoch, serial), all
 *   of one set: the one in force, or one from the last seen on, so that nobody who leaves takes a declaration along; within an
 *   epoch the serial of each new declaration is higher than any before, so that an older one that was never shown does not come
 *   after a later one; and a declaration once replaced does not come back;
 * - a root beside the pinned ones needs a quorum of admins over its certificate; one that was retired never comes back;
 * - quarantines and revocations only grow, through epochs too, except by releases that a quorum signed, and by expiry.
 *
 * @param previous what an earlier call returned; undefined only on the very first bundle after enrolment
 * @param options.now milliseconds since the epoch, by which revoked certificates expire
 * @returns the state to persist before the bundle is enforced; `previous` itself where the bundle is the one last seen
 * @throws SallyportError `SP_BUNDLE_*`
 */
export function acceptBundle(
  previous: BundleState | undefined,
  signed: SignedBundle,
  pins: TrustPins,
  options: { readonly now?: number } = {},
): BundleState {
  const bundle = verifyBundle(signed, pins)
  const bundleDigest = sha256Hex(canonicalJson(bundle))
  if (previous) {
    const order = compareRevision(bundle.revision, previous.revision)
    if (order < 0) throw new SallyportError('SP_BUNDLE_OLDER', 'the bundle is older than one seen')
    if (order === 0 && bundleDigest === previous.bundleDigest) return previous
    if (order === 0) {
      throw new SallyportError('SP_BUNDLE_FORKED', 'two different bundles have the same revision')
    }
  }
  const sets = operatorChain(previous?.operators, bundle.operators, pins)
  const operators = sets.at(-1)
  const roots = followRoots(previous?.roots, bundle.roots, sets, pins)
  checkDeclaration(previous, bundle, pins, sets)
  const released = checkQuarantines(previous, bundle, operators)
  checkRevocations(previous, bundle, options.now ?? Date.now())
  checkMandates(previous, bundle, options.now ?? Date.now())
  return {
    format: 'sallyport-seen/1',
    revision: bundle.revision,
    bundleDigest,
    declarationDigest: bundle.declarationDigest,
    ...serialOf(bundle),
    superseded: superseded(previous, bundle),
    ...(operators ? { operators } : {}),
    quarantined: bundle.quarantined,
    released: [...new Set([...(previous?.released ?? []), ...released])],
    revokedSerials: bundle.revokedSerials,
    ...(bundle.revokedMandates ? { revokedMandates: bundle.revokedMandates } : {}),
    ...(roots ? { roots } : {}),
  }
}

function checkDeclaration(
  previous: BundleState | undefined,
  bundle: Bundle,
  pins: TrustPins,
  sets: readonly OperatorSet[],
): void {
  const digest = bundle.declarationDigest
  const { epoch } = bundle.revision
  const { declarationSerial: serial = 0 } = bundle
  if (previous?.revision.epoch === epoch) {
    const { declarationSerial: highest = 0 } = previous
    if (previous.declarationDigest === digest && serial === highest) return
    if (previous.superseded.includes(digest)) {
      throw new SallyportError(
        'SP_BUNDLE_SUPERSEDED',
        'the bundle brings a replaced declaration back',
      )
    }
    // Neither has one only while nothing that was signed with a serial has been seen.
    if (serial < highest || (serial === highest && serial !== 0)) {
      throw new SallyportError(
        'SP_BUNDLE_SERIAL',
        'the bundle brings a declaration that was signed before the one in force',
        { detail: `serial ${serial}, where ${highest} was accepted` },
      )
    }
  }
  // Only at the very beginning: later, the declaration of `init` may be wider than what operators signed since.
  if (!previous && epoch <= 1 && digest === pins.genesisDigest && serial === 0) return
  const statement = {
    kind: 'declaration',
    digest,
    epoch,
    ...(serial > 0 ? { serial } : {}),
  } as const
  let cause: unknown
  // A quorum of a set that is not known to be replaced could as well make a set of its own: it gains nothing by this.
  for (const set of sets.toReversed()) {
    try {
      verifyQuorum(statement, bundle.declarationSignatures, set, {
        quorum: set.quorum,
        roles: ['admin'],
      })
      return
    } catch (error) {
      cause ??= error
    }
  }
  const none = sets.length === 0 ? 'no operator set is known yet' : 'no quorum'
  throw unsigned(cause instanceof SallyportError ? cause.message : none, cause)
}

function unsigned(detail: string, cause?: unknown): SallyportError {
  return new SallyportError(
    'SP_BUNDLE_UNSIGNED',
    'the bundle widens without the signatures of enough operators',
    { detail, cause },
  )
}

function serialOf({ declarationSerial }: Bundle): Pick<BundleState, 'declarationSerial'> {
  return declarationSerial === undefined ? {} : { declarationSerial }
}

function superseded(previous: BundleState | undefined, bundle: Bundle): string[] {
  if (!previous || previous.revision.epoch !== bundle.revision.epoch) return []
  if (previous.declarationDigest === bundle.declarationDigest) return [...previous.superseded]
  return [...previous.superseded, previous.declarationDigest]
}

/** @returns the ids of quarantines that this bundle rightly ends */
function checkQuarantines(
  previous: BundleState | undefined,
  bundle: Bundle,
  operators: OperatorSet | undefined,
): string[] {
  const carried = new Map(bundle.quarantined.map((entry) => [entry.id, entry.subject]))
  const released: string[] = []
  for (const { id, subject } of previous?.quarantined ?? []) {
    if (carried.get(id) === subject) continue
    // A release signed before the set changed still counts for a gateway that had not seen the change.
    const sets = [operators, previous?.operators].filter((set) => set !== undefined)
    // A release is for once: the same id quarantined again stays so.
    const spent = previous?.released.includes(id) === true
    if (spent || !sets.some((set) => releaseHolds(bundle, id, subject, set))) {
      throw new SallyportError(
        'SP_BUNDLE_RELEASE',
        'the bundle ends a quarantine without signatures',
        {
          detail: `quarantine ${id} of ${subject}`,
        },
      )
    }
    released.push(id)
  }
  return released
}

function releaseHolds(bundle: Bundle, id: string, subject: string, set: OperatorSet): boolean {
  return bundle.releases.some(({ statement, signatures }) => {
    if (statement.quarantineId !== id || statement.subject !== subject) return false
    try {
      verifyQuorum(statement, signatures, set, {
        quorum: set.quorum,
        roles: ['approver', 'admin'],
      })
      return true
    } catch (error) {
      if (error instanceof SallyportError) return false
      throw error
    }
  })
}

function checkRevocations(previous: BundleState | undefined, bundle: Bundle, now: number): void {
  const carried = new Map(bundle.revokedSerials.map((entry) => [entry.serial, entry.notAfter]))
  for (const { serial, notAfter } of previous?.revokedSerials ?? []) {
    const still = carried.get(serial)
    if (notAfter > now && (still === undefined || still < notAfter)) {
      throw new SallyportError('SP_BUNDLE_UNREVOKED', 'the bundle drops a revoked certificate', {
        detail: `serial ${serial}`,
      })
    }
  }
}

function checkMandates(previous: BundleState | undefined, bundle: Bundle, now: number): void {
  const carried = new Map(bundle.revokedMandates?.map(({ id, notAfter }) => [id, notAfter]))
  for (const { id, notAfter } of previous?.revokedMandates ?? []) {
    if (notAfter > now && (carried.get(id) ?? 0) < notAfter) {
      throw new SallyportError('SP_BUNDLE_UNREVOKED', 'the bundle drops a revoked mandate', {
        detail: `mandate ${id}`,
      })
    }
  }
}
