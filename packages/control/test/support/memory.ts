import { randomBytes } from 'node:crypto'
import { canonicalJson, newId, SallyportError } from '@sallyport/base'
import { indexNetwork, loadDeclaration } from '@sallyport/network'
import type { Declaration, OperatorRole } from '@sallyport/network'
import { verifyPasskey, verifyQuorum } from '@sallyport/wire'
import type { ApprovalStatement, OperatorKey, OperatorSet } from '@sallyport/wire'
import type { Barrier } from '@sallyport/seal'
import type { ApprovalView } from '../../src/domain/approvals.ts'
import type { ControlContext } from '../../src/domain/context.ts'
import type { Mandates } from '../../src/domain/mandates.ts'
import type { Custody } from '../../src/secrets/custody.ts'
import type { BreakGlass } from '../../src/domain/break-glass.ts'
import type { ControlEvent, Events } from '../../src/domain/events.ts'
import type { Alarm } from '../../src/domain/alarms.ts'
import type { Operators } from '../../src/domain/operators.ts'
import type { QuarantineView, ReleaseStatement } from '../../src/domain/quarantine.ts'
import type { Recoveries } from '../../src/domain/recoveries.ts'
import { memorySessions } from './memory-sessions.ts'

const absent: unknown = new Proxy(
  {},
  {
    get() {
      throw new SallyportError('SP_INTERNAL', 'not in memory')
    },
  },
)
// Never looked into here: mandates and custody are tested with a database.
const absentMandates = absent as Mandates
const notInMemory = { leases: absent, databases: absent, vault: absent } as Custody

// The same holds for the signing authority.
const authority = absent as ControlContext['authority']
const roots = absent as ControlContext['roots']
const foreigners = absent as ControlContext['foreigners']

const digest = 'a'.repeat(64)

/** The domain in memory, so that the operator API is tested alone: real signatures, no database. */
export interface MemoryControl {
  readonly context: ControlContext
  readonly approval: ApprovalView
  readonly acts: { readonly act: string; readonly by: string }[]
  publish: Events['publish']
  /** Moves the clock. */
  advance(ms: number): void
  removeOperator(name: string): void
  failWith(error: unknown): void
}

