import { cpSync, existsSync, mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Option } from 'commander'
import type { Command } from 'commander'
import { SallyportError } from '@sallyport/base'
import type { KeyChoice, KeyKind } from '@sallyport/control'
import { createOutput } from '../output.ts'
import { dataOption, jsonOption, takePin, wholeNumber } from '../options.ts'
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
    .addOption(
      new Option('--keys <where>', 'where the keys are: files, files under the barrier, a token')
        .choices(['software', 'sealed', 'pkcs11'])
        .default('software'),
    )
    .option('--shares <count>', 'shares of the barrier (default 5 with `--keys sealed`)')
    .option('--threshold <count>', 'shares that unseal (default 3)')
    .option('--pkcs11-module <file>', 'absolute path of the PKCS#11 module')
    .option('--pkcs11-token <label>', 'label of the token; its PIN is in SALLYPORT_PKCS11_PIN')
    .option('--pkcs11-pin-file <file>', 'file (mode 600) that holds the PIN of the token')
    .option('--single-operator', 'accept a quorum of 1: one person can widen what agents may do')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(
      async (
        options: CommonOptions &
          KeyFlags & {
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
          keys: keyChoice(options),
        })
        const { origin } = relyingParty
        const behind = origin.startsWith('https:')
          ? ' --console-listen ADDRESS:PORT --console-cert FILE --console-key FILE'
          : ''
        out.data({ data: resolve(options.data), ...trust, console: origin }, () =>
          [
            `trust root of ${declaration.network.trustDomain} made in ${options.data}/trust`,
            `console at ${origin}`,
            ...describeShares(trust.shares),
            `next: sallyport up --network ${options.network} --data ${options.data}${behind}`,
          ].join('\n'),
        )
      },
    )
}

interface KeyFlags {
  readonly keys: KeyKind
  readonly shares?: string
  readonly threshold?: string
  readonly pkcs11Module?: string
  readonly pkcs11Token?: string
  readonly pkcs11PinFile?: string
}

/** @throws SallyportError `SP_USAGE_OPTION` */
function keyChoice(flags: KeyFlags): KeyChoice {
  const { keys: kind, pkcs11Module: module, pkcs11Token: token, pkcs11PinFile } = flags
  const named = module !== undefined && token !== undefined
  const some = module !== undefined || token !== undefined || pkcs11PinFile !== undefined
  if (kind === 'pkcs11' ? !named : some && (kind === 'software' || !named)) {
    throw new SallyportError('SP_USAGE_OPTION', `the token does not go with --keys ${kind}`, {
      fix: 'give --pkcs11-module and --pkcs11-token, both, with `--keys pkcs11` or `--keys sealed`',
    })
  }
  const people = flags.shares !== undefined || flags.threshold !== undefined
  if (people && kind === 'software') {
    throw new SallyportError('SP_USAGE_OPTION', 'with keys in files nobody holds shares', {
      fix: 'leave --shares and --threshold out, or say `--keys sealed`',
    })
  }
  const count = wholeNumber('--shares', flags.shares ?? '5')
  const threshold = wholeNumber('--threshold', flags.threshold ?? '3')
  const pin = takePin()
  return {
    kind,
    ...(people ? { shares: { count, threshold } } : {}),
    ...(named
      ? {
          token: {
            ...{ module, token },
            ...(pkcs11PinFile === undefined ? {} : { pinFile: resolve(pkcs11PinFile) }),
          },
        }
      : {}),
    ...(pin === undefined ? {} : { pin }),
  }
}

function describeShares(shares: readonly string[]): string[] {
  if (shares.length === 0) return []
  return ['shares, each for another person; they are not shown again:', ...shares]
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
