import type { JsonValue } from '@sallyport/base'
import { Refusal } from '../refusal.ts'

export type RpcId = string | number

export interface RpcRequest {
  readonly kind: 'request'
  readonly id: RpcId
  readonly method: string
  readonly params: Readonly<Record<string, JsonValue>>
}

export interface RpcNotification {
  readonly kind: 'notification'
  readonly method: string
}

/** JSON-RPC 2.0 error codes, and ours. */
export const RPC = {
  invalidRequest: -32600,
  methodNotFound: -32601,
  invalidParams: -32602,
  internal: -32603,
  refused: -32001,
} as const

const MAX_ID = 128

/**
 * Reads one JSON-RPC 2.0 message from a client. No batches (MCP 2025-06-18 removed them, A2A has none), no responses:
 * this server asks its clients nothing.
 *
 * @throws Refusal with `code`
 */
export function readRpc(
  message: JsonValue | undefined,
  code: 'SP_MCP_MESSAGE' | 'SP_A2A_MESSAGE' = 'SP_MCP_MESSAGE',
): RpcRequest | RpcNotification {
  const refuse = (what: string): Refusal =>
    new Refusal(code, `the message is not one JSON-RPC request: ${what}`, { status: 400 })
  if (!isObject(message)) throw refuse('it is not an object')
  if (message['jsonrpc'] !== '2.0') throw refuse('`jsonrpc` is not `2.0`')
  for (const name of Object.keys(message)) {
    if (!['jsonrpc', 'id', 'method', 'params'].includes(name)) {
      throw refuse('it has a member that requests do not have')
    }
  }
  const { method, params, id } = message
  if (typeof method !== 'string' || method === '' || method.length > 128) {
    throw refuse('`method` is not a name')
  }
  if (params !== undefined && !isObject(params)) throw refuse('`params` is not an object')
  if (!Object.hasOwn(message, 'id')) return { kind: 'notification', method }
  if (!isRpcId(id)) throw refuse('`id` is neither a short string nor a whole number')
  return { kind: 'request', id, method, params: params ?? {} }
}

function isRpcId(id: unknown): id is RpcId {
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
