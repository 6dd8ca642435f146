import type { JsonValue } from '@sallyport/base'
import type { A2aVersion } from '@sallyport/network'
import { MAX_MANDATE_TOKEN } from '@sallyport/wire'
import { isObject } from '../adapters/jsonrpc.ts'
import type { RpcRequest } from '../adapters/jsonrpc.ts'
import { Refusal } from '../refusal.ts'
import { badMessage } from './errors.ts'
import { isTaskState, taskStateOf } from './states.ts'
import type { TaskState } from './states.ts'

/** What a caller says to a skill, whichever revision it was said in. */
export interface SaidMessage {
  readonly contextId: string | undefined
  readonly taskId: string | undefined
  /** Other tasks that it speaks of. */
  readonly references: readonly string[]
  readonly text: string | undefined
  readonly data: { readonly [key: string]: JsonValue } | undefined
  /** Id of the skill, where it names one. */
  readonly skill: string | undefined
  readonly approval: string | undefined
  readonly mandate: string | undefined
}

export interface PushConfig {
  readonly id: string | undefined
  readonly url: string
  readonly token: string | undefined
  readonly authentication:
    { readonly scheme: string; readonly credentials: string | undefined } | undefined
}

/** What a caller asks for, whichever revision it asks in. */
export type Asked =
  | {
      readonly kind: 'send'
      readonly stream: boolean
      /** Until the task is done or needs something. */
      readonly wait: boolean
      readonly message: SaidMessage
      readonly push: PushConfig | undefined
    }
  | { readonly kind: 'get' | 'cancel' | 'subscribe'; readonly task: string }
  | { readonly kind: 'push-list'; readonly task: string }
  | { readonly kind: 'push-set'; readonly task: string; readonly push: PushConfig }
  | { readonly kind: 'push-get'; readonly task: string; readonly id: string }
  | { readonly kind: 'push-delete'; readonly task: string; readonly id: string }
  | {
      readonly kind: 'list'
      readonly contextId: string | undefined
      readonly state: TaskState | undefined
      readonly pageSize: number
      readonly pageToken: string | undefined
    }
  | { readonly kind: 'card' }

type Params = Readonly<Record<string, JsonValue>>

const METHODS: Readonly<Record<A2aVersion, Readonly<Record<string, (params: Params) => Asked>>>> = {
  '1.0': {
    SendMessage: (params) => send(params, '1.0', false),
    SendStreamingMessage: (params) => send(params, '1.0', true),
    GetTask: (params) => ofTask('get', params, ['historyLength']),
    CancelTask: (params) => ofTask('cancel', params, ['metadata']),
    SubscribeToTask: (params) => ofTask('subscribe', params),
    ListTasks: list,
    CreateTaskPushNotificationConfig: ({ taskId, ...config }) => ({
      kind: 'push-set',
      task: id(taskId, 'taskId'),
      push: pushConfig(config, '1.0'),
    }),
    GetTaskPushNotificationConfig: (params) => ofPush('push-get', params, 'taskId', 'id'),
    DeleteTaskPushNotificationConfig: (params) => ofPush('push-delete', params, 'taskId', 'id'),
    ListTaskPushNotificationConfigs: (params) => {
      only(params, ['taskId', 'pageSize', 'pageToken'])
      return { kind: 'push-list', task: id(params['taskId'], 'taskId') }
    },
    GetExtendedAgentCard: () => ({ kind: 'card' }),
  },
  '0.3': {
    'message/send': (params) => send(params, '0.3', false),
    'message/stream': (params) => send(params, '0.3', true),
    'tasks/get': (params) => ofTask('get', params, ['historyLength', 'metadata']),
    'tasks/cancel': (params) => ofTask('cancel', params, ['metadata']),
    'tasks/resubscribe': (params) => ofTask('subscribe', params, ['metadata']),
    'tasks/pushNotificationConfig/set': (params) => {
      only(params, ['taskId', 'pushNotificationConfig'])
      return {
        kind: 'push-set',
        task: id(params['taskId'], 'taskId'),
        push: pushConfig(object(params['pushNotificationConfig'], 'pushNotificationConfig'), '0.3'),
      }
    },
    'tasks/pushNotificationConfig/get': (params) =>
      ofPush('push-get', params, 'id', 'pushNotificationConfigId'),
    'tasks/pushNotificationConfig/delete': (params) =>
      ofPush('push-delete', params, 'id', 'pushNotificationConfigId'),
    'tasks/pushNotificationConfig/list': (params) => ofTask('push-list', params, ['metadata']),
    'agent/getAuthenticatedExtendedCard': () => ({ kind: 'card' }),
  },
}

/** Id of whatever A2A names; ours and those of clients alike. */
const ID = /^[\x21-\x7e]{1,128}$/
const MAX_TEXT = 65_536
/** A token of HTTP (RFC 9110, section 5.6.2), as the name of a scheme is one. */
const SCHEME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$/
/** `token68` (RFC 9110, section 11.2), which is the `b64token` of RFC 6750: what can stand in a header and ends nothing there. */
const TOKEN68 = /^[A-Za-z0-9._~+/-]+=*$/
const MAX_TOKEN = 4096
const MAX_PARTS = 16
const MAX_REFERENCES = 16

