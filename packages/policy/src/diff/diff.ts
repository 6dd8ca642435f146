import { SallyportError } from '@sallyport/base'
import type { Outcome } from '@sallyport/decide'
import { deriveEntities } from '@sallyport/network'
import type { Declaration } from '@sallyport/network'
import { limitChanges } from './limits.ts'
import { longerIn } from './input.ts'
import { literalsOf } from './literals.ts'
import type { Literals } from './literals.ts'
import { FreeRequest } from './request.ts'
import type { Request, RequestType } from './request.ts'
import { Chance, randomRequest } from './search.ts'
import { shrink } from './shrink.ts'
import { custodyChanges } from './custody.ts'
import { foreignChanges } from './foreign.ts'
import { trustChanges } from './trust.ts'
import { Side, TREATMENTS } from './side.ts'
import type { Encoded, Unknowns } from './side.ts'
import { Solver } from './solver.ts'
import type { Answer } from './solver.ts'
import type { Term } from './terms.ts'
import type {
  CallFinding,
  Counterexample,
  Decided,
  DiffReport,
  FieldFinding,
  Question,
  Undecided,
} from './types.ts'

export interface DiffOptions {
  readonly old: Declaration
  readonly new: Declaration
  /** Milliseconds that the solver may take for one question (10,000 where unsaid). */
  readonly boundMs?: number
  /** In place of one of its own: who compares many times keeps one, whose bound counts, and closes it. Warm, it is three times as fast. */
  readonly solver?: Solver
}

const BOUND_MS = 10_000
/** Requests tried where the solver gives no answer. */
const TRIES = 3000

/**
 * In what two declarations decide differently, over every request that can be made: by SMT, each difference shown by a request that
 * both deciders, the gateway's own, decide differently. What is not proven is said to be undecided.
 *
 * @throws SallyportError `SP_CEDAR_*`, `SP_DIFF_UNCONFIRMED` (the encoding and the deciders disagree: a fault of ours)
 */
export async function diff(options: DiffOptions): Promise<DiffReport> {
  const [old, next] = [await Side.open(options.old), await Side.open(options.new)]
  const solver = options.solver ?? new Solver(options.boundMs ?? BOUND_MS)
  try {
    return await new Comparison(old, next, solver).report()
  } finally {
    if (solver !== options.solver) await solver.close()
  }
}

/** One question about one type of request. */
interface Ask {
  readonly question: Question
  readonly free: FreeRequest
  readonly claim: Term
  readonly unknowns: Unknowns
  /** Whether the two deciders bear the claim out. */
  readonly holds: (request: Request) => boolean
}

type Answered =
  | { readonly kind: 'proven' }
  | { readonly kind: 'found'; readonly by: 'solver' | 'search'; readonly request: Request }
  | { readonly kind: 'undecided'; readonly why: string }

class Comparison {
  readonly #old: Side
  readonly #new: Side
  readonly #solver: Solver
  /** What the policies about an operation compare things with, by `SYSTEM.OPERATION`. */
  readonly #literals = new Map<string, Literals>()
  readonly #undecided: Undecided[] = []
  #questions = 0
  #proven = 0
  #bySolver = 0

  constructor(old: Side, next: Side, solver: Solver) {
    this.#old = old
    this.#new = next
    this.#solver = solver
  }

