import type { JsonValue } from '@sallyport/base'
import type { A2aVersion } from '@sallyport/network'
import { isObject } from '../adapters/jsonrpc.ts'
import type { PeerPart } from './answers.ts'
import type { PushConfig } from './read.ts'
import { hasEnded, writtenState } from './states.ts'
import type { TaskState } from './states.ts'

/** What of a peer's words may leave, in ids that its caller knows. */
export type ToldEvent =
  | {
      readonly kind: 'task'
      readonly task: string
      readonly context: string
      readonly status: ToldStatus
      readonly artifacts: readonly ToldArtifact[]
    }
  | {
      readonly kind: 'message'
      readonly id: string
      readonly task: string | undefined
      readonly context: string | undefined
      readonly parts: readonly PeerPart[]
    }
  | {
      readonly kind: 'status'
      readonly task: string
      readonly context: string
      readonly status: ToldStatus
    }
  | {
      readonly kind: 'artifact'
      readonly task: string
      readonly context: string
      readonly artifact: ToldArtifact
      readonly append: boolean
      readonly last: boolean
    }

export interface ToldStatus {
  readonly state: TaskState
  readonly timestamp: string | undefined
  /** Absent where the peer said nothing, or nothing that may leave. */
  readonly message?: { readonly id: string; readonly parts: readonly PeerPart[] }
}

export interface ToldArtifact {
  readonly id: string
  readonly parts: readonly PeerPart[]
}

/**
 * An event as a revision writes it.
 *
 * @param wrapped as the result of sending and of streams has it: 1.0 says which of them it is by a name around it
 */
export function written(event: ToldEvent, version: A2aVersion, wrapped = true): unknown {
  const isV1 = version === '1.0'
  const wrap = (name: string, value: object): unknown =>
    isV1 && wrapped ? { [name]: value } : value
  switch (event.kind) {
    case 'task':
      return wrap('task', {
        ...(isV1 ? {} : { kind: 'task' }),
        id: event.task,
        contextId: event.context,
        status: statusOf(event.status, event, version),
        ...(event.artifacts.length === 0
          ? {}
          : { artifacts: event.artifacts.map((one) => artifactOf(one, version)) }),
      })
    case 'message':
      return wrap('message', messageOf(event, event.parts, event.id, version))
    case 'status':
      return wrap('statusUpdate', {
        ...(isV1 ? {} : { kind: 'status-update', final: isFinal(event.status.state) }),
        taskId: event.task,
        contextId: event.context,
        status: statusOf(event.status, event, version),
      })
    case 'artifact':
      return wrap('artifactUpdate', {
        ...(isV1 ? {} : { kind: 'artifact-update' }),
        taskId: event.task,
        contextId: event.context,
        artifact: artifactOf(event.artifact, version),
        append: event.append,
        lastChunk: event.last,
      })
  }
}

export function writtenPush(
  task: string,
  id: string,
  { url }: Pick<PushConfig, 'url'>,
  version: A2aVersion,
): unknown {
  return version === '1.0'
    ? { taskId: task, id, url }
    : { taskId: task, pushNotificationConfig: { id, url } }
}

/** After such a state a stream ends (A2A 0.3, section 7.2). */
const isFinal = (state: TaskState): boolean =>
  hasEnded(state) || state === 'input-required' || state === 'auth-required'

function statusOf(
  status: ToldStatus,
  ids: { readonly task?: string | undefined; readonly context?: string | undefined },
  version: A2aVersion,
): unknown {
  const { state, timestamp, message } = status
  return {
    state: writtenState(state, version),
    ...(timestamp === undefined ? {} : { timestamp }),
    ...(message === undefined
      ? {}
      : { message: messageOf(ids, message.parts, message.id, version) }),
  }
}

const messageOf = (
  ids: { readonly task?: string | undefined; readonly context?: string | undefined },
  parts: readonly PeerPart[],
  id: string,
  version: A2aVersion,
): object => ({
  ...(version === '1.0' ? { role: 'ROLE_AGENT' } : { kind: 'message', role: 'agent' }),
  messageId: id,
  ...(ids.task === undefined ? {} : { taskId: ids.task }),
  ...(ids.context === undefined ? {} : { contextId: ids.context }),
  parts: parts.map((part) => partOf(part, version)),
})

const artifactOf = ({ id, parts }: ToldArtifact, version: A2aVersion): unknown => ({
  artifactId: id,
  parts: parts.map((part) => partOf(part, version)),
})

function partOf(part: PeerPart, version: A2aVersion): unknown {
  if (version === '1.0') return part
  const { text, data, raw, url, filename, mediaType } = part
  if (text !== undefined) return { kind: 'text', text }
  if (raw !== undefined || url !== undefined) {
    const file: Readonly<Record<string, JsonValue | undefined>> = {
      ...(raw === undefined ? { uri: url } : { bytes: raw }),
      name: filename,
      mimeType: mediaType,
    }
    return { kind: 'file', file }
  }
  // 0.3 has objects alone.
  return { kind: 'data', data: isObject(data) ? data : { value: data ?? null } }
}