export async function memoryControl(origin: string): Promise<MemoryControl> {
  let now = 1_800_000_000_000
  const clock = { now: () => now, monotonic: () => now }
  const loaded = await loadDeclaration({
    networkFile: new URL('../../../../examples/meridian/network.yaml', import.meta.url).pathname,
  })
  const people: readonly (readonly [string, OperatorRole])[] = [
    ['ada', 'admin'],
    ['bob', 'approver'],
    ['rex', 'responder'],
    ['vic', 'viewer'],
  ]
  const declaration: Declaration = {
    ...loaded,
    network: {
      ...loaded.network,
      operators: people.map(([name, role]) => ({ name, displayName: name, roles: [role] })),
    },
  }
  const acts: { act: string; by: string }[] = []
  const { operators, recoveries, remove, set } = memoryOperators(origin, declaration, clock.now)
  const events = memoryEvents(clock.now)
  const alarms: Alarm[] = []
  const sessions = memorySessions({
    now: clock.now,
    network: declaration.network,
    credentialsOf: (operator) =>
      set()
        .keys.filter((key) => key.operator === operator)
        .map((key) => key.credentialId),
    alarms,
  })
  let failure: unknown

  let approval: ApprovalView = {
    id: 'apr_1',
    status: 'pending',
    agent: 'account-flagger',
    instance: 'spiffe://meridian.test/agent/account-flagger/1',
    system: 'core-banking',
    operation: 'placeHold',
    input: { accountId: 'acct-1', amount: 1_500_000 },
    count: 1,
    requestedAt: now,
    expiresAt: now + 600_000,
    decisionId: 'dec_1',
    declarationDigest: digest,
    statements: [],
  }
  const statementFor = (approver: string, decision: 'approve' | 'deny'): ApprovalStatement => {
    const { id, instance, system, operation, input, declarationDigest, expiresAt } = approval
    const call = { instance, system, operation, input, declarationDigest, expiresAt }
    return {
      kind: 'approval',
      approvalId: id,
      decision,
      approver,
      nonce: `n-${approver}-${decision}`,
      ...call,
    }
  }
  const quarantines: QuarantineView[] = []
  const releaseOf = (id: string, reason: string): ReleaseStatement => {
    const held = quarantines.find((one) => one.id === id)
    if (!held) throw new SallyportError('SP_QUARANTINE_UNKNOWN', 'there is no such quarantine')
    return { kind: 'release', quarantineId: id, subject: held.subject, reason, nonce: 'n' }
  }
  const same = (a: unknown, b: unknown, code: string): void => {
    if (canonicalJson(a) !== canonicalJson(b))
      throw new SallyportError(code, 'another statement was asked for')
  }

  const context: ControlContext = {
    clock,
    dataDir: '',
    trustDomain: 'meridian.test',
    consoleUrl: origin,
    operators,
    // As custody: tested with a database.
    breakGlass: absent as BreakGlass,
    recoveries,
    sessions,
    inventory: { declared: async () => [], drift: async () => [] },
    alarms: { list: async () => alarms },
    events,
    agents: {
      list: async () => {
        if (failure !== undefined) throw failure
        return []
      },
      get: async () => undefined,
      instance: async () => undefined,
    },
    approvals: {
      request: async () => ({ approvalId: approval.id, expiresAt: approval.expiresAt }),
      list: async (filter) =>
        filter?.status === undefined || filter.status === approval.status ? [approval] : [],
      get: async (id) => (id === approval.id ? approval : undefined),
      ofDecision: async (id) => (id === approval.decisionId ? [approval] : []),
      canDecide: async (_, operator) => ({ canDecide: operator === 'ada' || operator === 'bob' }),
      statement: async (_, operator, decision) => statementFor(operator, decision),
      decide: async ({ operator, statement, signature }) => {
        same(statement, statementFor(operator, statement.decision), 'SP_APPROVAL_STATEMENT')
        verifyPasskey(statement, signature, set(), { requireUv: true })
        acts.push({ act: `${statement.decision} apr_1`, by: operator })
        approval = {
          ...approval,
          status: statement.decision === 'approve' ? 'approved' : 'denied',
          statements: [{ statement, signatures: [signature] }],
        }
        return approval
      },
      use: async () => undefined,
    },
    authority,
    roots,
    foreigners,
    custody: notInMemory,
    barrier: absent as Barrier,
    keys: async () => [],
    mandates: absentMandates,
    bundles: {
      current: () => {
        throw new SallyportError('SP_INTERNAL', 'not in memory')
      },
      declaration: () => declaration,
      index: () => indexNetwork(declaration.network),
      digest: () => digest,
      revision: () => ({ epoch: 1, n: 1 }),
      onChange: () => () => undefined,
      propose: async ({ by }) => {
        acts.push({ act: 'propose', by })
        const shadow = { stage: 'draft', minutes: 0, required: 0 } as const
        return { digest, proposedBy: by, proposedAt: now, signed: [], quorum: 1, diff: [], shadow }
      },
      startShadow: async ({ by }) => {
        acts.push({ act: 'shadow', by })
      },
      stopShadow: async () => undefined,
      shadowReport: async () => ({
        ...{ digest, against: digest, stage: 'shadow', minutes: 0, required: 0 },
        counts: {
          ...{ agreed: 0, denyToAllow: 0, allowToDeny: 0 },
          ...{ needsChanged: 0, otherwise: 0, notCompared: 0 },
        },
        changes: [],
      }),
      proposals: async () => [],
      statement: async () => ({ kind: 'declaration', digest, epoch: 1, serial: 1 }),
      sign: async ({ operator, statement, signature }) => {
        same(
          statement,
          { kind: 'declaration', digest, epoch: 1, serial: 1 },
          'SP_DECLARATION_STATEMENT',
        )
        verifyQuorum(statement, [signature], set(), { quorum: 1, roles: ['admin'] })
        acts.push({ act: 'declare', by: operator })
        return { live: true, signed: [operator], quorum: 1, revision: { epoch: 1, n: 2 } }
      },
    },
    decisions: {
      list: async (filter) => {
        acts.push({ act: `decisions ${JSON.stringify(filter)}`, by: '' })
        return []
      },
      get: async () => undefined,
      edges: async () => [],
      ingest: async () => ({ next: 0 }),
      shards: async () => [],
    },
    health: {
      read: async () => ({
        control: 'ok',
        console: 'http://localhost:7400',
        database: 'ok',
        gateways: [],
        audit: [],
      }),
    },
    incidents: {
      list: async () => [],
      get: async () => undefined,
      dismiss: () => Promise.reject(new Error('nothing was noticed here')),
    },
    consents: {
      view: () => Promise.reject(new Error('no agent asks here')),
      allow: () => Promise.reject(new Error('no agent asks here')),
      refuse: () => Promise.reject(new Error('no agent asks here')),
    },
    backchannel: {
      list: async () => [],
      get: () => Promise.reject(new Error('no agent asks here')),
      allow: () => Promise.reject(new Error('no agent asks here')),
      refuse: () => Promise.reject(new Error('no agent asks here')),
    },
    identities: {
      enrol: () => Promise.reject(new Error('nobody enrols here')),
      enrolAttested: () => Promise.reject(new Error('nobody enrols here')),
      renew: () => Promise.reject(new Error('nobody renews here')),
      create: async ({ kind, name, by }) => {
        acts.push({ act: `join ${kind} ${name}`, by })
        return { token: 'jt_1', expiresAt: now + 600_000 }
      },
    },
    quarantine: {
      quarantine: async ({ subject, reason, by }) => {
        const quarantine = { id: newId('qua', now), subject, reason, by, at: now }
        quarantines.push(quarantine)
        acts.push({ act: `quarantine ${subject}`, by })
        return { quarantine, revision: { epoch: 1, n: 2 }, appliedMs: 3 }
      },
      list: async () => quarantines,
      isQuarantined: (id) => quarantines.some(({ subject }) => subject === id),
      releaseStatement: async (id, reason) => releaseOf(id, reason),
      release: async ({ id, operator, statement, signature }) => {
        same(statement, releaseOf(id, statement.reason), 'SP_QUARANTINE_STATEMENT')
        verifyQuorum(statement, [signature], set(), { quorum: 1, roles: ['approver', 'admin'] })
        acts.push({ act: `release ${statement.subject}`, by: operator })
        return { released: true, signed: [operator], quorum: 1 }
      },
    },
  }
  return {
    context,
    get approval() {
      return approval
    },
    acts,
    publish: (type, data) => events.publish(type, data),
    advance: (ms) => {
      now += ms
    },
    removeOperator: remove,
    failWith: (error) => {
      failure = error
    },
  }
}

