import { join } from 'node:path'
import type { Command } from 'commander'
import type { LaunchOptions } from '@sallyport/agent'
import { renderError, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { adminClient } from '../admin.ts'
import type { AdminClient } from '../admin.ts'
import { followEvents } from '../events.ts'
import { createOutput } from '../output.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption } from '../options.ts'
import { readGiven } from '../files.ts'
import { list, members, textOf } from '../shape.ts'
import { stopSignal } from '../supervise.ts'
import { target } from '../address.ts'
import { opaqueOf } from './opaque-doors.ts'

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
    .option(
      '--address <name=path...>',
      'variables that it finds addresses of the gateway in, such as OPENAI_BASE_URL=/models/v1',
      [],
    )
    .option(
      '--postgres <address>',
      'where the gateway speaks PostgreSQL: the command finds its databases by PGHOST and PGUSER, without a password',
    )
    .option(
      '--opaque <system=address...>',
      'where the gateway listens for a system whose protocol is not read: the command finds it in plain TCP, on a socket of its own',
      [],
    )
    .option(
      '--opaque-port <system=port...>',
      'the same on loopback of its own network, at this port',
      [],
    )
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
          address: string[]
          postgres?: string
          opaque: string[]
          opaquePort: string[]
        },
      ) => {
        const out = createOutput(false)
        const addresses = addressesFrom(options.address)
        const data = dataDir(options)
        const admin = adminClient(data)
        const token = members(
          await admin.post('/api/join-tokens', { kind: 'agent', name: options.as }),
        )
        const { network } = members(await admin.get('/api/network'))
        const trustDomain = textOf(members(network).trustDomain)
        const before = new Set(await instancesOf(admin, options.as))
        const [program_ = '', ...args] = command
        const exited = Promise.withResolvers<number>()
        const { createSidecar, enrol, launchAgent, lazyWorkload } = await import('@sallyport/agent')
        const rootsFile = join(data, 'trust', 'ca.pem')
        // Beside the agent's own, and only for a program that asks for it the way any SPIFFE workload does.
        const workload = lazyWorkload(async (onRotationError) => {
          const joinAs = { kind: 'agent', name: options.as }
          return enrol({
            planeTarget: target(options.control),
            rootsPem: readGiven(rootsFile),
            token: textOf(members(await admin.post('/api/join-tokens', joinAs)).token),
            trustDomain,
            onRotationError,
          })
        })
        const launched = await launchAgent({
          name: options.as,
          command: program_,
          args,
          env: {
            SALLYPORT_JOIN_TOKEN: textOf(token.token),
            SALLYPORT_ROOTS: rootsFile,
            SALLYPORT_TRUST_DOMAIN: trustDomain,
          },
          runDir: join(data, 'run', `${options.as}-${process.pid}`),
          gateway: target(options.gateway),
          control: target(options.control),
          isolate: options.isolate,
          hide: [data],
          expose: [rootsFile, ...options.expose],
          workload,
          // For programs that know nothing of certificates: whoever reaches it is the agent.
          sidecar: createSidecar({
            identity: () => workload.identity(),
            gateway: target(options.gateway),
          }),
          addresses,
          ...databasesOf(options, network, (text) => out.note(`${options.as}: ${text}`)),
          ...opaqueOf(options, network, (text) => out.note(`${options.as}: ${text}`)),
          onWorkloadRefused: (error) =>
            out.note(`${options.as}: workload API: ${renderError(error)}`),
          stdio: 'inherit',
          onExit: (code) => exited.resolve(code ?? 1),
        })
        const { network: net, files, processes } = launched.isolation
        const how =
          net && files && processes ? 'enforced' : `not enforced (${launched.reason ?? 'unknown'})`
        out.note(`${options.as}: pid ${launched.pid}, network: ${how}`)
        // The segment layer of a quarantine: the gateway and the control plane refuse it anyway, and now nothing reaches them.
        const whole = `spiffe://${trustDomain}/agent/${options.as}`
        const events = followEvents(data, (event, value) => {
          if (event !== 'quarantine') return
          const subject = textOf(members(value.quarantine).subject ?? value.subject)
          // Of instances that started at the same moment, the launcher cannot tell its own: it cuts rather than not.
          const mine = subject.startsWith(`${whole}/`) && !before.has(subject)
          if (subject !== whole && !mine) return
          launched.cut()
          out.note(`${options.as}: quarantined; its ways out are closed`)
        })
        const code = await Promise.race([exited.promise, stopSignal().then(() => undefined)])
        events.stop()
        await launched.stop()
        process.exitCode = code ?? 0
      },
    )
}

/** @throws SallyportError `SP_USAGE_VALUE` */
function addressesFrom(given: readonly string[]): Record<string, string> {
  const entries = given.map((one): [string, string] => {
    const [, name, path] = /^([A-Za-z_][A-Za-z0-9_]*)=(\/[\w.~/-]*)$/.exec(one) ?? []
    if (name !== undefined && path !== undefined) return [name, path]
    throw new SallyportError('SP_USAGE_VALUE', `\`${one}\` is no variable and path`, {
      fix: 'write NAME=/SYSTEM/path, such as OPENAI_BASE_URL=/models/v1',
    })
  })
  return Object.fromEntries(entries)
}

/** The databases that flows lead the agent to; where it is one, it is the one that clients ask for. */
function databasesOf(
  { as: agent, postgres }: { readonly as: string; readonly postgres?: string },
  network: JsonValue | undefined,
  note: (text: string) => void,
): Partial<Pick<LaunchOptions, 'databases'>> {
  if (postgres === undefined) return {}
  const { systems, flows } = members(network)
  const leads = list(flows)
    .map(members)
    .filter((flow) => flow.from === agent)
    .map((flow) => flow.to)
  const names = list(systems)
    .map(members)
    .filter((system) => system.postgres !== undefined && leads.includes(system.name))
    .map((system) => textOf(system.name))
  if (names.length === 0) {
    throw new SallyportError('SP_USAGE_DATABASE', `no flow leads \`${agent}\` to a database`, {
      fix: 'declare a flow to a system of protocol `postgres`, or leave `--postgres` out',
    })
  }
  const [only, ...others] = names
  note(`databases: ${names.join(', ')}`)
  return {
    databases: {
      target: target(postgres),
      ...(only !== undefined && others.length === 0 ? { database: only } : {}),
      onRefused: (error) => note(`database: ${renderError(error)}`),
    },
  }
}

/** Instances of an agent that the control plane knows. */
async function instancesOf(admin: AdminClient, agent: string): Promise<string[]> {
  const known = members(await admin.get(`/api/agents/${encodeURIComponent(agent)}`))
  return list(known.instances).map((instance) => textOf(members(instance).spiffeId))
}
