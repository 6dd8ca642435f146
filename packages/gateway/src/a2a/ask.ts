import { canonicalJson } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import type { A2aBinding, A2aVersion, System } from '@sallyport/network'
import type { UpstreamRequest } from '../calls/types.ts'
import { basePath } from '../upstream/exchange.ts'
import type { PushConfig } from './read.ts'

/** What is asked of a peer, in ids of its own. */
export type Ask =
  | {
      readonly kind: 'send'
      readonly stream: boolean
      readonly wait: boolean
      readonly binding: A2aBinding
      readonly input: Readonly<Record<string, CedarJson>>
      readonly taskId: string | undefined
      readonly contextId: string | undefined
      readonly references: readonly string[]
      readonly push: (PushConfig & { readonly id: string }) | undefined
    }
  | { readonly kind: 'get' | 'cancel' | 'subscribe'; readonly task: string }
  | {
      readonly kind: 'push-set'
      readonly task: string
      readonly push: PushConfig & { readonly id: string }
    }
  | { readonly kind: 'push-delete'; readonly task: string; readonly id: string }

const METHODS: Readonly<Record<A2aVersion, Readonly<Record<Ask['kind'], string>>>> = {
  '1.0': {
    send: 'SendMessage',
    get: 'GetTask',
    cancel: 'CancelTask',
    subscribe: 'SubscribeToTask',
    'push-set': 'CreateTaskPushNotificationConfig',
    'push-delete': 'DeleteTaskPushNotificationConfig',
  },
  '0.3': {
    send: 'message/send',
    get: 'tasks/get',
    cancel: 'tasks/cancel',
    subscribe: 'tasks/resubscribe',
    'push-set': 'tasks/pushNotificationConfig/set',
    'push-delete': 'tasks/pushNotificationConfig/delete',
  },
}

/**
 * The request to a peer, made from typed input alone.
 *
 * @param decision id of the decision: that of the request and of the message, too
 */
export function peerRequest(
  system: System,
  version: A2aVersion,
  decision: string,
  ask: Ask,
): UpstreamRequest {
  const method =
    ask.kind === 'send' && ask.stream
      ? version === '1.0'
        ? 'SendStreamingMessage'
        : 'message/stream'
      : METHODS[version][ask.kind]
  const params = paramsOf(version, decision, ask)
  return {
    method: 'POST',
    path: peerPath(system),
    body: Buffer.from(canonicalJson({ jsonrpc: '2.0', id: decision, method, params })),
    headers: { 'a2a-version': version },
  }
}

/** An agent outside answers at the URL declared; a service of the network where the gateway does. */
function peerPath(system: System): string {
  const path = basePath(system, '/a2a')
  return path === '' ? '/' : path
}

function paramsOf(version: A2aVersion, decision: string, ask: Ask): unknown {
  switch (ask.kind) {
    case 'send':
      return sent(version, decision, ask)
    case 'get':
      return { id: ask.task, historyLength: 0 }
    case 'cancel':
    case 'subscribe':
      return { id: ask.task }
    case 'push-set':
      return version === '1.0'
        ? { taskId: ask.task, ...pushed(version, ask.push) }
        : { taskId: ask.task, pushNotificationConfig: pushed(version, ask.push) }
    case 'push-delete':
      return version === '1.0'
        ? { taskId: ask.task, id: ask.id }
        : { id: ask.task, pushNotificationConfigId: ask.id }
  }
}

function sent(
  version: A2aVersion,
  decision: string,
  ask: Ask & { readonly kind: 'send' },
): unknown {
  const { binding, input, taskId, contextId, references, push, wait } = ask
  const text = binding.text === undefined ? undefined : input[binding.text]
  const rest = Object.entries(input).filter(([name]) => name !== binding.text)
  const isV1 = version === '1.0'
  const parts: unknown[] = []
  if (text !== undefined) parts.push(isV1 ? { text } : { kind: 'text', text })
  if (rest.length > 0 || text === undefined) {
    const data = Object.fromEntries(rest)
    parts.push(isV1 ? { data, mediaType: 'application/json' } : { kind: 'data', data })
  }
  return {
    message: {
      ...(isV1 ? { role: 'ROLE_USER' } : { kind: 'message', role: 'user' }),
      messageId: decision,
      ...(taskId === undefined ? {} : { taskId }),
      ...(contextId === undefined ? {} : { contextId }),
      ...(references.length === 0 ? {} : { referenceTaskIds: references }),
      parts,
      // A2A has no place for which skill is meant; this is the one that agents look at.
      metadata: { skillId: binding.skill },
    },
    configuration: {
      acceptedOutputModes: binding.outputModes,
      historyLength: 0,
      ...(isV1 ? { returnImmediately: !wait } : { blocking: wait }),
      ...(push === undefined
        ? {}
        : isV1
          ? { taskPushNotificationConfig: pushed(version, push) }
          : { pushNotificationConfig: pushed(version, push) }),
    },
  }
}

function pushed(version: A2aVersion, push: PushConfig & { readonly id: string }): object {
  const { id, url, token, authentication } = push
  const scheme = authentication?.scheme
  const secret = authentication?.credentials
  const credentials = secret === undefined ? {} : { credentials: secret }
  return {
    id,
    url,
    ...(token === undefined ? {} : { token }),
    ...(scheme === undefined
      ? {}
      : {
          authentication:
            version === '1.0' ? { scheme, ...credentials } : { schemes: [scheme], ...credentials },
        }),
  }
}