function memoryOperators(
  origin: string,
  declaration: Declaration,
  now: () => number,
): {
  operators: Operators
  recoveries: Recoveries
  remove: (name: string) => void
  set: () => OperatorSet
} {
  const links = new Map<string, string>()
  const challenges = new Map<string, string>()
  const secrets = new Map<string, string>()
  const steps = new Map<string, number>()
  let keys: readonly OperatorKey[] = []
  const declared = declaration.network.operators
  const rolesOf = (name: string) => declared.find((one) => one.name === name)?.roles ?? []
  const rpId = new URL(origin).hostname
  const set = (): OperatorSet => ({ version: 1, rpId, origin, quorum: 1, keys })
  const openLink = (link: string): string => {
    const operator = links.get(link)
    if (operator === undefined) throw new SallyportError('SP_LINK_INVALID', 'the link is not valid')
    return operator
  }
  const operators: Operators = {
    set: () => (keys.length === 0 ? undefined : set()),
    rpId: () => rpId,
    origin: () => origin,
    list: () =>
      declared.map((one) => ({
        ...one,
        credentialIds: keys
          .filter((key) => key.operator === one.name)
          .map((key) => key.credentialId),
        totp: secrets.has(one.name),
      })),
    createLink: async ({ operator }) => {
      const link = randomBytes(24).toString('base64url')
      links.set(link, operator)
      return { link, url: `${origin}/enrol#${link}`, expiresAt: now() + 86_400_000 }
    },
    openLink: async (link) => {
      const operator = openLink(link)
      const credentialIds: string[] = []
      return {
        operator,
        displayName: operator,
        roles: rolesOf(operator),
        first: true,
        expiresAt: now(),
        credentialIds,
      }
    },
    register: async ({ link, credentialId, publicKey }) => {
      const operator = openLink(link)
      links.delete(link)
      keys = [...keys, { operator, credentialId, publicKey, roles: rolesOf(operator) }]
      return { active: true, version: 1 }
    },
    proposed: async () => undefined,
    proposeRemoval: async () => undefined,
    signProposed: async () => ({ active: false, signed: [], quorum: 1 }),
    setTotpSecret: async (operator, secret, step) => {
      secrets.set(operator, secret)
      steps.set(operator, step)
    },
    totpSecret: async (operator) => secrets.get(operator),
    keepChallenge: async (challenge, purpose) => {
      challenges.set(challenge, purpose)
    },
    takeChallenge: async (challenge, purpose) => {
      const kept = challenges.get(challenge)
      challenges.delete(challenge)
      return kept === purpose
    },
  }
  const remove = (name: string): void => {
    keys = keys.filter((key) => key.operator !== name)
  }
  const confirmed = new Map<string, { by: string; at: number }>()
  const recoveries: Recoveries = {
    list: async () => [],
    confirm: async ({ operator, by }) => {
      confirmed.set(operator, { by, at: now() })
      return { operator, confirmedBy: by, confirmedAt: now(), expiresAt: now() + 600_000 }
    },
    use: async (operator, step) => {
      const word = confirmed.get(operator)
      if (!word || now() - word.at >= 600_000 || step <= (steps.get(operator) ?? -1)) {
        return undefined
      }
      confirmed.delete(operator)
      steps.set(operator, step)
      return word.by
    },
  }
  return { operators, recoveries, remove, set }
}

function memoryEvents(now: () => number): Events {
  const listeners = new Set<(event: ControlEvent) => void>()
  let past: ControlEvent[] = []
  let id = 1000
  return {
    publish: (type, data) => {
      // Tests publish JSON.
      const event = { id: ++id, type, at: now(), data: data as ControlEvent['data'] }
      past = [...past, event].slice(-5)
      for (const listener of listeners) listener(event)
    },
    subscribe: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    since: (from) =>
      from < (past[0]?.id ?? id + 1) - 1 || from > id
        ? undefined
        : past.filter((event) => event.id > from),
  }
}
