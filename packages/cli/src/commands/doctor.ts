import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, statfsSync } from 'node:fs'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import type { Command } from 'commander'
import { errorCode } from '@sallyport/base'
import { adminClient } from '../admin.ts'
import { consoleDir } from '../console.ts'
import { EXIT } from '../exit.ts'
import { createOutput, table } from '../output.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'
import { list, members, textOf } from '../shape.ts'

interface Finding {
  readonly check: string
  readonly state: 'ok' | 'note' | 'bad'
  readonly text: string
}

/** `sallyport doctor`: what this machine can do, and what of a running network is not well, each with its remedy. */
export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('check this machine and the running network')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const data = dataDir(options)
      const findings = [...machine(data), ...(await running(data))]
      out.data(findings, (rows) =>
        table(
          ['check', 'state', 'what'],
          rows.map(({ check, state, text }) => [check, state, text]),
        ),
      )
      if (findings.some(({ state }) => state === 'bad')) process.exitCode = EXIT.failure
    })
}

function machine(data: string): Finding[] {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const nodeOk = major > 22 || (major === 22 && minor >= 18)
  const userNamespace = spawnSync('unshare', ['-Urn', 'true']).status === 0
  const rootNamespace = spawnSync('unshare', ['-n', 'true']).status === 0
  const findings: Finding[] = [
    {
      check: 'node',
      state: nodeOk ? 'ok' : 'bad',
      text: nodeOk ? process.version : `${process.version}: install Node 24 or run \`npm ci\``,
    },
    {
      check: 'namespaces',
      state: userNamespace || rootNamespace ? 'ok' : 'note',
      text:
        userNamespace || rootNamespace
          ? 'agents run in network namespaces of their own'
          : 'not permitted here: reports will say `network: not enforced`',
    },
    {
      check: 'nftables',
      state: spawnSync('nft', ['--version']).status === 0 ? 'ok' : 'note',
      text: 'the `nft` command, needed only to apply `segment emit nftables` on this machine',
    },
    {
      check: 'console',
      state: consoleDir() ? 'ok' : 'bad',
      text: consoleDir() ? 'built' : 'not built: npm run build -w @sallyport/console',
    },
  ]
  if (existsSync(data)) {
    const { bavail, bsize } = statfsSync(data)
    const gib = (bavail * bsize) / 2 ** 30
    findings.push({
      check: 'disk',
      state: gib < 1 ? 'bad' : 'ok',
      text: `${gib.toFixed(1)} GiB free for ${data}${gib < 1 ? ': a full disk stops every audited call' : ''}`,
    })
  }
  const ca = join(data, 'trust', 'ca.pem')
  let readable = false
  try {
    accessSync(ca, constants.R_OK)
    readable = true
  } catch {
    // Reported below.
  }
  findings.push({
    check: 'trust root',
    state: readable ? 'ok' : 'note',
    text: readable ? ca : `none in ${data}: run \`sallyport init\``,
  })
  return findings
}

async function running(data: string): Promise<Finding[]> {
  let health
  try {
    health = members(await adminClient(data).get('/api/health'))
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    return [{ check: 'control', state: 'note', text: `${text} [${errorCode(error)}]` }]
  }
  const findings: Finding[] = [
    { check: 'control', state: 'ok', text: textOf(health.control) || 'answers' },
    {
      check: 'database',
      state: textOf(health.database) === 'ok' ? 'ok' : 'bad',
      text: textOf(health.database),
    },
  ]
  const gateways = list(health.gateways).map(members)
  if (gateways.length === 0) {
    findings.push({
      check: 'gateway',
      state: 'bad',
      text: 'no gateway is connected: start one with `sallyport gateway`',
    })
  }
  for (const gateway of gateways) {
    const { address } = gateway
    const reached = typeof address === 'string' ? await reach(address) : true
    findings.push({
      check: `gateway ${textOf(gateway.id)}`,
      state: reached ? 'ok' : 'bad',
      text: `revision ${textOf(gateway.revision)}, ${textOf(gateway.lagMs)} ms behind`,
    })
  }
  return findings
}

function reach(address: string): Promise<boolean> {
  const [host = '', port = ''] = address.split(':')
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = createConnection({ host, port: Number(port), timeout: 1000 })
  socket.once('connect', () => resolve(true))
  socket.once('error', () => resolve(false))
  socket.once('timeout', () => resolve(false))
  return promise.finally(() => socket.destroy())
}
