import { plain } from '../inventory/plain.ts'
import { Refusal } from '../refusal.ts'
import type { RefusalFacts, Strange } from '../refusal.ts'

export type SqlCode =
  | 'SP_SQL_SYNTAX'
  | 'SP_SQL_UNSUPPORTED'
  | 'SP_SQL_NAME'
  | 'SP_SQL_COLUMN'
  | 'SP_SQL_VALUE'
  | 'SP_SQL_ROWS'
  | 'SP_SQL_PROTOCOL'
  | 'SP_SQL_SIGN_IN'
  | 'SP_SQL_CANCELLED'
  | 'SP_SQL_UPSTREAM'

/** A refusal that knows its SQLSTATE (PostgreSQL, appendix A). */
export class SqlRefusal extends Refusal {
  readonly sqlstate: string

  constructor(
    code: SqlCode,
    message: string,
    sqlstate: string,
    facts: Pick<RefusalFacts, 'detail' | 'outcome' | 'strange'> = {},
  ) {
    super(code, message, { status: 403, ...facts })
    this.sqlstate = sqlstate
  }
}

/** What is not understood, or cannot be held to the policies: refused, whoever asks. */
export const unsupported = (what: string): SqlRefusal =>
  new SqlRefusal('SP_SQL_UNSUPPORTED', `${what} is not supported here`, '0A000')

/** Of a name that is declared nowhere: whether the database has it is not told. */
export const noName = (
  kind: string,
  name: string,
  sqlstate: string,
  strange?: Strange,
): SqlRefusal =>
  new SqlRefusal('SP_SQL_NAME', `there is no ${kind} \`${name.slice(0, 63)}\``, sqlstate, {
    ...(strange === undefined ? {} : { strange }),
  })

/** Of a column of a relation, where it is known of which. */
export function noColumn(relation: string, column: string): SqlRefusal {
  const name = relation === '' ? column : `${relation}.${column}`
  const shown = `${plain.field(relation)}.${plain.field(column)}`
  return noName('column', name, '42703', { kind: 'field', name: shown })
}

/** What clients are told of a refusal that comes from elsewhere. */
export function sqlstateOf(refusal: Refusal): string {
  if (refusal instanceof SqlRefusal) return refusal.sqlstate
  switch (refusal.code) {
    case 'SP_STALE':
    case 'SP_GATEWAY_NOT_READY':
    case 'SP_DECLARATION_CHANGED':
    case 'SP_AUDIT_UNAVAILABLE':
    case 'SP_CREDENTIAL_MISSING':
    case 'SP_INTERNAL':
      return '58000'
    case 'SP_OVERLOADED':
    case 'SP_LIMIT_REACHED':
      return '53400'
    case 'SP_RECORD_TOO_LARGE':
      return '54000'
    default:
      return refusal.status === 401 ? '28000' : '42501'
  }
}
