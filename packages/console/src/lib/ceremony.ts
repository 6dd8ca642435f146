import type { RootStatement } from '../api/key-types.ts'
import type { Asked, BackchannelStatement } from '../api/asked-types.ts'
import type { MandateDraft, MandateStatement } from '../api/mandate-types.ts'
import type {
  Approval,
  ApprovalStatement,
  BreakGlass,
  DeclarationStatement,
  Proposal,
  OperatorsStatement,
  ReleaseStatement,
  ReviewStatement,
  StatementOptions,
} from '../api/types.ts'
import { canonicalJson, digestOf, fingerprintOf, statementChallenge } from './canonical.ts'

/** A mandate begins when it is drawn up; clocks of people's machines are this far out. */
const MANDATE_SKEW_MS = 10 * 60_000

/** Why the browser refuses to hand a statement to the passkey. */
export class CeremonyError extends Error {
  override readonly name = 'CeremonyError'
}

/**
 * What you see is what you sign: refuses a statement that differs in any argument from what is on the screen, so that a
 * faulty or hijacked control plane cannot have something else signed.
 *
 * @throws CeremonyError
 */
export async function checkApproval(
  shown: Approval,
  decision: 'approve' | 'deny',
  operator: string,
  offered: StatementOptions<ApprovalStatement>,
): Promise<void> {
  const { statement } = offered
  const expected: Record<string, unknown> = {
    kind: 'approval',
    approvalId: shown.id,
    decision,
    approver: operator,
    instance: shown.instance,
    system: shown.system,
    operation: shown.operation,
    input: shown.input,
    ...(shown.declarationDigest !== undefined && { declarationDigest: shown.declarationDigest }),
  }
  // The members of a statement are compared by name against what the page shows.
  const got = statement as unknown as Record<string, unknown>
  for (const [member, value] of Object.entries(expected)) {
    if (canonicalJson(got[member]) !== canonicalJson(value)) {
      throw new CeremonyError(
        `the server asked for a signature over a different \`${member}\` than the one on this page; nothing was signed`,
      )
    }
  }
  if (statement.expiresAt <= Date.now()) {
    throw new CeremonyError('this request has expired; nothing was signed')
  }
  await checkChallenge(offered)
}

/** The same for what an agent asks out of band, as it was shown: down to a single member. @throws CeremonyError */
export async function checkAsked(
  shown: Asked,
  operator: string,
  offered: StatementOptions<BackchannelStatement>,
): Promise<void> {
  const { statement } = offered
  if (
    canonicalJson(statement) !== canonicalJson(shown.statement) ||
    statement.kind !== 'backchannel' ||
    statement.subject !== `operator:${operator}` ||
    statement.nonce !== shown.id
  ) {
    throw new CeremonyError(
      'the server asked for a signature over something else than this page shows; nothing was signed',
    )
  }
  if (statement.expiresAt <= Date.now()) {
    throw new CeremonyError('this request has expired; nothing was signed')
  }
  await checkChallenge(offered)
}

/** The same for a release. @throws CeremonyError */
export async function checkRelease(
  quarantineId: string,
  subject: string,
  reason: string,
  offered: StatementOptions<ReleaseStatement>,
): Promise<void> {
  const { statement } = offered
  if (
    statement.kind !== 'release' ||
    statement.quarantineId !== quarantineId ||
    statement.subject !== subject ||
    statement.reason !== reason
  ) {
    throw new CeremonyError(
      'the server asked for a signature over a different release than the one on this page; nothing was signed',
    )
  }
  await checkChallenge(offered)
}

/** The same for the review of a break-glass: whose it was, what was found, and every act on the page. @throws CeremonyError */
export async function checkReview(
  shown: BreakGlass,
  reviewer: string,
  text: string,
  offered: StatementOptions<ReviewStatement>,
): Promise<void> {
  const { id, operator, openedAt, endsAt: endedAt, acts = [] } = shown
  const expected: ReviewStatement = {
    ...{ kind: 'break-glass-review', id, operator, reviewer, text, openedAt, endedAt },
    acts: await digestOf(acts.map(({ at, method, path }) => [at, method, path])),
  }
  if (canonicalJson(expected) !== canonicalJson(offered.statement)) {
    throw new CeremonyError(
      'the server asked for a signature over something else than this page shows; load it again. Nothing was signed',
    )
  }
  await checkChallenge(offered)
}

async function checkChallenge(offered: StatementOptions<unknown>): Promise<void> {
  if ((await statementChallenge(offered.statement)) !== offered.options.challenge) {
    throw new CeremonyError(
      'the challenge does not belong to the statement on this page; nothing was signed',
    )
  }
}

/** The same for a declaration: the signature covers its digest, and the serial on the page where it has one. @throws CeremonyError */
export async function checkDeclaration(
  { digest, serial }: Pick<Proposal, 'digest' | 'serial'>,
  offered: StatementOptions<DeclarationStatement>,
): Promise<void> {
  const { statement } = offered
  const numbered = Number.isSafeInteger(statement.serial) && statement.serial >= 1
  if (
    statement.kind !== 'declaration' ||
    statement.digest !== digest ||
    !numbered ||
    (serial !== undefined && statement.serial !== serial)
  ) {
    throw new CeremonyError(
      'the server asked for a signature over a different declaration; nothing was signed',
    )
  }
  await checkChallenge(offered)
}

/** The same for a set of operators' keys. @throws CeremonyError */
export async function checkOperators(
  shown: OperatorsStatement,
  offered: StatementOptions<OperatorsStatement>,
): Promise<void> {
  if (canonicalJson(shown) !== canonicalJson(offered.statement)) {
    throw new CeremonyError(
      'the server asked for a signature over different operators; nothing was signed',
    )
  }
  await checkChallenge(offered)
}

/**
 * The same for a mandate: whatever the control plane drew up beyond what the form says, down to a single member, is refused.
 *
 * @throws CeremonyError
 */
export async function checkMandate(
  draft: MandateDraft,
  operator: string,
  offered: StatementOptions<MandateStatement>,
): Promise<void> {
  const { delegate, task, grants, uses, lifetimeSeconds } = draft
  const { nonce, issuedAt, notBefore, expiresAt } = offered.statement
  const expected: MandateStatement = {
    ...{ kind: 'mandate', nonce, delegator: `operator:${operator}` },
    ...{ delegate, task, grants, issuedAt, notBefore, expiresAt, uses },
  }
  if (
    canonicalJson(expected) !== canonicalJson(offered.statement) ||
    expiresAt - notBefore !== lifetimeSeconds * 1000 ||
    Math.abs(notBefore - Date.now()) > MANDATE_SKEW_MS
  ) {
    throw new CeremonyError(
      'the server drew up a different mandate than the one on this page; nothing was signed',
    )
  }
  await checkChallenge(offered)
}

/** The same for a root of trust: the certificate that is signed is the one whose fingerprint was shown. @throws CeremonyError */
export async function checkRoot(
  fingerprint: string,
  trustDomain: string,
  offered: StatementOptions<RootStatement>,
): Promise<void> {
  const { kind, certificate, operators, ...rest } = offered.statement
  if (
    kind !== 'root' ||
    canonicalJson(rest) !== canonicalJson({ trustDomain }) ||
    !Number.isSafeInteger(operators) ||
    (await fingerprintOf(certificate)) !== fingerprint
  ) {
    throw new CeremonyError(
      'the server asked for a signature over a different root than the one on this page; nothing was signed',
    )
  }
  await checkChallenge(offered)
}
