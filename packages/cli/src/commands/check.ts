import type { Command } from 'commander'
import { createOutput, table } from '../output.ts'
import { jsonOption } from '../options.ts'

/** `sallyport check`: reads a declaration as the planes would, and says what is wrong with it, all at once. */
export function addCheck(program: Command): void {
  program
    .command('check')
    .description('check a network declaration and its policies')
    .argument('[file]', 'network.yaml', 'network.yaml')
    .addOption(jsonOption())
    .action(async (file: string, options: { json?: boolean }) => {
      const out = createOutput(options.json === true)
      const { createDecider } = await import('@sallyport/decide')
      const { loadDeclaration } = await import('@sallyport/network')
      const { verifySegments } = await import('@sallyport/segments')
      const declaration = await loadDeclaration({ networkFile: file })
      // Loading it as a gateway does proves that the policies parse and type-check against the derived schema.
      const decider = await createDecider({ declaration })
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
