import { canonicalJson } from '@sallyport/base'
import type {
  Database,
  DatabaseAccount,
  Declaration,
  Network,
  Operation,
  PostgresTable,
  System,
  TableGrant,
} from '@sallyport/network'
import { Analyst } from '../questions/analyst.ts'
import type { CallAnswer } from '../questions/types.ts'
import type { Disagreement, LayerReport } from './types.ts'

/**
 * Compares what policies allow with what adapters show and forward, what accounts in databases are given, and which connections
 * segments leave open. What policies allow is what some call is allowed, of any instance, at any time, with any input.
 *
 * @param described the same declaration, read with descriptions as upstreams have them now
 * @throws SallyportError `SP_CEDAR_*`
 */
export async function compareLayers(
  declaration: Declaration,
  described?: Network,
): Promise<readonly LayerReport[]> {
  const analyst = await Analyst.of(declaration)
  const { network } = declaration
  return [
    adapters(analyst, network, described),
    databases(analyst, network),
    reaches(analyst, network),
  ]
}

const ways = ({ binding, name }: Operation): string => {
  switch (binding.kind) {
    case 'http':
      return `${binding.method} ${binding.path}`
    case 'mcp':
      return `the tool \`${binding.tool}\``
    case 'postgres':
      return `${binding.action} on \`${binding.table}\``
    default:
      return `operation \`${name}\``
  }
}

const because = ({ plain, approved }: CallAnswer): string => {
  const why = (approved ?? plain).why ?? plain.why
  const policies = (why?.policies ?? []).map((id) => `\`${id}\``).join(', ')
  if (why?.kind === 'forbidden') return `${policies} forbids it`
  if (why?.kind === 'error') return `${policies} cannot be evaluated`
  return 'no policy allows it'
}

/** Every flow's operation, shown and taken by an adapter: some call of it must be allowed. */
function adapters(analyst: Analyst, network: Network, described: Network | undefined): LayerReport {
  const disagreements: Disagreement[] = []
  const notCompared: string[] = []
  let compared = 0
  for (const { id, from, to, operations } of network.flows) {
    const agent = analyst.index.findAgent(from)
    if (!agent) {
      notCompared.push(`flow \`${id}\`: \`${from}\` is an agent of another trust domain`)
      continue
    }
    for (const name of operations) {
      const operation = analyst.index.findOperation(to, name)
      if (!operation) continue
      compared++
      const answer = analyst.call(agent, to, name)
      if (answer.answer !== 'never') continue
      disagreements.push({
        between: ['adapter', 'policy'],
        says: `the gateway takes ${ways(operation)} of \`${to}\` from agent \`${from}\` (flow \`${id}\`), but ${because(answer)}`,
      })
    }
  }
  if (described) {
    for (const system of network.systems) {
      const now = described.systems.find(({ name }) => name === system.name)
      const found = differences(system, now)
      compared += system.operations.length
      disagreements.push(...found)
    }
  }
  return { layer: 'adapter', compared, disagreements, notCompared }
}

function differences(system: System, now: System | undefined): Disagreement[] {
  return system.operations.flatMap((operation): Disagreement[] => {
    const other = now?.operations.find(({ name }) => name === operation.name)
    const at = `operation \`${operation.name}\` of \`${system.name}\``
    const between = ['adapter', 'adapter'] as const
    if (!other) return [{ between, says: `${at} is declared, and its upstream has none such now` }]
    const same = canonicalJson(readable(operation)) === canonicalJson(readable(other))
    return same
      ? []
      : [
          {
            between,
            says: `${at} is held to another description than its upstream has now: ${first(operation, other)}`,
          },
        ]
  })
}

// What decides how a request is read: texts for people may differ.
const readable = ({ input, binding }: Operation) => ({ input, binding })

/** The first member that differs, as an example. */
function first(a: Operation, b: Operation): string {
  const [own, other] = [a.input.members, b.input.members]
  for (const name of new Set([...Object.keys(own), ...Object.keys(other)])) {
    if (!Object.hasOwn(own, name)) return `it takes \`${name}\`, which is not declared`
    if (!Object.hasOwn(other, name)) return `it takes no \`${name}\``
    if (canonicalJson(own[name]) !== canonicalJson(other[name]))
      return `\`${name}\` has another type`
  }
  return a.binding.kind === 'http' && b.binding.kind === 'http'
    ? `${ways(a)} is ${ways(b)}`
    : 'its schema has other words'
}

