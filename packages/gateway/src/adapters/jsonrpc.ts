import type { JsonValue } from '@sallyport/base'
import { Refusal } from '../refusal.ts'

export type RpcId = string | number

type Params = Readonly<Record<string, JsonValue>>

export interface RpcRequest {
  readonly kind: 'request'
  readonly id: RpcId
  readonly method: string
  readonly params: Params
}

export interface RpcNotification {
  readonly kind: 'notification'
  readonly method: string
  readonly params: Params
}

/** What answers a request of the other side. */
export interface RpcResponse {
  readonly kind: 'response'
  readonly id: RpcId
  /** Absent where it is an error. */
  readonly result: Params | undefined
}

/** JSON-RPC 2.0 error codes, and ours. */
export const RPC = {
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internal: -32603,
  refused: -32001,
  noResource: -32002,
} as const

const MAX_ID = 128

type Code = 'SP_MCP_MESSAGE' | 'SP_A2A_MESSAGE'
type Members = Readonly<Record<string, JsonValue>>

const refuse = (code: Code, what: string): Refusal =>
  new Refusal(code, `the message is not one JSON-RPC request: ${what}`, { status: 400 })

/**
 * Reads one JSON-RPC 2.0 request or notification from a client. No batches, of any revision: MCP had them in 2025-03-26 alone, A2A has
 * none. One message is one decision; of a batch that is refused, nothing is done.
 *
 * @throws Refusal with `code`
 */
export function readRpc(message: JsonValue | undefined, code: Code): RpcRequest | RpcNotification {
  const members = membersOf(message, code)
  for (const name of Object.keys(members)) {
    if (!['jsonrpc', 'id', 'method', 'params'].includes(name)) {
      throw refuse(code, 'it has a member that requests do not have')
    }
  }
  const { method, params = {}, id } = members
  if (typeof method !== 'string' || method === '' || method.length > 128) {
    throw refuse(code, '`method` is not a name')
  }
  if (!isObject(params)) throw refuse(code, '`params` is not an object')
  if (!Object.hasOwn(members, 'id')) return { kind: 'notification', method, params }
  return { kind: 'request', id: idOf(id, code), method, params }
}

/**
 * The same from a client that can be asked, too: a message without a method answers what it was asked.
 *
 * @throws Refusal `SP_MCP_MESSAGE`
 */
export function readRpcMessage(
  message: JsonValue | undefined,
): RpcRequest | RpcNotification | RpcResponse {
  const code = 'SP_MCP_MESSAGE'
  const members = membersOf(message, code)
  if (Object.hasOwn(members, 'method')) return readRpc(message, code)
  const { id, result, error } = members
  const [answers, fails] = [Object.hasOwn(members, 'result'), Object.hasOwn(members, 'error')]
  const rest = Object.keys(members).filter((name) => !['jsonrpc', 'id'].includes(name))
  if (rest.length !== 1 || answers === fails) throw refuse(code, '`method` is missing')
  const of = idOf(id, code)
  if (answers && isObject(result)) return { kind: 'response', id: of, result }
  if (fails && isObject(error)) return { kind: 'response', id: of, result: undefined }
  throw refuse(code, '`result` or `error` is not an object')
}

function membersOf(message: JsonValue | undefined, code: Code): Members {
  if (Array.isArray(message)) throw refuse(code, 'it is a batch, which is not taken')
  if (!isObject(message)) throw refuse(code, 'it is not an object')
  if (message['jsonrpc'] !== '2.0') throw refuse(code, '`jsonrpc` is not `2.0`')
  return message
}

function idOf(id: JsonValue | undefined, code: Code): RpcId {
  if (isRpcId(id)) return id
  throw refuse(code, '`id` is neither a short string nor a whole number')
}

export function isRpcId(id: unknown): id is RpcId {
  return typeof id === 'string' ? id.length <= MAX_ID : Number.isSafeInteger(id)
}

export function isObject(
  value: JsonValue | undefined,
): value is { readonly [key: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function rpcResult(id: RpcId, result: unknown): string {
  return JSON.stringify({ jsonrpc: '2.0', id, result })
}

export function rpcError(id: RpcId | null, code: number, message: string, data?: unknown): string {
  return JSON.stringify({
    jsonrpc: '2.0',
    id,
    error: { code, message, ...(data === undefined ? {} : { data }) },
  })
}
