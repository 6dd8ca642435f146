import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SallyportError } from '@sallyport/base'
import { launchAgent } from '@sallyport/agent'
import type { Launched } from '@sallyport/agent'
import { initTrust } from '@sallyport/control'
import {
  planDemo,
  readTransactions,
  RunReport,
  SimulatedOperator,
} from '@sallyport/example-meridian'
import type { DemoPlan, DemoProcess } from '@sallyport/example-meridian'
import { loadDeclaration } from '@sallyport/network'
import { adminClient } from '../admin.ts'
import { target } from '../address.ts'
import { startPlanes } from '../commands/planes.ts'
import type { Planes } from '../commands/planes.ts'
import { list, members, numberOf, textOf } from '../shape.ts'
import { jsonLine, supervise } from '../supervise.ts'
import type { Supervised } from '../supervise.ts'
import { followEvents } from '../events.ts'
import type { DemoOptions, DemoReport } from './options.ts'
import { tally } from './tally.ts'

const PLANE = '127.0.0.1:7401'
const GATEWAY = '127.0.0.1:7402'
const READY_MS = 60_000

/** A running Meridian Bank. */
export interface Demo {
  readonly console: string
  readonly link: string
  readonly planes: Planes
  readonly lines: RunReport
  readonly network: 'enforced' | 'not enforced'
  /** Ends everything, verifies the audit log and adds the run up. */
  finish(): Promise<DemoReport>
}