  async report(): Promise<DiffReport> {
    const newlyAllowed: CallFinding[] = []
    const newlyDenied: CallFinding[] = []
    const fieldsMoreOpen: FieldFinding[] = []
    const fieldsLessOpen: FieldFinding[] = []
    for (const type of this.#types(this.#new)) {
      newlyAllowed.push(...(await this.#calls('newly allowed', type)))
      fieldsMoreOpen.push(...(await this.#fields('fields more open', type)))
    }
    for (const type of this.#types(this.#old)) {
      newlyDenied.push(...(await this.#calls('newly denied', type)))
      fieldsLessOpen.push(...(await this.#fields('fields less open', type)))
    }
    const [a, b] = [this.#old.declaration.network, this.#new.declaration.network]
    const limits = [
      ...limitChanges(a, b),
      ...trustChanges(a, b),
      ...custodyChanges(a, b),
      ...foreignChanges(this.#old, this.#new),
    ]
    const found = [newlyAllowed, newlyDenied, fieldsMoreOpen, fieldsLessOpen, limits]
    const differs = found.some(({ length }) => length > 0)
    return {
      old: this.#old.decider.digest,
      new: this.#new.decider.digest,
      verdict: differs ? 'differs' : this.#undecided.length > 0 ? 'undecided' : 'equivalent',
      ...{ newlyAllowed, newlyDenied, fieldsMoreOpen, fieldsLessOpen, limits },
      undecided: this.#undecided,
      questions: this.#questions,
      proven: this.#proven,
      bySolver: this.#bySolver,
    }
  }

  /** One for each agent, instance that policies name, and operation with a flow: what has no flow is denied. */
  *#types(side: Side): Generator<RequestType> {
    const { network } = side.declaration
    const networks = [this.#old.declaration.network, this.#new.declaration.network]
    const labels = networks.flatMap(({ datasets }) =>
      datasets.flatMap(({ fields }) => fields.flatMap(({ tags }) => tags)),
    )
    const operators = networks.flatMap((one) => one.operators.map(({ name }) => name))
    for (const { from, to, operations } of network.flows) {
      // Of other trust domains' agents the text is compared.
      if (side.decider.index.findForeignAgent(from)) continue
      const agent = `spiffe://${network.trustDomain}/agent/${from}/`
      for (const name of operations) {
        const operation = side.decider.index.findOperation(to, name)
        if (!operation) continue
        const otherSide = side === this.#old ? this.#new : this.#old
        const against = otherSide.decider.index.findOperation(to, name)?.input
        const literals = this.#literalsOf(to, name)
        const named = [...literals.instances].filter((id) => id.startsWith(agent))
        // One that no policy names stands for all the others.
        let other = 'any'
        while (named.includes(`${agent}${other}`)) other = `${other}-other`
        for (const instance of new Set([`${agent}${other}`, ...named])) {
          yield {
            ...{ instance, agent: from, system: to, operation: name, input: operation.input },
            ...(against && { against }),
            literals,
            labels: [...new Set([...labels, 'untrusted'])].toSorted(),
            operators: [...new Set(operators)],
          }
        }
      }
    }
  }

  #literalsOf(system: string, operation: string): Literals {
    const key = `${system}.${operation}`
    let literals = this.#literals.get(key)
    if (!literals) {
      const sides = [this.#old, this.#new]
      literals = literalsOf(
        sides.flatMap((side) => side.relevant(system, operation)),
        sides.flatMap(({ declaration }) => deriveEntities(declaration.network)),
      )
      this.#literals.set(key, literals)
    }
    return literals
  }

  async #calls(
    question: 'newly allowed' | 'newly denied',
    type: RequestType,
  ): Promise<CallFinding[]> {
    const { free, unknowns, wider, narrower, sides } = this.#encode(question, type)
    const claim = free.terms.and(wider.allowed, free.terms.not(narrower.allowed))
    const holds = (request: Request): boolean =>
      sides.wider.decide(request)?.decision === 'allow' &&
      sides.narrower.decide(request)?.decision !== 'allow'
    const answer = await this.#answer(type, { question, free, claim, unknowns, holds })
    return answer.kind === 'found' ? [this.#finding(type, answer)] : []
  }

  /** Field by field, until no other one differs. */
  async #fields(
    question: 'fields more open' | 'fields less open',
    type: RequestType,
  ): Promise<FieldFinding[]> {
    const { free, unknowns, wider, narrower, sides } = this.#encode(question, type)
    const { terms: t } = free
    const claims = new Map<string, Term>()
    for (const [field, open] of wider.fields) {
      const closed = narrower.fields.get(field) ?? []
      const opener = t.or(...open.map((term, i) => t.and(term, t.not(closed[i] ?? t.false))))
      if (opener !== t.false) claims.set(field, opener)
    }
    const findings: FieldFinding[] = []
    const both = t.and(wider.allowed, narrower.allowed)
    for (;;) {
      const claim = t.and(both, t.or(...claims.values()))
      const changed = (request: Request): string | undefined => {
        const [a, b] = [sides.wider.decide(request), sides.narrower.decide(request)]
        if (a?.decision !== 'allow' || b?.decision !== 'allow') return undefined
        return [...claims.keys()].find((field) => opennessOf(a, field) < opennessOf(b, field))
      }
      const holds = (request: Request): boolean => changed(request) !== undefined
      const answer = await this.#answer(type, { question, free, claim, unknowns, holds })
      if (answer.kind !== 'found') return findings
      const field = changed(answer.request)
      if (field === undefined) return findings
      claims.delete(field)
      const [before, after] = [this.#old, this.#new].map((side) => {
        const outcome = side.decide(answer.request)
        return TREATMENTS[outcome ? opennessOf(outcome, field) : 3] ?? 'drop'
      })
      findings.push({
        ...this.#finding(type, answer),
        ...{ field, before: before ?? 'drop', after: after ?? 'drop' },
      })
    }
  }

  #encode(
    question: Question,
    type: RequestType,
  ): {
    free: FreeRequest
    unknowns: Unknowns
    wider: Encoded
    narrower: Encoded
    sides: { wider: Side; narrower: Side }
  } {
    const forward = question === 'newly allowed' || question === 'fields more open'
    const sides = forward
      ? { wider: this.#new, narrower: this.#old }
      : { wider: this.#old, narrower: this.#new }
    const free = new FreeRequest(type)
    const unknowns: Unknowns = new Set()
    const wider = sides.wider.encode(free, unknowns)
    return { free, unknowns, wider, narrower: sides.narrower.encode(free, unknowns), sides }
  }

  async #answer(type: RequestType, ask: Ask): Promise<Answered> {
    this.#questions++
    const { free, claim, question, unknowns, holds } = ask
    const seed = `${type.instance} ${type.system}.${type.operation} ${question}`
    const plain = (request: Request, by: 'solver' | 'search'): Answered => ({
      ...{ kind: 'found', by },
      request: shrink(request, holds),
    })
    let why: string
    if (claim === free.terms.false) {
      this.#proven++
      return { kind: 'proven' }
    }
    const answer = await this.#solved(free, claim)
    if (answer.status === 'unsat' && !free.bounded) {
      this.#proven++
      this.#bySolver++
      return { kind: 'proven' }
    }
    if (answer.status === 'unsat')
      why = 'policies compare more sets with each other than are encoded'
    else if (answer.status === 'unknown') ({ why } = answer)
    else {
      // The rest of the request, for the values that this question did not touch.
      const rest = await this.#solver.solve(
        free.assertions([claim, ...free.fixed(answer.model)], true),
      )
      const request = free.decode(rest.status === 'sat' ? rest.model : answer.model)
      if (holds(request)) return plain(request, 'solver')
      const inexact = [...unknowns, ...free.leftOut]
      if (inexact.length === 0 && rest.status === 'sat') throw unconfirmed(question, request)
      why =
        rest.status === 'sat' ? `not encoded: ${inexact.join('; ')}` : 'no whole request was found'
    }
    const chance = new Chance(seed)
    for (let i = 0; i < TRIES; i++) {
      const request = randomRequest(type, chance)
      if (holds(request)) return plain(request, 'search')
    }
    const { agent, system, operation } = type
    const where = { agent, operation: `${system}.${operation}`, question }
    this.#undecided.push({ ...where, why: `${why}; ${TRIES} requests at the boundaries agree` })
    return { kind: 'undecided', why }
  }

  /** With lists as long as they are encoded first: only those of a model can be shown. */
  async #solved(free: FreeRequest, claim: Term): Promise<Answer> {
    const longer = longerIn(free.input)
    if (longer.length > 0) {
      const none = longer.map((term) => free.terms.not(term))
      const answer = await this.#solver.solve(free.assertions([claim, ...none]))
      if (answer.status === 'sat') return answer
    }
    return this.#solver.solve(free.assertions([claim]))
  }

  #finding(
    { agent, system, operation }: RequestType,
    { by, request }: Extract<Answered, { kind: 'found' }>,
  ): CallFinding {
    const counterexample: Counterexample = {
      ...request,
      old: decidedOf(this.#old.decide(request)),
      new: decidedOf(this.#new.decide(request)),
    }
    return { agent, operation: `${system}.${operation}`, found: by, counterexample }
  }
}

function opennessOf({ projection }: Outcome, field: string): number {
  const dot = field.indexOf('.')
  const treatment = projection[field.slice(0, dot)]?.[field.slice(dot + 1)] ?? 'drop'
  return TREATMENTS.indexOf(treatment)
}

function decidedOf(outcome: Outcome | undefined): Decided {
  // The operation is not declared, or its input is not taken.
  if (!outcome) return { decision: 'deny', code: 'SP_NO_OPERATION', policies: [] }
  const { decision, code, reasons, errors } = outcome
  const failed = code === 'SP_DENIED_POLICY_ERROR' ? errors.map(({ policyId }) => policyId) : []
  return { decision, code, policies: [...reasons, ...failed] }
}

const unconfirmed = (question: Question, { call, session }: Request): SallyportError =>
  new SallyportError('SP_DIFF_UNCONFIRMED', 'the solver and the deciders disagree', {
    detail: `${question}: ${JSON.stringify({ call, session })}`,
    fix: 'this is a fault of Sallyport: report it with both declarations; until then trust `policy replay`',
  })
