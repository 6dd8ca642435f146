import { canonicalJson, parseJson, SallyportError, sha256Hex } from '@sallyport/base'
import type { JsonValue } from '@sallyport/base'
import type { A2aBinding, A2aSystem, A2aVersion } from './a2a-types.ts'
import type { Report } from './check.ts'
import { inputRecordFrom, isObject } from './input-type.ts'
import { Halt } from './problem.ts'
import { escapePointer } from './read-yaml.ts'
import type { Located } from './read-yaml.ts'
import { list, NAME, object, text } from './schema-parts.ts'
import type { Schema } from './schema-parts.ts'
import type { InputSchema, Network } from './types.ts'

const CARD_PATH = '/.well-known/agent-card.json'
const MAX_TEXT = 65_536
const MAX_KEYS = 16

/** `a2a` of a system in network.yaml. */
export const a2aSchema: Schema = object(
  'Another agent: its card as it was reviewed, and what may be asked of it (protocol a2a).',
  ['card'],
  {
    card: text(
      'The agent card beside network.yaml. While the peer shows another, it is not called.',
      256,
    ),
    cardPath: {
      type: 'string',
      pattern: '^(/[A-Za-z0-9._~-]+)+$',
      maxLength: 256,
      description: `Where the peer shows it; default: \`${CARD_PATH}\`.`,
    },
    keys: text('A JWK set beside network.yaml: one of these keys must have signed the card.', 256),
    inputs: text('What its skills take, beside network.yaml; default: a text.', 256),
    answerTags: list('Labels that a session has once it was answered, e.g. `untrusted`.', {
      type: 'string',
      pattern: NAME,
    }),
    push: list('The only URLs that the peer may be told to push to; default: none.', {
      type: 'string',
      pattern: '^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$',
      maxLength: 512,
    }),
  },
)

export interface RawA2a {
  readonly card: string
  readonly cardPath?: string
  readonly keys?: string
  readonly inputs?: string
  readonly answerTags?: readonly string[]
  readonly push?: readonly string[]
}

interface Skill {
  readonly description: string
  readonly binding: A2aBinding
  readonly input: InputSchema
}

/** What a card and the descriptions beside it come to. */
export interface A2aPeer {
  readonly system: A2aSystem
  readonly skills: readonly string[]
  /** @throws Halt when the skill cannot be imported */
  skill(name: string): Skill
}

/**
 * Reads the card of an agent (A2A 1.0 or 0.3), the keys that sign it, and what its skills take: `{"skills": {SKILL: {text?,
 * inputSchema}}}`, for cards say nothing of that.
 *
 * @param read the text of a file that the declaration names; undefined where it was reported already
 * @throws Halt `SP_NETWORK_A2A`
 */
export function resolveA2a(
  raw: RawA2a,
  read: (file: string, member: 'card' | 'keys' | 'inputs') => string | undefined,
): A2aPeer | undefined {
  const cardText = read(raw.card, 'card')
  const keysText = raw.keys === undefined ? undefined : read(raw.keys, 'keys')
  const inputsText = raw.inputs === undefined ? undefined : read(raw.inputs, 'inputs')
  if (cardText === undefined) return undefined
  if (raw.keys !== undefined && keysText === undefined) return undefined
  if (raw.inputs !== undefined && inputsText === undefined) return undefined
  const card = record(json(cardText, 'the card'), 'the card')
  const inputs = inputsText === undefined ? {} : skillInputs(inputsText)
  const skills = new Map(skillsOf(card).map((skill) => [skill.id, skill]))
  const capabilities = isObject(card['capabilities']) ? card['capabilities'] : {}
  const { signatures: _signatures, ...unsigned } = card
  for (const url of raw.push ?? []) {
    if (isOfWhoeverOpens(url)) {
      throw refuse(
        `\`${url}\` is an address of whoever opens it, not of a receiver`,
        'name the host of the receiver',
      )
    }
  }
  for (const name of Object.keys(inputs)) {
    if (!skills.has(name)) throw refuse(`the card has no skill \`${name}\``, 'correct the name')
  }
  return {
    system: {
      title: word(card, 'name'),
      description: word(card, 'description'),
      version: word(card, 'version'),
      speaks: speaks(card),
      streaming: capabilities['streaming'] === true,
      cardDigest: sha256Hex(canonicalJson(unsigned)),
      cardPath: raw.cardPath ?? CARD_PATH,
      ...(keysText !== undefined && { keys: keysOf(keysText) }),
      answerTags: raw.answerTags ?? [],
      push: raw.push ?? [],
    },
    skills: [...skills.keys()],
    skill(name) {
      const skill = skills.get(name)
      if (!skill) throw refuse(`there is no skill \`${name}\``, 'correct the name')
      const given = Object.hasOwn(inputs, name) ? inputs[name] : undefined
      const { input, text: into } = given ? inputOf(name, given) : TEXT_ALONE
      const { id, title, description, ...told } = skill
      return {
        description,
        binding: {
          kind: 'a2a',
          skill: id,
          title,
          ...told,
          ...(into !== undefined && { text: into }),
        },
        input,
      }
    },
  }
}

