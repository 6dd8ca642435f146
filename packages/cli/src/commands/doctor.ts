import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from 'commander'
import { errorCode, renderError } from '@sallyport/base'
import { adminClient } from '../admin.ts'
import { consoleDir, fixedOrigin } from '../console.ts'
import type { ConsoleFlags } from '../console.ts'
import { EXIT } from '../exit.ts'
import { createOutput, table, utc } from '../output.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'
import { list, members, numberOf, textOf } from '../shape.ts'
import type { Members } from '../shape.ts'
import { handshake } from '../handshake.ts'
import type { HandshakeFlags } from '../handshake.ts'

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
    .option('--console-cert <file>', 'check these before `up` is given them: certificate and chain')
    .option('--console-key <file>', 'and the private key')
    .option('--connect <address>', 'say in one line why a connection there fails, and no more')
    .option('--roots <file>', 'the network’s roots for it (default: those of the data directory)')
    .option('--cert <file>', 'a certificate to connect with')
    .option('--key <file>', 'and its private key')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions & ConsoleFlags & HandshakeFlags) => {
      const out = createOutput(options.json === true)
      const data = dataDir(options)
      const findings =
        options.connect === undefined
          ? [...machine(data), ...(await certificateFiles(data, options)), ...(await running(data))]
          : [await handshake(options.connect, data, options)]
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

/** The certificate that `up` would be given, judged as it would judge it. */
async function certificateFiles(data: string, flags: ConsoleFlags): Promise<Finding[]> {
  const { consoleCert: certFile, consoleKey: keyFile } = flags
  const check = 'certificate files'
  if (certFile === undefined && keyFile === undefined) return []
  const origin = fixedOrigin(data)
  if (certFile === undefined || keyFile === undefined || origin?.protocol !== 'https:') {
    const text =
      origin?.protocol === 'https:'
        ? 'give both --console-cert and --console-key'
        : 'of no use: the console is not at an https origin (`sallyport init --console-origin`)'
    return [{ check, state: 'bad', text }]
  }
  try {
    const { inspectCertificate } = await import('@sallyport/control')
    const facts = await inspectCertificate({ certFile, keyFile }, origin.hostname, Date.now())
    return [certificate(check, facts)]
  } catch (error) {
    return [{ check, state: 'bad', text: renderError(error) }]
  }
}

function certificate(
  check: string,
  facts: {
    readonly names: readonly string[]
    readonly notBefore: number
    readonly notAfter: number
  },
): Finding {
  const days = (ms: number): number => Math.floor(ms / 86_400_000)
  const left = days(facts.notAfter - Date.now())
  const soon = left < Math.min(14, days(facts.notAfter - facts.notBefore) / 3)
  return {
    check,
    state: left < 0 ? 'bad' : soon ? 'note' : 'ok',
    text: [
      facts.names.join(', '),
      `${days(Date.now() - facts.notBefore)} days old`,
      left < 0 ? 'expired: renew it' : `${left} days left${soon ? ': renew it' : ''}`,
    ].join('; '),
  }
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
  if (health.certificate !== undefined) {
    const served = members(health.certificate)
    const facts = {
      names: list(served.names).map(textOf),
      notBefore: Number(served.notBefore),
      notAfter: Number(served.notAfter),
    }
    findings.push(certificate('certificate', facts))
    if (served.problem !== undefined) {
      const { text } = members(served.problem)
      findings.push({ check: 'next certificate', state: 'bad', text: textOf(text) })
    }
  }
  const gateways = list(health.gateways).map(members)
  if (gateways.length === 0) {
    findings.push({
      check: 'gateway',
      state: 'bad',
      text: 'no gateway is connected: start one with `sallyport gateway`',
    })
  }
  for (const gateway of gateways) {
    const connected = gateway.connected === true
    findings.push({
      check: `gateway ${textOf(gateway.id)}`,
      state: connected ? 'ok' : 'bad',
      text: connected
        ? standing(gateway)
        : `not connected; seen last at ${utc(numberOf(gateway.lastSeen))}`,
    })
  }
  return findings
}

/** How far a gateway is: the revision it applied last, and how long that took it. */
function standing({ revision, lagMs }: Members): string {
  if (revision === null) return 'connected; no revision applied yet'
  const { epoch, n } = members(revision)
  const late = typeof lagMs === 'number' ? `, ${lagMs} ms after it was signed` : ''
  return `revision ${textOf(epoch)}.${textOf(n)}${late}`
}