/**
 * Reads the parameters of a request (A2A 1.0, section 9.4; 0.3, section 7). A member that is not known is refused: what is not
 * understood is not decided.
 *
 * @throws Refusal `SP_A2A_MESSAGE`, `SP_A2A_FILE`, `SP_A2A_METHOD`
 */
export function readAsked(version: A2aVersion, { method, params }: RpcRequest): Asked {
  const methods = METHODS[version]
  const read = Object.hasOwn(methods, method) ? methods[method] : undefined
  if (!read) {
    throw new Refusal('SP_A2A_METHOD', 'the method is not available', { status: 404 })
  }
  const { tenant, ...rest } = params
  // Which tenant is meant, the declaration says by the system's URL.
  if (tenant !== undefined && tenant !== '') throw badMessage('`tenant` is not taken here')
  return read(rest)
}

function send(params: Params, version: A2aVersion, stream: boolean): Asked {
  only(params, ['message', 'configuration', 'metadata'])
  const configuration = optionalObject(params['configuration'], 'configuration') ?? {}
  const push =
    configuration[version === '1.0' ? 'taskPushNotificationConfig' : 'pushNotificationConfig']
  const wait =
    version === '1.0'
      ? configuration['returnImmediately'] !== true
      : configuration['blocking'] !== false
  only(configuration, [
    'acceptedOutputModes',
    'historyLength',
    ...(version === '1.0'
      ? ['taskPushNotificationConfig', 'returnImmediately']
      : ['pushNotificationConfig', 'blocking']),
  ])
  return {
    kind: 'send',
    stream,
    wait,
    message: message(params['message'], version),
    push:
      push === undefined ? undefined : pushConfig(object(push, 'a push configuration'), version),
  }
}

const MESSAGE = [
  'messageId',
  'contextId',
  'taskId',
  'role',
  'parts',
  'metadata',
  'extensions',
  'referenceTaskIds',
]

function message(given: JsonValue | undefined, version: A2aVersion): SaidMessage {
  const said = object(given, 'message')
  only(said, version === '1.0' ? MESSAGE : ['kind', ...MESSAGE])
  if (version === '0.3' && said['kind'] !== undefined && said['kind'] !== 'message') {
    throw badMessage('`kind` is not `message`')
  }
  if (said['role'] !== (version === '1.0' ? 'ROLE_USER' : 'user')) {
    throw badMessage('`role` is not that of a caller')
  }
  id(said['messageId'], 'messageId')
  if (list_(said['extensions'], 'extensions', 1).length > 0) {
    throw badMessage('extensions are not passed on')
  }
  const references = list_(said['referenceTaskIds'], 'referenceTaskIds', MAX_REFERENCES)
  const metadata = optionalObject(said['metadata'], 'metadata') ?? {}
  return {
    contextId: optionalId(said['contextId'], 'contextId'),
    taskId: optionalId(said['taskId'], 'taskId'),
    references: references.map((one) => id(one, 'referenceTaskIds')),
    ...parts(said['parts'], version),
    skill: optionalId(metadata['skillId'], 'skillId'),
    approval: optionalText(metadata['sallyport/approval'], 'sallyport/approval', 128),
    mandate: optionalText(metadata['sallyport/mandate'], 'sallyport/mandate', MAX_MANDATE_TOKEN),
  }
}

/** One text and one object at most: of two, which of them counted would be the peer's choice. */
function parts(
  given: JsonValue | undefined,
  version: A2aVersion,
): Pick<SaidMessage, 'text' | 'data'> {
  const all = list_(given, 'parts', MAX_PARTS)
  if (all.length === 0) throw badMessage('`parts` is empty')
  let text: string | undefined
  let data: SaidMessage['data']
  for (const one of all) {
    const part = object(one, 'a part')
    const file = version === '1.0' ? ['raw', 'url'] : ['file']
    if (file.some((member) => part[member] !== undefined)) {
      // Neither its bytes nor its address would be what a policy decided about, and nothing is fetched by anybody's word.
      throw new Refusal('SP_A2A_FILE', 'files are not passed on', { status: 415 })
    }
    only(part, [
      'text',
      'data',
      'metadata',
      ...(version === '1.0' ? ['mediaType', 'filename'] : ['kind']),
    ])
    if ((part['text'] === undefined) === (part['data'] === undefined)) {
      throw badMessage('a part is not one text or one object')
    }
    const kind = part['text'] === undefined ? 'data' : 'text'
    if (version === '0.3' && part['kind'] !== kind)
      throw badMessage('`kind` of a part does not fit it')
    if (kind === 'text') {
      if (text !== undefined) throw badMessage('it has two texts')
      text = optionalText(part['text'], 'text', MAX_TEXT)
    } else {
      if (data !== undefined) throw badMessage('it has two objects')
      data = object(part['data'], 'data')
    }
  }
  return { text, data }
}

