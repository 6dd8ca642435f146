import { canonicalJson, parseJson } from '@sallyport/base'
import { createDecider, project, readInput } from '@sallyport/decide'
import type { Call, Decider, SessionState } from '@sallyport/decide'
import type { Network, Operation } from '@sallyport/network'
import { bounded, median, percentile, stated } from '../row.ts'
import type { Row } from '../row.ts'

const AGENTS = 50
const SYSTEMS = 10
const OPERATIONS = 20
const FIELDS = 20
/** Permits of calls: five for each operation. */
const PERMITS = 5 * SYSTEMS * OPERATIONS
const RUNS = 5
const WARM_UP = 10_000

const operationName = (o: number): string => `op${o}`

/** A bank of fifty agents and two hundred operations, each of which returns records of twenty fields of its own. */
function bank(): Network {
  const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
  const operation = (s: number, o: number): Operation => ({
    name: operationName(o),
    description: 'an operation',
    kind: o % 4 === 0 ? 'write' : 'read',
    binding: {
      kind: 'http',
      method: 'POST',
      path: `/${operationName(o)}`,
      parameters: { account: 'body', amount: 'body', currency: 'body', reason: 'body' },
    },
    input: {
      type: 'record',
      members: {
        account: { schema: { type: 'string', maxLength: 64 }, required: true },
        amount: {
          schema: { type: 'long', minimum: 0, maximum: 1_000_000_000_000 },
          required: true,
        },
        currency: { schema: { type: 'string', maxLength: 3 }, required: true },
        reason: { schema: { type: 'string', maxLength: 200 }, required: false },
      },
    },
    returns: { record: `d${s}-${o}` },
  })
  return {
    name: 'bench',
    trustDomain: 'bench.test',
    quorum: 2,
    settings: {
      svidTtlSeconds: 900,
      stalenessSeconds: 300,
      strictStalenessSeconds: 30,
      riskTtlSeconds: 60,
      staleRisk: 50,
      approvalTtlSeconds: 900,
    },
    segments: [{ name: 'core', description: 'core', owner: 'it' }],
    agents: range(AGENTS).map((a) => ({
      name: `a${a}`,
      description: 'an agent',
      owner: 'it',
      segment: 'core',
      criticality: 'medium',
      roles: [`r${a % 10}`, 'staff'],
    })),
    operators: [{ name: 'olga', displayName: 'Olga', roles: ['approver'] }],
    services: [{ name: 'core', description: 'core', owner: 'it', segment: 'core' }],
    systems: range(SYSTEMS).map((s) => ({
      name: `s${s}`,
      description: 'a system',
      owner: 'it',
      segment: 'core',
      criticality: 'high',
      protocol: 'http',
      upstream: { kind: 'service', service: 'core', port: 9000 + s },
      operations: range(OPERATIONS).map((o) => operation(s, o)),
    })),
    datasets: range(SYSTEMS).flatMap((s) =>
      range(OPERATIONS).map((o) => ({
        name: `d${s}-${o}`,
        description: 'records',
        system: `s${s}`,
        owner: 'it',
        fields: range(FIELDS).map((f) => ({
          name: `f${f}`,
          class: (['public', 'internal', 'confidential', 'restricted'] as const)[f % 4] ?? 'public',
          tags: f % 4 === 3 ? ['pii'] : f % 4 === 2 ? ['account'] : [],
          mask: 'last4',
        })),
      })),
    ),
    flows: range(AGENTS).flatMap((a) =>
      range(SYSTEMS).map((s) => ({
        id: `flow-${a}-${s}`,
        from: `a${a}`,
        to: `s${s}`,
        operations: range(OPERATIONS).map(operationName),
        purpose: a % 2 === 0 ? 'monitoring' : 'casework',
      })),
    ),
    limits: [],
  }
}

/** A thousand permits, and a few on what nobody may and on which fields are seen how. */
function policies(): { id: string; source: string; file: string; line: number }[] {
  const texts: string[] = [
    'forbid(principal, action in Action::"call", resource) when { context.risk >= 80 };',
    'forbid(principal, action in Action::"write", resource) when { context.session.labels.contains("untrusted") && context.evidence.approvals < 1 };',
    'forbid(principal, action in Action::"write", resource) unless { context.time.hour >= 5 && context.time.hour < 23 };',
    'permit(principal, action == Action::"field.read", resource) when { resource.class <= 1 };',
    'permit(principal in Role::"staff", action == Action::"field.tokenise", resource) when { resource.tags.contains("account") };',
    'permit(principal, action == Action::"field.mask", resource) when { resource.tags.contains("pii") && context.purpose == "casework" };',
    'forbid(principal, action == Action::"field.read", resource) when { resource.class == 3 && context.risk > 50 };',
  ]
  for (let i = 0; i < PERMITS; i++) {
    const s = i % SYSTEMS
    const o = Math.floor(i / SYSTEMS) % OPERATIONS
    const r = Math.floor(i / (SYSTEMS * OPERATIONS)) * 2
    // Agents of even roles are permitted by one policy each, those of odd ones by the next.
    texts.push(
      `permit(principal in Role::"r${r + (o % 2)}", action == Action::"s${s}.${operationName(o)}", resource == System::"s${s}") when { context.input.amount <= ${1_000_000 + i} && context.input.currency == "EUR" };`,
    )
  }
  return texts.map((source, i) => ({ id: `p${i}`, source, file: 'bench.cedar', line: i + 1 }))
}

