import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import type { Command } from 'commander'
import { SallyportError } from '@sallyport/base'
import type { Declaration } from '@sallyport/network'
import type { Finding } from '@sallyport/policy'
import { EXIT } from '../exit.ts'
import { createOutput, table } from '../output.ts'
import { jsonOption } from '../options.ts'
import { networkFileOf } from './policy/replay.ts'
import { sarifOption, shown, within, writeSarif } from '../sarif.ts'

interface CheckOptions {
  readonly json?: boolean
  readonly sarif?: string
  readonly layers?: boolean
  readonly described?: string
  readonly nftables?: string
  readonly kubernetes?: string
  readonly data?: string
}

const LAYERS_ONLY = ['described', 'nftables', 'kubernetes', 'data'] as const

/** `sallyport check`: reads a declaration as the planes would, and says what is wrong with it, all at once. */
export function addCheck(program: Command): void {
  program
    .command('check')
    .description('check a network declaration and its policies')
    .argument('[file]', 'network.yaml, or the folder that holds it', 'network.yaml')
    .option('--layers', 'compare policies, adapters, grants in databases and segments instead')
    .option(
      '--described <dir>',
      'with --layers: descriptions as upstreams have them now, by the same paths',
    )
    .option('--nftables <file>', 'with --layers: what `nft list table inet sallyport` prints')
    .option(
      '--kubernetes <file>',
      'with --layers: what `kubectl get networkpolicy -A -o yaml` prints',
    )
    .option('--data <dir>', 'with --layers: of a running control plane, which asks the databases')
    .addOption(sarifOption())
    .addOption(jsonOption())
    .action(async (path: string, options: CheckOptions) => {
      const out = createOutput(options.json === true)
      const { createDecider, createTableRows } = await import('@sallyport/decide')
      const { verifySegments } = await import('@sallyport/segments')
      const alone = LAYERS_ONLY.find((name) => options[name] !== undefined)
      if (options.layers !== true && alone !== undefined) {
        throw new SallyportError(
          'SP_USAGE_OPTION',
          `\`--${alone}\` is of no use without --layers`,
          {
            fix: 'say `--layers` as well',
          },
        )
      }
      const file = networkFileOf(path)
      const { declaration, warnings } = await read(file, options.sarif)
      for (const { span, message } of warnings) {
        out.note(`${span.file}:${span.line}:${span.column}: warning: ${message}`)
      }
      if (options.layers === true) {
        const { compareAll, layersText } = await import('../layers.ts')
        const layers = await compareAll(declaration, { ...options, networkFile: file })
        out.data({ layers }, () => layersText(layers))
        const agree = layers.every(({ disagreements }) => disagreements.length === 0)
        if (!agree) process.exitCode = EXIT.verification
        return
      }
      // Loading it as a gateway does proves that the policies parse and type-check against the derived schema.
      const decider = await createDecider({ declaration })
      await createTableRows({ declaration, decider, alias: 'sp_row' })
      const segments = verifySegments(declaration.network)
      const { network, policies } = declaration
      const result = {
        network: network.name,
        trustDomain: network.trustDomain,
        digest: decider.digest,
        quorum: network.quorum,
        agents: network.agents.length,
        systems: network.systems.length,
        operations: network.systems.reduce((sum, { operations }) => sum + operations.length, 0),
        datasets: network.datasets.length,
        flows: network.flows.length,
        policies: policies.length,
        segments: segments.map(({ target, equal }) => ({ target, equal })),
      }
      out.data(result, (value) =>
        table(
          ['what', 'value'],
          Object.entries(value).map(([what, item]) => [
            what,
            typeof item === 'object'
              ? item.map(({ target, equal }) => `${target} ${equal ? '=' : '≠'} matrix`).join(', ')
              : String(item),
          ]),
        ),
      )
      if (segments.some(({ equal }) => !equal)) process.exitCode = 7
    })
}

/** The declaration and what is odd about its policies, or goes without TLS; all that is wrong with it is thrown, and annotated. */
async function read(
  networkFile: string,
  sarif: string | undefined,
): Promise<{ readonly declaration: Declaration; readonly warnings: readonly Finding[] }> {
  const { loadDeclaration } = await import('@sallyport/network')
  const { findingsOf, plaintextFindings, policyFindings, PolicyProblems } =
    await import('@sallyport/policy')
  const place = within(networkFile)
  try {
    const declaration = await loadDeclaration({ networkFile })
    const text = readFileSync(networkFile, 'utf8')
    const findings = [
      ...plaintextFindings(declaration.network, text, basename(networkFile)),
      ...(await policyFindings(declaration)),
    ]
    const errors = findings.filter(({ level }) => level === 'error')
    if (errors.length > 0) throw new PolicyProblems(errors)
    const warnings = findings.map((finding) => ({ ...finding, span: place(finding.span) }))
    await writeSarif(sarif, 'check', warnings)
    return { declaration, warnings }
  } catch (error) {
    const findings = findingsOf(error, shown(networkFile), place)
    if (findings.length > 0) await writeSarif(sarif, 'check', findings)
    throw error
  }
}
