import type { JsonValue } from '@sallyport/base'
import type { A2aVersion } from '@sallyport/network'
import { isObject } from '../adapters/jsonrpc.ts'
import { unusable } from '../upstream/exchange.ts'
import { PeerRefusal } from './errors.ts'
import { taskStateOf } from './states.ts'
import type { TaskState } from './states.ts'

/** A part as A2A 1.0 writes it (section 4.1.6): what the paths of `returns` speak of. */
export type PeerPart = { readonly [key: string]: JsonValue }

export interface PeerStatus {
  readonly state: TaskState
  readonly timestamp: string | undefined
  readonly parts: readonly PeerPart[]
}

export interface PeerArtifact {
  readonly id: string
  readonly parts: readonly PeerPart[]
}

/** What a peer said, in ids of its own: not yet fit for anyone's eyes. */
export type PeerEvent =
  | {
      readonly kind: 'task'
      readonly task: string
      readonly context: string
      readonly status: PeerStatus
      readonly artifacts: readonly PeerArtifact[]
    }
  | {
      readonly kind: 'message'
      readonly task: string | undefined
      readonly context: string | undefined
      readonly parts: readonly PeerPart[]
    }
  | {
      readonly kind: 'status'
      readonly task: string
      readonly context: string
      readonly status: PeerStatus
      readonly final: boolean
    }
  | {
      readonly kind: 'artifact'
      readonly task: string
      readonly context: string
      readonly artifact: PeerArtifact
      readonly append: boolean
      readonly last: boolean
    }

/**
 * The result of a JSON-RPC answer to the request of that id.
 *
 * @throws Refusal `SP_UPSTREAM_RESPONSE`, `SP_UPSTREAM_REFUSED`
 */
export function rpcResultOf(message: JsonValue | undefined, id: string): JsonValue | undefined {
  if (!isObject(message) || message['jsonrpc'] !== '2.0' || message['id'] !== id) {
    throw unusable('it is not the answer to the request')
  }
  const { result, error } = message
  if (isObject(error)) throw new PeerRefusal(error['code'])
  return result
}

/** Parts of one answer, or one event of a stream: each of them is projected on its own. */
const MAX_PARTS = 256
/** Bytes that all of them hold. */
const MAX_CONTENT = 2 * 1024 * 1024
const MAX_ARTIFACTS = 128
/** It is not asked for and not shown; some send it all the same. */
const MAX_HISTORY = 1024
/** Characters of what is a text in any part. */
const LENGTHS: Readonly<Record<string, number>> = {
  ...{ text: MAX_CONTENT, raw: MAX_CONTENT },
  ...{ url: 2048, filename: 255, mediaType: 127 },
}

/** How one answer is read, and what it may still hold, wherever in it that stands. */
interface Reading {
  readonly version: A2aVersion
  parts: number
  bytes: number
}

const reading = (version: A2aVersion): Reading => ({
  ...{ version, parts: MAX_PARTS, bytes: MAX_CONTENT },
})

/** What one answer, or one event of a stream, says. @throws Refusal `SP_UPSTREAM_RESPONSE` */
export function eventOf(result: JsonValue | undefined, version: A2aVersion): PeerEvent {
  const given = object(result, 'the result')
  const as = reading(version)
  if (version === '0.3') {
    switch (given['kind']) {
      case 'task':
        return wholeTask(given, as)
      case 'message':
        return messageOf(given, as)
      case 'status-update':
        return statusUpdate(given, as)
      case 'artifact-update':
        return artifactUpdate(given, as)
      default:
        throw unusable('its kind is not known')
    }
  }
  const [name, ...more] = Object.keys(given)
  if (name === undefined || more.length > 0) throw unusable('it is not one payload')
  const payload = object(given[name], name)
  switch (name) {
    case 'task':
      return wholeTask(payload, as)
    case 'message':
      return messageOf(payload, as)
    case 'statusUpdate':
      return statusUpdate(payload, as)
    case 'artifactUpdate':
      return artifactUpdate(payload, as)
    default:
      throw unusable('its payload is not known')
  }
}

/** A task as `tasks/get` and `tasks/cancel` answer. @throws Refusal `SP_UPSTREAM_RESPONSE` */
export const taskOf = (given: JsonValue | undefined, version: A2aVersion): PeerTask =>
  wholeTask(given, reading(version))

type PeerTask = PeerEvent & { readonly kind: 'task' }

