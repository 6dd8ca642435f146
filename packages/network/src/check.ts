import type { SourceSpan } from '@sallyport/base'
import { checkA2a } from './a2a.ts'
import { checkAttestation } from './attestation.ts'
import { checkFederation, foreignAgentsOf } from './federation.ts'
import { checkAttributes } from './attributes.ts'
import { checkBytes } from './bytes-returns.ts'
import { checkPeople } from './people.ts'
import { checkGrpc } from './grpc.ts'
import { checkLlm } from './llm.ts'
import { checkOpaque } from './opaque.ts'
import { checkPostgres } from './postgres.ts'
import { MCP_CONTENT } from './mcp-types.ts'
import { checkSum } from './limit-sums.ts'
import { localClock } from './local-clock.ts'
import { didYouMean } from './problem.ts'
import type { ProblemCode } from './problem.ts'
import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import type { RawNetwork } from './raw.ts'
import { checkSecrets } from './secrets.ts'
import type { InputType, Network, Operation } from './types.ts'

export type Report = (
  code: ProblemCode,
  span: SourceSpan,
  message: string,
  why: string,
  fix: string,
) => void

/** Everything the JSON Schema cannot say: what refers to what, and whether it adds up. */
export function checkReferences(
  network: Network,
  raw: RawNetwork,
  located: Located,
  report: Report,
): void {
  const checker = new Checker(network, raw, located, report)
  checker.quorum()
  checker.settings()
  checkPeople(network, located, report)
  checkAttributes(network, located, report)
  checkAttestation(network, located, report)
  checkFederation(network, located, report)
  checkSecrets(network, located, report)
  checkPostgres(network, located, report)
  checkLlm(network, located, report)
  checkA2a(network, located, report)
  checkGrpc(network, located, report)
  checkBytes(network, located, report)
  checkOpaque(network, located, report)
  checker.names()
  checker.placement()
  checker.datasets()
  checker.operations()
  checker.flows()
  checker.limits()
}

class Checker {
  readonly #network: Network
  readonly #raw: RawNetwork
  readonly #located: Located
  readonly #report: Report

  constructor(network: Network, raw: RawNetwork, located: Located, report: Report) {
    this.#network = network
    this.#raw = raw
    this.#located = located
    this.#report = report
  }

