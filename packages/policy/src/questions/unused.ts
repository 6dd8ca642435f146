import type { KeyObject } from 'node:crypto'
import { canonicalJson, sha256Hex, SallyportError } from '@sallyport/base'
import { EntityStore, loadPolicySet } from '@sallyport/cedar'
import type { EntityUid, PolicySet, PreparedContext } from '@sallyport/cedar'
import { clockOf, fieldContext, policiesByCaller, sharedContext } from '@sallyport/decide'
import { deriveEntities, deriveSchema, indexNetwork, instanceEntity } from '@sallyport/network'
import type { Declaration, NetworkIndex } from '@sallyport/network'
import { verifyLog } from '@sallyport/tlog'
import { decodeRecord } from '@sallyport/wire'
import type { AuditRecord, DecisionRecord } from '@sallyport/wire'
import { FIELD_ACTIONS } from './analyst.ts'

export interface UnusedOptions {
  /** The grants that are asked about. */
  readonly declaration: Declaration
  /** The logs of all gateways; each is verified as it is read. */
  readonly logs: readonly {
    readonly dir: string
    readonly origin: string
    readonly publicKey: KeyObject
  }[]
  /** Milliseconds since the epoch; decisions recorded from here. */
  readonly since?: number
}

interface Use {
  readonly count: number
  /** Milliseconds since the epoch. */
  readonly lastAt?: number
}

export interface UnusedReport {
  readonly decisions: number
  readonly firstAt?: number
  readonly lastAt?: number
  /** Decisions made under another declaration than the one asked about. */
  readonly otherDeclaration: number
  /** Operation by operation of each flow: calls that were let through, and others. */
  readonly flows: readonly {
    readonly flow: string
    readonly agent: string
    readonly operation: string
    readonly allowed: Use
    readonly refused: Use
  }[]
  /** How often a policy determined a decision, about a call or about a field of an allowed call. */
  readonly policies: readonly {
    readonly id: string
    readonly effect: 'permit' | 'forbid'
    readonly used: Use
  }[]
}

/**
 * Which grants of a declaration recorded decisions used, and when last.
 *
 * @throws SallyportError `SP_LOG_*` for a log that does not verify, `SP_CEDAR_*`
 */
export async function unusedGrants(options: UnusedOptions): Promise<UnusedReport> {
  const { declaration, logs, since = -Infinity } = options
  const { network } = declaration
  const { own: sources } = await policiesByCaller(declaration)
  const policies = await loadPolicySet({ policies: sources, schema: deriveSchema(network) })
  const index = indexNetwork(network)
  const digest = sha256Hex(canonicalJson(declaration))
  const byPolicy = new Uses()
  const allowed = new Uses()
  const refused = new Uses()
  const all = new Uses()
  let otherDeclaration = 0
  let firstAt: number | undefined
  for (const log of logs) {
    const approvers = new Map<string, readonly string[]>()
    const decisions: DecisionRecord[] = []
    await readLog(log, (record) => {
      if (record.at < since) return
      if (record.kind === 'approval-used') approvers.set(record.decisionId, record.approvers)
      if (record.kind === 'decision') decisions.push(record)
    })
    const fields = new FieldUses(index, policies, byPolicy)
    for (const record of decisions) {
      all.add('', record.at)
      firstAt = Math.min(firstAt ?? record.at, record.at)
      if (record.declarationDigest !== digest) otherDeclaration++
      for (const id of record.reasons) byPolicy.add(id, record.at)
      const uses = record.decision === 'allow' ? allowed : refused
      uses.add(callKey(record.agent, `${record.system}.${record.operation}`), record.at)
      if (record.decision === 'allow') fields.count(record, approvers.get(record.id) ?? [])
    }
  }
  const { count, lastAt } = all.of('')
  return {
    decisions: count,
    ...(firstAt === undefined ? {} : { firstAt }),
    ...(lastAt === undefined ? {} : { lastAt }),
    otherDeclaration,
    flows: network.flows.flatMap(({ id, from, to, operations }) =>
      operations.map((name) => {
        const key = callKey(from, `${to}.${name}`)
        const about = { flow: id, agent: from, operation: `${to}.${name}` }
        return { ...about, allowed: allowed.of(key), refused: refused.of(key) }
      }),
    ),
    policies: policies.policies().map(({ id, effect }) => ({ id, effect, used: byPolicy.of(id) })),
  }
}

