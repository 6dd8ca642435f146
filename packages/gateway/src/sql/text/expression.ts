import { SqlRefusal, noName, unsupported } from '../refuse.ts'
import { functionName, operatorName, typeName } from './names.ts'
import { flagOf, listOf, namesOf, numberOf, only, plain, textOf, unwrap } from './nodes.ts'
import type { Node } from './nodes.ts'
import type { Column, Place, Scope } from './scope.ts'
import type { Tables } from './tables.ts'
import { constant, notPlain, plainOf, plainSql } from './values.ts'

/** Compiles a query inside an expression. */
export interface Queries {
  subquery(node: Node, scope: Scope, place: Place): { readonly sql: string; readonly width: number }
}

const MAX_PARAMETER = 1000

/** Expressions, written anew from the parse tree: what is not understood has no way into what is sent. */
export class Expressions {
  readonly #tables: Tables
  readonly #queries: Queries

  constructor(tables: Tables, queries: Queries) {
    this.#tables = tables
    this.#queries = queries
  }

  /** @throws SqlRefusal for whatever is not on the lists */
  sql(value: unknown, scope: Scope, place: Place): string {
    const [kind, node] = unwrap(value)
    const inner = (part: unknown): string => this.sql(part, scope, place)
    const all = (parts: unknown): string => listOf(parts).map(inner).join(', ')
    switch (kind) {
      case 'A_Const':
        return plainSql(constant(node))
      case 'ParamRef':
        return this.#parameter(node)
      case 'ColumnRef':
        return this.#used(this.column(node, scope, place))
      case 'A_Expr':
        return this.#operator(node, scope, place)
      case 'BoolExpr':
        return this.#logic(node, inner)
      case 'NullTest':
        only(node, 'this test', 'arg', 'nulltesttype')
        return `(${inner(node['arg'])} ${oneOf(node['nulltesttype'], { IS_NULL: 'IS NULL', IS_NOT_NULL: 'IS NOT NULL' })})`
      case 'BooleanTest':
        only(node, 'this test', 'arg', 'booltesttype')
        return `(${inner(node['arg'])} ${oneOf(node['booltesttype'], BOOL_TESTS)})`
      case 'CaseExpr':
        return this.#choice(node, inner)
      case 'CoalesceExpr':
        only(node, 'COALESCE', 'args')
        return `COALESCE(${all(node['args'])})`
      case 'MinMaxExpr':
        only(node, 'GREATEST', 'op', 'args')
        return `${oneOf(node['op'], { IS_GREATEST: 'GREATEST', IS_LEAST: 'LEAST' })}(${all(node['args'])})`
      case 'TypeCast':
        only(node, 'a cast', 'arg', 'typeName')
        return `CAST(${inner(node['arg'])} AS ${typeSql(node['typeName'])})`
      case 'FuncCall':
        return this.#call(node, scope, place)
      case 'SQLValueFunction':
        only(node, 'this value', 'op', 'typmod')
        if (node['typmod'] !== -1) throw unsupported('a precision of the time')
        return oneOf(node['op'], TIMES)
      case 'SubLink':
        return this.#sublink(node, scope, place)
      case 'A_ArrayExpr':
        only(node, 'an array', 'elements')
        return `ARRAY[${all(node['elements'])}]`
      case 'RowExpr':
        only(node, 'a row', 'args', 'row_format')
        return `ROW(${all(node['args'])})`
      case 'A_Indirection':
        return this.#subscript(node, inner)
      case 'CollateClause':
        only(node, 'a collation', 'arg', 'collname')
        if (namesOf(node['collname']).join('.') !== 'C') throw unsupported('a collation beside "C"')
        return `(${inner(node['arg'])} COLLATE pg_catalog."C")`
      default:
        throw unsupported(`this expression (${kind})`)
    }
  }

  /** The column that a reference means. */
  column(node: Node, scope: Scope, place: Place): Column {
    only(node, 'this reference', 'fields')
    const fields = listOf(node['fields']).map((field) => {
      const [kind, name] = unwrap(field)
      if (kind === 'A_Star') throw unsupported('`*` inside an expression')
      if (kind !== 'String') throw unsupported('this reference')
      return textOf(name['sval'])
    })
    const [first = '', second, ...more] = fields
    if (more.length > 0) throw unsupported('a column named with its schema')
    const column = second === undefined ? scope.find(first) : scope.findIn(first, second)
    column.note(place)
    return column
  }

