import { join, resolve } from 'node:path'
import { Option } from 'commander'
import type { Command } from 'commander'
import { parseJson, SallyportError, systemClock } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { adminClient } from '../admin.ts'
import { createOutput } from '../output.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, duration, takePin } from '../options.ts'
import { readGiven } from '../files.ts'
import { members, textOf } from '../shape.ts'
import { selfCommand, selfWith, stopSignal, supervise } from '../supervise.ts'
import type { Line } from '../supervise.ts'
import { listenTarget, target } from '../address.ts'
import { consoleArgs, consoleDir, consoleFlags, consoleSite, fixedOrigin } from '../console.ts'
import type { ConsoleFlags } from '../console.ts'

const ready = (line: Readonly<Record<string, unknown>>): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

const collect = (value: string, previous: string[]): string[] => [...previous, value]

/** `SYSTEM=ADDRESS`, each. */
const bySystem = (texts: readonly string[]): Record<string, ReturnType<typeof target>> =>
  Object.fromEntries(
    texts.map((text) => {
      const [system = '', address = ''] = text.split('=')
      return [system, target(address)]
    }),
  )

/** `control`, `gateway` and `up`. Each says on stdout, as one JSON line, when and where it is ready. */
export function addPlanes(program: Command): void {
  consoleFlags(program.command('control'))
    .description('run the control plane')
    .option('--network <file>', 'the declaration', 'network.yaml')
    .option('--plane <address>', 'where gateways and agents reach it', '127.0.0.1:7401')
    .addOption(dataOption())
    .action(async (options: CommonOptions & ConsoleFlags & { network: string; plane: string }) => {
      const { loadDeclaration } = await import('@sallyport/network')
      const { startControl } = await import('@sallyport/control')
      const declaration = await loadDeclaration({ networkFile: options.network })
      const staticDir = consoleDir()
      const stopping = stopSignal()
      const giveUp = new AbortController()
      void stopping.then(() => giveUp.abort())
      const pin = takePin()
      const control = await startControl({
        dataDir: dataDir(options),
        declaration,
        console: {
          ...consoleSite(dataDir(options), options),
          ...(staticDir ? { staticDir } : {}),
        },
        plane: target(options.plane),
        ...(process.env.DATABASE_URL ? { databaseUrl: process.env.DATABASE_URL } : {}),
        ...(pin === undefined ? {} : { pkcs11Pin: pin }),
        signal: giveUp.signal,
        onSealed: (status) => ready({ ready: 'sealed', ...status }),
      })
      ready({
        ready: 'control',
        console: control.consoleUrl,
        consoleAddress: control.consoleAddress,
        plane: `${control.planeAddress.host}:${control.planeAddress.port}`,
        ...(control.bootstrapLink ? { link: control.bootstrapLink } : {}),
      })
      await stopping
      await control.close()
    })

  program
    .command('gateway')
    .description('run a gateway')
    .requiredOption('--id <id>', 'name of this gateway')
    .option('--control <address>', 'the control plane', '127.0.0.1:7401')
    .option('--listen <address>', 'where agents reach it', '127.0.0.1:7402')
    .option('--listen-postgres <address>', 'where agents reach databases; absent means nowhere')
    .option(
      '--listen-opaque <system=address>',
      'where agents reach a system whose protocol is not read',
      collect,
      [],
    )
    .option(
      '--points <address>',
      'where Envoy, Istio and nginx ask it for decisions (or unix:PATH)',
    )
    .option('--health <address>', 'where this machine asks for /live and /ready (loopback only)')
    .option(
      '--proxy-from <cidr>',
      'a balancer that says by PROXY protocol v2 where connections to --listen come from; nobody else may connect',
      collect,
      [],
    )
    .option('--share-ports', 'let another gateway take over on the same ports')
    .option('--drain <duration>', 'how long calls in flight may take to end at a stop', '10s')
    .option('--token-file <file>', 'join token, for the first start')
    .option('--secrets <file>', 'JSON file: secret name → value')
    .option('--upstream <system=address>', 'where a system is, if not as declared', collect, [])
    .addOption(
      new Option(
        '--codec <codec>',
        'what reads and writes HTTP/1.1 towards systems; lean is faster, and new',
      )
        .choices(['llhttp', 'lean'])
        .default('llhttp'),
    )
    .addOption(dataOption())
    .action(
      async (
        options: CommonOptions & {
          codec: 'llhttp' | 'lean'
          id: string
          control: string
          listen: string
          listenPostgres?: string
          listenOpaque: string[]
          points?: string
          health?: string
          sharePorts?: boolean
          proxyFrom: string[]
          drain: string
          tokenFile?: string
          secrets?: string
          upstream: string[]
        },
      ) => {
        const data = dataDir(options)
        const { startGateway } = await import('@sallyport/gateway')
        const gateway = await startGateway({
          id: options.id,
          dataDir: join(data, 'gateway', options.id),
          // The network's keys, and other gateways': what it runs may have its user id.
          hide: [data, ...(options.secrets ? [resolve(options.secrets)] : [])],
          control: target(options.control),
          listen: target(options.listen),
          ...(options.listenPostgres ? { listenPostgres: target(options.listenPostgres) } : {}),
          ...(options.points === undefined ? {} : { points: listenTarget(options.points) }),
          ...(options.health === undefined ? {} : { health: target(options.health) }),
          ...(options.sharePorts === true ? { sharePorts: true } : {}),
          ...(options.proxyFrom.length === 0 ? {} : { proxyFrom: options.proxyFrom }),
          settings: { drainMs: duration('--drain', options.drain), codec: options.codec },
          pinsFile: join(data, 'trust', 'pins.json'),
          ...joinToken(options.tokenFile),
          secrets: readSecrets(options.secrets),
          ...(options.listenOpaque.length === 0
            ? {}
            : { listenOpaque: bySystem(options.listenOpaque) }),
          upstreams: bySystem(options.upstream),
        })
        const stopping = stopSignal()
        const points = gateway.pointsAddress
        ready({
          ready: 'gateway',
          id: options.id,
          address: `${gateway.address.host}:${gateway.address.port}`,
          ...(gateway.postgresAddress
            ? { postgres: `${gateway.postgresAddress.host}:${gateway.postgresAddress.port}` }
            : {}),
          ...(options.listenOpaque.length === 0
            ? {}
            : {
                opaque: Object.fromEntries(
                  Object.entries(gateway.opaqueAddresses).map(([system, { host, port }]) => [
                    system,
                    `${host}:${port}`,
                  ]),
                ),
              }),
          ...(gateway.healthAddress
            ? { health: `${gateway.healthAddress.host}:${gateway.healthAddress.port}` }
            : {}),
          ...(points === undefined
            ? {}
            : {
                points: 'path' in points ? `unix:${points.path}` : `${points.host}:${points.port}`,
              }),
        })
        await stopping
        // Whoever asks again does not want to wait.
        void stopSignal().then(() => gateway.close())
        await gateway.drain()
      },
    )

  consoleFlags(program.command('up'))
    .description('run the control plane (with its database) and one gateway on this machine')
    .option('--network <file>', 'the declaration', 'network.yaml')
    .option('--plane <address>', 'control plane', '127.0.0.1:7401')
    .option('--listen <address>', 'gateway', '127.0.0.1:7402')
    .option('--secrets <file>', 'JSON file: secret name → value')
    .option('--upstream <system=address>', 'where a system is, if not as declared', collect, [])
    .addOption(dataOption())
    .action(
      async (
        options: CommonOptions &
          ConsoleFlags & {
            network: string
            plane: string
            listen: string
            secrets?: string
            upstream: string[]
          },
      ) => {
        const out = createOutput(false)
        await checkConsole(options)
        const planes = await startPlanes({
          data: dataDir(options),
          network: resolve(options.network),
          console: consoleArgs(options),
          plane: options.plane,
          listen: options.listen,
          ...(options.secrets ? { secrets: resolve(options.secrets) } : {}),
          upstreams: await onThisMachine(resolve(options.network), options.upstream),
          onError: (name, text) => out.note(`${name}: ${text}`),
        })
        out.note(`console  ${textOf(planes.control.console)}`)
        out.note(`         on ${textOf(planes.control.consoleAddress)}`)
        if (planes.control.link !== undefined) out.note(`sign in  ${textOf(planes.control.link)}`)
        out.note(`gateway  ${textOf(planes.gateway.address)}`)
        ready({ ...planes.control, ready: 'up', gateway: planes.gateway.address })
        await stopSignal()
        await planes.stop()
      },
    )
}

