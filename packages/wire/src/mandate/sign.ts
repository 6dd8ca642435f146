import { sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { canonicalJson, parseJson, SallyportError } from '@sallyport/base'
import { fromBase64url } from '../base64url.ts'
import { statementChallenge } from '../statement.ts'
import {
  MAX_MANDATE_JSON,
  MAX_MANDATE_TOKEN,
  readMandateChain,
  readMandateStatement,
} from './shape.ts'
import type { AgentMandate, MandateStatement, SignedMandate } from './types.ts'

/** Nothing else that an SVID key signs begins like this. */
const DOMAIN = 'sallyport-mandate/1\n'

/** `mdt_` and the SHA-256 of the canonical statement, base64url. */
export function mandateId(statement: MandateStatement): string {
  return `mdt_${statementChallenge(statement).toString('base64url')}`
}

export function agentMandateMessage(statement: MandateStatement): Buffer {
  return Buffer.from(DOMAIN + canonicalJson(statement))
}

/**
 * Signs a mandate with the key of the delegating instance's SVID (ECDSA P-256 with SHA-256, RFC 7518 section 3.4).
 *
 * @param svidDer leaf first, each DER
 * @throws SallyportError `SP_MANDATE_FORMAT`, `SP_MANDATE_KEY` where the key is not P-256
 */
export function signAgentMandate(
  statement: MandateStatement,
  privateKey: KeyObject,
  svidDer: readonly Uint8Array[],
): AgentMandate {
  readMandateStatement(statement)
  if (privateKey.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new SallyportError('SP_MANDATE_KEY', 'mandates are signed with P-256 keys')
  }
  const signature = sign('sha256', agentMandateMessage(statement), {
    key: privateKey,
    dsaEncoding: 'ieee-p1363',
  })
  return {
    statement,
    signature: signature.toString('base64url'),
    svid: svidDer.map((der) => Buffer.from(der).toString('base64url')),
  }
}

const PREFIX = 'mdc.'

/** A whole chain as one text, for whoever carries it. */
export function mandateToken(chain: readonly SignedMandate[]): string {
  return PREFIX + Buffer.from(canonicalJson(chain)).toString('base64url')
}

/**
 * Reads a chain from its text; no signature is checked.
 *
 * @throws SallyportError `SP_MANDATE_FORMAT`, `SP_MANDATE_DEPTH`
 */
export function readMandateToken(token: string): readonly SignedMandate[] {
  const bytes =
    token.startsWith(PREFIX) && token.length <= MAX_MANDATE_TOKEN
      ? fromBase64url(token.slice(PREFIX.length))
      : undefined
  if (!bytes) throw malformed(undefined)
  let value
  try {
    value = parseJson(bytes, { maxBytes: MAX_MANDATE_JSON, maxDepth: 16 })
  } catch (cause) {
    throw malformed(cause)
  }
  return readMandateChain(value)
}

const malformed = (cause: unknown): SallyportError =>
  new SallyportError('SP_MANDATE_FORMAT', 'the mandate is malformed', { cause })