/** Starts control plane, services, gateway and agents of Meridian Bank as processes of their own. */
export async function startDemo(options: DemoOptions): Promise<Demo> {
  const { data, note } = options
  // The service that reads them would end with the first bad line, and the demo with it.
  if (options.transactions !== undefined) {
    const rows = readTransactions(options.transactions)
    while ((await rows.next()).done !== true);
  }
  // Before anything is wiped: another demo may be running on these very ports and this very directory.
  for (const port of [options.consolePort, target(PLANE).port, target(GATEWAY).port]) {
    await freePort(port)
  }
  rmSync(data, { recursive: true, force: true })
  mkdirSync(data, { recursive: true, mode: 0o711 })
  const plan = planDemo({
    dataDir: data,
    attack: options.attack,
    ...(options.headless ? {} : { attackAfterSeconds: 75 }),
    ...(options.transactions === undefined ? {} : { transactionsFile: options.transactions }),
    ...(options.seed === undefined ? {} : { seed: options.seed }),
  })
  const lines = new RunReport(plan.rings)
  const services: Supervised[] = []
  const start = async (process_: DemoProcess, env: Record<string, string>): Promise<void> => {
    const service = supervise({
      name: process_.name,
      command: process_.command,
      args: process_.args,
      env: { ...process_.env, ...env },
      onLine: (line) => lines.addLine(JSON.stringify(line)),
      onError: (text) => note(`${process_.name}: ${text}`),
    })
    services.push(service)
    await service.line(({ event }) => event === 'listening', READY_MS)
  }
  // The outside system first: its CA is part of what is declared, and so of what operators sign.
  for (const process_ of plan.processes) if (process_.kind === 'external') await start(process_, {})
  const networkFile = declarationWith(plan, join(data, 'declaration'))
  const declaration = await loadDeclaration({ networkFile })
  const { trustDomain, quorum } = declaration.network
  await initTrust({
    dataDir: data,
    declaration,
    rpId: 'localhost',
    origin: `http://localhost:${options.consolePort}`,
  })
  const secrets = join(data, 'secrets.json')
  writeFileSync(secrets, JSON.stringify(plan.secrets), { mode: 0o600 })

  const agents: { process: DemoProcess; launched: Launched; instance: string }[] = []
  const stops: (() => Promise<void>)[] = []
  const stopAll = async (): Promise<void> => {
    for (const stop of stops.toReversed()) await stop()
  }
  try {
    const planes = await startPlanes({
      data,
      network: networkFile,
      console: ['--console-port', String(options.consolePort)],
      plane: PLANE,
      listen: GATEWAY,
      secrets,
      upstreams: upstreamsOf(plan),
      onError: (name, text) => note(`${name}: ${text}`),
      beforeGateway: async () => {
        const admin = adminClient(data)
        for (const process_ of plan.processes.filter(({ kind }) => kind === 'service')) {
          await start(process_, {
            ...(await joinEnv(admin, data, trustDomain, 'service', process_.name)),
            SALLYPORT_PLANE: PLANE,
          })
        }
      },
    })
    stops.push(
      () => planes.stop(),
      async () => {
        await Promise.all(services.map((service) => service.stop()))
      },
    )
    const admin = adminClient(data)
    for (const process_ of plan.processes.filter(({ kind }) => kind === 'agent')) {
      const agent = { process: process_, launched: undefined, instance: '' }
      const env = await joinEnv(admin, data, trustDomain, 'agent', process_.name)
      const { SALLYPORT_TOKEN_FILE: tokenFile, SALLYPORT_ROOTS: roots } = env
      const launched = await launchAgent({
        name: process_.name,
        command: process_.command,
        args: process_.args,
        env: { ...process_.env, ...env },
        // The trust root, the admin socket and the other agents' tokens lie here, open to this very user.
        hide: [data],
        expose: [tokenFile, roots],
        runDir: join(data, 'run', process_.name),
        gateway: target(GATEWAY),
        control: target(PLANE),
        isolate: options.isolate,
        onStdout: (text) => {
          lines.addLine(text)
          const instance = jsonLine(text)?.instance
          const entry = agents.find(({ process: { name } }) => name === process_.name)
          if (typeof instance === 'string' && entry) entry.instance = instance
        },
        onStderr: (text) => note(`${process_.name}: ${text}`),
        onExit: () => {},
      })
      agents.push({ ...agent, launched })
      stops.push(() => launched.stop())
    }
    for (const { process: process_, launched } of agents) {
      if (launched.reason !== undefined) note(`${process_.name}: not isolated: ${launched.reason}`)
    }
    // A network of its own is no door where the files or processes beside it lead round.
    const network = agents.every(({ launched: { isolation } }) =>
      [isolation.network, isolation.files, isolation.processes].every(Boolean),
    )
      ? 'enforced'
      : 'not enforced'
    const events = followEvents(data, (event, value) => {
      if (event !== 'quarantine') return
      const subject = textOf(members(value.quarantine).subject ?? value.subject)
      for (const {
        process: { name },
        launched,
        instance,
      } of agents) {
        if (subject === instance || subject === `spiffe://${trustDomain}/agent/${name}`) {
          launched.cut()
          note(`${name}: segment cut`)
        }
      }
    })
    return {
      console: textOf(planes.control.console),
      link: textOf(planes.control.link),
      planes,
      lines,
      network,
      async finish() {
        const incidents = await incidentTimes(data).catch(() => [])
        lines.close()
        await Promise.all(agents.map(({ launched }) => launched.stop()))
        events.stop()
        await stopAll()
        stops.length = 0
        return report({ options, plan, lines, network, quorum, agents, incidents })
      },
    }
  } catch (error) {
    await stopAll()
    await Promise.all(services.map((service) => service.stop()))
    throw error
  }
}

/** Runs the demo for its duration with the software authenticator as its operator. */
export async function runHeadless(options: DemoOptions): Promise<DemoReport> {
  const demo = await startDemo(options)
  const operator = new SimulatedOperator({
    consoleUrl: demo.console,
    link: demo.link,
    onDecided: ({ operation, decision }) => options.note(`operator: ${decision} ${operation}`),
  })
  const work = operator
    .signIn()
    .then(() => operator.run())
    .catch((error: unknown) => options.note(`operator: ${String(error)}`))
  await sleep(options.durationMs)
  operator.stop()
  const result = await demo.finish()
  await work
  return result
}

/** The declaration as it is for this run: the example's, with the CA that the outside system made. */
function declarationWith(plan: DemoPlan, dir: string): string {
  for (const part of ['network.yaml', 'policies', 'openapi', 'mcp']) {
    cpSync(join(plan.declarationDir, part), join(dir, part), { recursive: true })
  }
  cpSync(plan.watchlist.caFile, join(dir, 'watchlist-ca.pem'))
  const file = join(dir, 'network.yaml')
  const server = `serverName: ${plan.watchlist.serverName}`
  const text = readFileSync(file, 'utf8')
  writeFileSync(file, text.replace(server, `${server}\n      caFile: watchlist-ca.pem`))
  return file
}

