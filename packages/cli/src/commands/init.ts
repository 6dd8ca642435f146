import { cpSync, existsSync, mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { SallyportError } from '@sallyport/base'
import { initTrust } from '@sallyport/control'
import { loadDeclaration } from '@sallyport/network'
import { createOutput } from '../output.ts'
import { dataOption, jsonOption } from '../options.ts'
import type { CommonOptions } from '../options.ts'

/** `sallyport init`: a starter declaration where there is none, and the trust root. Nothing else ever makes one. */
export function addInit(program: Command): void {
  program
    .command('init')
    .description('make a starter declaration (where there is none) and the trust root')
    .option('--network <file>', 'the declaration', 'network.yaml')
    .option('--console-port <port>', 'where the console will answer', '7400')
    .option('--single-operator', 'accept a quorum of 1: one person can widen what agents may do')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(
      async (
        options: CommonOptions & { network: string; consolePort: string; singleOperator?: boolean },
      ) => {
        const out = createOutput(options.json === true)
        const networkFile = resolve(options.network)
        if (!existsSync(networkFile)) {
          const starter = new URL('../../templates/starter/', import.meta.url).pathname
          cpSync(starter, join(networkFile, '..'), { recursive: true, force: false })
          out.note(`wrote a starter declaration beside ${options.network}`)
        }
        const declaration = await loadDeclaration({ networkFile })
        if (declaration.network.quorum < 2 && options.singleOperator !== true) {
          throw new SallyportError('SP_CONFIG_QUORUM', 'the declaration asks for a quorum of 1', {
            fix: 'set `quorum: 2` in network.yaml, or say --single-operator if one person shall be enough',
          })
        }
        mkdirSync(options.data, { recursive: true, mode: 0o700 })
        const trust = await initTrust({
          dataDir: resolve(options.data),
          declaration,
          rpId: 'localhost',
          origin: `http://localhost:${options.consolePort}`,
        })
        out.data({ data: resolve(options.data), ...trust }, () =>
          [
            `trust root of ${declaration.network.trustDomain} made in ${options.data}/trust`,
            `next: sallyport up --network ${options.network} --data ${options.data}`,
          ].join('\n'),
        )
      },
    )
}
