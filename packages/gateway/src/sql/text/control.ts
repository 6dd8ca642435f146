import { SqlRefusal, noName, unsupported } from '../refuse.ts'
import { oneOf } from './expression.ts'
import { quoteName, quoteText } from './names.ts'
import { listOf, only, textOf, unwrap } from './nodes.ts'
import type { Node } from './nodes.ts'
import { plainOf } from './values.ts'

/** A statement that touches no data: sent as it is written here, or done by the gateway itself. */
export type Control =
  | { readonly kind: 'send'; readonly sql: string }
  /** Forgets prepared statements: one, or all. */
  | { readonly kind: 'deallocate'; readonly name: string | undefined }
  /** A setting of the gateway's own, for the calls that follow. */
  | {
      readonly kind: 'present'
      readonly what: 'approval' | 'mandate'
      readonly value: string | undefined
    }

/** What the database is not told of. */
export type OwnControl = Exclude<Control, { kind: 'send' }>
export const isOwn = (control: Control | undefined): control is OwnControl =>
  control !== undefined && control.kind !== 'send'

/** @returns undefined for a statement that is none of these */
export function controlOf(kind: string, node: Node, maxStatementMs: number): Control | undefined {
  switch (kind) {
    case 'TransactionStmt':
      return { kind: 'send', sql: transaction(node) }
    case 'VariableSetStmt':
      return setting(node, maxStatementMs)
    case 'VariableShowStmt': {
      only(node, 'SHOW', 'name')
      const name = textOf(node['name'])
      if (!SHOWN.has(name)) throw noName('setting', name, '42704')
      return {
        kind: 'send',
        sql: `SHOW ${name === 'transaction_isolation' ? name : quoteName(name)}`,
      }
    }
    case 'DeallocateStmt':
      only(node, 'DEALLOCATE', 'name', 'isall')
      return { kind: 'deallocate', name: node['isall'] === true ? undefined : textOf(node['name']) }
    default:
      return undefined
  }
}

function transaction(node: Node): string {
  only(node, 'this statement', 'kind', 'options', 'savepoint_name')
  const savepoint = (): string => quoteName(textOf(node['savepoint_name']))
  const modes = (): string => {
    const list = listOf(node['options']).map((option) => mode(option))
    return list.length === 0 ? '' : ` ${list.join(', ')}`
  }
  switch (node['kind']) {
    case 'TRANS_STMT_BEGIN':
    case 'TRANS_STMT_START':
      return `BEGIN${modes()}`
    case 'TRANS_STMT_COMMIT':
      return 'COMMIT'
    case 'TRANS_STMT_ROLLBACK':
      return 'ROLLBACK'
    case 'TRANS_STMT_SAVEPOINT':
      return `SAVEPOINT ${savepoint()}`
    case 'TRANS_STMT_RELEASE':
      return `RELEASE SAVEPOINT ${savepoint()}`
    case 'TRANS_STMT_ROLLBACK_TO':
      return `ROLLBACK TO SAVEPOINT ${savepoint()}`
    default:
      throw unsupported('a prepared transaction')
  }
}

function mode(option: unknown): string {
  const [kind, node] = unwrap(option)
  if (kind !== 'DefElem') throw unsupported('this transaction')
  only(node, 'this transaction', 'defname', 'arg', 'defaction')
  const value = plainOf(node['arg'])
  switch (node['defname']) {
    case 'transaction_isolation':
      return oneOf(value?.kind === 'text' ? value.text : '', ISOLATION)
    case 'transaction_read_only':
      return oneOf(value?.kind === 'number' ? value.text : '', { 0: 'READ WRITE', 1: 'READ ONLY' })
    case 'transaction_deferrable':
      return oneOf(value?.kind === 'number' ? value.text : '', {
        0: 'NOT DEFERRABLE',
        1: 'DEFERRABLE',
      })
    default:
      throw unsupported('this transaction')
  }
}

