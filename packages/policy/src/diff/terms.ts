/** Sorts of the questions put to the solver. A Long is 64 bits, an address 128. */
export type Sort = 'Bool' | 'Long' | 'String' | 'Address'

/** A node of a formula; equal nodes are the same object. */
export interface Term {
  readonly id: number
  readonly sort: Sort
  /** The operator as SMT-LIB writes it, the name of a variable, or the text of a constant. */
  readonly op: string
  readonly args: readonly Term[]
  /** Of a constant. */
  readonly value?: boolean | bigint | string
  readonly variable?: true
}

const MIN = -(2n ** 63n)
const MAX = 2n ** 63n - 1n

/** Makes formulas, and works out what does not depend on a variable. */
export class Terms {
  readonly #known = new Map<string, Term>()
  readonly true: Term = this.bool(true)
  readonly false: Term = this.bool(false)

  bool(value: boolean): Term {
    return this.#constant('Bool', String(value), value)
  }

  long(value: bigint | number): Term {
    const big = BigInt(value)
    const hex = BigInt.asUintN(64, big).toString(16).padStart(16, '0')
    return this.#constant('Long', `#x${hex}`, big)
  }

  string(value: string): Term {
    return this.#constant('String', quote(value), value)
  }

  address(value: bigint): Term {
    return this.#constant('Address', `#x${value.toString(16).padStart(32, '0')}`, value)
  }

  /** @param name letters, digits, `_`, `.` and `-` */
  variable(name: string, sort: Sort): Term {
    return this.#intern(`var ${name}`, { sort, op: `|${name}|`, args: [], variable: true })
  }

  not(a: Term): Term {
    if (typeof a.value === 'boolean') return this.bool(!a.value)
    const [inner] = a.args
    return a.op === 'not' && inner ? inner : this.#node('Bool', 'not', [a])
  }

  and(...terms: readonly Term[]): Term {
    return this.#junction('and', this.true, this.false, terms)
  }

  or(...terms: readonly Term[]): Term {
    return this.#junction('or', this.false, this.true, terms)
  }

  ite(test: Term, yes: Term, no: Term): Term {
    if (typeof test.value === 'boolean') return test.value ? yes : no
    if (yes === no) return yes
    if (yes.sort === 'Bool') {
      return this.or(this.and(test, yes), this.and(this.not(test), no))
    }
    return this.#node(yes.sort, 'ite', [test, yes, no])
  }

  equal(a: Term, b: Term): Term {
    if (a === b) return this.true
    if (a.value !== undefined && b.value !== undefined) return this.false
    if (a.sort === 'Bool') {
      if (typeof a.value === 'boolean') return a.value ? b : this.not(b)
      if (typeof b.value === 'boolean') return b.value ? a : this.not(a)
    }
    return this.#node('Bool', '=', a.id < b.id ? [a, b] : [b, a])
  }

  less(a: Term, b: Term): Term {
    if (typeof a.value === 'bigint' && typeof b.value === 'bigint') {
      return this.bool(a.value < b.value)
    }
    return a === b ? this.false : this.#node('Bool', 'bvslt', [a, b])
  }

  atMost(a: Term, b: Term): Term {
    return this.not(this.less(b, a))
  }

  between(a: Term, low: bigint | number, high: bigint | number): Term {
    return this.and(this.atMost(this.long(low), a), this.atMost(a, this.long(high)))
  }

  /** Arithmetic of Longs, and whether it leaves the 64 bits. */
  arithmetic(operator: '+' | '-' | '*', a: Term, b: Term): { value: Term; overflow: Term } {
    const [name, over] = ARITHMETIC[operator]
    if (typeof a.value === 'bigint' && typeof b.value === 'bigint') {
      const exact = calculate(operator, a.value, b.value)
      return { value: this.long(BigInt.asIntN(64, exact)), overflow: this.bool(!fits(exact)) }
    }
    return {
      value: this.#node('Long', name, [a, b]),
      overflow: this.#node('Bool', over, [a, b]),
    }
  }

