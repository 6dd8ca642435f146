import type { EntityJson, Expr, PolicyAst } from '@sallyport/cedar'

/** What policies compare things with: where their answers change. */
export interface Literals {
  readonly longs: ReadonlySet<bigint>
  readonly strings: ReadonlySet<string>
  /** Texts that stand in one comparison with an attribute, by the attribute's name. */
  readonly beside: ReadonlyMap<string, ReadonlySet<string>>
  /** Longs, in the same way. */
  readonly longsBeside: ReadonlyMap<string, ReadonlySet<bigint>>
  /** Questions about sets whose other side is not constant, and elements that are no plain constant, which `beside` has. */
  readonly openSets: number
  /** Attributes that such questions bring together, by each of their names: what one of them holds another may have to hold. */
  readonly joined: ReadonlyMap<string, ReadonlySet<string>>
  /** Elements of sets that are no input of a call, by the name of their attribute. */
  readonly given: ReadonlyMap<string, ReadonlySet<string | bigint>>
  /** Ids of the instances that are named. */
  readonly instances: ReadonlySet<string>
  readonly addresses: ReadonlySet<string>
}

/**
 * Collects the constants of policies.
 *
 * @param entities whose attributes they may compare inputs with
 */
export function literalsOf(
  policies: Iterable<PolicyAst>,
  entities: Iterable<Pick<EntityJson, 'attrs'>> = [],
): Literals {
  const found = {
    longs: new Set<bigint>(),
    strings: new Set<string>(),
    beside: new Map<string, Set<string>>(),
    longsBeside: new Map<string, Set<bigint>>(),
    openSets: 0,
    joined: new Map<string, Set<string>>(),
    given: elementsOf(entities),
    instances: new Set<string>(),
    addresses: new Set<string>(),
  }
  for (const { principal, condition } of policies) {
    if (principal.kind === 'eq') addInstance(found.instances, principal.entity)
    if (principal.kind === 'in') {
      for (const uid of principal.entities) addInstance(found.instances, uid)
    }
    if (condition === undefined) continue
    walk(condition, (expr) => {
      if (expr.kind === 'long') found.longs.add(expr.value)
      if (expr.kind === 'string') found.strings.add(expr.value)
      if (expr.kind === 'entity') addInstance(found.instances, expr.uid)
      const [text] = expr.kind === 'call' && expr.function === 'ip' ? expr.args : []
      if (text?.kind === 'string') found.addresses.add(text.value)
      const held = expr.kind === 'set' ? expr.items : inContains(expr)
      found.openSets += held.filter(({ kind }) => !SCALARS.has(kind)).length
      if (expr.kind !== 'binary') return
      beside(expr.left, expr.right, found)
      beside(expr.right, expr.left, found)
      const open = SETS.has(expr.operator) && !isConstant(expr.left) && !isConstant(expr.right)
      if (!open) return
      found.openSets++
      join(found.joined, new Set([...attributesIn(expr.left), ...attributesIn(expr.right)]))
    })
  }
  return found
}

/** What a set of this name may have to hold: what it is compared with, and what those are that it is compared with. */
export function heldBy(
  { beside: texts, longsBeside, joined, given }: Literals,
  name: string,
): ReadonlySet<string | bigint> {
  const held = new Set<string | bigint>()
  for (const one of joined.get(name) ?? [name]) {
    const others = joined.has(name) ? (given.get(one) ?? []) : []
    for (const value of [...(texts.get(one) ?? []), ...(longsBeside.get(one) ?? []), ...others]) {
      held.add(value)
    }
  }
  return held
}

function join(groups: Map<string, Set<string>>, names: ReadonlySet<string>): void {
  const merged = new Set(names)
  for (const name of names) for (const other of groups.get(name) ?? []) merged.add(other)
  for (const name of merged) groups.set(name, merged)
}

/** Those whose values an expression is made of, not the records that they are members of. */
function attributesIn(expr: Expr): readonly string[] {
  return expr.kind === 'attribute' ? [expr.name] : partsOf(expr).flatMap(attributesIn)
}

function elementsOf(
  entities: Iterable<Pick<EntityJson, 'attrs'>>,
): ReadonlyMap<string, ReadonlySet<string | bigint>> {
  const found = new Map<string, Set<string | bigint>>()
  const waiting = Array.from(entities, ({ attrs }) => attrs)
  for (let record = waiting.pop(); record !== undefined; record = waiting.pop()) {
    for (const [name, value] of Object.entries(record)) {
      if (typeof value !== 'object') continue
      if (!Array.isArray(value)) {
        // TypeScript does not narrow readonly arrays by Array.isArray: of objects, only records are left.
        waiting.push(value as typeof record)
        continue
      }
      for (const item of value) {
        if (typeof item === 'string' || typeof item === 'bigint') add(found, name, item)
        else if (typeof item === 'number') add(found, name, BigInt(item))
      }
    }
  }
  return found
}

const SETS: ReadonlySet<string> = new Set(['contains', 'containsAll', 'containsAny', '==', '!='])

const SCALARS: ReadonlySet<Expr['kind']> = new Set(['bool', 'long', 'string', 'entity'])

/** What a set is asked to contain, where that is constant: the others are questions of their own. */
const inContains = (expr: Expr): readonly Expr[] =>
  expr.kind === 'binary' && expr.operator === 'contains' && isConstant(expr.right)
    ? [expr.right]
    : []

function addInstance(into: Set<string>, uid: { readonly type: string; readonly id: string }): void {
  if (uid.type === 'Instance') into.add(uid.id)
}

function beside(
  side: Expr,
  other: Expr,
  found: { beside: Map<string, Set<string>>; longsBeside: Map<string, Set<bigint>> },
): void {
  const names = new Set<string>()
  walk(side, (expr) => {
    if (expr.kind === 'attribute') names.add(expr.name)
  })
  if (names.size === 0) return
  walk(other, (expr) => {
    for (const name of names) {
      if (expr.kind === 'string') add(found.beside, name, expr.value)
      if (expr.kind === 'long') add(found.longsBeside, name, expr.value)
    }
  })
}

function add<T>(map: Map<string, Set<T>>, name: string, value: T): void {
  const known = map.get(name)
  if (known) known.add(value)
  else map.set(name, new Set([value]))
}

function isConstant(expr: Expr): boolean {
  let constant = true
  walk(expr, ({ kind }) => {
    if (kind === 'variable') constant = false
  })
  return constant
}

/** Visits an expression and everything in it. */
function walk(root: Expr, visit: (expr: Expr) => void): void {
  const waiting = [root]
  for (let expr = waiting.pop(); expr !== undefined; expr = waiting.pop()) {
    visit(expr)
    waiting.push(...partsOf(expr))
  }
}

function partsOf(expr: Expr): readonly Expr[] {
  switch (expr.kind) {
    case 'not':
    case 'negate':
    case 'isEmpty':
    case 'like':
      return [expr.operand]
    case 'binary':
      return [expr.left, expr.right]
    case 'if':
      return [expr.test, expr.yes, expr.no]
    case 'attribute':
    case 'has':
      return [expr.of]
    case 'is':
      return expr.in === undefined ? [expr.operand] : [expr.operand, expr.in]
    case 'set':
      return expr.items
    case 'record':
      return expr.members.map(([, value]) => value)
    case 'call':
      return expr.args
    default:
      return []
  }
}
