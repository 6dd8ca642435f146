import type { Command } from 'commander'
import { parseJson, SallyportError } from '@sallyport/base'
import type { Addresses } from '@sallyport/segments'
import { EXIT } from '../exit.ts'
import { createOutput } from '../output.ts'
import { readGiven } from '../files.ts'
import { members, textOf } from '../shape.ts'
import { jsonOption } from '../options.ts'

export function addSegment(program: Command): void {
  const segment = program.command('segment').description('the declaration as network segments')

  segment
    .command('emit')
    .description('print the artefact of a target: `kubernetes` or `nftables`')
    .argument('<target>')
    .option('--network <file>', 'the declaration', 'network.yaml')
    .option(
      '--addresses <file>',
      'for nftables: JSON, node (`agent/NAME`, `gateway` …) → {address, interface?}',
    )
    .action(async (target: string, options: { network: string; addresses?: string }) => {
      const { loadDeclaration } = await import('@sallyport/network')
      const { emitNetworkPolicy, emitNftables } = await import('@sallyport/segments')
      const { network } = await loadDeclaration({ networkFile: options.network })
      switch (target) {
        case 'kubernetes':
          process.stdout.write(emitNetworkPolicy(network))
          return
        case 'nftables':
          process.stdout.write(emitNftables(network, readAddresses(options.addresses)))
          return
        default:
          throw new SallyportError(
            'SP_USAGE_TARGET',
            `there is no segmentation target \`${target}\``,
            {
              fix: 'use `kubernetes` or `nftables`',
            },
          )
      }
    })

  segment
    .command('verify')
    .description('interpret what is emitted and compare it with the reachability matrix')
    .option('--network <file>', 'the declaration', 'network.yaml')
    .addOption(jsonOption())
    .action(async (options: { network: string; json?: boolean }) => {
      const out = createOutput(options.json === true)
      const { loadDeclaration } = await import('@sallyport/network')
      const { verifySegments } = await import('@sallyport/segments')
      const { network } = await loadDeclaration({ networkFile: options.network })
      const results = verifySegments(network)
      out.data(results, (rows) =>
        rows
          .map(({ target, equal, missing, extra }) =>
            [
              `${target}: ${equal ? 'equal to the matrix' : 'NOT equal to the matrix'}`,
              ...missing.map((flow) => `  not let through: ${flow}`),
              ...extra.map((flow) => `  let through but not declared: ${flow}`),
            ].join('\n'),
          )
          .join('\n'),
      )
      if (results.some(({ equal }) => !equal)) process.exitCode = EXIT.verification
    })
}

function readAddresses(file: string | undefined): Addresses {
  if (file === undefined) {
    throw new SallyportError('SP_USAGE_ADDRESSES', 'nftables needs to know where each node is', {
      fix: 'give --addresses with a JSON file: {"gateway": {"address": "10.0.0.1"}, "agent/monitor": …}',
    })
  }
  return Object.fromEntries(
    Object.entries(members(parseJson(readGiven(file)))).map(([node, value]) => {
      const entry = members(value)
      const link = textOf(entry.interface)
      return [node, { address: textOf(entry.address), ...(link ? { interface: link } : {}) }]
    }),
  )
}
