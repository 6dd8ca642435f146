import { join } from 'node:path'
import type { Command } from 'commander'
import { target } from '../address.ts'
import { adminClient } from '../admin.ts'
import type { AttestFlags } from '../attest.ts'
import { createOutput, table, utc } from '../output.ts'
import { list, members, numberOf, textOf } from '../shape.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'

interface QuarantineOptions {
  readonly reason: string
  readonly svid?: string
  readonly control: string
}

export function addAgent(program: Command): void {
  const agent = program.command('agent').description('agents and their instances')

  agent
    .command('list')
    .description('declared agents and what runs of them')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const agents = list(await adminClient(dataDir(options)).get('/api/agents'))
      out.data(agents, (rows) =>
        table(
          ['agent', 'segment', 'instances', 'risk', 'quarantined'],
          rows.map(members).map((row) => {
            const instances = list(row.instances).map(members)
            return [
              textOf(row.name),
              textOf(row.segment),
              String(instances.length),
              String(Math.max(0, ...instances.map((i) => numberOf(i.risk)))),
              row.quarantined === true || instances.some((i) => Boolean(i.quarantined))
                ? 'yes'
                : '',
            ]
          }),
        ),
      )
    })

  agent
    .command('show')
    .description('one agent: instances, flows, counts')
    .argument('<name>')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (name: string, options: CommonOptions) => {
      const out = createOutput(options.json === true)
      const path = `/api/agents/${encodeURIComponent(name)}`
      out.data(await adminClient(dataDir(options)).get(path), (value) =>
        JSON.stringify(value, null, 2),
      )
    })

  agent
    .command('enroll')
    .description(
      'print a one-use join token for an agent, a service or a gateway; with --attest, enrol by what this machine, pod or process proves',
    )
    .argument('<name>')
    .option('--kind <kind>', 'agent, service or gateway', 'agent')
    .option('--attest <how>', 'k8s, x509pop or unix: no token is needed, and no data directory')
    .option('--out <dir>', 'with --attest: where svid.pem, svid_key.pem and bundle.pem are written')
    .option('--roots <file>', 'with k8s, x509pop: the network’s roots')
    .option('--control <address>', 'with k8s, x509pop: the control plane', '127.0.0.1:7401')
    .option('--token-file <file>', 'with k8s: the projected service account token')
    .option('--cert <file>', 'with x509pop: the certificate of this machine')
    .option('--key <file>', 'with x509pop: and its private key')
    .option('--socket <path>', 'with unix: the Workload API (default: SPIFFE_ENDPOINT_SOCKET)')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (name: string, options: CommonOptions & AttestFlags & { kind: string }) => {
      const out = createOutput(options.json === true)
      if (options.attest !== undefined) {
        const { enrolAttested } = await import('../attest.ts')
        const done = await enrolAttested(name, options)
        out.note(`valid until ${utc(done.expiresAt)}`)
        out.data(done, () => done.spiffeId)
        return
      }
      const value = await adminClient(dataDir(options)).post('/api/join-tokens', {
        kind: options.kind,
        name,
      })
      const row = members(value)
      out.note(`valid once, until ${utc(numberOf(row.expiresAt))}`)
      out.data(value, () => textOf(row.token))
    })

  agent
    .command('quarantine')
    .description('cut an instance (its SPIFFE id) or a whole agent (its name) off, at every layer')
    .argument('<subject>')
    .requiredOption('--reason <text>', 'why; goes into the incident')
    .option('--svid <dir>', 'as a service: svid.pem, svid_key.pem and bundle.pem in this folder')
    .option(
      '--control <address>',
      'with --svid: the plane API of the control plane',
      '127.0.0.1:7401',
    )
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (subject: string, options: CommonOptions & QuarantineOptions) => {
      const out = createOutput(options.json === true)
      if (options.svid !== undefined) {
        // Loaded where it is needed: the other commands start without it.
        const { quarantineAs } = await import('@sallyport/agent')
        const files = {
          chain: join(options.svid, 'svid.pem'),
          key: join(options.svid, 'svid_key.pem'),
          bundle: join(options.svid, 'bundle.pem'),
        }
        const done = await quarantineAs(files, target(options.control), subject, options.reason)
        out.data(done, (value) => {
          // What the control plane answered; it is shown as text only.
          const { quarantine } = value as { quarantine?: { subject?: unknown } }
          return `quarantined ${String(quarantine?.subject)}`
        })
        return
      }
      const admin = adminClient(dataDir(options))
      const network = members(members(await admin.get('/api/network')).network)
      const id = subject.startsWith('spiffe://')
        ? subject
        : `spiffe://${textOf(network.trustDomain)}/agent/${subject}`
      out.data(
        await admin.post('/api/quarantine', { subject: id, reason: options.reason }),
        (value) => `quarantined ${textOf(members(members(value).quarantine).subject)}`,
      )
    })

  agent
    .command('release')
    .description('release needs a passkey: prints where')
    .argument('<name>')
    .addOption(dataOption())
    .action(async (name: string, options: CommonOptions) => {
      const health = members(await adminClient(dataDir(options)).get('/api/health'))
      createOutput(false).note(
        `a release widens, so a person signs it: ${textOf(health.console)}/agents/${encodeURIComponent(name)}`,
      )
      process.exitCode = 6
    })
}
