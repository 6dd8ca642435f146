import { SallyportError } from '@sallyport/base'
import { readMandateStatement } from './shape.ts'
import { mandateId } from './sign.ts'
import type { MandateStatement } from './types.ts'

/** A mandate as one entry of `authorization_details` (RFC 9396 section 2). */
export interface MandateDetail extends Omit<MandateStatement, 'kind'> {
  readonly type: 'sallyport_mandate'
  /** The mandate's id (RFC 9396 section 2.2). */
  readonly identifier: string
  /** `SYSTEM.OPERATION` of every grant, sorted (RFC 9396 section 2.2); `grants` says under which conditions. */
  readonly actions: readonly string[]
}

export const MANDATE_DETAIL_TYPE = 'sallyport_mandate'

/** Writes a mandate as authorization details. It proves nothing: the signed chain does. */
export function mandateDetail(statement: MandateStatement): MandateDetail {
  const { kind: _kind, ...rest } = readMandateStatement(statement)
  return {
    type: MANDATE_DETAIL_TYPE,
    identifier: mandateId(statement),
    actions: actionsOf(statement),
    ...rest,
  }
}

/**
 * Reads a mandate back from authorization details; its common members must say what the mandate says.
 *
 * @throws SallyportError `SP_MANDATE_FORMAT`
 */
export function mandateOfDetail(detail: unknown): MandateStatement {
  const malformed = (why: string): SallyportError =>
    new SallyportError('SP_MANDATE_FORMAT', 'the authorization details are no mandate', {
      detail: why,
    })
  if (typeof detail !== 'object' || detail === null || Array.isArray(detail)) {
    throw malformed('not an object')
  }
  // A plain object, whose members are checked one by one below.
  const { type, identifier, actions, ...rest } = detail as Readonly<Record<string, unknown>>
  if (type !== MANDATE_DETAIL_TYPE || 'kind' in rest) throw malformed('of another type')
  const statement = readMandateStatement({ kind: 'mandate', ...rest })
  if (identifier !== mandateId(statement)) throw malformed('`identifier` is of another mandate')
  if (JSON.stringify(actions) !== JSON.stringify(actionsOf(statement))) {
    throw malformed('`actions` are not those of `grants`')
  }
  return statement
}

function actionsOf({ grants }: MandateStatement): string[] {
  const names = grants.flatMap(({ system, operations }) =>
    operations.map((operation) => `${system}.${operation}`),
  )
  return [...new Set(names)].toSorted()
}