interface Sample {
  readonly instance: string
  readonly agent: string
  readonly system: string
  readonly operation: string
  readonly body: Uint8Array
}

/** Every allowed (instance, operation) of so many instances an agent, each once, in a shuffled order. */
function samples(decider: Decider, instances: readonly number[]): Sample[] {
  const found: Sample[] = []
  for (const { name: agent, roles } of decider.index.network.agents) {
    const r = Number(roles[0]?.slice(1))
    for (const n of instances) {
      for (let s = 0; s < SYSTEMS; s++) {
        for (let o = r % 2; o < OPERATIONS; o += 2) {
          const instance = `spiffe://bench.test/agent/${agent}/i${n}`
          const input = { account: `acct-${n}-${s}`, amount: 1000 + o, currency: 'EUR' }
          const body = Buffer.from(canonicalJson(input))
          found.push({ instance, agent, system: `s${s}`, operation: operationName(o), body })
        }
      }
    }
  }
  // A fixed shuffle, so that neighbours share nothing.
  let seed = 7
  for (let i = found.length - 1; i > 0; i--) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    const j = seed % (i + 1)
    const [a, b] = [found[i], found[j]]
    if (a && b) [found[i], found[j]] = [b, a]
  }
  return found
}

const SESSION: SessionState = { labels: ['account', 'money'], risk: 12 }
const TIME = Date.UTC(2026, 10, 23, 14, 5)

function decideOne(decider: Decider, sample: Sample): ReturnType<Decider['decide']> {
  const { instance, agent, system, operation, body } = sample
  const declared = decider.index.findOperation(system, operation)
  if (declared === undefined) throw new Error('the bench names an operation that is not there')
  const call: Call = {
    instance,
    agent,
    system,
    operation,
    input: readInput(declared.input, parseJson(body)),
    time: TIME,
    source: '127.0.0.1',
    evidence: { approvals: [] },
  }
  return decider.decide(call, SESSION)
}

/**
 * A whole decision of `decide`: the bytes of a canonical request body parsed and typed, the context built, a thousand
 * policies, and the treatment of each of twenty fields. No (instance, action, resource) is ever decided twice, of calls
 * and of fields alike.
 */
export async function whole(): Promise<Row[]> {
  const decider = await createDecider({
    declaration: { network: bank(), policies: policies() },
  })
  const p50s: number[] = []
  const p99s: number[] = []
  const applied: number[] = []
  const record = Object.fromEntries(
    Array.from({ length: FIELDS }, (_, f) => [`f${f}`, `value ${f} of some length`]),
  )
  const tokeniser = { tokenise: (_kind: string, value: string) => `tok_${value.length}` }
  for (let run = -1; run < RUNS; run++) {
    const first = (run + 1) * 4
    const calls = samples(decider, run < 0 ? [0, 1, 2, 3] : [first, first + 1, first + 2])
    // What an instance is was made when it connected, not by its first call.
    for (const sample of calls) decider.decide(hello(sample), SESSION)
    const times = new Float64Array(calls.length)
    let outcome: ReturnType<Decider['decide']> | undefined
    for (let i = 0; i < calls.length; i++) {
      const sample = calls[i]
      if (sample === undefined) break
      const start = performance.now()
      outcome = decideOne(decider, sample)
      times[i] = (performance.now() - start) * 1000
      const fields = Object.values(outcome.projection)[0] ?? {}
      if (outcome.decision !== 'allow' || Object.keys(fields).length !== FIELDS) {
        throw new Error(`the bench's own call ended ${outcome.decision} (${outcome.code})`)
      }
    }
    if (run < 0) continue
    const all = [...times]
    p50s.push(percentile(all, 0.5))
    p99s.push(percentile(all, 0.99))
    const last = calls.at(-1)
    const returns = last && decider.index.findOperation(last.system, last.operation)?.returns
    if (returns === undefined || outcome === undefined) continue
    const start = performance.now()
    for (let i = 0; i < WARM_UP; i++) {
      project({ record }, returns, outcome.projection, decider.index, tokeniser)
    }
    applied.push(((performance.now() - start) * 1000) / WARM_UP)
  }
  const what = 'decide whole: request bytes in, 1,000 policies, fresh triples, 20 fields out'
  return [
    bounded(`${what}, p50`, median(p50s), 'µs', '<=', 15),
    bounded(`${what}, p99`, median(p99s), 'µs', '<=', 50),
    stated('the projection applied to one record of 20 fields', median(applied), 'µs'),
  ]
}

/** A call that is denied, of an operation that the agent never gets: all it leaves behind is the instance's entity. */
function hello({ instance, agent, operation }: Sample): Call {
  const other = operationName(Number(operation.slice(2)) % 2 === 0 ? 1 : 0)
  const input = { account: 'x', amount: 1, currency: 'EUR' }
  const evidence = { approvals: [] }
  return { instance, agent, system: 's0', operation: other, input, time: TIME, evidence }
}
