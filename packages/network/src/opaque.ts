import type { Report } from './check.ts'
import { hostAndPort, isOwnHost } from './plain-address.ts'
import type { OpaqueBinding, OpaqueSystem } from './opaque-types.ts'
import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import { integer, list, NAME, object, oneOf } from './schema-parts.ts'
import type { Schema } from './schema-parts.ts'
import { DATA_CLASSES } from './types.ts'
import type { InputSchema, Network, System } from './types.ts'

const MAX_BYTES = 1_099_511_627_776
const DEFAULTS: OpaqueSystem = {
  maxBytesUp: 10_485_760,
  maxBytesDown: 104_857_600,
  maxSeconds: 3600,
  idleSeconds: 300,
  holds: 'restricted',
  answerTags: [],
}

/** `opaque` of a system in network.yaml. */
export const opaqueSchema: Schema = object(
  'Bounds of one connection to a system whose protocol is not read (protocol opaque).',
  [],
  {
    maxBytesUp: integer('Bytes to the system.', 0, MAX_BYTES, DEFAULTS.maxBytesUp),
    maxBytesDown: integer('Bytes from the system.', 0, MAX_BYTES, DEFAULTS.maxBytesDown),
    maxSeconds: integer('How long it may last.', 1, 86_400, DEFAULTS.maxSeconds),
    idleSeconds: integer('How long it may be silent.', 1, 86_400, DEFAULTS.idleSeconds),
    holds: oneOf('Highest class of data that may come back.', DATA_CLASSES, DEFAULTS.holds),
    answerTags: list('Labels that a session has once it was connected, e.g. `untrusted`.', {
      type: 'string',
      pattern: NAME,
    }),
  },
)

export type RawOpaque = Partial<OpaqueSystem>

export const resolveOpaque = (raw: RawOpaque): OpaqueSystem => ({ ...DEFAULTS, ...raw })

/** All that can be asked of such a system, and what is known of asking it: nothing. */
export const OPAQUE_OPERATION: {
  readonly name: 'connect'
  readonly binding: OpaqueBinding
  readonly input: InputSchema
} = { name: 'connect', binding: { kind: 'opaque' }, input: { type: 'record', members: {} } }

/**
 * Whoever is let through is seen to connect, for how long and with how many bytes. A declaration that asks for more would look
 * enforced, and be not.
 */
export function checkOpaque(network: Network, located: Located, report: Report): void {
  for (const system of network.systems) {
    const at = `/systems/${escapePointer(system.name)}`
    const { upstream, opaque, name } = system
    if (upstream.kind === 'plain') {
      for (const [place, message, why, fix] of wrongInPlain(system, upstream)) {
        report('SP_NETWORK_PLAINTEXT', located.at(`${at}/upstream${place}`), message, why, fix)
      }
    }
    const isTls = upstream.kind === 'external' && upstream.url.startsWith('tls://')
    if (isTls !== (opaque !== undefined) && upstream.kind === 'external') {
      report(
        'SP_NETWORK_RULE',
        located.at(`${at}/upstream/url`),
        opaque
          ? `the address of \`${name}\` does not begin with \`tls://\``
          : `\`tls://\` is for systems of the protocol \`opaque\``,
        'the address says how a system is spoken to',
        opaque
          ? 'write `tls://HOST:PORT`, or `tcp://HOST:PORT` with the reason under `plaintext`'
          : 'write `https://HOST[:PORT][/BASE]`',
      )
    }
    if (!opaque) continue
    for (const [place, what] of demanded(system, network)) {
      report(
        'SP_PEP_INCAPABLE',
        located.at(`${at}${place}`),
        `\`${name}\` is opaque, and ${what}`,
        'of what passes, identity, volume and time are seen: nothing inside it could be enforced',
        'leave it out, or declare the system with a protocol that is read',
      )
    }
    if (
      (upstream.kind === 'external' || upstream.kind === 'plain') &&
      hostAndPort(upstream.url) === undefined
    ) {
      report(
        'SP_NETWORK_SHAPE',
        located.at(`${at}/upstream/url`),
        `the address is not \`${upstream.kind === 'plain' ? 'tcp' : 'tls'}://HOST:PORT\``,
        'a connection needs a port, and has no path',
        'write the host and the port',
      )
    }
  }
}

function demanded(
  { name, operations, upstream, onBehalfOf }: System,
  { datasets, limits }: Network,
): (readonly [place: string, what: string])[] {
  const found: (readonly [string, string])[] = []
  if (operations.length > 1) {
    found.push(['/operations', 'several operations of it were to be told apart'])
  }
  for (const { name: operation, returns, subject, kind } of operations) {
    const at = `/operations/${escapePointer(operation)}`
    if (Object.keys(returns).length > 0) {
      found.push([`${at}/returns`, 'its answers were to be projected'])
    }
    if (kind === 'read') {
      found.push([`${at}/kind`, 'it was to be known that nothing is written'])
    }
    if (subject !== undefined) found.push([`${at}/subject`, 'an argument of it was to be read'])
    for (const limit of limits) {
      if (limit.maxSum && limit.operations.includes(`${name}.${operation}`)) {
        found.push([at, `the limit \`${limit.id}\` was to add up an argument of it`])
      }
    }
  }
  for (const dataset of datasets) {
    if (dataset.system === name)
      found.push(['', `the data set \`${dataset.name}\` was to be seen in it`])
  }
  if (onBehalfOf !== undefined) found.push(['/onBehalfOf', 'a token was to come with its calls'])
  if (upstream.kind === 'external' && upstream.credential) {
    found.push(['/upstream/credential', 'a credential was to be put into it'])
  }
  return found
}

/** What must not be spoken to in plain TCP. */
function wrongInPlain(
  { name, protocol }: System,
  { url }: Plain,
): (readonly [place: string, message: string, why: string, fix: string])[] {
  const found: (readonly [string, string, string, string])[] = []
  if (protocol !== 'opaque') {
    found.push([
      '/url',
      `\`tcp://\` is for systems of the protocol \`opaque\`, and \`${name}\` speaks \`${protocol}\``,
      'what is typed, projected or sent with a credential needs a peer that somebody has authenticated',
      'write the address of the system with TLS, or put TLS before it',
    ])
  }
  const at = hostAndPort(url)
  if (at && isOwnHost(at.host)) {
    found.push([
      '/url',
      `\`${at.host}\` is another place on each machine that opens it`,
      'a system without TLS is known by its address alone, and this one is of the gateway itself',
      'write the name or the address that it has in its network; where it is beside one gateway, name it there by `--upstream`',
    ])
  }
  return found
}

type Plain = Extract<System['upstream'], { kind: 'plain' }>

/** Systems that are spoken to without TLS, each with its address and the reason that was given. */
export const plainUpstreams = ({
  systems,
}: Network): (Omit<Plain, 'kind'> & { readonly system: string })[] =>
  systems.flatMap(({ name, upstream }) =>
    upstream.kind === 'plain'
      ? [{ system: name, url: upstream.url, plaintext: upstream.plaintext }]
      : [],
  )
