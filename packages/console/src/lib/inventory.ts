import type { Drift, DriftKind, Use, UseKind } from '../api/inventory-types.ts'
import type { Network } from '../api/network-types.ts'

export const DRIFT_WORDS: Readonly<Record<DriftKind, string>> = {
  caller: 'Caller',
  operation: 'Operation',
  field: 'Field',
  destination: 'Destination',
  flow: 'Flow',
}

export const USE_WORDS: Readonly<Record<UseKind, string>> = {
  agent: 'Agent',
  service: 'Service',
  system: 'System',
  operation: 'Operation',
  dataset: 'Data set',
}

/** What tells a line from every other. */
export const driftKey = ({ kind, system, name, by }: Drift): string =>
  JSON.stringify([kind, system, name, by])

/** Who is to be asked about it: whoever answers for the system it was asked of, else for the agent that asked. */
export function ownerOf({ system, by }: Drift, network: Network | undefined): string | undefined {
  return (
    network?.systems.find(({ name }) => name === system)?.owner ??
    network?.agents.find(({ name }) => name === by)?.owner
  )
}

/** Whether there is a page about whoever asked. */
export const isAgent = (name: string, network: Network | undefined): boolean =>
  network?.agents.some((agent) => agent.name === name) ?? false

/** The name of a line as it is read: `*` are all those that have no line of their own, and who had no identity has only how it failed. */
export function driftName({ kind, name }: Drift): string {
  if (name === '*') return `more ${DRIFT_WORDS[kind].toLowerCase()}s than are kept`
  return kind === 'caller' && name.startsWith('SP_') ? `no identity here (${name})` : name
}

export function drifted(
  lines: readonly Drift[],
  kind: DriftKind | '',
  needle: string,
): readonly Drift[] {
  const wanted = needle.trim().toLowerCase()
  return lines.filter(
    (line) =>
      (kind === '' || line.kind === kind) &&
      [line.system, line.name, line.by].some((text) => text.toLowerCase().includes(wanted)),
  )
}

export function used(
  lines: readonly Use[],
  kind: UseKind | '',
  needle: string,
  never: boolean,
): readonly Use[] {
  const wanted = needle.trim().toLowerCase()
  return lines
    .filter(
      (line) =>
        (kind === '' || line.kind === kind) &&
        (!never || line.last === null) &&
        [line.name, line.owner].some((text) => text.toLowerCase().includes(wanted)),
    )
    .toSorted((a, b) => (a.last ?? 0) - (b.last ?? 0) || a.name.localeCompare(b.name))
}
