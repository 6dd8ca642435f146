import { existsSync, readFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import type { Declaration, Network } from '@sallyport/network'
import type { Disagreement, LayerReport } from '@sallyport/policy'
import { SallyportError } from '@sallyport/base'
import { adminClient } from './admin.ts'
import { readGiven } from './files.ts'
import { list, members, textOf } from './shape.ts'

export interface LayerSources {
  readonly networkFile: string
  /** A folder with descriptions as upstreams have them now, by the paths that the declaration names. */
  readonly described?: string
  /** What is installed, as its own tools print it. */
  readonly nftables?: string
  readonly kubernetes?: string
  /** Data directory of a running control plane, which asks the databases. */
  readonly data?: string
}

/** Compares the layers that enforce a declaration: policies, adapters, databases, segments. */
export async function compareAll(
  declaration: Declaration,
  sources: LayerSources,
): Promise<readonly LayerReport[]> {
  const { compareLayers } = await import('@sallyport/policy')
  const { network } = declaration
  const now = await describedNow(sources)
  const reports = await compareLayers(declaration, now.network)
  const more: LayerReport[] = [
    {
      layer: 'adapter',
      compared: now.disagreements.length > 0 ? 1 : 0,
      disagreements: now.disagreements,
      notCompared: now.notCompared,
    },
    await segments(network, sources),
    await grants(sources),
  ]
  return merged([...reports, ...more])
}

async function describedNow({ networkFile, described }: LayerSources): Promise<{
  network?: Network
  disagreements: readonly Disagreement[]
  notCompared: readonly string[]
}> {
  if (described === undefined) return { disagreements: [], notCompared: [] }
  const { parseNetwork } = await import('@sallyport/network')
  const folder = dirname(networkFile)
  const fetched: string[] = []
  const asBefore: string[] = []
  const { network, problems } = parseNetwork(readFileSync(networkFile, 'utf8'), {
    file: basename(networkFile),
    readFile: (path) => {
      const file = join(described, path)
      if (existsSync(file)) {
        fetched.push(path)
        return readGiven(file)
      }
      // What was not fetched anew is taken as it was; it was checked to lie in the folder when the declaration was loaded.
      asBefore.push(path)
      return readFileSync(join(folder, path), 'utf8')
    },
  })
  // Compared with itself, a declaration agrees: that would say something of upstreams that nobody asked.
  if (fetched.length === 0) {
    throw new SallyportError('SP_USAGE_OPTION', `\`${described}\` has none of the descriptions`, {
      fix: `fetch them into it by the paths that the declaration names: ${asBefore.join(', ') || 'it names none'}`,
    })
  }
  const disagreements = problems.map(({ message }): Disagreement => ({
    between: ['adapter', 'adapter'],
    says: `with the descriptions that upstreams have now, ${message}`,
  }))
  return {
    ...(network === undefined || problems.length > 0 ? {} : { network }),
    disagreements,
    notCompared: asBefore.map((path) => `\`${path}\` as it is described now: it was not fetched`),
  }
}

async function segments(network: Network, sources: LayerSources): Promise<LayerReport> {
  const { compareInstalled, verifySegments } = await import('@sallyport/segments')
  const installed = [
    ['nftables', sources.nftables],
    ['network-policy', sources.kubernetes],
  ] as const
  const results = [
    ...verifySegments(network).map((result) => ({
      ...result,
      what: `what is emitted for ${result.target}`,
    })),
    ...installed.flatMap(([target, file]) =>
      file === undefined
        ? []
        : [
            {
              ...compareInstalled(network, target, readGiven(file)),
              what: `what is installed (${basename(file)})`,
            },
          ],
    ),
  ]
  const disagreements = results.flatMap(({ what, missing, extra }) => [
    ...extra.map((flow): Disagreement => ({
      between: ['segments', 'policy'],
      says: `${what} lets ${spelt(flow)} through, and nothing declares it`,
    })),
    ...missing.map((flow): Disagreement => ({
      between: ['segments', 'policy'],
      says: `${what} stops ${spelt(flow)}, which the declaration needs`,
    })),
  ])
  const notCompared = installed.flatMap(([target, file]) =>
    file === undefined ? [`what is installed for ${target}: no file was given`] : [],
  )
  return { layer: 'segments', compared: results.length, disagreements, notCompared }
}

/** `FROM|TO|PORT|PROTO` of a matrix, or a node. */
function spelt(flow: string): string {
  const [from, to, port, proto] = flow.split('|')
  return to === undefined
    ? `\`${from ?? ''}\``
    : `\`${from ?? ''}\` to \`${to}\`, port ${port ?? ''} ${proto ?? ''}`
}

async function grants({ data }: LayerSources): Promise<LayerReport> {
  const none = { layer: 'database' as const, compared: 0, disagreements: [] }
  if (data === undefined) {
    return {
      ...none,
      notCompared: ['what databases really grant: no control plane was named (--data)'],
    }
  }
  const rows = list(await adminClient(resolve(data)).get('/api/databases/grants')).map(members)
  const disagreements: Disagreement[] = []
  const notCompared: string[] = []
  let compared = 0
  for (const row of rows) {
    const database = textOf(row.database)
    const who = `\`${textOf(row.role)}\` (${textOf(row.holder)})`
    if (row.failed !== undefined) {
      notCompared.push(
        `the database \`${database}\`${textOf(row.role) === '' ? '' : `, ${who}`}: ${textOf(row.failed)}`,
      )
      continue
    }
    compared++
    const say = (says: string): void => {
      disagreements.push({ between: ['database', 'policy'], says })
    }
    for (const one of list(row.beyond).map(members)) {
      say(`${who} may ${act(one)} in \`${database}\`, which the declaration does not give it`)
    }
    for (const one of list(row.missing).map(members)) {
      say(`${who} may not ${act(one)} in \`${database}\`, which the declaration gives it`)
    }
    for (const table of list(row.unfiltered)) {
      say(
        `${who} sees all rows of \`${textOf(table)}\` in \`${database}\`, and the declaration gives it some`,
      )
    }
  }
  return { layer: 'database', compared, disagreements, notCompared }
}

function act(reach: ReturnType<typeof members>): string {
  const column = reach.column === null ? '' : `.${textOf(reach.column)}`
  return `${textOf(reach.action)} \`${textOf(reach.schema)}.${textOf(reach.table)}${column}\``
}

function merged(reports: readonly LayerReport[]): LayerReport[] {
  const byLayer = new Map<string, LayerReport>()
  for (const report of reports) {
    const before = byLayer.get(report.layer)
    byLayer.set(report.layer, {
      layer: report.layer,
      compared: (before?.compared ?? 0) + report.compared,
      disagreements: [...(before?.disagreements ?? []), ...report.disagreements],
      notCompared: [...(before?.notCompared ?? []), ...report.notCompared],
    })
  }
  return [...byLayer.values()]
}

export function layersText(reports: readonly LayerReport[]): string {
  return reports
    .flatMap(({ layer, compared, disagreements, notCompared }) => [
      `${layer}: ${compared === 0 ? 'nothing' : compared} compared, ${disagreements.length === 0 ? 'no disagreement' : `${disagreements.length} disagree`}`,
      ...disagreements.map(({ between, says }) => `  ${between.join(' ≠ ')}: ${says}`),
      ...notCompared.map((why) => `  not compared: ${why}`),
    ])
    .join('\n')
}
