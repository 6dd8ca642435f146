import { join } from 'node:path'
import type { Command } from 'commander'
import { launchAgent } from '@sallyport/agent'
import { adminClient } from '../admin.ts'
import { createOutput } from '../output.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption } from '../options.ts'
import { members, textOf } from '../shape.ts'
import { stopSignal } from '../supervise.ts'
import { target } from './planes.ts'

/** `sallyport run --as AGENT -- CMD`: starts an agent with a join token, and with no way out but the two doors. */
export function addRun(program: Command): void {
  program
    .command('run')
    .description(
      'run a command as an agent, with no way out but its two doors where the machine permits it',
    )
    .requiredOption('--as <agent>', 'the declared agent')
    .option('--gateway <address>', 'the gateway', '127.0.0.1:7402')
    .option('--control <address>', 'the control plane', '127.0.0.1:7401')
    .option('--isolate <how>', 'auto, require or off', 'auto')
    .option('--expose <path...>', 'what of /tmp, /run or the data directory it sees, read-only', [])
    .argument('<command...>', 'command and arguments, after `--`')
    .addOption(dataOption())
    .action(
      async (
        command: string[],
        options: CommonOptions & {
          as: string
          gateway: string
          control: string
          isolate: 'auto' | 'require' | 'off'
          expose: string[]
        },
      ) => {
        const out = createOutput(false)
        const data = dataDir(options)
        const admin = adminClient(data)
        const token = members(
          await admin.post('/api/join-tokens', { kind: 'agent', name: options.as }),
        )
        const { network } = members(await admin.get('/api/network'))
        const [program_ = '', ...args] = command
        const exited = Promise.withResolvers<number>()
        const launched = await launchAgent({
          name: options.as,
          command: program_,
          args,
          env: {
            SALLYPORT_JOIN_TOKEN: textOf(token.token),
            SALLYPORT_ROOTS: join(data, 'trust', 'ca.pem'),
            SALLYPORT_TRUST_DOMAIN: textOf(members(network).trustDomain),
          },
          runDir: join(data, 'run', `${options.as}-${process.pid}`),
          gateway: target(options.gateway),
          control: target(options.control),
          isolate: options.isolate,
          hide: [data],
          expose: [join(data, 'trust', 'ca.pem'), ...options.expose],
          stdio: 'inherit',
          onExit: (code) => exited.resolve(code ?? 1),
        })
        const { network: net, files, processes } = launched.isolation
        const how =
          net && files && processes ? 'enforced' : `not enforced (${launched.reason ?? 'unknown'})`
        out.note(`${options.as}: pid ${launched.pid}, network: ${how}`)
        const code = await Promise.race([exited.promise, stopSignal().then(() => undefined)])
        await launched.stop()
        process.exitCode = code ?? 0
      },
    )
}
