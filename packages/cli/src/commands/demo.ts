import { resolve } from 'node:path'
import { styleText } from 'node:util'
import type { Command } from 'commander'
import { SallyportError } from '@sallyport/base'
import type { DemoOptions } from '../demo/options.ts'
import { createOutput } from '../output.ts'
import { duration, jsonOption } from '../options.ts'
import { stopSignal } from '../supervise.ts'

interface Flags {
  readonly data: string
  readonly headless?: boolean
  readonly duration: string
  readonly attack: string
  readonly transactions?: string
  readonly seed?: string
  readonly consolePort: string
  readonly isolate: string
  readonly json?: boolean
  readonly verbose?: boolean
}

/** `sallyport demo`, which is what `npm start` runs: Meridian Bank, a normal day, then an attack contained. */
export function addDemo(program: Command): void {
  program
    .command('demo')
    .description('run Meridian Bank: a normal day, then an attack contained')
    .option('--headless', 'no browser: a software authenticator plays the operator')
    .option('--duration <time>', 'how long a headless run lasts, e.g. `60s`', '60s')
    .option('--attack <name>', '`poisoned-memo` or `none`', 'poisoned-memo')
    .option('--transactions <file>', 'CSV with sourceNodeId,targetNodeId,value,time')
    .option('--seed <n>', 'seed of the transaction generator')
    .option('--console-port <port>', 'where the console answers', '7400')
    .option('--isolate <how>', 'network namespaces: auto, require or off', 'auto')
    .option('--data <dir>', 'data directory, made anew', '.sallyport/demo')
    .option('--verbose', 'what every process says, on stderr')
    .addOption(jsonOption())
    .action(async (flags: Flags) => {
      const out = createOutput(flags.json === true)
      const options = demoOptions(flags, (text) => {
        if (flags.verbose === true) out.note(text)
      })
      const { runHeadless, startDemo } = await import('../demo/run.ts')
      if (options.headless) {
        const result = await runHeadless(options)
        out.data(result, (value) => JSON.stringify(value, null, 2))
        if (!result.audit.verified) process.exitCode = 7
        return
      }
      const stopping = stopSignal()
      const demo = await startDemo(options)
      out.note(
        [
          '',
          `  ${styleText('bold', 'Meridian Bank')} is open.`,
          '',
          `  console  ${demo.console}`,
          `  sign in  ${demo.link}`,
          '           (once; it enrols your passkey as the officer)',
          '',
          `  agents   8, network: ${demo.network}`,
          '  quorum   1 (demo): one person can widen what agents may do',
          '  A payment with a poisoned memo arrives after about 75 seconds. Ctrl-C ends it all.',
          '',
        ].join('\n'),
      )
      await stopping
      out.note('  closing; adding the run up …')
      const result = await demo.finish()
      out.data(result, (value) => JSON.stringify(value, null, 2))
    })
}

function demoOptions(flags: Flags, note: (text: string) => void): DemoOptions {
  const choice = <T extends string>(name: string, value: string, allowed: readonly T[]): T => {
    const found = allowed.find((item) => item === value)
    if (found !== undefined) return found
    throw new SallyportError('SP_USAGE_OPTION', `\`--${name} ${value}\` is not known`, {
      fix: `use one of: ${allowed.join(', ')}`,
    })
  }
  const integer = (name: string, value: string, max: number): number => {
    if (/^\d{1,9}$/.test(value) && Number(value) <= max) return Number(value)
    throw new SallyportError('SP_USAGE_OPTION', `\`--${name} ${value}\` is not a whole number`, {
      fix: `give a number from 0 to ${max}`,
    })
  }
  return {
    data: resolve(flags.data),
    headless: flags.headless === true,
    durationMs: duration('--duration', flags.duration),
    attack: choice('attack', flags.attack, ['poisoned-memo', 'none']),
    ...(flags.transactions === undefined ? {} : { transactions: resolve(flags.transactions) }),
    ...(flags.seed === undefined ? {} : { seed: integer('seed', flags.seed, 999_999_999) }),
    consolePort: integer('console-port', flags.consolePort, 65_535),
    isolate: choice('isolate', flags.isolate, ['auto', 'require', 'off']),
    note,
  }
}