  #unknown(kind: string, name: string, known: Iterable<string>, pointer: string): void {
    this.#report(
      'SP_NETWORK_REFERENCE',
      this.#located.at(pointer),
      `there is no ${kind} \`${name}\`${didYouMean(name, known)}`,
      'a reference to nothing would silently protect or permit nothing',
      `declare the ${kind} or correct the name`,
    )
  }

  #mustKnow(kind: string, name: string, known: readonly string[], pointer: string): boolean {
    if (known.includes(name)) return true
    this.#unknown(kind, name, known, pointer)
    return false
  }

  quorum(): void {
    const { quorum, operators } = this.#network
    const signers = operators.filter(
      (o) => o.roles.includes('approver') || o.roles.includes('admin'),
    )
    if (signers.length >= quorum && operators.some((o) => o.roles.includes('admin'))) return
    const few = signers.length < quorum
    this.#report(
      'SP_NETWORK_QUORUM',
      this.#located.at(few && this.#raw.quorum !== undefined ? '/quorum' : '/operators'),
      few
        ? `the quorum is ${quorum}, but only ${signers.length} operators are \`approver\` or \`admin\``
        : 'no operator is `admin`',
      'changes that widen access could never be signed',
      few
        ? 'declare more such operators, or lower `quorum` (1 is for demonstrations)'
        : 'give one operator the role `admin`',
    )
  }

  settings(): void {
    const { settings } = this.#network
    if (settings.strictStalenessSeconds > settings.stalenessSeconds) {
      this.#report(
        'SP_NETWORK_RULE',
        this.#located.at('/settings/strictStalenessSeconds'),
        `the strict staleness of ${settings.strictStalenessSeconds} s is longer than the general one of ${settings.stalenessSeconds} s`,
        'writes and restricted data must stop first when the control plane is out of reach',
        'make `strictStalenessSeconds` at most `stalenessSeconds`',
      )
    }
    const { timeZone } = settings
    if (timeZone !== undefined && localClock(timeZone) === undefined) {
      this.#report(
        'SP_NETWORK_RULE',
        this.#located.at('/settings/timeZone'),
        `there is no time zone \`${timeZone}\``,
        'policies that read the local time could not be decided',
        'use a name of the IANA database, such as `Europe/Berlin`',
      )
    }
  }

  /** Names that would collide with words of the derived Cedar model or of the projection. */
  names(): void {
    const reserved: readonly (readonly [string, string, string])[] = [
      [
        'systems',
        'field',
        'actions `field.read`, `field.mask` and `field.tokenise` are the model’s own',
      ],
      ['datasets', 'public', '`public` stands for a value passed through'],
    ]
    for (const [part, name, why] of reserved) {
      const pointer = `/${part}/${name}`
      const list = part === 'systems' ? this.#network.systems : this.#network.datasets
      if (!list.some((item) => item.name === name)) continue
      this.#report(
        'SP_NETWORK_RULE',
        this.#located.keyAt(pointer),
        `the name \`${name}\` is reserved`,
        why,
        'choose another name',
      )
    }
  }

  placement(): void {
    const segments = this.#network.segments.map((segment) => segment.name)
    const services = this.#network.services.map((service) => service.name)
    for (const part of ['agents', 'services', 'systems'] as const) {
      for (const { name, segment } of this.#network[part]) {
        this.#mustKnow('segment', segment, segments, `/${part}/${name}/segment`)
      }
    }
    const systems = this.#network.systems.map((system) => system.name)
    for (const { name, enforcementPoint } of this.#network.services) {
      for (const [i, system] of (enforcementPoint?.systems ?? []).entries()) {
        const place = `/services/${name}/enforcementPoint/systems/${i}`
        this.#mustKnow('system', system, systems, place)
      }
    }
    const ports = new Map<string, string>()
    for (const { name, upstream, protocol } of this.#network.systems) {
      const pointer = `/systems/${name}/upstream`
      if (upstream.kind === 'program') {
        if (protocol === 'mcp') continue
        this.#report(
          'SP_NETWORK_RULE',
          this.#located.at(pointer),
          'only systems that speak MCP are run as programs',
          'no other protocol is spoken over standard input and output',
          'name a service, or an address outside',
        )
        continue
      }
      // What is wrong with the address of one that speaks plain TCP is said beside the rest of it.
      if (upstream.kind === 'plain') continue
      if (upstream.kind === 'external') {
        const url = URL.canParse(upstream.url) ? new URL(upstream.url) : undefined
        if (!url || url.username !== '' || url.pathname.includes('%')) {
          this.#report(
            'SP_NETWORK_SHAPE',
            this.#located.at(`${pointer}/url`),
            'the address is not a plain https URL',
            'two readers could take it for different hosts',
            'write `https://host[:port][/base]`',
          )
        }
        continue
      }
      this.#mustKnow('service', upstream.service, services, `${pointer}/service`)
      const key = `${upstream.service}:${upstream.port}`
      const other = ports.get(key)
      if (other !== undefined) {
        this.#report(
          'SP_NETWORK_DUPLICATE',
          this.#located.at(`${pointer}/port`),
          `the systems \`${other}\` and \`${name}\` share port ${upstream.port} of \`${upstream.service}\``,
          'a call meant for one could be read by the other',
          'give each system a port of its own',
        )
      }
      ports.set(key, name)
    }
  }

  datasets(): void {
    const systems = this.#network.systems.map((system) => system.name)
    const datasets = this.#network.datasets.map((dataset) => dataset.name)
    for (const dataset of this.#network.datasets) {
      const pointer = `/datasets/${dataset.name}`
      this.#mustKnow('system', dataset.system, systems, `${pointer}/system`)
      for (const field of dataset.fields) {
        if (field.dataset === undefined) continue
        const place = `${pointer}/fields/${field.name}/dataset`
        this.#mustKnow('data set', field.dataset, datasets, place)
      }
    }
  }

  operations(): void {
    for (const system of this.#network.systems) {
      for (const operation of system.operations) {
        const pointer = `/systems/${system.name}/operations/${escapePointer(operation.name)}`
        this.#subject(operation, pointer)
        this.#returns(system.name, operation, pointer)
        for (const [name, { schema }] of Object.entries(operation.input.members)) {
          this.#tokens(schema, `${operation.name}.${name}`, pointer)
        }
      }
    }
  }

  #subject(operation: Operation, pointer: string): void {
    if (operation.subject === undefined) return
    const member = operation.input.members[operation.subject]
    if (member?.required === true && member.schema.type === 'string') return
    this.#report(
      'SP_NETWORK_REFERENCE',
      this.#located.at(`${pointer}/subject`),
      `\`${operation.subject}\` is no required string input of \`${operation.name}\``,
      'its inputs are sealed under the key of that person or account, which must always be known',
      `use one of its required string inputs${didYouMean(operation.subject, Object.keys(operation.input.members))}`,
    )
  }

  #returns(system: string, operation: Operation, pointer: string): void {
    const paths = Object.keys(operation.returns).filter((path) => path !== MCP_CONTENT)
    for (const [path, dataset] of Object.entries(operation.returns)) {
      const place =
        path === MCP_CONTENT ? `${pointer}/content` : `${pointer}/returns/${escapePointer(path)}`
      const overlap =
        path === MCP_CONTENT
          ? undefined
          : paths.find((other) => other !== path && covers(other, path))
      if (overlap !== undefined) {
        this.#report(
          'SP_NETWORK_RETURNS',
          this.#located.keyAt(place),
          `the paths \`${overlap}\` and \`${path}\` cover the same part of the response`,
          'a value must belong to one data set, or two treatments would contend for it',
          'keep the narrower path, or name the inner data set at the field that holds it',
        )
      }
      if (dataset === 'public') continue
      const names = this.#network.datasets.map((set) => set.name)
      if (!this.#mustKnow('data set', dataset, names, place)) continue
      const owner = this.#network.datasets.find((set) => set.name === dataset)?.system
      if (owner !== system) {
        this.#report(
          'SP_NETWORK_RETURNS',
          this.#located.at(place),
          `the data set \`${dataset}\` belongs to \`${owner ?? ''}\`, not to \`${system}\``,
          'the classes of a data set are set by those who answer for its system',
          'declare a data set for this system',
        )
      }
    }
  }

  #tokens(schema: InputType, where: string, pointer: string): void {
    if (schema.type === 'set') this.#tokens(schema.items, where, pointer)
    if (schema.type === 'record') {
      for (const [name, member] of Object.entries(schema.members)) {
        this.#tokens(member.schema, `${where}.${name}`, pointer)
      }
      for (const shape of schema.variants?.of ?? []) this.#tokens(shape, where, pointer)
    }
    if (schema.type !== 'string' || schema.tokenOf === undefined) return
    const [datasetName, fieldName, ...rest] = schema.tokenOf.split('.')
    const dataset = this.#network.datasets.find((set) => set.name === datasetName)
    if (rest.length === 0 && dataset?.fields.some((field) => field.name === fieldName)) return
    this.#report(
      'SP_NETWORK_REFERENCE',
      this.#located.keyAt(pointer),
      `\`${where}\` takes tokens of \`${schema.tokenOf}\`, which is no field of a data set`,
      'a token can be restored only as a value of the field it was made from',
      'write `DATASET.FIELD` in `x-sallyport-token-of`',
    )
  }

  #callers(): readonly string[] {
    return [...this.#network.agents, ...foreignAgentsOf(this.#network)].map(({ name }) => name)
  }

  flows(): void {
    const agents = this.#callers()
    const systems = this.#network.systems.map((system) => system.name)
    const ids = new Map<string, number>()
    const taken = new Map<string, string>()
    for (const [i, flow] of this.#network.flows.entries()) {
      const pointer = `/flows/${i}`
      const earlier = ids.get(flow.id)
      if (earlier !== undefined) {
        this.#report(
          'SP_NETWORK_DUPLICATE',
          this.#located.at(this.#raw.flows[i]?.id === undefined ? pointer : `${pointer}/id`),
          `two flows are called \`${flow.id}\` (the other on line ${this.#located.at(`/flows/${earlier}`).line})`,
          'decisions and reports name a flow by its id',
          'merge them, or give one an `id` of its own',
        )
      } else ids.set(flow.id, i)
      this.#mustKnow('agent', flow.from, agents, `${pointer}/from`)
      if (!this.#mustKnow('system', flow.to, systems, `${pointer}/to`)) continue
      const known = Object.keys(this.#raw.systems[flow.to]?.operations ?? {})
      for (const [j, operation] of flow.operations.entries()) {
        const place = `${pointer}/operations/${j}`
        this.#mustKnow(`operation of \`${flow.to}\` called`, operation, known, place)
        const key = `${flow.from} ${flow.to} ${operation}`
        const other = taken.get(key)
        if (other !== undefined && other !== flow.id) {
          this.#report(
            'SP_NETWORK_DUPLICATE',
            this.#located.at(place),
            `the flow \`${other}\` already lets \`${flow.from}\` call \`${operation}\``,
            'a call must have one purpose',
            'leave the operation in one of the two flows',
          )
        }
        taken.set(key, flow.id)
      }
    }
  }

  limits(): void {
    const agents = this.#callers()
    const operations = new Map(
      this.#network.systems.flatMap((system) =>
        system.operations.map((operation) => [`${system.name}.${operation.name}`, operation]),
      ),
    )
    const declared = Object.entries(this.#raw.systems).flatMap(([system, { operations }]) =>
      Object.keys(operations).map((operation) => `${system}.${operation}`),
    )
    for (const limit of this.#network.limits) {
      const pointer = `/limits/${limit.id}`
      if (limit.maxCalls === undefined && limit.maxSum === undefined) {
        this.#report(
          'SP_NETWORK_RULE',
          this.#located.keyAt(pointer),
          `the limit \`${limit.id}\` limits nothing`,
          'a reader would believe in a ceiling that is not there',
          'state `maxCalls`, `maxSum` or both',
        )
      }
      for (const [i, agent] of limit.agents.entries()) {
        this.#mustKnow('agent', agent, agents, `${pointer}/agents/${i}`)
      }
      for (const [i, name] of limit.operations.entries()) {
        const place = `${pointer}/operations/${i}`
        this.#mustKnow('operation', name, declared, place)
      }
      checkSum(limit, operations, this.#located, this.#report)
    }
  }
}

/** Whether one response path is a part of, or the whole of, what another names. */
function covers(outer: string, inner: string): boolean {
  if (outer === '$') return true
  const plain = (path: string): string => path.replaceAll('[]', '')
  return plain(inner) === plain(outer) || plain(inner).startsWith(`${plain(outer)}.`)
}