/** The peer opens it: its own machine (RFC 6890: loopback, this host) and what clouds tell each machine of itself (link-local). */
function isOfWhoeverOpens(url: string): boolean {
  let host: string
  try {
    // Also writes an address in one way: `0x7f.1` is `127.0.0.1`.
    host = new URL(url).hostname.replace(/\.$/, '')
  } catch {
    return true
  }
  return /^(?:localhost|.+\.localhost|127\.[\d.]+|0\.[\d.]+|169\.254\.[\d.]+)$/.test(host)
}

const TEXT_ALONE: { readonly input: InputSchema; readonly text: string } = {
  input: {
    type: 'record',
    members: { text: { schema: { type: 'string', maxLength: MAX_TEXT }, required: true } },
  },
  text: 'text',
}

type JsonObject = Readonly<Record<string, unknown>>

function inputOf(name: string, given: JsonObject): { input: InputSchema; text?: string } {
  const { text: into, inputSchema: schema } = given
  const input = inputRecordFrom(schema, `the input of \`${name}\``, (ref) => {
    if (!ref.startsWith('#/$defs/') || !isObject(schema) || !isObject(schema['$defs'])) {
      throw refuse(`the reference \`${ref.slice(0, 120)}\` leaves the skill`, 'use `#/$defs/…`')
    }
    const key = ref.slice('#/$defs/'.length)
    return Object.hasOwn(schema['$defs'], key) ? schema['$defs'][key] : undefined
  })
  if (into === undefined) return { input }
  const member = typeof into === 'string' ? input.members[into] : undefined
  if (typeof into !== 'string' || member?.schema.type !== 'string') {
    throw refuse(
      `\`text\` of \`${name}\` names no string member of its input`,
      'name the member that the text of a message goes into',
    )
  }
  return { input, text: into }
}

function skillInputs(given: string): Readonly<Record<string, JsonObject>> {
  const root = record(json(given, 'the file of inputs'), 'the file of inputs')
  const skills = record(root['skills'], '`skills`')
  return Object.fromEntries(
    Object.entries(skills).map(([name, skill]) => {
      const read = record(skill, `\`${name.slice(0, 80)}\``)
      for (const member of Object.keys(read)) {
        if (!['text', 'inputSchema'].includes(member)) {
          throw refuse(
            `\`${name}\` has a member \`${member.slice(0, 80)}\``,
            'use `text` and `inputSchema`',
          )
        }
      }
      return [name, read]
    }),
  )
}

function skillsOf(
  card: JsonObject,
): ({ id: string; description: string } & Omit<A2aBinding, 'kind' | 'skill' | 'text'>)[] {
  const skills = card['skills']
  if (!Array.isArray(skills)) throw refuse('the card has no `skills`', 'save the card of the agent')
  const seen = new Set<string>()
  return skills.map((skill: unknown) => {
    const id = isObject(skill) ? skill['id'] : undefined
    if (!isObject(skill) || typeof id !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(id)) {
      throw refuse('a skill has no usable id', 'use 1 to 128 visible ASCII characters')
    }
    if (seen.has(id)) throw refuse(`the skill \`${id}\` stands twice`, 'keep one')
    seen.add(id)
    return {
      id,
      title: word(skill, 'name'),
      description: word(skill, 'description'),
      tags: words(skill['tags']),
      examples: words(skill['examples']),
      inputModes: modes(skill, card, 'Input'),
      outputModes: modes(skill, card, 'Output'),
    }
  })
}

