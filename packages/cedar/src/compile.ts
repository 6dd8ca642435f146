import { SallyportError } from '@sallyport/base'
import { BINARY } from './binary.ts'
import { allOf, asBool, boolean } from './code.ts'
import type { BoolCode, Code, Compiled } from './code.ts'
import { restoreInteger } from './est.ts'
import type { ExprEst, UidEst } from './est.ts'
import { EXTENSIONS } from './extensions.ts'
import { subtract } from './long.ts'
import {
  attribute,
  find,
  isIn,
  matches,
  noOverflow,
  segments,
  toEntity,
  toLong,
  toSet,
} from './operators.ts'
import type { PatternElement } from './operators.ts'
import { readOf } from './path.ts'
import type { Read } from './path.ts'
import type { Pool } from './pool.ts'
import { EntityRef, EvaluationError, RecordValue, SetValue, typeError } from './value.ts'
import type { Value } from './value.ts'

type Integers = ReadonlyMap<number, bigint>

/** An expression of the JSON policy format as a closure. @throws SallyportError `SP_CEDAR_UNSUPPORTED` */
export function compileBool(expr: ExprEst, integers: Integers): BoolCode {
  return asBool(new Compiler(integers).compile(expr))
}

/** The clauses of several joined by `&&`, sharing what other policies of the pool have compiled already. */
export function compileAll(exprs: readonly ExprEst[], integers: Integers, pool: Pool): Compiled[] {
  const compiler = new Compiler(integers, pool)
  return exprs.flatMap(conjuncts).map((clause) => compiler.compile(clause))
}

/** As `compileBool`, for any type of value. */
export function compileValue(expr: ExprEst, integers: Integers): Code {
  return new Compiler(integers).compile(expr).run
}

function unsupported(what: string): SallyportError {
  return new SallyportError('SP_CEDAR_UNSUPPORTED', `the policy uses \`${what.slice(0, 60)}\``)
}

const constant = (value: Value): Compiled => ({
  run: () => value,
  constant: value,
  ...(typeof value === 'boolean' ? { bool: () => value } : {}),
})

class Compiler {
  readonly #integers: Integers
  readonly #pool: Pool | undefined

  constructor(integers: Integers, pool?: Pool) {
    this.#integers = integers
    // Stand-ins of integers mean something in their own policy only.
    this.#pool = integers.size === 0 ? pool : undefined
  }

  compile(expr: ExprEst): Compiled {
    const make = (): Compiled => this.#compile(expr)
    return this.#pool === undefined ? make() : this.#pool.expression(expr, make)
  }

  #compile(expr: ExprEst): Compiled {
    const [operator, operands] = Object.entries(expr)[0] ?? ['', undefined]
    switch (operator) {
      case 'Value':
        return constant(literal(operands, this.#integers))
      case 'Var':
        return variable(String(operands))
      case 'Set':
        return this.#set(operands as ExprEst[])
      case 'Record':
        return this.#record(operands as Record<string, ExprEst>)
      case 'if-then-else':
        return this.#conditional(operands as { if: ExprEst; then: ExprEst; else: ExprEst })
      case '!':
      case 'neg':
      case 'isEmpty':
        return this.#unary(operator, operands as { arg: ExprEst })
      case '.':
        return this.#attribute(operands as { left: ExprEst; attr: string })
      case 'has':
        return this.#has(operands as { left: ExprEst; attr: string | string[] })
      case 'like':
        return this.#like(operands as { left: ExprEst; pattern: PatternElement[] })
      case 'is':
        return this.#is(operands as { left: ExprEst; entity_type: string; in?: ExprEst })
      default:
        if (EXTENSIONS.has(operator)) return this.#extension(operator, operands as ExprEst[])
        if (operator === '&&') return this.#all(expr)
        return this.#binary(operator, operands as { left: ExprEst; right: ExprEst })
    }
  }

  #set(items: readonly ExprEst[]): Compiled {
    const parts = items.map((item) => this.compile(item))
    if (parts.every((part) => part.constant !== undefined)) {
      return constant(new SetValue(parts.flatMap((part) => part.constant ?? [])))
    }
    const codes = parts.map((part) => part.run)
    return { run: (env) => new SetValue(codes.map((code) => code(env))) }
  }

