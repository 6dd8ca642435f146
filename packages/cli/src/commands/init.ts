import { cpSync, existsSync, mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { SallyportError } from '@sallyport/base'
import { createOutput } from '../output.ts'
import { dataOption, jsonOption } from '../options.ts'
import type { CommonOptions } from '../options.ts'

/** `sallyport init`: a starter declaration where there is none, and the trust root. Nothing else ever makes one. */
export function addInit(program: Command): void {
  program
    .command('init')
    .description('make a starter declaration (where there is none) and the trust root')
    .option('--network <file>', 'the declaration', 'network.yaml')
    .option('--console-port <port>', 'the console answers on http://localhost:PORT (default 7400)')
    .option(
      '--console-origin <origin>',
      'the console answers here instead, e.g. `https://console.bank.example`, behind your certificate; passkeys are bound to it for good',
    )
    .option('--single-operator', 'accept a quorum of 1: one person can widen what agents may do')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(
      async (
        options: CommonOptions & {
          network: string
          consolePort?: string
          consoleOrigin?: string
          singleOperator?: boolean
        },
      ) => {
        const out = createOutput(options.json === true)
        const { consoleOrigin, initTrust } = await import('@sallyport/control')
        const { loadDeclaration } = await import('@sallyport/network')
        const relyingParty = consoleOrigin(whereConsole(options))
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
          ...relyingParty,
        })
        const { origin } = relyingParty
        const behind = origin.startsWith('https:')
          ? ' --console-listen ADDRESS:PORT --console-cert FILE --console-key FILE'
          : ''
        out.data({ data: resolve(options.data), ...trust, console: origin }, () =>
          [
            `trust root of ${declaration.network.trustDomain} made in ${options.data}/trust`,
            `console at ${origin}`,
            `next: sallyport up --network ${options.network} --data ${options.data}${behind}`,
          ].join('\n'),
        )
      },
    )
}

/** @throws SallyportError `SP_USAGE_OPTION` */
function whereConsole(options: {
  readonly consolePort?: string
  readonly consoleOrigin?: string
}): string {
  if (options.consoleOrigin === undefined) {
    return `http://localhost:${options.consolePort ?? '7400'}`
  }
  if (options.consolePort === undefined) return options.consoleOrigin
  throw new SallyportError(
    'SP_USAGE_OPTION',
    'both --console-port and --console-origin are given',
    {
      fix: 'write the port into the origin: `--console-origin https://HOST:PORT`',
    },
  )
}
