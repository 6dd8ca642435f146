import type { LaunchOptions } from '@sallyport/agent'
import { renderError, SallyportError } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import { target } from '../address.ts'
import { list, members, textOf } from '../shape.ts'

export interface OpaqueFlags {
  /** The agent. */
  readonly as: string
  /** `SYSTEM=HOST:PORT`, each where the gateway listens for the system. */
  readonly opaque: readonly string[]
  /** `SYSTEM=PORT`, each where the program finds it on loopback. */
  readonly opaquePort: readonly string[]
}

/**
 * The doors of `sallyport run` to systems whose protocol is not read. What is declared otherwise would be refused by the gateway at each
 * connection, with nothing to tell it in: it is said here.
 *
 * @param network as the control plane has it
 * @throws SallyportError `SP_USAGE_OPAQUE`, `SP_USAGE_ADDRESS`
 */
export function opaqueOf(
  { as: agent, opaque, opaquePort }: OpaqueFlags,
  network: JsonValue | undefined,
  note: (text: string) => void,
): Partial<Pick<LaunchOptions, 'opaque'>> {
  const ports = new Map(opaquePort.map((text) => portFrom(text)))
  if (ports.size < opaquePort.length) throw refuse('two ports for one system')
  if (new Set(ports.values()).size < ports.size) throw refuse('two systems cannot have one port')
  const { systems, flows } = members(network)
  const leads = list(flows)
    .map(members)
    .filter((flow) => flow.from === agent)
    .map((flow) => flow.to)
  const known = list(systems)
    .map(members)
    .filter((system) => system.protocol === 'opaque' && leads.includes(system.name))
    .map((system) => textOf(system.name))
  const doors = opaque.map((text) => {
    const [, system, address = ''] = /^([^=]+)=(.*)$/.exec(text) ?? []
    if (system === undefined) throw refuse(`\`${text}\` is no system and address`)
    if (!known.includes(system)) {
      throw refuse(`no flow leads \`${agent}\` to an opaque system \`${system}\``)
    }
    const port = ports.get(system)
    return [system, { target: target(address), ...(port === undefined ? {} : { port }) }] as const
  })
  const named = Object.fromEntries(doors)
  if (Object.keys(named).length < doors.length) throw refuse('two addresses for one system')
  for (const system of ports.keys()) {
    if (!Object.hasOwn(named, system))
      throw refuse(`\`--opaque\` does not say where \`${system}\` is`)
  }
  if (doors.length === 0) return {}
  return {
    opaque: {
      systems: named,
      onRefused: (system, error) => note(`${system}: ${renderError(error)}`),
    },
  }
}

function portFrom(text: string): readonly [system: string, port: number] {
  const [, system, digits] = /^([^=]+)=(\d{1,5})$/.exec(text) ?? []
  const port = Number(digits)
  if (system === undefined || port < 1 || port > 65_535) {
    throw refuse(`\`${text}\` is no system and port`)
  }
  return [system, port]
}

const refuse = (message: string): SallyportError =>
  new SallyportError('SP_USAGE_OPAQUE', message, {
    fix: 'write `--opaque SYSTEM=HOST:PORT`, and `--opaque-port SYSTEM=PORT` for loopback',
  })