  #record(members: Readonly<Record<string, ExprEst>>): Compiled {
    const codes = Object.entries(members).map(
      ([key, value]) => [key, this.compile(value).run] as const,
    )
    return { run: (env) => new RecordValue(new Map(codes.map(([key, code]) => [key, code(env)]))) }
  }

  #conditional(operands: { if: ExprEst; then: ExprEst; else: ExprEst }): Compiled {
    const test = asBool(this.compile(operands.if))
    const yes = this.compile(operands.then)
    const no = this.compile(operands.else)
    if (yes.bool && no.bool) {
      const [a, b] = [yes.bool, no.bool]
      return boolean((env) => (test(env) ? a(env) : b(env)))
    }
    return { run: (env) => (test(env) ? yes.run(env) : no.run(env)) }
  }

  #unary(operator: '!' | 'neg' | 'isEmpty', { arg }: { arg: ExprEst }): Compiled {
    const operand = this.compile(arg)
    if (operator === '!') {
      const test = asBool(operand)
      return boolean((env) => !test(env))
    }
    const { run } = operand
    if (operator === 'isEmpty') return boolean((env) => toSet(run(env)).size === 0)
    return { run: (env) => noOverflow(subtract(0, toLong(run(env))), '-') }
  }

  #attribute({ left, attr }: { left: ExprEst; attr: string }): Compiled {
    const read = variablePath(left, [attr])
    if (read !== undefined) return { run: read.run, read }
    const { run } = this.compile(left)
    return { run: (env) => attribute(env, run(env), attr) }
  }

  #has({ left, attr }: { left: ExprEst; attr: string | readonly string[] }): Compiled {
    const { run } = this.compile(left)
    const path = typeof attr === 'string' ? [attr] : attr
    return boolean((env) => {
      let at: Value | undefined = run(env)
      for (const name of path) {
        at = find(env, at, name)
        if (at === undefined) return false
      }
      return true
    })
  }

  #like({ left, pattern }: { left: ExprEst; pattern: readonly PatternElement[] }): Compiled {
    const { run } = this.compile(left)
    const parts = segments(pattern)
    return boolean((env) => {
      const text = run(env)
      if (typeof text !== 'string') throw typeError('string', text)
      return matches(text, parts)
    })
  }

  #is(operands: { left: ExprEst; entity_type: string; in?: ExprEst }): Compiled {
    const { run } = this.compile(operands.left)
    const type = operands.entity_type
    if (operands.in === undefined) return boolean((env) => toEntity(run(env)).type === type)
    const right = this.compile(operands.in).run
    return boolean((env) => {
      const entity = toEntity(run(env))
      return entity.type === type && isIn(env, entity, right(env))
    })
  }

  #extension(name: string, operands: readonly ExprEst[]): Compiled {
    const extension = EXTENSIONS.get(name)
    if (extension === undefined) throw unsupported(name)
    const parts = operands.map((operand) => this.compile(operand))
    const [a, b] = parts
    if (a === undefined || parts.length !== extension.arity) return wrongArity(name)
    if (parts.every((part) => part.constant !== undefined)) {
      try {
        return constant(extension.call(a.constant ?? false, b?.constant))
      } catch (error) {
        // What fails for every request must fail when evaluated, not now: another branch may be taken.
        if (!(error instanceof EvaluationError)) throw error
      }
    }
    const run: Code = b
      ? (env) => extension.call(a.run(env), b.run(env))
      : (env) => extension.call(a.run(env), undefined)
    // INVARIANT: `bool` extensions return booleans only, so the narrower type of the same closure is sound.
    return extension.bool ? { run, bool: run as BoolCode } : { run }
  }

  #all(expr: ExprEst): Compiled {
    return boolean(allOf(conjuncts(expr).map((operand) => asBool(this.compile(operand)))))
  }

  #binary(operator: string, operands: { left: ExprEst; right: ExprEst }): Compiled {
    const make = BINARY.get(operator)
    if (!make) throw unsupported(operator)
    return make(this.compile(operands.left), this.compile(operands.right))
  }
}

function variablePath(expr: ExprEst, names: readonly string[]): Read | undefined {
  const { Var: root, '.': inner } = expr
  if (typeof root === 'string') return readOf(root, names)
  if (inner === undefined) return undefined
  // The operands of `.` in the parser's own output.
  const { left, attr } = inner as { left: ExprEst; attr: string }
  return variablePath(left, [attr, ...names])
}

/** The operands of nested `&&`, left to right. */
export function conjuncts(expr: ExprEst): ExprEst[] {
  // The operands of `&&` in the parser's own output.
  const operands = expr['&&'] as { left: ExprEst; right: ExprEst } | undefined
  return operands ? [...conjuncts(operands.left), ...conjuncts(operands.right)] : [expr]
}

/** The parser lets these pass without a schema; Cedar fails when it evaluates them. */
function wrongArity(name: string): Compiled {
  return {
    run: () => {
      throw new EvaluationError(`wrong number of arguments for \`${name}\``)
    },
  }
}

function literal(json: unknown, integers: Integers): Value {
  if (typeof json === 'boolean' || typeof json === 'string') return json
  if (typeof json === 'number') return restoreInteger(json, integers)
  // Out of an AST, which writes only those that a double cannot hold in this way.
  if (typeof json === 'bigint') return json
  if (typeof json === 'object' && json !== null && '__entity' in json) {
    // The parser's own output for an entity literal.
    const { type, id } = json.__entity as UidEst
    return new EntityRef(type, id)
  }
  throw unsupported(JSON.stringify(json) ?? 'undefined')
}

function variable(name: string): Compiled {
  switch (name) {
    case 'principal':
      return { run: (env) => env.principal }
    case 'action':
      return { run: (env) => env.action }
    case 'resource':
      return { run: (env) => env.resource }
    case 'context':
      return { run: (env) => env.context }
    default:
      throw unsupported(name)
  }
}