const ISOLATION = {
  serializable: 'ISOLATION LEVEL SERIALIZABLE',
  'repeatable read': 'ISOLATION LEVEL REPEATABLE READ',
  'read committed': 'ISOLATION LEVEL READ COMMITTED',
  'read uncommitted': 'ISOLATION LEVEL READ UNCOMMITTED',
}

function setting(node: Node, maxStatementMs: number): Control {
  only(node, 'SET', 'kind', 'name', 'args', 'is_local', 'jumble_args')
  const name = textOf(node['name']).toLowerCase()
  const local = node['is_local'] === true ? 'LOCAL ' : ''
  if (node['kind'] === 'VAR_SET_MULTI' && name === 'transaction') {
    return { kind: 'send', sql: `SET TRANSACTION ${listOf(node['args']).map(mode).join(', ')}` }
  }
  const reset = node['kind'] === 'VAR_RESET' || node['kind'] === 'VAR_SET_DEFAULT'
  const values = listOf(node['args']).map((argument) => {
    const value = plainOf(argument)
    if (value?.kind !== 'text' && value?.kind !== 'number' && value?.kind !== 'bool') {
      throw unsupported('this SET')
    }
    return value.kind === 'bool' ? String(value.value) : value.text
  })
  if (!reset && node['kind'] !== 'VAR_SET_VALUE') throw unsupported('this SET')
  if (name === 'sallyport.approval' || name === 'sallyport.mandate') {
    const [value] = values
    if (local !== '' || (!reset && value === undefined)) throw unsupported('this SET')
    return { kind: 'present', what: name === 'sallyport.approval' ? 'approval' : 'mandate', value }
  }
  if (reset && name === 'statement_timeout') {
    return { kind: 'send', sql: `SET ${local}statement_timeout = ${maxStatementMs}` }
  }
  const value = values.join(', ')
  checkSetting(name, reset ? undefined : value, maxStatementMs)
  return {
    kind: 'send',
    sql: reset
      ? `RESET ${quoteName(name)}`
      : `SET ${local}${quoteName(name)} = ${values.map(quoteText).join(', ')}`,
  }
}

/**
 * Whether a caller may set this, in a statement or at the start of a session.
 *
 * @param value undefined where the default is asked for
 * @throws SqlRefusal for every other setting, `search_path` among them
 */
export function checkSetting(
  name: string,
  value: string | undefined,
  maxStatementMs: number,
): void {
  const allowed = SETTINGS.get(name)
  if (!allowed) throw noName('setting', name, '42704')
  if (value === undefined) return
  const fits = name === 'statement_timeout' ? within(value, maxStatementMs) : allowed.test(value)
  if (!fits) {
    throw new SqlRefusal('SP_SQL_UNSUPPORTED', `\`${name}\` cannot be set to this`, '22023')
  }
}

const within = (value: string, most: number): boolean =>
  /^[1-9]\d{0,8}$/.test(value) && Number(value) <= most

const SHORT_TEXT = /^[\x20-\x7e]{0,200}$/
const SETTINGS: ReadonlyMap<string, RegExp> = new Map([
  ['application_name', SHORT_TEXT],
  ['client_encoding', /^'?utf-?8'?$/i],
  ['client_min_messages', /^(?:error|warning|notice)$/i],
  ['datestyle', /^iso(?:, ?(?:mdy|dmy|ymd))?$/i],
  ['intervalstyle', /^(?:postgres|postgres_verbose|sql_standard|iso_8601)$/i],
  ['timezone', /^[A-Za-z0-9_+/:-]{1,64}$/],
  ['extra_float_digits', /^(?:-?\d|1[0-5])$/],
  ['bytea_output', /^(?:hex|escape)$/i],
  ['standard_conforming_strings', /^(?:on|true)$/i],
  ['statement_timeout', /^\d+$/],
])

const SHOWN: ReadonlySet<string> = new Set([
  ...SETTINGS.keys(),
  'server_version',
  'server_version_num',
  'transaction_isolation',
  'transaction_read_only',
  'default_transaction_isolation',
  'max_identifier_length',
  'integer_datetimes',
  'server_encoding',
])