const modes = (skill: JsonObject, card: JsonObject, way: 'Input' | 'Output'): string[] => {
  const own = words(skill[`${way.toLowerCase()}Modes`])
  return own.length > 0 ? own : words(card[`default${way}Modes`])
}

/** The newest revision whose JSON-RPC binding the card names. */
function speaks(card: JsonObject): A2aVersion {
  const { supportedInterfaces: interfaces, protocolVersion, preferredTransport } = card
  const over = (version: unknown): A2aVersion | undefined =>
    typeof version !== 'string'
      ? undefined
      : /^1\.\d+(\.\d+)?$/.test(version)
        ? '1.0'
        : /^0\.3(\.\d+)?$/.test(version)
          ? '0.3'
          : undefined
  const found = (Array.isArray(interfaces) ? interfaces : [])
    .filter(
      (one: unknown): one is JsonObject => isObject(one) && one['protocolBinding'] === 'JSONRPC',
    )
    .map((one) => over(one['protocolVersion']))
  if (found.includes('1.0')) return '1.0'
  if (found.includes('0.3')) return '0.3'
  const legacy =
    interfaces === undefined && ['JSONRPC', undefined].includes(optional(preferredTransport))
  if (legacy && over(protocolVersion) === '0.3') return '0.3'
  throw refuse(
    'the card names no JSON-RPC interface of A2A 1.0 or 0.3',
    'let the agent serve one, and save its card again',
  )
}

const optional = (value: unknown): string | undefined =>
  typeof value === 'string' ? value : value === undefined ? undefined : ''

function keysOf(given: string): readonly JsonObject[] {
  const { keys } = record(json(given, 'the JWK set'), 'the JWK set')
  if (!Array.isArray(keys) || keys.length === 0 || keys.length > MAX_KEYS) {
    throw refuse('the JWK set has no usable `keys`', `state 1 to ${MAX_KEYS} public keys`)
  }
  return keys.map((key: unknown) => {
    const read = record(key, 'a key')
    if (typeof read['kid'] !== 'string' || !['EC', 'RSA', 'OKP'].includes(String(read['kty']))) {
      throw refuse(
        'a key has no `kid`, or is no public key',
        'state `kid`, and `kty` EC, RSA or OKP',
      )
    }
    // RFC 7518, sections 6.2.2 and 6.3.2, RFC 8037, section 2: what makes a key a private one.
    for (const secret of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k']) {
      if (Object.hasOwn(read, secret))
        throw refuse('a key is a private one', 'leave its secret out')
    }
    return read
  })
}

function json(given: string, what: string): JsonValue {
  try {
    return parseJson(given, { maxDepth: 32 })
  } catch (error) {
    const message = error instanceof SallyportError ? error.message : 'it is unreadable'
    throw refuse(`${what} is no strict JSON: ${message}`, 'save it as JSON')
  }
}

function record(value: unknown, what: string): JsonObject {
  if (isObject(value)) return value
  throw refuse(`${what} is not an object`, 'save it as the agent shows it')
}

function word(from: JsonObject, member: string): string {
  const value = from[member]
  if (typeof value === 'string' && value !== '') return value
  throw refuse(`the card lacks a \`${member}\``, 'save the card of the agent')
}

const words = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : []

function refuse(message: string, fix: string): Halt {
  return new Halt(
    'SP_NETWORK_A2A',
    message,
    'an agent is governed by the card that was reviewed, not by what it claims at run time',
    fix,
  )
}

/** What a peer pushes goes by no gateway: it is for answers that need no projection. */
export function checkA2a(network: Network, located: Located, report: Report): void {
  for (const { name, a2a, operations } of network.systems) {
    if (!a2a || a2a.push.length === 0) continue
    const projected = operations.find(({ returns }) =>
      Object.values(returns).some((dataset) => dataset !== 'public'),
    )
    if (!projected) continue
    report(
      'SP_PEP_INCAPABLE',
      located.at(`/systems/${escapePointer(name)}/a2a/push`),
      `\`${projected.name}\` returns data that is projected, and \`${name}\` may push past every projection`,
      'what a peer pushes passes no gateway: nothing would be dropped, masked or recorded',
      'remove `push`, so that callers ask or subscribe, or return nothing but `public`',
    )
  }
}
