import { setImmediate as othersTurn } from 'node:timers/promises'
import { newId, sha256Hex, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { createDecider, unobserved } from '@sallyport/decide'
import type { Decider, Projection } from '@sallyport/decide'
import type { VerifiedSvid } from '@sallyport/spiffe'
import type { AuditRecord, DecisionRecord } from '@sallyport/wire'
import type { Publisher } from '../domain/publisher.ts'
import type { Quarantines } from '../domain/quarantine.ts'
import type { Store } from '../store/store.ts'
import type { ControlAudit } from './audit.ts'
import { isCut, judge, subjectOf } from './judge.ts'
import type { Standing, Verdict } from './judge.ts'
import { learn } from './knowledge.ts'
import { pepOf } from './pep.ts'
import type { Pep } from './pep.ts'
import type { Question, Semantic } from './request.ts'

/** Answers being worked out at once; more wait at the caller. */
const MAX_IN_FLIGHT = 32
/** Of these for one service: it leaves room for the others. */
const MAX_EACH = 16
const MAX_MESSAGE = 1000
/** Decisions made before others get their turn. */
const TURN = 10

/** A Decision (AuthZEN 1.0, section 5.5). */
export interface Answer {
  readonly decision: boolean
  readonly context: {
    /** Decision id: what operators find it by. */
    readonly id: string
    readonly code: string
    readonly reason_user?: Readonly<Record<string, string>>
    readonly needs?: DecisionRecord['needs']
    /** For enforcement points that can project: what may pass, field by field. */
    readonly projection?: Projection
    /** For those that can label. */
    readonly labels?: readonly string[]
  }
}

export interface AccessDeps {
  readonly store: Store
  readonly clock: Clock
  readonly publisher: Publisher
  readonly quarantine: Quarantines
  readonly caughtUp: (gateways: readonly string[]) => boolean
  /** Throws while nobody here can say what is newest. */
  readonly vouch: () => void
  /** @throws SallyportError `SP_AUDIT_UNAVAILABLE` */
  readonly audit: () => Promise<ControlAudit>
}

/** Decisions for other enforcement points, by the declaration in force and what the control plane itself knows. */
export class Access {
  readonly #deps: AccessDeps
  #building: { readonly digest: string; readonly decider: Promise<Decider> } | undefined
  #inFlight = 0
  /** By the service that asks. */
  readonly #each = new Map<string, number>()

  constructor(deps: AccessDeps) {
    this.#deps = deps
  }

  /**
   * Decides in order and records every decision; when this resolves, the records are durable.
   *
   * @param semantic when to stop early (section 7.1.2.1)
   * @throws SallyportError `SP_PEP_UNDECLARED`, `SP_AUDIT_UNAVAILABLE`, `SP_STORE_UNAVAILABLE`, `SP_DECLARATION_CHANGED`,
   *   `SP_OVERLOADED`
   */
  evaluate(
    caller: VerifiedSvid | undefined,
    questions: readonly Question[],
    semantic: Semantic = 'execute_all',
  ): Promise<readonly Answer[]> {
    return this.#bounded(caller, async () => {
      const { standing, pep } = await this.#stand(caller, questions)
      const verdicts: Verdict[] = []
      for (const question of questions) {
        // Gateways wait for this process too: no request holds it for all of its questions.
        if (verdicts.length % TURN === TURN - 1) await othersTurn()
        const verdict = judge(pep, question, standing)
        verdicts.push(verdict)
        if (semantic === 'deny_on_first_deny' && !verdict.allowed) break
        if (semantic === 'permit_on_first_permit' && verdict.allowed) break
      }
      return this.#record(pep, standing, questions, verdicts)
    })
  }

  /**
   * Which of the candidates would be allowed, as `evaluate` would say; recorded as one event.
   *
   * @param candidates questions in the order of their keys
   */
  search(
    caller: VerifiedSvid | undefined,
    facts: Readonly<Record<string, string>>,
    candidates: (decider: Decider, pep: Pep) => Promise<readonly Question[]> | readonly Question[],
  ): Promise<{ readonly questions: readonly Question[]; readonly allowed: readonly boolean[] }> {
    return this.#bounded(caller, async () => {
      const pep = this.#pep(caller)
      const questions = await candidates(await this.#decider(), pep)
      const { standing } = await this.#stand(caller, questions)
      const allowed: boolean[] = []
      for (const question of questions) {
        if (allowed.length % TURN === TURN - 1) await othersTurn()
        allowed.push(judge(pep, question, standing).allowed)
      }
      const audit = await this.#deps.audit()
      const { epoch, n } = this.#deps.publisher.current().bundle.revision
      await audit.append([
        {
          record: {
            ...audit.base(),
            kind: 'event',
            event: 'access-search',
            subject: pep.id,
            facts: {
              ...facts,
              asked: questions.length,
              found: allowed.filter(Boolean).length,
              epoch,
              n,
            },
          },
        },
      ])
      this.#demandCurrent(standing.decider)
      return { questions, allowed }
    })
  }

  #pep(caller: VerifiedSvid | undefined): Pep {
    this.#deps.vouch()
    return pepOf(caller, this.#deps.publisher.index())
  }

  async #stand(
    caller: VerifiedSvid | undefined,
    questions: readonly Question[],
  ): Promise<{ standing: Standing; pep: Pep }> {
    const { publisher, clock } = this.#deps
    this.#pep(caller)
    // Nothing is decided that could not be recorded.
    await this.#deps.audit()
    const decider = await this.#decider()
    const instances = questions.flatMap(({ subject }) =>
      subject.type === 'instance' ? (subjectOf(subject, decider)?.instance ?? []) : [],
    )
    const { bundle } = publisher.current()
    const knowledge = await learn(this.#deps, decider.index.network, bundle, instances)
    this.#demandCurrent(decider)
    return {
      standing: {
        decider,
        knowledge,
        isCut: (instance) => this.#isCut(instance),
        now: clock.now(),
      },
      pep: this.#pep(caller),
    }
  }

  async #record(
    pep: Pep,
    standing: Standing,
    questions: readonly Question[],
    verdicts: readonly Verdict[],
  ): Promise<readonly Answer[]> {
    const audit = await this.#deps.audit()
    const ids = verdicts.map(() => newId('dec', standing.now))
    const entries: { record: AuditRecord; explanation?: unknown }[] = []
    for (const [i, verdict] of verdicts.entries()) {
      // Explaining a denial looks at every policy.
      if (!verdict.allowed) await othersTurn()
      const id = ids[i] ?? ''
      entries.push(...(await this.#entries(audit, pep, standing, id, questions[i], verdict)))
    }
    await audit.append(entries)
    this.#demandCurrent(standing.decider)
    const cut: AuditRecord[] = []
    const answers = verdicts.map((verdict, i) => {
      const id = ids[i] ?? ''
      if (!verdict.allowed || !this.#isCut(verdict.instance)) {
        return answerOf(pep, id, verdict)
      }
      // Quarantined while the record was being written: it does not go out after all.
      cut.push({
        ...audit.base(),
        kind: 'outcome',
        decisionId: id,
        status: 403,
        result: 'cut',
        durationMs: 0,
        bytesOut: 0,
        released: {},
      })
      return denial(id, 'SP_QUARANTINED')
    })
    if (cut.length > 0) await audit.append(cut.map((record) => ({ record })))
    return answers
  }

  async #entries(
    audit: ControlAudit,
    pep: Pep,
    { decider, now }: Standing,
    id: string,
    question: Question | undefined,
    verdict: Verdict,
  ): Promise<{ record: AuditRecord; explanation?: unknown }[]> {
    const { decided, session, instance, agent, code, subject } = verdict
    const outcome = decided?.outcome
    const explanation = verdict.allowed
      ? undefined
      : decided && code === decided.outcome.code
        ? decider.explain(decided.call, session)
        : { summary: verdict.detail, code }
    const { action, resource } = question ?? {}
    const input = await audit.seal(subject, action?.properties ?? {}, `${id}/input`)
    const why =
      explanation === undefined ? undefined : await audit.seal(subject, explanation, `${id}/why`)
    const record: DecisionRecord = {
      ...audit.base(),
      kind: 'decision',
      id,
      decidedAt: now,
      instance,
      agent,
      system: (resource?.id ?? '?').slice(0, 256).toWellFormed(),
      operation: (action?.name ?? '?').slice(0, 256),
      decision: outcome && code === outcome.code ? outcome.decision : 'deny',
      code,
      reasons: outcome?.reasons ?? [],
      errors: (outcome?.errors ?? []).map(({ policyId, message }) => ({
        policyId,
        message: message.slice(0, MAX_MESSAGE).toWellFormed(),
      })),
      needs: outcome?.needs ?? [],
      revision: this.#deps.publisher.current().bundle.revision,
      declarationDigest: decider.digest,
      stateDigest: decided ? decider.stateDigest(decided.call, session) : sha256Hex(''),
      labels: session.labels,
      risk: session.risk,
      requestHash: verdict.requestHash,
      peer: { serial: pep.serial },
      input,
      ...(why === undefined ? {} : { why }),
      pep: { id: pep.id, unobserved: unobserved(pep.can) },
    }
    const entries: { record: AuditRecord; explanation?: unknown }[] = [
      { record, ...(explanation === undefined ? {} : { explanation }) },
    ]
    if (verdict.added.length > 0) {
      const { added } = verdict
      entries.push({
        record: { ...audit.base(), kind: 'labels', decisionId: id, instance, added },
      })
    }
    return entries
  }

  /** Built once a declaration, when it is first asked for. */
  async #decider(): Promise<Decider> {
    const { declaration, declarationDigest: digest } = this.#deps.publisher.current().bundle
    if (this.#building?.digest !== digest) {
      const decider = createDecider({ declaration })
      const building = { digest, decider }
      this.#building = building
      decider.catch(() => {
        // Asked for again, it is tried again.
        if (this.#building === building) this.#building = undefined
      })
    }
    return this.#building.decider
  }

  #isCut(instance: string): boolean {
    const { quarantine, publisher } = this.#deps
    const { quarantined } = publisher.current().bundle
    return isCut(instance, (id) => quarantine.isQuarantined(id), quarantined)
  }

  #demandCurrent({ digest }: Decider): void {
    if (this.#deps.publisher.current().bundle.declarationDigest === digest) return
    throw new SallyportError('SP_DECLARATION_CHANGED', 'the declaration changed meanwhile', {
      fix: 'ask again',
    })
  }

  async #bounded<T>(caller: VerifiedSvid | undefined, act: () => Promise<T>): Promise<T> {
    const service = caller?.id.segments[1] ?? ''
    const own = this.#each.get(service) ?? 0
    if (this.#inFlight >= MAX_IN_FLIGHT || own >= MAX_EACH) {
      throw new SallyportError('SP_OVERLOADED', 'too many decisions are being asked for at once', {
        fix: 'ask again, or put several questions into one request',
      })
    }
    this.#inFlight++
    this.#each.set(service, own + 1)
    try {
      return await act()
    } finally {
      this.#inFlight--
      const left = (this.#each.get(service) ?? 1) - 1
      if (left > 0) this.#each.set(service, left)
      else this.#each.delete(service)
    }
  }
}

function answerOf(pep: Pep, id: string, verdict: Verdict): Answer {
  const { allowed, code, decided, added } = verdict
  if (!allowed) return denial(id, code, decided?.outcome)
  return {
    decision: true,
    context: {
      id,
      code,
      ...(decided && pep.can.has('project') ? { projection: decided.outcome.projection } : {}),
      ...(added.length > 0 ? { labels: added } : {}),
    },
  }
}

/** What the caller learns: how it ended, and nothing of why. */
function denial(id: string, code: string, outcome?: { needs: DecisionRecord['needs'] }): Answer {
  const needs = code === 'SP_NEEDS_APPROVAL' ? (outcome?.needs ?? []) : []
  return {
    decision: false,
    context: {
      id,
      code,
      reason_user: { '403': code },
      ...(needs.length > 0 ? { needs } : {}),
    },
  }
}