export interface PlanesOptions {
  readonly data: string
  readonly network: string
  /** Options of `control` that say where the console answers. */
  readonly console: readonly string[]
  readonly plane: string
  readonly listen: string
  readonly secrets?: string
  readonly upstreams: readonly string[]
  readonly onError: (process: string, text: string) => void
  /** Runs once the control plane answers and before the gateway starts: brings services up. */
  readonly beforeGateway?: (control: Line) => Promise<void>
}

export interface Planes {
  readonly control: Line
  readonly gateway: Line
  stop(): Promise<void>
}

/** People take as long as they take to unseal: the longest time that a timer can have. */
const AS_LONG_AS = 2 ** 31 - 1
const isUp = (what: JsonValue | undefined): boolean => what === 'control' || what === 'sealed'

/** Starts the control plane and one gateway as processes of their own. */
export async function startPlanes(options: PlanesOptions): Promise<Planes> {
  const pin = takePin()
  const controlProcess = supervise({
    name: 'control',
    ...(pin === undefined ? {} : { env: { SALLYPORT_PKCS11_PIN: pin } }),
    ...selfCommand(
      'control',
      '--network',
      options.network,
      '--data',
      options.data,
      ...options.console,
      '--plane',
      options.plane,
    ),
    onError: (text) => options.onError('control', text),
  })
  try {
    const first = await controlProcess.line(({ ready: what }) => isUp(what), 60_000)
    if (first.ready === 'sealed') {
      options.onError('control', `sealed; it waits for \`sallyport unseal --data ${options.data}\``)
    }
    const control = await controlProcess.line(({ ready: what }) => what === 'control', AS_LONG_AS)
    await options.beforeGateway?.(control)
    const token = members(
      await adminClient(options.data).post('/api/join-tokens', { kind: 'gateway', name: 'gw1' }),
    )
    const { NODE_FLAGS } = await import('@sallyport/gateway/node-flags')
    const gatewayProcess = supervise({
      name: 'gateway',
      ...selfWith(
        NODE_FLAGS,
        'gateway',
        '--id',
        'gw1',
        '--data',
        options.data,
        '--control',
        textOf(control.plane),
        '--listen',
        options.listen,
        ...(options.secrets ? ['--secrets', options.secrets] : []),
        ...options.upstreams.flatMap((upstream) => ['--upstream', upstream]),
      ),
      // The environment of a process is readable by its own user only, and the token works once.
      env: { SALLYPORT_JOIN_TOKEN: textOf(token.token) },
      onError: (text) => options.onError('gateway', text),
    })
    const gateway = await gatewayProcess.line(({ ready: what }) => what === 'gateway', 60_000)
    return {
      control,
      gateway,
      async stop() {
        await gatewayProcess.stop(15_000)
        await controlProcess.stop(10_000)
      },
    }
  } catch (error) {
    await controlProcess.stop(10_000)
    throw error
  }
}

