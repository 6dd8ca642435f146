import { join } from 'node:path'
import type { Command } from 'commander'
import type { DeclaredProcess, LazyWorkload } from '@sallyport/agent'
import { renderError, SallyportError } from '@sallyport/base'
import { target } from '../address.ts'
import { adminClient } from '../admin.ts'
import { followEvents } from '../events.ts'
import type { CommonOptions } from '../options.ts'
import { dataDir, dataOption, jsonOption } from '../options.ts'
import { createOutput } from '../output.ts'
import { readGiven } from '../files.ts'
import { list, members, textOf } from '../shape.ts'
import type { Members } from '../shape.ts'
import { stopSignal } from '../supervise.ts'

/** `sallyport workload-api`: one SPIFFE Workload API for all agents of this machine, each told apart by its process. */
export function addWorkloadApi(program: Command): void {
  program
    .command('workload-api')
    .description('serve identities to the processes of this machine that the declaration names')
    .requiredOption('--socket <path>', 'the Unix socket, in a folder that the agents can enter')
    .option('--mode <octal>', 'its mode: who may ask at all', '666')
    .option('--control <address>', 'the control plane', '127.0.0.1:7401')
    .addOption(dataOption())
    .addOption(jsonOption())
    .action(async (options: CommonOptions & { socket: string; mode: string; control: string }) => {
      const out = createOutput(options.json === true)
      const data = dataDir(options)
      const mode = modeOf(options.mode)
      const admin = adminClient(data)
      const { attesting, enrol, lazyWorkload, serveWorkloadApi } = await import('@sallyport/agent')
      const inForce = async (): Promise<Members> =>
        members(members(await admin.get('/api/network')).network)
      let network = await inForce()
      const trustDomain = textOf(network.trustDomain)
      const identities = new Map<string, { readonly is: LazyWorkload; id: string }>()

      const identityOf = (agent: string): LazyWorkload => {
        const known = identities.get(agent)
        if (known) return known.is
        const is = lazyWorkload(async (onRotationError) => {
          const joinAs = { kind: 'agent', name: agent }
          const identity = await enrol({
            planeTarget: target(options.control),
            rootsPem: readGiven(join(data, 'trust', 'ca.pem')),
            token: textOf(members(await admin.post('/api/join-tokens', joinAs)).token),
            trustDomain,
            onRotationError,
          })
          entry.id = identity.spiffeId
          return identity
        })
        const entry = { is, id: '' }
        identities.set(agent, entry)
        return is
      }
      const withdraw = (agent: string, reason: string): void => {
        identities.get(agent)?.is.withdraw(reason)
        // Whether it is let back in is for the control plane to say, at its next enrolment.
        identities.delete(agent)
        out.note(`${agent}: ${reason}`)
      }
      const refresh = async (): Promise<void> => {
        network = await inForce()
        const declared = new Set(declaredProcesses(network).map(({ agent }) => agent))
        for (const agent of identities.keys()) {
          if (!declared.has(agent)) withdraw(agent, 'not declared any more')
        }
      }
      const events = followEvents(data, (event, value) => {
        if (event === 'revision') {
          refresh().catch((error: unknown) => {
            out.note(renderError(error))
          })
        }
        if (event !== 'quarantine') return
        const subject = textOf(members(value.quarantine).subject ?? value.subject)
        for (const [agent, { id }] of identities) {
          if (subject === id || subject === `spiffe://${trustDomain}/agent/${agent}`) {
            withdraw(agent, 'quarantined')
          }
        }
      })
      const api = await serveWorkloadApi({
        path: options.socket,
        mode,
        admit: attesting(
          () => declaredProcesses(network),
          (agent) => identityOf(agent).source(),
        ),
        onRefused: (error) => {
          out.note(renderError(error))
        },
      })
      out.data({ endpoint: api.endpoint }, ({ endpoint }) => `SPIFFE_ENDPOINT_SOCKET=${endpoint}`)
      await stopSignal()
      events.stop()
      api.close()
      for (const { is } of identities.values()) is.withdraw('the workload API has ended')
    })
}

/** The agents that say how their processes are told from others. */
function declaredProcesses(network: Members): DeclaredProcess[] {
  return list(network.agents).flatMap((value): DeclaredProcess[] => {
    const agent = members(value)
    const { uid, gid, path, sha256 } = members(members(agent.attest).unix)
    if (typeof uid !== 'number') return []
    const unix = {
      uid,
      ...(typeof gid === 'number' ? { gid } : {}),
      ...(typeof path === 'string' ? { path } : {}),
      ...(typeof sha256 === 'string' ? { sha256 } : {}),
    }
    return [{ agent: textOf(agent.name), unix }]
  })
}

function modeOf(text: string): number {
  if (/^0?[0-7]{3}$/.test(text)) return Number.parseInt(text, 8)
  throw new SallyportError('SP_USAGE_OPTION', `\`${text}\` is not a mode`, {
    fix: 'write three octal digits, e.g. `660`',
  })
}
