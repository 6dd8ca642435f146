import { createHash, randomUUID } from 'node:crypto'
import type { Drift } from '../../src/api/inventory-types.ts'
import type { Lease, Rotation } from '../../src/api/key-types.ts'
import type { Network } from '../../src/api/network-types.ts'
import type {
  AgentInfo,
  Approval,
  ApprovalStatement,
  DecisionRecord,
  Incident,
  Instance,
  NetworkInfo,
  Partner,
  Proposal,
  Quarantine,
  ReleaseStatement,
} from '../../src/api/types.ts'
import { POLICIES } from './declaration.ts'
import { canonical } from './passkeys.ts'
import { DRIFT, USES } from './inventory.ts'
import { KeyWorld } from './keys.ts'
import { MandateWorld } from './mandates.ts'
import { LEASES, PARTNERS, ROTATIONS } from './outside.ts'
import { PeopleWorld } from './people.ts'
import {
  detailOf,
  edgesOf,
  history,
  instanceOf,
  PROPOSAL,
  record,
  shadowReport,
} from './records.ts'

export interface Result {
  readonly status: number
  readonly body: unknown
}

export interface Ask {
  readonly path: string
  readonly query: URLSearchParams
  readonly body: unknown
  readonly operator: string
  readonly method: 'passkey' | 'totp' | 'oidc'
}

export interface Signing {
  readonly options: (statement: unknown) => unknown
  readonly signer: (response: unknown, statement?: unknown) => string | undefined
}

const ok = (body: unknown): Result => ({ status: 200, body })
const fail = (status: number, code: string, detail: string): Result => ({
  status,
  body: { code, detail, title: detail, status },
})

/** The state behind the fixture's API, and every signed-in call of it. */
export class World {
  readonly people: PeopleWorld = new PeopleWorld()
  readonly mandates: MandateWorld
  readonly keys: KeyWorld
  readonly network: Network
  readonly records: DecisionRecord[]
  readonly approvals: Approval[]
  readonly quarantines: Quarantine[] = []
  readonly incidents: Incident[]
  proposals: readonly Proposal[] = [PROPOSAL]
  /** Put into every statement that is offered for signing: a control plane that lies. */
  tamper: Partial<ApprovalStatement> = {}
  drift: readonly Drift[] = DRIFT
  inventoryFails = false
  readonly partners: readonly Partner[] = PARTNERS
  leases: readonly Lease[] = LEASES
  readonly rotations: readonly Rotation[] = ROTATIONS
  readonly #events: (readonly [string, unknown])[] = []
  readonly #started: number = Date.now()

