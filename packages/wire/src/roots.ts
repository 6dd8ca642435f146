import { createHash } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import { rootProofShape } from './bundle-shape.ts'
import { operatorChain } from './operators.ts'
import { verifyQuorum } from './quorum.ts'
import { demand } from './shape.ts'
import type {
  Bundle,
  OperatorSet,
  RootList,
  RootProof,
  RootsSeen,
  RootStatement,
  RootTrust,
  Signed,
  TrustPins,
} from './types.ts'

type RootPins = Pick<TrustPins, 'trustDomain' | 'genesisKey' | 'roots'>

/**
 * The rule by which anybody takes another root of the trust domain beside those pinned at enrolment, or none:
 *
 * - whoever is trusted to sign identities can be anybody, so a new root is the widest act there is: a quorum of admins signed
 *   exactly that certificate, in an operator set that is no older than the one seen last;
 * - a root that is trusted stays so until it is retired, whatever an older state of a database says;
 * - retiring only takes away, so it needs nobody's signature; what is retired never comes back, and one root is always left.
 *
 * @param previous what an earlier call returned
 * @param sets every operator set from the one seen last on, verified: what came before signs nothing any more
 * @throws SallyportError `SP_BUNDLE_ROOTS`
 */
export function followRoots(
  previous: RootsSeen | undefined,
  carried: RootList | undefined,
  sets: readonly OperatorSet[],
  pins: Pick<TrustPins, 'trustDomain' | 'roots'>,
): RootsSeen | undefined {
  if (!carried) {
    if (previous) throw refused('it forgets the roots that came after the pinned ones')
    return undefined
  }
  const retired = new Set(carried.retired)
  for (const one of previous?.retired ?? []) {
    if (!retired.has(one)) throw refused('it brings a retired root back')
  }
  const known = new Set(previous?.added)
  const added = new Set(carried.added.map(({ statement }) => statement.certificate))
  for (const one of known) {
    if (!added.has(one) && !retired.has(fingerprintOf(one))) throw refused('it forgets a root')
  }
  for (const one of carried.added) {
    if (known.has(one.statement.certificate)) continue
    // One that was retired before this gateway heard of it is trusted by nobody, signed or not.
    if (retired.has(fingerprintOf(one.statement.certificate))) continue
    checkSigned(one, sets, pins.trustDomain)
  }
  const next = { added: [...added], retired: [...retired] }
  if (trustedOf(next, pins).length === 0) throw refused('it retires every root')
  return next
}

function checkSigned(
  { statement, signatures }: Signed<RootStatement>,
  sets: readonly OperatorSet[],
  trustDomain: string,
): void {
  if (statement.trustDomain !== trustDomain) throw refused('a root of another trust domain')
  const set = sets.find(({ version }) => version === statement.operators)
  if (!set) {
    throw refused('a new root was signed by operators who have been replaced')
  }
  try {
    verifyQuorum(statement, signatures, set, { quorum: set.quorum, roles: ['admin'] })
  } catch (cause) {
    throw refused('a new root lacks the signatures of enough operators', cause)
  }
}

/**
 * What somebody takes who is shown no bundles: agents and services, with each renewal. The same rule as for gateways.
 *
 * @param previous what an earlier call returned; undefined after enrolment
 * @param proof of unknown shape
 * @param pins `genesisKey` pinned at enrolment; `roots` brought by hand
 * @throws SallyportError `SP_BUNDLE_FORMAT`, `SP_BUNDLE_OPERATORS`, `SP_BUNDLE_ROOTS`
 */
export function acceptRoots(
  previous: RootTrust | undefined,
  proof: unknown,
  pins: RootPins,
): RootTrust {
  demand(rootProofShape, proof, 'SP_BUNDLE_FORMAT', 'the proof of the trust roots is malformed')
  // `demand` let it through: exactly this shape.
  const { operators: carried, roots: list } = proof as RootProof
  const sets = operatorChain(previous?.operators, carried, pins)
  const operators = sets.at(-1)
  const roots = followRoots(previous?.roots, list, sets, pins)
  return { ...(operators ? { operators } : {}), ...(roots ? { roots } : {}) }
}

/** What `acceptRoots` needs, out of a bundle; undefined while nobody needs more than what was pinned. */
export function rootProof({
  operators,
  roots,
}: Pick<Bundle, 'operators' | 'roots'>): RootProof | undefined {
  return roots && { ...(operators ? { operators } : {}), roots }
}

/** PEM of every root that is trusted now: the pinned text as it is while there were no others. */
export function trustedRoots(seen: RootsSeen | undefined, pins: Pick<TrustPins, 'roots'>): string {
  if (!seen) return pins.roots
  return trustedOf(seen, pins).map(pemOf).join('')
}

/** SHA-256 hex of the DER: what a retired root is named by. */
export function rootFingerprint(certificate: string): string {
  return fingerprintOf(certificate)
}

/** DER of each root, base64url, without the retired ones. */
function trustedOf(seen: RootsSeen, pins: Pick<TrustPins, 'roots'>): string[] {
  const all = new Set([...derOf(pins.roots), ...seen.added])
  return [...all].filter((one) => !seen.retired.includes(fingerprintOf(one)))
}

const BLOCK = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+?)-----END CERTIFICATE-----/g

/** Each certificate of a PEM text, DER in base64url. */
function derOf(pem: string): string[] {
  return [...pem.matchAll(BLOCK)].map(([, body = '']) =>
    Buffer.from(body, 'base64').toString('base64url'),
  )
}

function pemOf(certificate: string): string {
  const body = Buffer.from(certificate, 'base64url').toString('base64')
  const lines = body.match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}

const fingerprintOf = (certificate: string): string =>
  createHash('sha256').update(Buffer.from(certificate, 'base64url')).digest('hex')

function refused(detail: string, cause?: unknown): SallyportError {
  return new SallyportError(
    'SP_BUNDLE_ROOTS',
    'the trust roots change in a way that is not allowed',
    { detail, cause },
  )
}
