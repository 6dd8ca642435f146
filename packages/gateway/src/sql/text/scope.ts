import { SqlRefusal, noColumn, noName, unsupported } from '../refuse.ts'
import type { ColumnType } from '@sallyport/network'
import type { Use } from './tables.ts'

/** Where a column is referred to: in what is returned, or in what chooses, orders or groups rows. */
export type Place = 'output' | 'filter'

/** A column that can be referred to. */
export interface Column {
  readonly name: string
  /** How it is referred to in what is sent. */
  readonly sql: string
  /** Kind of token that its values leave as: it may be returned, and nothing else done with it. */
  readonly token?: string
  /** Its values are those of one declared column each, as they stand there. */
  readonly single?: boolean
  /** Of a declared table's own column that is seen whole or as a token. */
  readonly own?: { readonly use: Use; readonly type: ColumnType; readonly whole: boolean }
  /** Takes down that it was referred to. */
  readonly note: (place: Place) => void
}

export interface Relation {
  readonly alias: string
  readonly columns: readonly Column[]
}

/** What a part of a FROM clause brings into view. */
export interface FromItem {
  readonly relations: readonly Relation[]
  /** Columns by their bare names, in the order of `*`. */
  readonly visible: readonly Column[]
  /** The text, made when everything about the tables in it is known. */
  sql(): string
}

export type Ctes = ReadonlyMap<string, readonly Column[]>

/** The names that an expression can use. */
export class Scope {
  readonly relations: Relation[] = []
  readonly visible: Column[] = []
  readonly parent: Scope | undefined
  readonly ctes: Ctes

  constructor(parent: Scope | undefined, ctes: Ctes) {
    this.parent = parent
    this.ctes = ctes
  }

  add(item: Pick<FromItem, 'relations' | 'visible'>): void {
    for (const relation of item.relations) {
      if (this.relations.some(({ alias }) => alias === relation.alias)) {
        throw new SqlRefusal('SP_SQL_NAME', `the name \`${relation.alias}\` stands twice`, '42712')
      }
      this.relations.push(relation)
    }
    this.visible.push(...item.visible)
  }

  /** A scope of the same level that sees these items alone. */
  static of(items: readonly FromItem[], parent: Scope | undefined, ctes: Ctes): Scope {
    const scope = new Scope(parent, ctes)
    for (const item of items) scope.add(item)
    return scope
  }

  /** @throws SqlRefusal `SP_SQL_NAME`, `SP_SQL_UNSUPPORTED` for a whole row */
  find(name: string): Column {
    const found = this.lookUp(name)
    if (found) return found
    if (this.relation(name)) throw unsupported('a whole row as one value')
    const [one, ...more] = this.relations
    throw noColumn(one && more.length === 0 ? one.alias : '', name)
  }

  lookUp(name: string): Column | undefined {
    const [found, ...more] = this.visible.filter((column) => column.name === name)
    if (more.length > 0) throw ambiguous(name)
    return found ?? this.#fromOutside(name)
  }

  /**
   * A column of a query around this one. What is sent names it with its table; where a table here has that name, the server would
   * take the column from it.
   */
  #fromOutside(name: string): Column | undefined {
    const found = this.parent?.lookUp(name)
    const owner = found && ownerOf(found, this.parent)
    if (owner && this.relations.some(({ alias }) => alias === owner.alias)) {
      throw unsupported('a column of another table whose name a table here has too')
    }
    return found
  }

  findIn(alias: string, name: string): Column {
    const relation = this.relation(alias)
    if (!relation) throw noName('table', alias, '42P01')
    const [found, ...more] = relation.columns.filter((column) => column.name === name)
    if (more.length > 0) throw ambiguous(name)
    if (!found) throw noColumn(alias, name)
    return found
  }

  relation(alias: string): Relation | undefined {
    return this.relations.find((one) => one.alias === alias) ?? this.parent?.relation(alias)
  }
}

function ownerOf(column: Column, scope: Scope | undefined): Relation | undefined {
  return (
    scope?.relations.find(({ columns }) => columns.includes(column)) ??
    (scope && ownerOf(column, scope.parent))
  )
}

const ambiguous = (name: string): SqlRefusal =>
  new SqlRefusal('SP_SQL_NAME', `the column \`${name.slice(0, 63)}\` is ambiguous`, '42702')
