import type { Refusal } from '../refusal.ts'
import { sqlstateOf } from './refuse.ts'
import { errorFields, errorResponse } from './wire/messages.ts'

/** A refusal as a client is told it: how it ended, its code, and what it can do. */
export function toldRefusal(refusal: Refusal): Buffer {
  const needs = (refusal.needs ?? []).map(({ kind, count, approval }) =>
    kind === 'mandate'
      ? 'a mandate: SET sallyport.mandate = …'
      : `${count} approval${count === 1 ? '' : 's'}: SET sallyport.approval = '${approval ?? ''}'`,
  )
  const severity = refusal.close ? 'FATAL' : 'ERROR'
  return errorResponse({
    ...{ S: severity, V: severity, C: sqlstateOf(refusal) },
    M: `${refusal.message} (${refusal.code})`,
    ...(refusal.decision === undefined ? {} : { D: `decision ${refusal.decision}` }),
    ...(needs.length === 0 ? {} : { H: `it needs ${needs.join(' and ')}` }),
  })
}

/**
 * What may be told of an error of the database: its state, and its message where that is about the statement alone. Details,
 * hints and contexts carry values of rows, as do the messages of triggers.
 */
function toldError(body: Buffer): Buffer {
  let fields: Readonly<Record<string, string>>
  try {
    fields = errorFields(body)
  } catch {
    fields = {}
  }
  const { C = '' } = fields
  const sqlstate = /^[0-9A-Z]{5}$/.test(C) ? C : 'XX000'
  // With a context it comes from inside a function or a trigger, which may say whatever it likes under any state.
  const own = fields['W'] === undefined && OF_THE_STATEMENT.has(sqlstate.slice(0, 2))
  const spoken = own ? fields['M'] : undefined
  const fatal = fields['V'] === 'FATAL' || fields['V'] === 'PANIC'
  const severity = fatal ? 'FATAL' : 'ERROR'
  return errorResponse({
    ...{ S: severity, V: severity, C: sqlstate },
    M:
      spoken?.slice(0, 300) ??
      NAMES[sqlstate] ??
      NAMES[sqlstate.slice(0, 2)] ??
      'the statement failed in the database',
  })
}

/** What the database said of a statement, as the client may hear it. */
export class DatabaseError extends Error {
  readonly told: Buffer

  private constructor(told: Buffer) {
    super('the database refused a statement')
    this.told = told
  }

  /** @param body of its ErrorResponse */
  static of(body: Buffer): DatabaseError {
    return new DatabaseError(toldError(body))
  }
}

/** Syntax and names, transactions, and what an operator stopped: their messages say nothing of rows. */
const OF_THE_STATEMENT: ReadonlySet<string> = new Set(['25', '42'])

const NAMES: Readonly<Record<string, string>> = {
  '22': 'a value does not fit',
  '22012': 'division by zero',
  '23': 'a constraint of the table does not hold',
  '23502': 'a column must have a value',
  '23503': 'what is referred to does not exist, or is referred to',
  '23505': 'a row with this key exists already',
  '23514': 'a check of the table does not hold',
  '40': 'the transaction was rolled back',
  '40001': 'could not serialize access',
  '40P01': 'deadlock detected',
  '53': 'the database has too little of something',
  '55P03': 'a lock is not available',
  '57014': 'canceling statement due to user request or statement timeout',
}