function wholeTask(given: JsonValue | undefined, as: Reading): PeerTask {
  const task = object(given, 'the task')
  // Nothing of it is read.
  list(task['history'], MAX_HISTORY)
  return {
    kind: 'task',
    task: id(task['id']),
    context: id(task['contextId']),
    status: statusOf(task['status'], as),
    artifacts: list(task['artifacts'], MAX_ARTIFACTS).map((one) => artifactOf(one, as)),
  }
}

function messageOf(
  given: { readonly [key: string]: JsonValue },
  as: Reading,
): PeerEvent & { readonly kind: 'message' } {
  const { taskId, contextId } = given
  return {
    kind: 'message',
    task: taskId === undefined || taskId === '' ? undefined : id(taskId),
    context: contextId === undefined || contextId === '' ? undefined : id(contextId),
    parts: partsOf(given['parts'], as),
  }
}

const statusUpdate = (given: { readonly [key: string]: JsonValue }, as: Reading): PeerEvent => ({
  kind: 'status',
  task: id(given['taskId']),
  context: id(given['contextId']),
  status: statusOf(given['status'], as),
  final: given['final'] === true,
})

const artifactUpdate = (given: { readonly [key: string]: JsonValue }, as: Reading): PeerEvent => ({
  kind: 'artifact',
  task: id(given['taskId']),
  context: id(given['contextId']),
  artifact: artifactOf(given['artifact'], as),
  append: given['append'] === true,
  last: given['lastChunk'] === true,
})

function statusOf(given: JsonValue | undefined, as: Reading): PeerStatus {
  const status = object(given, 'the status')
  const { state, timestamp, message } = status
  const read = typeof state === 'string' ? taskStateOf(state, as.version) : undefined
  if (!read) throw unusable('the state of the task is not known')
  const parts = isObject(message) ? partsOf(message['parts'], as) : []
  return { state: read, timestamp: timeOf(timestamp), parts }
}

/** Written anew: what is no time would be a text that nobody declared. */
function timeOf(given: JsonValue | undefined): string | undefined {
  const time = typeof given === 'string' ? Date.parse(given) : Number.NaN
  return Number.isNaN(time) ? undefined : new Date(time).toISOString()
}

function artifactOf(given: JsonValue | undefined, as: Reading): PeerArtifact {
  const artifact = object(given, 'an artifact')
  return { id: id(artifact['artifactId']), parts: partsOf(artifact['parts'], as) }
}

function partsOf(given: JsonValue | undefined, as: Reading): PeerPart[] {
  const parts = list(given, as.parts)
  as.parts -= parts.length
  return parts.map((one) => partOf(object(one, 'a part'), as))
}

function partOf(part: { readonly [key: string]: JsonValue }, as: Reading): PeerPart {
  const plain = as.version === '1.0' ? part : legacyPart(part)
  const contents = ['text', 'data', 'raw', 'url'].filter((name) => plain[name] !== undefined)
  const [content, ...more] = contents
  if (content === undefined || more.length > 0) throw unusable('a part is not one thing')
  const kept = [content, 'filename', 'mediaType'].flatMap((name) => {
    const value = plain[name]
    return value === undefined || value === '' ? [] : [[name, value] as const]
  })
  for (const [name, value] of kept) {
    as.bytes -= Buffer.byteLength(typeof value === 'string' ? value : JSON.stringify(value))
    const most = LENGTHS[name]
    if (most !== undefined && !(typeof value === 'string' && value.length <= most)) {
      throw unusable(`\`${name}\` of a part is no text, or too long a one`)
    }
  }
  if (as.bytes < 0) throw unusable('its parts hold too much')
  return Object.fromEntries(kept)
}

function legacyPart(part: { readonly [key: string]: JsonValue }): PeerPart {
  if (part['kind'] !== 'file') return part
  const file = object(part['file'], 'a file')
  const given: Readonly<Record<string, JsonValue | undefined>> = {
    raw: file['bytes'],
    url: file['uri'],
    filename: file['name'],
    mediaType: file['mimeType'],
  }
  return Object.fromEntries(
    Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  )
}

function object(value: JsonValue | undefined, what: string): { readonly [key: string]: JsonValue } {
  if (isObject(value)) return value
  throw unusable(`${what} is not an object`)
}

function list(value: JsonValue | undefined, most: number): readonly JsonValue[] {
  if (value === undefined) return []
  if (!Array.isArray(value)) throw unusable('a list is none')
  if (value.length > most) throw unusable('a list is too long')
  return value
}

function id(value: JsonValue | undefined): string {
  if (typeof value === 'string' && /^[\x20-\x7e]{1,256}$/.test(value)) return value
  throw unusable('an id is none')
}