  constructor(network: Network, decisions: number) {
    this.network = network
    this.mandates = new MandateWorld(network.trustDomain)
    this.keys = new KeyWorld(network.trustDomain)
    const now = Date.now()
    this.records = history(network, now, decisions)
    const agent = network.agents.find(({ name }) => name === 'account-flagger')?.name ?? 'agent-1'
    const asked = record(network, now - 40_000, {
      agent,
      system: 'core-banking',
      operation: 'placeHold',
      decision: 'needs',
      code: 'SP_NEEDS_APPROVAL',
      needs: [{ kind: 'approval', count: 1 }],
      reasons: ['flagger-may-hold'],
    })
    this.records.push(asked)
    this.approvals = [
      this.#approval(asked, 'apr_1', 'pending', {
        accountId: 'ACC-2207-118',
        amount: 1_500_000,
        reason: 'ring of 5 accounts, cycle closed within 6 h',
      }),
      this.#approval(asked, 'apr_2', 'pending', {
        accountId: 'ACC-9041-552',
        amount: 2_250_000,
        currency: 'EUR',
      }),
      this.#approval(asked, 'apr_0', 'used', { accountId: 'ACC-1180-004', amount: 1_100_000 }),
    ]
    const subject = instanceOf(network, 'pattern-analyst')
    this.incidents = [
      {
        id: 'inc_1',
        status: 'open',
        subject,
        openedAt: now - 95_000,
        risk: 74,
        timeline: [
          { at: now - 95_000, kind: 'signal', text: 'calls a system outside every declared flow' },
          {
            at: now - 94_200,
            kind: 'decision',
            text: 'refused `pii-vault.getPerson`: no flow',
            decisionId: this.records.findLast(({ code }) => code === 'SP_NO_FLOW')?.id ?? asked.id,
          },
          { at: now - 92_000, kind: 'risk', text: 'risk rose from 8 to 74' },
        ],
      },
    ]
  }

  /** Emergency roles in this operator's session. */
  glassOf(operator: string | null): object {
    const open = this.people.glass.find((one) => one.open && one.operator === operator)
    return open ? { breakGlass: { id: open.id, endsAt: open.endsAt } } : {}
  }

  /** Events that calls have caused since the last time. */
  takeEvents(): (readonly [string, unknown])[] {
    return this.#events.splice(0)
  }

  answer(ask: Ask, signing: Signing): Result {
    const parts = ask.path.split('/').slice(1).map(decodeURIComponent)
    const [kind = '', id = ''] = parts
    switch (kind) {
      case 'network':
        return ok(this.#info())
      case 'health':
        return ok({
          control: 'ok',
          database: 'ok',
          gateways: [
            {
              id: 'gw1',
              revision: { epoch: 1, n: 42 },
              connected: true,
              lastSeen: Date.now(),
              lagMs: 12,
            },
          ],
          audit: [{ shard: 'gw1', size: 18_204 + this.records.length, checkpoint: 'gw1 18604' }],
        })
      case 'edges':
        return ok(edgesOf(this.records))
      case 'agents': {
        const agents = this.#agents()
        if (id === '') return ok(agents)
        const found = agents.find(({ name }) => name === id)
        return found ? ok(found) : fail(404, 'SP_API_NOT_FOUND', `there is no agent \`${id}\``)
      }
      case 'decisions':
        return id === '' ? this.#list(ask.query) : this.#decision(id)
      case 'incidents': {
        if (id === '') return ok(this.incidents.map((each) => ({ ...each, timeline: [] })))
        const found = this.incidents.findIndex((each) => each.id === id)
        const incident = this.incidents[found]
        if (!incident) return fail(404, 'SP_API_NOT_FOUND', 'there is no such incident')
        if (parts[2] !== 'close') return ok(incident)
        const at = Date.now()
        const text = `closed as a false alarm by ${ask.operator}: ${String(read(ask.body, 'reason'))}`
        const closed: Incident = {
          ...{ ...incident, status: 'closed', closedAt: at },
          timeline: [...(incident.timeline ?? []), { at, kind: 'closed', text }],
        }
        this.incidents[found] = closed
        return ok(closed)
      }
      case 'approvals':
        return this.#approve(ask, parts, signing)
      case 'operators':
      case 'declaration':
        return this.#change(ask, signing)
      case 'quarantine':
        return this.#contain(ask, parts, signing)
      case 'federation': {
        const cut = this.quarantines.some(({ subject }) => subject === 'spiffe://partner.example')
        return ok(
          this.partners.map((one) => (cut ? { ...one, state: 'quarantined' as const } : one)),
        )
      }
      case 'leases': {
        const lease = read(ask.body, 'lease')
        if (id === 'end') this.leases = this.leases.filter((one) => one.id !== lease)
        return ok(this.leases)
      }
      case 'secrets':
        return ok(this.rotations)
      case 'inventory':
        if (this.inventoryFails) {
          return fail(503, 'SP_STORE_UNAVAILABLE', 'the database does not answer')
        }
        return ok(id === 'drift' ? this.drift : USES)
      case 'register':
      case 'ca':
        return this.keys.answer(ask, parts, signing) ?? fail(404, 'SP_API_NOT_FOUND', 'none')
      case 'mandates':
        return (
          this.mandates.answer(ask, parts, signing) ??
          fail(404, 'SP_MANDATE_UNKNOWN', 'there is no such mandate')
        )
      case 'sessions':
      case 'alarms':
      case 'recoveries':
      case 'break-glass':
        return this.people.answer(ask, parts, signing) ?? fail(404, 'SP_API_NOT_FOUND', 'none')
      default:
        return fail(404, 'SP_API_NOT_FOUND', 'there is no such call')
    }
  }

  #info(): NetworkInfo {
    return {
      network: this.network,
      policies: POLICIES,
      revision: { epoch: 1, n: 42 + this.quarantines.length },
      digest: createHash('sha256').update(canonical(this.network)).digest('hex'),
      quorum: this.network.quorum,
    }
  }

  #agents(): AgentInfo[] {
    return this.network.agents.map((agent) => {
      const mine = this.records.filter((each) => each.agent === agent.name)
      const count = (decision: string): number =>
        mine.filter((each) => each.decision === decision).length
      const running = agent.name === 'notifier' ? 0 : agent.name === 'pattern-analyst' ? 2 : 1
      return {
        ...agent,
        quarantined: this.quarantines.some(
          ({ subject }) => subject === `spiffe://${this.network.trustDomain}/agent/${agent.name}`,
        ),
        counts: { allow: count('allow'), deny: count('deny'), needs: count('needs') },
        flows: this.network.flows.filter(({ from }) => from === agent.name),
        instances: Array.from({ length: running }, (_, i) => this.#instance(agent.name, i + 1)),
      }
    })
  }

  #instance(agent: string, n: number): Instance {
    const spiffeId = instanceOf(this.network, agent, n)
    const astray = agent === 'pattern-analyst' && n === 1
    const whole = `spiffe://${this.network.trustDomain}/agent/${agent}`
    return {
      spiffeId,
      serial: createHash('sha256').update(spiffeId).digest('hex').slice(0, 32),
      notAfter: this.#started + 9 * 60_000 + n * 47_000,
      firstSeen: this.#started - 3 * 3_600_000,
      lastSeen: Date.now() - 900 * n,
      risk: astray ? 74 : 8,
      riskReasons: astray
        ? [
            {
              signal: 'outside-flow',
              points: 38,
              text: 'called 3 systems outside every declared flow',
              at: this.#started - 80_000,
            },
            {
              signal: 'denials',
              points: 24,
              text: '41 refusals in 2 minutes, where it had none in 7 days',
              at: this.#started - 9000,
            },
            {
              signal: 'novelty',
              points: 12,
              text: 'first call ever to `pii-vault.getPerson`',
              at: this.#started - 91_000,
            },
          ]
        : [],
      quarantined: this.quarantines.some(
        ({ subject }) => subject === spiffeId || subject === whole,
      ),
    }
  }

  #list(query: URLSearchParams): Result {
    const limit = Math.min(500, Number(query.get('limit') ?? 100))
    const newest = this.records.toReversed()
    const before = query.get('before')
    const from = before === null ? 0 : newest.findIndex(({ id }) => id === before) + 1
    const wanted = (name: 'agent' | 'system' | 'decision', item: DecisionRecord): boolean =>
      query.get(name) === null || query.get(name) === item[name]
    return ok(
      newest
        .slice(from)
        .filter(
          (item) => wanted('agent', item) && wanted('system', item) && wanted('decision', item),
        )
        .slice(0, limit),
    )
  }

  #decision(id: string): Result {
    const index = this.records.findIndex((item) => item.id === id)
    const item = this.records[index]
    if (!item) return fail(404, 'SP_API_NOT_FOUND', 'there is no such decision')
    return ok({
      ...detailOf(item, index),
      approvals: this.approvals.filter(({ decisionId }) => decisionId === id),
    })
  }

  #approval(
    asked: DecisionRecord,
    id: string,
    status: Approval['status'],
    input: unknown,
  ): Approval {
    const at = Date.now()
    return {
      id,
      status,
      agent: asked.agent,
      instance: asked.instance,
      system: asked.system,
      operation: asked.operation,
      input,
      count: 1,
      requestedAt: at - 40_000,
      expiresAt: at + (id === 'apr_1' ? 190_000 : 780_000),
      decisionId: asked.id,
      declarationDigest: asked.declarationDigest,
      wholeNumbers: ['amount'],
      statements: [],
      canDecide: false,
    }
  }

  #may(operator: string): boolean {
    return (
      this.network.operators.find(({ name }) => name === operator)?.roles.includes('approver') ??
      false
    )
  }

  #approve(ask: Ask, [, id = '', act]: readonly string[], signing: Signing): Result {
    const view = (each: Approval): Approval => ({
      ...each,
      canDecide: each.status === 'pending' && this.#may(ask.operator) && ask.method === 'passkey',
    })
    if (id === '') {
      const status = ask.query.get('status')
      return ok(
        this.approvals.filter((each) => status === null || each.status === status).map(view),
      )
    }
    const index = this.approvals.findIndex((each) => each.id === id)
    const approval = this.approvals[index]
    if (!approval) return fail(404, 'SP_API_NOT_FOUND', 'there is no such approval')
    if (act === undefined) return ok(view(approval))
    if (!view(approval).canDecide) return fail(403, 'SP_APPROVAL_ROLE', 'you may not decide this')
    if (act === 'options') {
      const statement: ApprovalStatement = {
        kind: 'approval',
        approvalId: id,
        decision: read(ask.body, 'decision') === 'deny' ? 'deny' : 'approve',
        approver: ask.operator,
        instance: approval.instance,
        system: approval.system,
        operation: approval.operation,
        input: approval.input,
        declarationDigest: approval.declarationDigest ?? '',
        nonce: `nonce-${id}`,
        expiresAt: approval.expiresAt,
        ...this.tamper,
      }
      return ok({ statement, options: signing.options(statement) })
    }
    // Signed or not is decided on the next line; the statement was made above.
    const statement = read(ask.body, 'statement') as ApprovalStatement
    if (signing.signer(read(ask.body, 'response'), statement) !== ask.operator) {
      return fail(403, 'SP_SIGNATURE_INVALID', 'the signature does not cover this statement')
    }
    const decided: Approval = {
      ...approval,
      status: statement.decision === 'approve' ? 'approved' : 'denied',
      statements: [{ statement }],
    }
    this.approvals[index] = decided
    this.#events.push(['approval', { id }])
    return ok(decided)
  }

  #contain(ask: Ask, [, id = '', , act]: readonly string[], signing: Signing): Result {
    if (ask.body === undefined) return ok(this.quarantines)
    const given = read(ask.body, 'reason')
    const reason = typeof given === 'string' ? given : ''
    if (id === '') {
      if (ask.operator === 'viktor') return fail(403, 'SP_API_ROLE', 'a viewer cannot quarantine')
      const quarantine = {
        id: `qua_${this.quarantines.length + 1}`,
        subject: String(read(ask.body, 'subject')),
        reason,
        by: ask.operator,
        at: Date.now(),
      }
      this.quarantines.push(quarantine)
      this.#events.push(['quarantine', quarantine])
      return ok({ quarantine, revision: this.#info().revision, appliedMs: 31.4 })
    }
    const index = this.quarantines.findIndex((each) => each.id === id)
    const quarantine = this.quarantines[index]
    if (!quarantine) return fail(404, 'SP_QUARANTINE_UNKNOWN', 'there is no such quarantine')
    if (act === 'options') {
      const statement: ReleaseStatement = {
        kind: 'release',
        quarantineId: id,
        subject: quarantine.subject,
        reason,
        nonce: randomUUID(),
      }
      return ok({ statement, options: signing.options(statement) })
    }
    const statement = read(ask.body, 'statement')
    if (signing.signer(read(ask.body, 'response'), statement) !== ask.operator) {
      return fail(403, 'SP_SIGNATURE_INVALID', 'the signature does not cover this statement')
    }
    this.quarantines.splice(index, 1)
    this.#events.push(['quarantine', { id }])
    return ok({ released: true, signed: [ask.operator], quorum: 1 })
  }

  #change(ask: Ask, signing: Signing): Result {
    switch (ask.path) {
      case '/operators':
        return ok({
          operators: this.network.operators.map((each) => ({
            ...each,
            credentialIds: each.name === 'olivia' ? ['key-of-olivia'] : [],
            totp: false,
          })),
          version: 1,
          proposed: null,
        })
      case '/operators/links':
        return ok({ link: 'l', url: 'http://localhost/enrol#l', expiresAt: Date.now() + 1000 })
      case '/declaration/proposals':
        return ok(this.proposals)
      case '/declaration/shadow':
        this.#stage({
          stage: 'shadow',
          since: Date.now(),
          by: ask.operator,
          minutes: 0,
          required: 0,
        })
        return ok({})
      case '/declaration/shadow/stop':
        this.#stage({ stage: 'draft', minutes: 1, required: 0 })
        return ok({})
      case `/declaration/${PROPOSAL.digest}/shadow`:
        return ok(shadowReport((this.proposals[0] ?? PROPOSAL).shadow, this.records))
      case '/declaration/sign/options': {
        const statement = {
          ...{ kind: 'declaration', digest: read(ask.body, 'digest') },
          ...{ epoch: 1, serial: PROPOSAL.serial },
        }
        return ok({ statement, options: signing.options(statement) })
      }
      case '/declaration/sign': {
        const statement = read(ask.body, 'statement')
        if (signing.signer(read(ask.body, 'response'), statement) !== ask.operator) {
          return fail(403, 'SP_SIGNATURE_INVALID', 'the signature does not cover this statement')
        }
        this.proposals = this.proposals.filter(({ digest }) => digest !== read(statement, 'digest'))
        this.#events.push(['revision', { epoch: 1, n: 43 }])
        return ok({ live: true, signed: [ask.operator], quorum: 1 })
      }
      default:
        return fail(404, 'SP_API_NOT_FOUND', 'there is no such call')
    }
  }

  #stage(shadow: Proposal['shadow']): void {
    this.proposals = this.proposals.map((proposal) => ({ ...proposal, shadow }))
    this.#events.push(['revision', { shadow: PROPOSAL.digest }])
  }
}

function read(body: unknown, name: string): unknown {
  return typeof body === 'object' && body !== null ? Reflect.get(body, name) : undefined
}