const callKey = (agent: string, operation: string): string => `${agent} ${operation}`

class Uses {
  readonly #uses = new Map<string, { count: number; lastAt: number }>()

  add(key: string, at: number): void {
    const use = this.#uses.get(key)
    if (use === undefined) this.#uses.set(key, { count: 1, lastAt: at })
    else {
      use.count++
      use.lastAt = Math.max(use.lastAt, at)
    }
  }

  of(key: string): Use {
    return this.#uses.get(key) ?? { count: 0 }
  }
}

async function readLog(
  log: UnusedOptions['logs'][number],
  onRecord: (record: AuditRecord) => void,
): Promise<void> {
  const result = await verifyLog({
    ...log,
    onRecord: (_index, bytes) => onRecord(decodeRecord(bytes)),
  })
  // A record that a running gateway is writing is no record yet.
  if (result.ok || result.torn) return
  const [problem] = result.problems
  throw new SallyportError(
    problem?.code ?? 'SP_LOG_TAMPERED',
    problem?.message ?? 'the log does not verify',
  )
}

/** Which policies grant, or forbid, the fields of recorded calls. The log holds the calls' own reasons only. */
class FieldUses {
  readonly #index: NetworkIndex
  readonly #policies: PolicySet
  readonly #uses: Uses
  readonly #resident: EntityStore
  readonly #clock: ReturnType<typeof clockOf>
  readonly #stores = new Map<string, EntityStore | undefined>()

  constructor(index: NetworkIndex, policies: PolicySet, uses: Uses) {
    this.#index = index
    this.#policies = policies
    this.#uses = uses
    this.#clock = clockOf(index.network.settings.timeZone)
    this.#resident = EntityStore.from(deriveEntities(index.network))
  }

  count(record: DecisionRecord, approvals: readonly string[]): void {
    const { system, agent, instance, labels, risk, peer } = record
    const operation = this.#index.findOperation(system, record.operation)
    const flow = this.#index.findFlow(agent, system, record.operation)
    const store = this.#storeOf(agent, instance)
    if (operation === undefined || flow === undefined || store === undefined) return
    const approvers = record.approvers ?? approvals
    const context = fieldContext(
      sharedContext({
        call: {
          instance,
          agent,
          system,
          operation: record.operation,
          input: {},
          time: record.decidedAt ?? record.at,
          ...(peer.source === undefined ? {} : { source: peer.source }),
          evidence: { approvals: approvers },
          ...(record.onBehalfOf === undefined ? {} : { onBehalfOf: record.onBehalfOf }),
          ...(record.mandate === undefined ? {} : { mandate: record.mandate }),
        },
        session: { labels, risk },
        purpose: flow.purpose,
        approvers,
        clock: this.#clock,
      }),
      `${system}.${record.operation}`,
    )
    const seen = new Set<string>()
    const waiting = Object.values(operation.returns)
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      const dataset = this.#index.findDataset(name)
      if (dataset === undefined || seen.has(name)) continue
      seen.add(name)
      for (const field of dataset.fields) {
        const id = `${name}.${field.name}`
        const whole = this.#treat({ type: 'Instance', id: instance }, id, context, store, record.at)
        if (whole && field.dataset !== undefined) waiting.push(field.dataset)
      }
    }
  }

  /** @returns whether the field leaves whole */
  #treat(
    principal: EntityUid,
    field: string,
    context: PreparedContext,
    store: EntityStore,
    at: number,
  ): boolean {
    for (const [id, treatment] of FIELD_ACTIONS) {
      const action = { type: 'Action', id }
      const request = { principal, action, resource: { type: 'Field', id: field }, context }
      const { decision, reasons } = this.#policies.decide(request, store)
      for (const reason of reasons) this.#uses.add(reason, at)
      if (decision === 'allow') return treatment === 'whole'
    }
    return false
  }

  #storeOf(agent: string, instance: string): EntityStore | undefined {
    if (!this.#stores.has(instance)) {
      this.#stores.set(instance, this.#make(agent, instance))
    }
    return this.#stores.get(instance)
  }

  #make(agent: string, instance: string): EntityStore | undefined {
    try {
      return this.#resident.with([instanceEntity(this.#index.network, agent, instance)])
    } catch (error) {
      // An instance of an agent that is no longer declared uses none of today's grants.
      if (error instanceof SallyportError) return undefined
      throw error
    }
  }
}