function pushConfig(config: Params, version: A2aVersion): PushConfig {
  only(config, ['id', 'url', 'token', 'authentication', 'tenant', 'taskId'])
  const { taskId, tenant } = config
  if ((taskId !== undefined && taskId !== '') || (tenant !== undefined && tenant !== '')) {
    throw badMessage('a push configuration names another task or tenant')
  }
  const given = optionalObject(config['authentication'], 'authentication')
  let authentication: PushConfig['authentication']
  if (given) {
    only(given, [version === '1.0' ? 'scheme' : 'schemes', 'credentials'])
    const schemes = version === '1.0' ? [given['scheme']] : list_(given['schemes'], 'schemes', 1)
    authentication = {
      scheme: scheme(schemes[0]),
      credentials: optionalToken(given['credentials'], 'credentials'),
    }
  }
  const url = optionalText(config['url'], 'url', 2048)
  if (url === undefined) throw badMessage('`url` is missing')
  const own = config['id'] === '' ? undefined : config['id']
  return {
    id: optionalId(own, 'id'),
    url,
    token: optionalToken(config['token'], 'token'),
    authentication,
  }
}

function list(params: Params): Asked {
  const { contextId, status, pageSize, pageToken } = params
  // Of what else it may ask, nothing is shown: neither history nor artifacts.
  only(params, [
    ...['contextId', 'status', 'pageSize', 'pageToken'],
    ...['historyLength', 'statusTimestampAfter', 'includeArtifacts'],
  ])
  if (params['statusTimestampAfter'] !== undefined) {
    throw badMessage('`statusTimestampAfter` is not taken here')
  }
  const size = pageSize ?? 50
  if (typeof size !== 'number' || !Number.isInteger(size) || size < 1 || size > 100) {
    throw badMessage('`pageSize` is not 1 to 100')
  }
  const state = typeof status === 'string' ? taskStateOf(status, '1.0') : undefined
  if (status !== undefined && !isTaskState(state))
    throw badMessage('`status` is no state of a task')
  return {
    kind: 'list',
    contextId: optionalId(contextId === '' ? undefined : contextId, 'contextId'),
    state,
    pageSize: size,
    pageToken: optionalId(pageToken === '' ? undefined : pageToken, 'pageToken'),
  }
}

function ofTask(
  kind: 'get' | 'cancel' | 'subscribe' | 'push-list',
  params: Params,
  more: readonly string[] = [],
): Asked {
  only(params, ['id', ...more])
  return { kind, task: id(params['id'], 'id') }
}

function ofPush(
  kind: 'push-get' | 'push-delete',
  params: Params,
  task: string,
  own: string,
): Asked {
  only(params, [task, own])
  return { kind, task: id(params[task], task), id: id(params[own], own) }
}

function only(given: Params, known: readonly string[]): void {
  for (const member of Object.keys(given)) {
    if (!known.includes(member))
      throw badMessage(`\`${member.slice(0, 80)}\` is not a known member`)
  }
}

function object(value: JsonValue | undefined, what: string): { readonly [key: string]: JsonValue } {
  if (isObject(value)) return value
  throw badMessage(`\`${what}\` is not an object`)
}

const optionalObject = (
  value: JsonValue | undefined,
  what: string,
): { readonly [key: string]: JsonValue } | undefined =>
  value === undefined ? undefined : object(value, what)

function list_(value: JsonValue | undefined, what: string, most: number): readonly JsonValue[] {
  if (value === undefined) return []
  if (!Array.isArray(value)) throw badMessage(`\`${what}\` is not a list`)
  if (value.length > most) throw badMessage(`\`${what}\` has more than ${most} elements`)
  return value
}

function id(value: JsonValue | undefined, what: string): string {
  if (typeof value === 'string' && ID.test(value)) return value
  throw badMessage(`\`${what}\` is no id`)
}

const optionalId = (value: JsonValue | undefined, what: string): string | undefined =>
  value === undefined || value === '' ? undefined : id(value, what)

function optionalText(
  value: JsonValue | undefined,
  what: string,
  most: number,
): string | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw badMessage(`\`${what}\` is not a text`)
  if (value.length > most) throw badMessage(`\`${what}\` is longer than ${most} characters`)
  return value
}

function scheme(value: JsonValue | undefined): string {
  if (typeof value === 'string' && SCHEME.test(value)) return value
  throw badMessage('`scheme` is no name of a scheme')
}

/** A secret of whoever is pushed to: what is wrong with it is told, and never what it is. */
function optionalToken(value: JsonValue | undefined, what: string): string | undefined {
  const given = optionalText(value, what, MAX_TOKEN)
  if (given === undefined || given === '') return undefined
  if (!TOKEN68.test(given)) throw badMessage(`\`${what}\` is no token`)
  return given
}