function readSecrets(file: string | undefined): Record<string, string> {
  if (file === undefined) return {}
  const secrets: Record<string, string> = {}
  for (const [name, value] of Object.entries(members(secretsIn(file)))) {
    if (typeof value !== 'string') {
      throw new SallyportError('SP_CONFIG_SECRETS', `secret \`${name}\` is not a string`, {
        fix: 'the secrets file is one JSON object of names and string values',
      })
    }
    secrets[name] = value
  }
  return secrets
}

function secretsIn(file: string): JsonValue {
  const text = readGiven(file)
  try {
    return parseJson(text)
  } catch (cause) {
    throw new SallyportError('SP_CONFIG_SECRETS', `\`${file}\` is not JSON`, {
      fix: 'the secrets file is one JSON object of names and string values',
      cause,
    })
  }
}

function joinToken(file: string | undefined): { joinToken?: string } {
  const token = file === undefined ? process.env.SALLYPORT_JOIN_TOKEN : readGiven(file).trim()
  delete process.env.SALLYPORT_JOIN_TOKEN
  return token ? { joinToken: token } : {}
}

/** What is wrong with the console's address or certificate is said before anything is started, with its own code. */
async function checkConsole(options: CommonOptions & ConsoleFlags): Promise<void> {
  const data = dataDir(options)
  const origin = fixedOrigin(data)?.origin
  if (origin === undefined) return
  const site = consoleSite(data, options)
  const nobody = (): void => undefined
  const { planSite } = await import('@sallyport/control')
  await planSite({ ...site, origin, clock: systemClock, onError: nobody })
}

/** `up` is one machine: a service that no `--upstream` places is on loopback, at its declared port. */
async function onThisMachine(networkFile: string, given: readonly string[]): Promise<string[]> {
  const { loadDeclaration } = await import('@sallyport/network')
  const { network } = await loadDeclaration({ networkFile })
  const local = network.systems.flatMap(({ name, upstream }) =>
    upstream.kind === 'service' && !given.some((text) => text.startsWith(`${name}=`))
      ? [`${name}=127.0.0.1:${upstream.port}`]
      : [],
  )
  return [...given, ...local]
}
