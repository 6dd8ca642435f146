import { canonicalJson, SallyportError } from '@sallyport/base'
import { passkeySignatureShape } from '../bundle-shape.ts'
import {
  anything,
  demand,
  either,
  integer,
  list,
  map,
  members,
  oneOf,
  text,
  within,
} from '../shape.ts'
import type { Check } from '../shape.ts'
import type {
  AgentMandate,
  AmountCeiling,
  MandateGrant,
  MandateStatement,
  OperatorMandate,
  SignedMandate,
} from './types.ts'

/** Hops from the root to the caller. */
const MAX_MANDATE_DEPTH = 5
/** Characters of a chain as JSON. */
export const MAX_MANDATE_JSON = 32_768
/** Characters of a chain as the text that carries it. */
export const MAX_MANDATE_TOKEN: number = 2 * MAX_MANDATE_JSON
/** 90 days from when it was issued, whenever it begins: whoever needs longer is asked again. */
export const MAX_MANDATE_MS: number = 90 * 86_400_000

export const MANDATE_ID: RegExp = /^mdt_[A-Za-z0-9_-]{43}$/
const NAME = /^[A-Za-z_][A-Za-z0-9._-]*$/
/** Members of records, and of records in them. No name of the language's own objects. */
const PATH =
  /^(?!.*(?:^|\.)__proto__(?:\.|$))[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z_][A-Za-z0-9_-]*){0,7}$/
const AGENT = /^spiffe:\/\/[a-z0-9._-]{1,255}\/agent\/[A-Za-z0-9._-]+(?:\/[A-Za-z0-9._-]+)?$/
const INSTANCE = /^spiffe:\/\/[a-z0-9._-]{1,255}\/agent\/[A-Za-z0-9._-]+\/[A-Za-z0-9._-]+$/

/** Whatever a prefix is compared with, and the prefix itself. */
export const IDENTIFIER: RegExp = /^[A-Za-z0-9._:-]+$/

const path = text(256, PATH)
const value = text(256)
const number = integer(Number.MIN_SAFE_INTEGER)
const amount = integer(0)

const constraint = either(
  members<{ equals: unknown }>({ equals: either(value, number, oneOf(true, false)) }, {}),
  members<{ oneOf: unknown }>({ oneOf: nonEmpty(either(value, number), 64) }, {}),
  members<{ min: unknown; max?: unknown }>({ min: number }, { max: number }),
  members<{ max: unknown; min?: unknown }>({ max: number }, { min: number }),
  members<{ prefix: unknown }>({ prefix: text(256, IDENTIFIER) }, {}),
)

const grant = members<MandateGrant>(
  { system: text(128, NAME), operations: nonEmpty(text(128, NAME), 64) },
  {
    arguments: byPath(constraint, 16),
    amount: members<AmountCeiling>(
      { input: path, currency: text(3, /^[A-Z]{3}$/), perUse: amount },
      { currencyInput: path, total: amount },
    ),
    counterparties: members<NonNullable<MandateGrant['counterparties']>>(
      { input: path, values: nonEmpty(value, 64) },
      {},
    ),
  },
)

const statement = members<MandateStatement>(
  {
    kind: oneOf('mandate'),
    nonce: text(64, /^[A-Za-z0-9_-]{16,64}$/),
    delegator: either(text(140, /^operator:[A-Za-z0-9][A-Za-z0-9._@-]*$/), text(2048, INSTANCE)),
    delegate: text(2048, AGENT),
    task: text(512, /\S/),
    grants: nonEmpty(grant, 16),
    issuedAt: integer(),
    notBefore: integer(),
    expiresAt: integer(),
    uses: integer(1, 1_000_000),
  },
  { parent: text(64, MANDATE_ID) },
)

const signed = either(
  members<OperatorMandate>({ statement: anything, passkey: passkeySignatureShape }, {}),
  members<AgentMandate>(
    {
      statement: anything,
      signature: text(128, /^[A-Za-z0-9_-]{86}$/),
      svid: nonEmpty(text(8192, /^[A-Za-z0-9_-]+$/), 4),
    },
    {},
  ),
)

/**
 * A statement of exactly the known members.
 *
 * @throws SallyportError `SP_MANDATE_FORMAT`
 */
export function readMandateStatement(given: unknown): MandateStatement {
  demand(statement, given, 'SP_MANDATE_FORMAT', 'the mandate is malformed')
  // The shape admits exactly a MandateStatement.
  const read = given as MandateStatement
  const { issuedAt, notBefore, expiresAt } = read
  if (issuedAt > notBefore || notBefore >= expiresAt || expiresAt - issuedAt > MAX_MANDATE_MS) {
    throw new SallyportError('SP_MANDATE_FORMAT', 'the mandate is malformed', {
      detail: 'its times are not in order, or it ends more than 90 days after it was issued',
    })
  }
  return read
}

/**
 * A chain of signed mandates, root first, of exactly the known members; no signature is checked.
 *
 * @throws SallyportError `SP_MANDATE_FORMAT`, `SP_MANDATE_DEPTH`
 */
export function readMandateChain(given: unknown): readonly SignedMandate[] {
  if (Array.isArray(given) && given.length > MAX_MANDATE_DEPTH) {
    throw new SallyportError('SP_MANDATE_DEPTH', 'the mandate was passed on too often', {
      detail: `${given.length} hops`,
    })
  }
  demand(
    nonEmpty(signed, MAX_MANDATE_DEPTH),
    given,
    'SP_MANDATE_FORMAT',
    'the mandate is malformed',
  )
  // The shape admits exactly this, statements apart, which are read next.
  const chain = given as readonly SignedMandate[]
  for (const hop of chain) readMandateStatement(hop.statement)
  if (canonicalJson(chain).length > MAX_MANDATE_JSON) {
    throw new SallyportError('SP_MANDATE_FORMAT', 'the mandate is too long')
  }
  return chain
}

function nonEmpty(item: Check, maxItems: number): Check {
  const all = list(item, maxItems)
  return (given) => {
    all(given)
    // Something that holds nothing is a mistake of whoever wrote it: it is refused rather than kept as a grant of nothing.
    if (Array.isArray(given) && given.length === 0) oneOf('not empty')(given)
  }
}

function byPath(item: Check, maxItems: number): Check {
  const all = map(item)
  return (given) => {
    all(given)
    const names = Object.keys(given ?? {})
    try {
      for (const name of names) path(name)
      integer(0, maxItems)(names.length)
    } catch (error) {
      within(' names', error)
    }
  }
}
