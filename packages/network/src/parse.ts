import { resolveAttestors } from './attestation.ts'
import { resolveFederation } from './federation.ts'
import { checkReferences } from './check.ts'
import type { Report } from './check.ts'
import type { Problem } from './problem.ts'
import { escapePointer, readYaml } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import type { RawNetwork } from './raw.ts'
import { checkStructure } from './structure.ts'
import { resolveSecrets } from './secrets.ts'
import { resolvePing } from './notification.ts'
import { readPem, resolveSystem, readText } from './system.ts'
import { withTokenKinds } from './token-kinds.ts'
import type { DataSet, Flow, Limit, Network, Settings, System } from './types.ts'

const DEFAULT_SETTINGS: Settings = {
  svidTtlSeconds: 900,
  stalenessSeconds: 300,
  strictStalenessSeconds: 30,
  riskTtlSeconds: 60,
  staleRisk: 50,
  approvalTtlSeconds: 900,
}

/** Enough for anyone to mend at once; a hostile text must not buy an unbounded report. */
const MAX_PROBLEMS = 200

export interface ParseOptions {
  /** The name that spans carry. */
  readonly file: string
  /**
   * Reads a file that the declaration names, by its path relative to it. Throws a `SallyportError` whose message says
   * why it will not; `loadDeclaration` confines it to the folder.
   */
  readonly readFile: (relativePath: string) => string
  /** The same of a file that is no text; without it such files cannot be read. */
  readonly readBytes?: (relativePath: string) => Uint8Array
}

/**
 * Parses and checks `network.yaml` and the API descriptions it names. Either a network, or every problem found:
 * those of the text's shape first, and once that holds, those of its meaning
 * (at most 200).
 */
export function parseNetwork(
  text: string,
  options: ParseOptions,
): { readonly network?: Network; readonly problems: readonly Problem[] } {
  const { located, problems: unreadable } = readYaml(text, options.file)
  if (!located) return { problems: unreadable }
  const malformed = checkStructure(located)
  if (malformed.length > 0) return { problems: inOrder(malformed) }
  // The JSON Schema has just accepted the value, and RawNetwork is what it describes.
  const raw = located.value as unknown as RawNetwork

  const problems: Problem[] = []
  const enough = new Error('enough problems')
  const report: Report = (code, span, message, why, fix) => {
    problems.push({ code, span, message, why, fix })
    if (problems.length >= MAX_PROBLEMS) throw enough
  }
  let network: Network
  try {
    network = resolve(raw, located, options, report)
    checkReferences(network, raw, located, report)
  } catch (error) {
    if (error !== enough) throw error
    return { problems: inOrder(problems) }
  }
  return problems.length > 0
    ? { problems: inOrder(problems) }
    : { network: withTokenKinds(network), problems: [] }
}

function inOrder(problems: readonly Problem[]): readonly Problem[] {
  return problems.toSorted(
    (a, b) =>
      a.span.file.localeCompare(b.span.file) ||
      a.span.line - b.span.line ||
      a.span.column - b.span.column,
  )
}

function resolve(
  raw: RawNetwork,
  located: Located,
  options: ParseOptions,
  report: Report,
): Network {
  const systems = Object.entries(raw.systems).map(([name, system]): System =>
    resolveSystem(name, system, located, `/systems/${escapePointer(name)}`, options, report),
  )
  return {
    name: raw.name,
    trustDomain: raw.trustDomain,
    quorum: raw.quorum ?? 2,
    settings: { ...DEFAULT_SETTINGS, ...raw.settings },
    segments: Object.entries(raw.segments).map(([name, segment]) => ({
      name,
      description: segment.description ?? '',
      owner: segment.owner,
    })),
    agents: Object.entries(raw.agents).map(([name, agent]) => ({
      name,
      description: agent.description ?? '',
      owner: agent.owner,
      segment: agent.segment,
      criticality: agent.criticality ?? 'medium',
      roles: agent.roles ?? [],
      ...(agent.attributes && { attributes: agent.attributes }),
      ...(agent.attest && { attest: agent.attest }),
      ...(agent.tokenBinding && { tokenBinding: agent.tokenBinding }),
      ...resolvePing(
        agent.backchannelPing,
        `/agents/${escapePointer(name)}/backchannelPing`,
        (file, pointer) => readPem(file, located.at(pointer), options, report),
      ),
    })),
    operators: Object.entries(raw.operators).map(([name, operator]) => ({ name, ...operator })),
    ...(raw.identityProviders && {
      identityProviders: Object.entries(raw.identityProviders).map(
        ([name, { maxRole = 'responder', disabled = false, ...provider }]) => ({
          name,
          ...provider,
          maxRole,
          disabled,
        }),
      ),
    }),
    services: Object.entries(raw.services ?? {}).map(([name, service]) => ({
      name,
      description: service.description ?? '',
      owner: service.owner,
      segment: service.segment,
      ...(service.enforcementPoint && {
        enforcementPoint: {
          systems: service.enforcementPoint.systems,
          can: service.enforcementPoint.can ?? [],
        },
      }),
      ...(service.responder && { responder: service.responder }),
    })),
    systems,
    datasets: Object.entries(raw.datasets ?? {}).map(([name, dataset]): DataSet => ({
      name,
      description: dataset.description ?? '',
      system: dataset.system,
      owner: dataset.owner,
      fields: Object.entries(dataset.fields).map(([fieldName, field]) => {
        const given = typeof field === 'string' ? { class: field } : field
        return {
          name: fieldName,
          class: given.class,
          tags: given.tags ?? [],
          mask: given.mask ?? 'full',
          ...(given.dataset !== undefined && { dataset: given.dataset }),
          ...(given.token !== undefined && { tokenKind: given.token }),
        }
      }),
    })),
    flows: raw.flows.map((flow): Flow => ({
      id: flow.id ?? `${flow.from.replaceAll(/[^a-z0-9-]/g, '-')}-to-${flow.to}`,
      from: flow.from,
      to: flow.to,
      operations: flow.operations,
      purpose: flow.purpose,
    })),
    limits: Object.entries(raw.limits ?? {}).map(([id, limit]): Limit => ({
      id,
      description: limit.description ?? '',
      agents: limit.agents,
      operations: limit.operations,
      windowSeconds: limit.windowSeconds,
      ...(limit.maxCalls !== undefined && { maxCalls: limit.maxCalls }),
      ...(limit.maxSum && { maxSum: limit.maxSum }),
    })),
    ...resolveAttestors(
      raw.attestors,
      (file, pointer) => readText(file, located.at(pointer), options, report) ?? '',
      (file, pointer) => readPem(file, located.at(pointer), options, report),
    ),
    ...resolveFederation(
      raw.federation,
      (file, pointer) => readText(file, located.at(pointer), options, report) ?? '',
      (file, pointer) => readPem(file, located.at(pointer), options, report),
    ),
    ...resolveSecrets(raw, (file, pointer) => readPem(file, located.at(pointer), options, report)),
  }
}
