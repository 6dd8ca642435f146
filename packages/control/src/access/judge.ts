import { canonicalJson, errorCode, sha256Hex, SallyportError } from '@sallyport/base'
import { incapable, readInput } from '@sallyport/decide'
import type { Call, Decider, Outcome, SessionState } from '@sallyport/decide'
import { agentId, kindOf, parseSpiffeId } from '@sallyport/spiffe'
import type { Knowledge, Known } from './knowledge.ts'
import type { Pep } from './pep.ts'
import type { Question, Subject } from './request.ts'

/** What came of a question. Only an allow that this enforcement point can carry out is one. */
export interface Verdict {
  readonly allowed: boolean
  readonly code: string
  /** For operators only. */
  readonly detail: string
  readonly instance: string
  readonly agent: string
  /** Whose key seals the input. */
  readonly subject: string
  readonly session: SessionState
  /** Labels that an allow would put on the session and that are not on it yet. */
  readonly added: readonly string[]
  readonly requestHash: string
  /** Absent where the question could not be put to the policies. */
  readonly decided: { readonly call: Call; readonly outcome: Outcome } | undefined
}

export interface Standing {
  readonly decider: Decider
  readonly knowledge: Knowledge
  readonly isCut: (instance: string) => boolean
  /** Milliseconds since the epoch: the server's own, never the caller's. */
  readonly now: number
}

/** The part of a verdict that the question alone gives. */
type Asked = Omit<Verdict, 'allowed' | 'code' | 'detail' | 'decided' | 'added'>

/** Stands for an agent as such. No instance is ever called so. */
const ANY = 'any'

/**
 * Whether a subject is cut off: an instance by itself or with all of its agent, an agent as such with any of its instances, since
 * nobody says that it is not this one.
 *
 * @param instance as `subjectOf` gives it
 */
export function isCut(
  instance: string,
  isQuarantined: (spiffeId: string) => boolean,
  quarantined: readonly { readonly subject: string }[],
): boolean {
  if (isQuarantined(instance)) return true
  if (!instance.endsWith(`/${ANY}`)) return false
  const siblings = instance.slice(0, -ANY.length)
  return quarantined.some(({ subject }) => subject.startsWith(siblings))
}

/** The agent and instance that a subject names; undefined where it names none of this network. */
export function subjectOf(
  { type, id }: Subject,
  { index }: Decider,
): { readonly agent: string; readonly instance: string } | undefined {
  const { trustDomain } = index.network
  if (type === 'agent') {
    if (!index.findAgent(id)) return undefined
    return { agent: id, instance: agentId(trustDomain, id, ANY) }
  }
  if (type !== 'instance') return undefined
  try {
    const parsed = parseSpiffeId(id)
    const kind = kindOf(parsed)
    const ours = parsed.trustDomain === trustDomain && kind?.kind === 'agent'
    return ours && index.findAgent(kind.name) ? { agent: kind.name, instance: id } : undefined
  } catch {
    return undefined
  }
}

/** Decides one question for one enforcement point. Never throws: whatever goes wrong denies. */
export function judge(pep: Pep, question: Question, standing: Standing): Verdict {
  const { decider, knowledge, now } = standing
  const { subject, action, resource } = question
  const named = subjectOf(subject, decider)
  const known = named && knownOf(subject, named, knowledge)
  const asked: Asked = {
    // What is no instance of this network goes into the explanation, not where others look for one.
    instance: named?.instance ?? pep.id,
    agent: named?.agent ?? '?',
    subject: named ? `agent:${named.agent}` : `stranger:${pep.id}`,
    session: known?.session ?? { labels: [], risk: 0 },
    requestHash: sha256Hex(canonicalJson(question)),
  }
  // Before anything else: of a system that it does not front, it learns not even whether there is one.
  if (resource.type !== 'system' || !pep.systems.has(resource.id)) {
    return refused(asked, 'SP_PEP_SYSTEM', 'the enforcement point does not front this system')
  }
  if (!named) {
    const claimed = `no such agent is declared: ${subject.type.slice(0, 64)} \`${subject.id.slice(0, 256)}\``
    return refused(asked, 'SP_SUBJECT_UNKNOWN', claimed.toWellFormed())
  }
  if (standing.isCut(named.instance)) {
    return refused(asked, 'SP_QUARANTINED', 'the subject is quarantined')
  }
  if (!known) return refused(asked, 'SP_SUBJECT_UNKNOWN', 'no such instance is enrolled')
  const operation = decider.index.findOperation(resource.id, action.name)
  if (!operation) return refused(asked, 'SP_NO_OPERATION', 'the system has no such operation')
  let input: Call['input']
  try {
    input = readInput(operation.input, action.properties, { restore: noTokens })
  } catch (error) {
    return refused(asked, errorCode(error), error instanceof Error ? error.message : String(error))
  }
  const { agent, instance } = named
  const call: Call = {
    instance,
    agent,
    system: resource.id,
    operation: action.name,
    input,
    time: now,
    evidence: { approvals: [] },
  }
  const outcome = decider.decide(call, known.session)
  const person = operation.subject === undefined ? undefined : input[operation.subject]
  const about: Asked = {
    ...asked,
    ...(typeof person === 'string' || typeof person === 'number'
      ? { subject: `subject:${String(person)}` }
      : {}),
  }
  const decided = { call, outcome }
  if (outcome.decision !== 'allow') {
    return { ...about, allowed: false, code: outcome.code, detail: '', added: [], decided }
  }
  const added = outcome.labels.filter((label) => !known.labels.has(label))
  const lacking = incapable(pep.can, operation, outcome, { limits: false, labels: added })
  return lacking === undefined
    ? { ...about, allowed: true, code: outcome.code, detail: '', added, decided }
    : { ...about, allowed: false, code: 'SP_PEP_INCAPABLE', detail: lacking, added: [], decided }
}

function knownOf(
  { type }: Subject,
  { agent, instance }: { readonly agent: string; readonly instance: string },
  knowledge: Knowledge,
): Known | undefined {
  return type === 'agent' ? knowledge.agent(agent) : knowledge.instance(instance)
}

function refused(asked: Asked, code: string, detail: string): Verdict {
  return { ...asked, allowed: false, code, detail, added: [], decided: undefined }
}

/** Tokens are a gateway's: here nobody can tell what stands behind one. */
function noTokens(): never {
  throw new SallyportError('SP_INPUT_VALUE', 'the input has a token, which only a gateway restores')
}