interface Mapped {
  readonly system: System
  readonly table: PostgresTable
}

/** Every grant of an account beside the gateway: policies must allow the same agent the same of the same table. */
function databases(analyst: Analyst, network: Network): LayerReport {
  const disagreements: Disagreement[] = []
  let compared = 0
  for (const database of network.databases ?? []) {
    for (const account of database.accounts) {
      for (const grant of account.grants) {
        compared++
        const mapped = tableOf(network, database, grant)
        const found = mapped
          ? judged(analyst, account, grant, mapped)
          : ['no system declares that table, so no policy speaks of it']
        for (const says of found) {
          const of = `\`${grant.schema}.${grant.table}\` in \`${database.name}\``
          const what = grant.actions.join(' and ')
          disagreements.push({
            between: ['database', 'policy'],
            says: `agent \`${account.agent}\` may ${what} ${of} by grant, but ${says}`,
          })
        }
      }
    }
  }
  return { layer: 'database', compared, disagreements, notCompared: [] }
}

function tableOf(network: Network, database: Database, grant: TableGrant): Mapped | undefined {
  for (const system of network.systems) {
    if (system.postgres?.database !== database.database) continue
    const table = system.postgres.tables.find(
      (one) => one.schema === grant.schema && one.table === grant.table,
    )
    if (table) return { system, table }
  }
  return undefined
}

function judged(
  analyst: Analyst,
  account: DatabaseAccount,
  grant: TableGrant,
  { system, table }: Mapped,
): string[] {
  const agent = analyst.index.findAgent(account.agent)
  if (!agent) return ['there is no such agent']
  const found: string[] = []
  for (const action of grant.actions) {
    const operations = system.operations.filter(
      ({ binding }) =>
        binding.kind === 'postgres' && binding.table === table.name && binding.action === action,
    )
    const answers = operations
      .map(({ name }) => analyst.operation(agent, system.name, name))
      .filter(({ answer }) => answer !== 'never')
    if (answers.length === 0) {
      found.push(`no policy allows it to ${action} there`)
      continue
    }
    if (action !== 'select') continue
    for (const column of grant.columns) {
      const name = `${table.dataset}.${column}`
      const whole = answers.some(({ fields }) =>
        fields.some(
          ({ field, treatments }) =>
            field === name && treatments.some(({ treatment }) => treatment === 'whole'),
        ),
      )
      if (!whole) found.push(`no policy lets it see \`${name}\` whole`)
    }
  }
  if (table.rows !== undefined && table.rows.length > 0 && grant.rows === undefined) {
    found.push('policies let it see some rows only, and the grant has all of them')
  }
  return found
}

/** Every connection that segments leave open from a gateway to a service: some call there must be allowed. */
function reaches(analyst: Analyst, network: Network): LayerReport {
  const disagreements: Disagreement[] = []
  const notCompared: string[] = []
  const foreign = network.flows.filter(({ from }) => !analyst.index.findAgent(from))
  let compared = 0
  for (const { name, upstream } of network.systems) {
    const flows = network.flows.filter(({ to }) => to === name)
    // No connection leads to a program of the gateway's own.
    if (upstream.kind === 'program') continue
    if (flows.length === 0) continue
    if (foreign.some(({ to }) => to === name)) {
      notCompared.push(`segments of \`${name}\`: agents of another trust domain use it`)
      continue
    }
    compared++
    const used = flows.some(({ from, operations }) => {
      const agent = analyst.index.findAgent(from)
      return (
        agent &&
        operations.some((operation) => analyst.call(agent, name, operation).answer !== 'never')
      )
    })
    if (used) continue
    const at =
      upstream.kind === 'service'
        ? `service \`${upstream.service}\`, port ${upstream.port}`
        : upstream.url
    disagreements.push({
      between: ['segments', 'policy'],
      says: `gateways may connect to ${at}, but no policy allows any call of \`${name}\``,
    })
  }
  return { layer: 'segments', compared, disagreements, notCompared }
}