  /** Inside an expression: whatever is done with a value that leaves as a token would tell of it. */
  #used(column: Column): string {
    if (column.token !== undefined) {
      throw new SqlRefusal(
        'SP_SQL_COLUMN',
        `the column \`${column.name}\` leaves as a token: it can be returned or compared with a token, and nothing else`,
        '42501',
      )
    }
    return column.sql
  }

  #parameter(node: Node): string {
    only(node, 'a parameter', 'number')
    const number = numberOf(node['number'])
    if (number < 1 || number > MAX_PARAMETER) throw noName('parameter', `$${number}`, '42P02')
    return `$${number}`
  }

  #operator(node: Node, scope: Scope, place: Place): string {
    only(node, 'this operator', 'kind', 'name', 'lexpr', 'rexpr')
    const names = namesOf(node['name'])
    const inner = (part: unknown): string => this.sql(part, scope, place)
    const right = (): string => inner(node['rexpr'])
    const word = names.join('.')
    switch (node['kind']) {
      case 'AEXPR_OP': {
        if (node['lexpr'] === undefined) {
          if (word !== '-' && word !== '+') throw noName('operator', word, '42883')
          return `(${word} ${right()})`
        }
        return (
          this.#token(node, scope, word) ??
          `(${inner(node['lexpr'])} ${operatorName(names)} ${right()})`
        )
      }
      case 'AEXPR_OP_ANY':
        return `(${inner(node['lexpr'])} ${operatorName(names)} ANY (${right()}))`
      case 'AEXPR_OP_ALL':
        return `(${inner(node['lexpr'])} ${operatorName(names)} ALL (${right()}))`
      case 'AEXPR_DISTINCT':
        return `(${inner(node['lexpr'])} IS DISTINCT FROM ${right()})`
      case 'AEXPR_NOT_DISTINCT':
        return `(${inner(node['lexpr'])} IS NOT DISTINCT FROM ${right()})`
      case 'AEXPR_NULLIF':
        return `NULLIF(${inner(node['lexpr'])}, ${right()})`
      case 'AEXPR_IN': {
        const [kind, list] = unwrap(node['rexpr'])
        if (kind !== 'List') throw unsupported('this IN')
        const items = listOf(list['items']).map(inner).join(', ')
        return `(${inner(node['lexpr'])} ${oneOf(word, { '=': 'IN', '<>': 'NOT IN' })} (${items}))`
      }
      case 'AEXPR_LIKE':
        return `(${inner(node['lexpr'])} ${oneOf(word, { '~~': 'LIKE', '!~~': 'NOT LIKE' })} ${right()})`
      case 'AEXPR_ILIKE':
        return `(${inner(node['lexpr'])} ${oneOf(word, { '~~*': 'ILIKE', '!~~*': 'NOT ILIKE' })} ${right()})`
      case 'AEXPR_BETWEEN':
      case 'AEXPR_NOT_BETWEEN':
      case 'AEXPR_BETWEEN_SYM':
      case 'AEXPR_NOT_BETWEEN_SYM': {
        const [, list] = unwrap(node['rexpr'])
        const [low, high] = listOf(list['items'])
        return `(${inner(node['lexpr'])} ${oneOf(word, BETWEENS)} ${inner(low)} AND ${inner(high)})`
      }
      default:
        throw unsupported(`this operator (${String(node['kind'])})`)
    }
  }

  /** A column that leaves as tokens, compared with a token: with the value behind it. Undefined for everything else. */
  #token(node: Node, scope: Scope, operator: string): string | undefined {
    if (operator !== '=') return undefined
    const { tokens, parameters } = this.#tables.parts
    for (const [one, other] of [
      [node['lexpr'], node['rexpr']],
      [node['rexpr'], node['lexpr']],
    ]) {
      const [kind, reference] = unwrap(one)
      const value = plainOf(other)
      if (kind !== 'ColumnRef' || value === undefined) continue
      const column = this.column(reference, scope, 'filter')
      if (column.token === undefined) continue
      // The parameter itself is not sent; the server must be told its type all the same.
      if (value.kind === 'parameter') this.#tables.typed(value.number, 'text')
      const given = value.kind === 'parameter' ? parameters.read(value.number, 'text') : value
      if (given.kind === 'null') return 'NULL'
      const restored = given.kind === 'text' ? tokens.restored(column.token, given.text) : ''
      if (given.kind !== 'text' || restored === given.text) throw notPlain('what is not a token')
      return `(${column.sql} OPERATOR(pg_catalog.=) ${plainSql({ kind: 'text', text: restored })})`
    }
    return undefined
  }

  #logic(node: Node, inner: (part: unknown) => string): string {
    only(node, 'this condition', 'boolop', 'args')
    const parts = listOf(node['args']).map(inner)
    if (node['boolop'] === 'NOT_EXPR') return `(NOT ${parts.join('')})`
    return `(${parts.join(oneOf(node['boolop'], { AND_EXPR: ' AND ', OR_EXPR: ' OR ' }))})`
  }

  #choice(node: Node, inner: (part: unknown) => string): string {
    only(node, 'CASE', 'arg', 'args', 'defresult')
    const branches = listOf(node['args']).map((value) => {
      const [kind, when] = unwrap(value)
      if (kind !== 'CaseWhen') throw unsupported('this CASE')
      only(when, 'CASE', 'expr', 'result')
      return ` WHEN ${inner(when['expr'])} THEN ${inner(when['result'])}`
    })
    const subject = node['arg'] === undefined ? '' : ` ${inner(node['arg'])}`
    const otherwise = node['defresult'] === undefined ? '' : ` ELSE ${inner(node['defresult'])}`
    return `(CASE${subject}${branches.join('')}${otherwise} END)`
  }

  #call(node: Node, scope: Scope, place: Place): string {
    only(
      ...([
        node,
        'this call',
        'funcname',
        'args',
        'agg_star',
        'agg_distinct',
        'agg_order',
      ] as const),
      ...(['agg_filter', 'over', 'funcformat'] as const),
    )
    const { sql, kind } = functionName(namesOf(node['funcname']))
    const inner = (part: unknown): string => this.sql(part, scope, place)
    const ordered =
      node['agg_order'] === undefined ? '' : ` ${this.orderBy(node['agg_order'], inner)}`
    const distinct = flagOf(node['agg_distinct']) ? 'DISTINCT ' : ''
    const filter =
      node['agg_filter'] === undefined
        ? ''
        : ` FILTER (WHERE ${this.sql(node['agg_filter'], scope, 'filter')})`
    if (kind !== 'aggregate' && (ordered !== '' || distinct !== '' || filter !== '')) {
      throw unsupported('this call')
    }
    if (kind === 'window' && node['over'] === undefined) throw unsupported('this call')
    const args = flagOf(node['agg_star']) ? '*' : listOf(node['args']).map(inner).join(', ')
    const over = node['over'] === undefined ? '' : this.#window(node['over'], inner, kind)
    return `${sql}(${distinct}${args}${ordered})${filter}${over}`
  }

  #window(value: unknown, inner: (part: unknown) => string, kind: string): string {
    const node = plain(value)
    only(node, 'a window', 'partitionClause', 'orderClause', 'frameOptions')
    // FRAMEOPTION_DEFAULTS: RANGE UNBOUNDED PRECEDING.
    if (node['frameOptions'] !== DEFAULT_FRAME || kind === 'pure') throw unsupported('this window')
    const by = listOf(node['partitionClause']).map(inner)
    const parts = [
      ...(by.length > 0 ? [`PARTITION BY ${by.join(', ')}`] : []),
      ...(node['orderClause'] === undefined ? [] : [this.orderBy(node['orderClause'], inner)]),
    ]
    return ` OVER (${parts.join(' ')})`
  }

  /** @param inner compiles what is ordered by */
  orderBy(value: unknown, inner: (part: unknown) => string): string {
    const parts = listOf(value).map((item) => {
      const [kind, node] = unwrap(item)
      if (kind !== 'SortBy') throw unsupported('this ORDER BY')
      only(node, 'this ORDER BY', 'node', 'sortby_dir', 'sortby_nulls')
      return `${inner(node['node'])}${oneOf(node['sortby_dir'], DIRECTIONS)}${oneOf(node['sortby_nulls'], NULLS)}`
    })
    return parts.length === 0 ? '' : `ORDER BY ${parts.join(', ')}`
  }

  #sublink(node: Node, scope: Scope, place: Place): string {
    only(node, 'a subquery', 'subLinkType', 'testexpr', 'operName', 'subselect')
    const { sql, width } = this.#queries.subquery(node, scope, place)
    const test = (): string => this.sql(node['testexpr'], scope, place)
    switch (node['subLinkType']) {
      case 'EXISTS_SUBLINK':
        return `EXISTS (${sql})`
      case 'ANY_SUBLINK':
        return node['operName'] === undefined
          ? `(${test()} IN (${sql}))`
          : `(${test()} ${operatorName(namesOf(node['operName']))} ANY (${sql}))`
      case 'ALL_SUBLINK':
        return `(${test()} ${operatorName(namesOf(node['operName']))} ALL (${sql}))`
      case 'EXPR_SUBLINK':
      case 'ARRAY_SUBLINK':
        if (width !== 1)
          throw new SqlRefusal('SP_SQL_SYNTAX', 'a subquery must return one column', '42601')
        return node['subLinkType'] === 'ARRAY_SUBLINK' ? `ARRAY(${sql})` : `(${sql})`
      default:
        throw unsupported('this subquery')
    }
  }

  #subscript(node: Node, inner: (part: unknown) => string): string {
    only(node, 'this part', 'arg', 'indirection')
    const steps = listOf(node['indirection']).map((value) => {
      const [kind, step] = unwrap(value)
      if (kind !== 'A_Indices') throw unsupported('a part of a row')
      only(step, 'this part', 'uidx')
      return `[${inner(step['uidx'])}]`
    })
    return `((${inner(node['arg'])})${steps.join('')})`
  }
}