const upstreamsOf = (plan: DemoPlan): string[] =>
  plan.processes.flatMap(({ kind, name, port }) =>
    kind === 'agent' || port === undefined ? [] : [`${name}=127.0.0.1:${port}`],
  )

async function joinEnv(
  admin: ReturnType<typeof adminClient>,
  data: string,
  trustDomain: string,
  kind: string,
  name: string,
): Promise<{
  SALLYPORT_TOKEN_FILE: string
  SALLYPORT_ROOTS: string
  SALLYPORT_TRUST_DOMAIN: string
}> {
  const { token } = members(await admin.post('/api/join-tokens', { kind, name }))
  const dir = join(data, 'run', 'tokens')
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const file = join(dir, name)
  writeFileSync(file, textOf(token), { mode: 0o600 })
  return {
    SALLYPORT_TOKEN_FILE: file,
    SALLYPORT_ROOTS: join(data, 'trust', 'ca.pem'),
    SALLYPORT_TRUST_DOMAIN: trustDomain,
  }
}

interface IncidentTime {
  readonly subject: string
  readonly flaggedAt: number
}

/** When each subject was first flagged: the first signal on its incident's timeline. */
async function incidentTimes(data: string): Promise<IncidentTime[]> {
  const admin = adminClient(data)
  const incidents = list(await admin.get('/api/incidents')).map(members)
  return Promise.all(
    incidents.map(async (incident) => {
      const path = `/api/incidents/${encodeURIComponent(textOf(incident.id))}`
      const timeline = list(members(await admin.get(path)).timeline).map(members)
      const first = timeline.find(({ kind }) => kind === 'signal' || kind === 'risk')
      return {
        subject: textOf(incident.subject),
        flaggedAt: numberOf(first?.at ?? incident.openedAt),
      }
    }),
  )
}

async function report(run: {
  readonly options: DemoOptions
  readonly plan: DemoPlan
  readonly lines: RunReport
  readonly network: 'enforced' | 'not enforced'
  readonly quorum: number
  readonly agents: readonly { readonly process: DemoProcess; readonly instance: string }[]
  readonly incidents: readonly IncidentTime[]
}): Promise<DemoReport> {
  const { options, lines, agents, incidents } = run
  const said = lines.summary()
  const startedAt = said.attack?.startedAt
  const attacker = agents.find(({ process: { name } }) => name === said.attack?.agent)
  const proven = await tally(
    join(options.data, 'gateway', 'gw1'),
    attacker && startedAt !== undefined
      ? { instance: attacker.instance, since: startedAt }
      : undefined,
  )
  const flaggedAt = incidents.find(({ subject }) => subject === attacker?.instance)?.flaggedAt
  const since = (at: number | null | undefined): number | null =>
    at === null || at === undefined || startedAt === undefined ? null : Math.max(0, at - startedAt)
  return {
    agents: agents.length,
    calls: proven.calls,
    decisions: proven.decisions,
    rings: { present: said.rings.present, found: said.rings.found },
    holds: { requested: said.holds.requested, approved: said.holds.approved },
    rotations: said.rotations,
    failedCalls: said.failedCalls,
    attack: said.attack
      ? {
          name: said.attack.name,
          attempts: said.attack.attempts,
          refused: said.attack.refused,
          byLayer: said.attack.byLayer,
          recordsExposed: proven.attacker.sensitiveRecords,
          recordsReadWithinProjection: proven.attacker.recordsRead,
          timeToFlagMs: since(flaggedAt),
          timeToContainMs: since(proven.attacker.containedAt),
          callsAfterContainment: proven.attacker.callsAfterContainment,
        }
      : null,
    audit: {
      records: proven.records,
      verified: proven.verified,
      statement: proven.statement,
    },
    network: run.network,
    simulatedOperator: options.headless,
    quorum: run.quorum,
  }
}

/** @throws SallyportError `SP_CONFIG_PORT_TAKEN` */
async function freePort(port: number): Promise<void> {
  const server = createServer()
  try {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  } catch (cause) {
    throw new SallyportError('SP_CONFIG_PORT_TAKEN', `port ${port} is taken`, {
      detail: cause instanceof Error ? cause.message : String(cause),
      fix: 'end the other demo, or whatever else listens there',
      cause,
    })
  } finally {
    server.close()
  }
}
