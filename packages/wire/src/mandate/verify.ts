import { verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { errorCode, SallyportError } from '@sallyport/base'
import { fromBase64url } from '../base64url.ts'
import { verifyQuorum } from '../quorum.ts'
import type { OperatorSet } from '../types.ts'
import { widens } from './narrow.ts'
import { readMandateChain } from './shape.ts'
import { agentMandateMessage, mandateId } from './sign.ts'
import type { AgentMandate, MandateStatement, OperatorMandate, VerifiedMandate } from './types.ts'

/** An SVID that signed a mandate, verified by whoever knows the trust bundle. */
export interface MandateSigner {
  /** SPIFFE id. */
  readonly instance: string
  readonly serial: string
  /** Milliseconds since the epoch: the last valid one. */
  readonly notAfter: number
  readonly publicKey: KeyObject
}

export interface MandateRules {
  readonly trustDomain: string
  /** Milliseconds since the epoch. */
  readonly now: number
  /** The operators in force: a key that left the set signs nothing any more, whenever it did. */
  readonly operators: OperatorSet | undefined
  /** SPIFFE id of whoever presents it, where somebody does: of what others were given no signature is looked at. */
  readonly holder?: string
  /** Verifies an SVID at `now`. @throws whatever is wrong with it */
  verifySvid(chainDer: readonly Buffer[]): MandateSigner
  isRevoked(mandateId: string): boolean
  /** Whether a certificate was revoked. */
  isSerialRevoked(serial: string): boolean
  /** Whether an instance is quarantined, by itself or with all of its agent. */
  isCut(instance: string): boolean
}

/** How far ahead the clock of whoever signed may be. */
const SKEW_MS = 2000
const ROLES = ['approver', 'admin']

/**
 * Verifies a chain, root first: each hop signed by the delegate of the hop before, in force now, revoked nowhere, and narrower
 * than its parent in everything. That it *covers* a call is another question: `coverOf`.
 *
 * A hop that an instance signed holds while the SVID that signed it does: a copied key delegates nothing for longer than it
 * could be used.
 *
 * @param given untrusted
 * @throws SallyportError `SP_MANDATE_FORMAT`, `SP_MANDATE_DEPTH`, `SP_MANDATE_SIGNATURE`, `SP_MANDATE_CHAIN`, `SP_MANDATE_WIDENS`,
 *   `SP_MANDATE_HOLDER`, `SP_MANDATE_EXPIRED`, `SP_MANDATE_NOT_YET_VALID`, `SP_MANDATE_REVOKED`, `SP_MANDATE_DELEGATOR`
 */
export function verifyMandate(given: unknown, rules: MandateRules): VerifiedMandate {
  const chain = readMandateChain(given)
  const delegate = chain.at(-1)?.statement.delegate ?? ''
  if (rules.holder !== undefined && !holdsMandate(delegate, rules.holder)) {
    throw refused('SP_MANDATE_HOLDER', 'the mandate was given to somebody else', delegate)
  }
  const ids: string[] = []
  const delegators: string[] = []
  let before: MandateStatement | undefined
  for (const hop of chain) {
    const { statement } = hop
    checkLink(statement, before, ids.at(-1))
    const id = mandateId(statement)
    if (rules.isRevoked(id)) throw refused('SP_MANDATE_REVOKED', 'the mandate was revoked', id)
    if (!statement.delegate.startsWith(`spiffe://${rules.trustDomain}/`)) {
      throw refused('SP_MANDATE_CHAIN', 'the mandate is for another network', id)
    }
    if ('passkey' in hop) checkOperator(hop, rules)
    else {
      checkAgent(hop, rules)
      delegators.push(statement.delegator)
    }
    checkTime(statement, rules.now, id)
    ids.push(id)
    before = statement
  }
  const hops = chain.map(({ statement }) => statement)
  const [root, leaf] = [hops[0], hops.at(-1)]
  const id = ids.at(-1)
  if (!root || !leaf || id === undefined) throw broken('an empty chain')
  return {
    id,
    chain: ids,
    hops,
    delegator: root.delegator,
    delegate: leaf.delegate,
    depth: hops.length,
    task: leaf.task,
    expiresAt: Math.min(...hops.map(({ expiresAt }) => expiresAt)),
    delegators,
  }
}

/** Whether an instance is whom a mandate was given to, by itself or as one of its agent's. */
export function holdsMandate(delegate: string, instance: string): boolean {
  return delegate === instance || delegate === instance.slice(0, instance.lastIndexOf('/'))
}

function checkLink(
  statement: MandateStatement,
  before: MandateStatement | undefined,
  parentId: string | undefined,
): void {
  if (statement.parent !== parentId) throw broken('a hop names another parent than the one before')
  if (!before) return
  if (!holdsMandate(before.delegate, statement.delegator)) {
    throw broken('a hop is not by the delegate of the one before')
  }
  const how = widens(statement, before)
  if (how !== undefined) {
    throw refused('SP_MANDATE_WIDENS', 'the mandate reaches beyond the one it is part of', how)
  }
}

function checkOperator({ statement, passkey }: OperatorMandate, rules: MandateRules): void {
  if (statement.parent !== undefined || statement.delegator !== `operator:${passkey.operator}`) {
    throw broken('a passkey signs at the root, for its own operator')
  }
  if (!rules.operators) throw unsigned('no operator set is known')
  try {
    verifyQuorum(statement, [passkey], rules.operators, { quorum: 1, roles: ROLES })
  } catch (cause) {
    const detail = cause instanceof SallyportError ? cause.detail : undefined
    throw unsigned(detail ?? errorCode(cause), cause)
  }
}

function checkAgent({ statement, signature, svid }: AgentMandate, rules: MandateRules): void {
  let signer: MandateSigner
  try {
    signer = rules.verifySvid(svid.map(decoded))
  } catch (cause) {
    throw unsigned(`the SVID that signed is not valid now: ${errorCode(cause)}`, cause)
  }
  const { delegator } = statement
  if (signer.instance !== delegator) throw broken('a hop is signed by another than its delegator')
  const holds = verify(
    'sha256',
    agentMandateMessage(statement),
    { key: signer.publicKey, dsaEncoding: 'ieee-p1363' },
    decoded(signature),
  )
  if (!holds) throw unsigned('the signature does not verify')
  if (rules.isSerialRevoked(signer.serial)) throw unsigned('the SVID that signed was revoked')
  if (rules.isCut(delegator)) {
    throw refused('SP_MANDATE_DELEGATOR', 'a delegator of the mandate was cut off', delegator)
  }
}

function checkTime(
  { issuedAt, notBefore, expiresAt }: MandateStatement,
  now: number,
  id: string,
): void {
  if (now >= expiresAt) throw refused('SP_MANDATE_EXPIRED', 'the mandate has expired', id)
  if (now < notBefore - SKEW_MS || now < issuedAt - SKEW_MS) {
    throw refused('SP_MANDATE_NOT_YET_VALID', 'the mandate is not valid yet', id)
  }
}

function decoded(text: string): Buffer {
  const bytes = fromBase64url(text)
  if (bytes) return bytes
  throw refused('SP_MANDATE_FORMAT', 'the mandate is malformed', 'not base64url')
}

const refused = (code: string, message: string, detail: string, cause?: unknown): SallyportError =>
  new SallyportError(code, message, { detail, cause })

const broken = (detail: string): SallyportError =>
  refused('SP_MANDATE_CHAIN', 'the chain of the mandate is broken', detail)

const unsigned = (detail: string, cause?: unknown): SallyportError =>
  refused('SP_MANDATE_SIGNATURE', 'the mandate is not signed by who gave it', detail, cause)