/** The one of these words that a value stands for. */
export function oneOf(value: unknown, words: Readonly<Record<string, string>>): string {
  const word = typeof value === 'string' && Object.hasOwn(words, value) ? words[value] : undefined
  if (word === undefined) throw unsupported('this statement')
  return word
}

function typeSql(value: unknown): string {
  const node = plain(value)
  only(node, 'this type', 'names', 'typemod', 'typmods', 'arrayBounds')
  const mods = listOf(node['typmods']).map((mod) => {
    const value_ = plainOf(mod)
    if (value_?.kind !== 'number' || !/^-?\d{1,9}$/.test(value_.text))
      throw unsupported('this type')
    return value_.text
  })
  const bounds = listOf(node['arrayBounds']).map(() => '[]')
  return `${typeName(namesOf(node['names']))}${mods.length > 0 ? `(${mods.join(', ')})` : ''}${bounds.join('')}`
}

const DEFAULT_FRAME = 1058
const DIRECTIONS = { SORTBY_DEFAULT: '', SORTBY_ASC: ' ASC', SORTBY_DESC: ' DESC' }
const NULLS = {
  SORTBY_NULLS_DEFAULT: '',
  SORTBY_NULLS_FIRST: ' NULLS FIRST',
  SORTBY_NULLS_LAST: ' NULLS LAST',
}
const BOOL_TESTS = {
  IS_TRUE: 'IS TRUE',
  IS_NOT_TRUE: 'IS NOT TRUE',
  IS_FALSE: 'IS FALSE',
  IS_NOT_FALSE: 'IS NOT FALSE',
  IS_UNKNOWN: 'IS UNKNOWN',
  IS_NOT_UNKNOWN: 'IS NOT UNKNOWN',
}
const BETWEENS = {
  BETWEEN: 'BETWEEN',
  'NOT BETWEEN': 'NOT BETWEEN',
  'BETWEEN SYMMETRIC': 'BETWEEN SYMMETRIC',
  'NOT BETWEEN SYMMETRIC': 'NOT BETWEEN SYMMETRIC',
}
/** Times; who the user is, the gateway's own role, is not among them. */
const TIMES = {
  SVFOP_CURRENT_DATE: 'CURRENT_DATE',
  SVFOP_CURRENT_TIME: 'CURRENT_TIME',
  SVFOP_CURRENT_TIMESTAMP: 'CURRENT_TIMESTAMP',
  SVFOP_LOCALTIME: 'LOCALTIME',
  SVFOP_LOCALTIMESTAMP: 'LOCALTIMESTAMP',
}