  /** Arithmetic that cannot overflow, as of the calendar. */
  plus(a: Term, b: Term): Term {
    return this.arithmetic('+', a, b).value
  }

  times(a: Term, factor: number): Term {
    return this.arithmetic('*', a, this.long(factor)).value
  }

  /** Euclidean division by a positive constant, of a number known not to be negative. */
  divide(a: Term, by: bigint): Term {
    if (typeof a.value === 'bigint') return this.long(a.value / by)
    return this.#node('Long', 'bvudiv', [a, this.long(by)])
  }

  /** @param language an SMT-LIB regular expression @param test the same for a constant */
  matches(text: Term, language: string, test: (text: string) => boolean): Term {
    if (typeof text.value === 'string') return this.bool(test(text.value))
    return this.#node('Bool', `str.in_re ${language}`, [text])
  }

  /** In code points. */
  lengthAtMost(text: Term, max: number): Term {
    if (typeof text.value === 'string') return this.bool(Array.from(text.value).length <= max)
    return this.#node('Bool', `str.len ${max}`, [text])
  }

  /** Whether the bits under a mask are these. */
  masked(address: Term, mask: bigint, bits: bigint): Term {
    if (typeof address.value === 'bigint') return this.bool((address.value & mask) === bits)
    return this.#node('Bool', 'masked', [address, this.address(mask), this.address(bits)])
  }

  /** At most so many of them hold. */
  countAtMost(terms: readonly Term[], max: number): Term {
    if (terms.length <= max) return this.true
    return this.#node('Bool', `(_ at-most ${max})`, terms)
  }

  #junction(op: 'and' | 'or', unit: Term, zero: Term, terms: readonly Term[]): Term {
    // Before they are taken apart: a formula and its negation, each of many parts.
    const whole = new Set(terms)
    if (terms.some((term) => whole.has(this.not(term)))) return zero
    const flat = new Set<Term>()
    for (const term of terms.flatMap((each) => (each.op === op ? each.args : [each]))) {
      if (term === zero || flat.has(this.not(term))) return zero
      if (term !== unit) flat.add(term)
    }
    const [first] = flat
    if (flat.size <= 1) return first ?? unit
    return this.#node(
      'Bool',
      op,
      [...flat].toSorted((a, b) => a.id - b.id),
    )
  }

  #constant(sort: Sort, op: string, value: boolean | bigint | string): Term {
    return this.#intern(`${sort} ${op}`, { sort, op, args: [], value })
  }

  #node(sort: Sort, op: string, args: readonly Term[]): Term {
    return this.#intern(`${op}(${args.map(({ id }) => id).join(' ')})`, { sort, op, args })
  }

  #intern(key: string, term: Omit<Term, 'id'>): Term {
    let known = this.#known.get(key)
    if (!known) this.#known.set(key, (known = { id: this.#known.size, ...term }))
    return known
  }
}

const ARITHMETIC = {
  '+': ['bvadd', 'bvsaddo'],
  '-': ['bvsub', 'bvssubo'],
  '*': ['bvmul', 'bvsmulo'],
} as const

function calculate(operator: '+' | '-' | '*', a: bigint, b: bigint): bigint {
  if (operator === '+') return a + b
  return operator === '-' ? a - b : a * b
}

const fits = (value: bigint): boolean => value >= MIN && value <= MAX

/** Beyond plane 2 SMT-LIB has no characters. */
export const representable = (text: string): boolean =>
  Array.from(text).every((character) => (character.codePointAt(0) ?? 0) <= 0x2ffff)

/** An SMT-LIB string: printable ASCII as it is, everything else by code point. */
export function quote(text: string): string {
  const inner = Array.from(text, (character) => {
    const code = character.codePointAt(0) ?? 0
    if (character === '"') return '""'
    return code < 0x20 || code > 0x7e || character === '\\'
      ? `\\u{${code.toString(16)}}`
      : character
  })
  return `"${inner.join('')}"`
}
