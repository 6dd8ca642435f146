import { parseJson } from '@sallyport/base'
import { rpcResultOf } from '../../../src/a2a/answers.ts'
import { readRpc, readRpcMessage, rpcError, rpcResult } from '../../../src/adapters/jsonrpc.ts'
import type { RpcNotification, RpcRequest, RpcResponse } from '../../../src/adapters/jsonrpc.ts'
import type { Chance } from '../near-http.ts'
import { changed, demandSame, orRefused, pick } from './reading.ts'
import type { Kind } from './reading.ts'

const MESSAGES = [
  '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"n","arguments":{"a":1}}}',
  '{"jsonrpc":"2.0","id":"x","method":"SendMessage","params":{"message":{"messageId":"m"}}}',
  '{"method":"ping","id":0,"jsonrpc":"2.0"}',
  '{"jsonrpc":"2.0","method":"notifications/initialized"}',
  '{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t"}}',
  '{"jsonrpc":"2.0","id":7,"result":{"action":"accept","content":{}}}',
  '{"jsonrpc":"2.0","id":"q","error":{"code":-32601,"message":"no"}}',
]
const ANSWERS = [
  '{"jsonrpc":"2.0","id":"q","result":{"id":"t"}}',
  '{"id":"q","jsonrpc":"2.0","result":[1]}',
  '{"jsonrpc":"2.0","id":"q","error":{"code":-32601,"message":"no"}}',
]
const PIECES = [
  ...'{ } [ ] , : " \\ 0 1 -0 1.5 1e2 -1 null true {} [] "" ,"id":2 "id":null, "id":1.0, "id":-0, ,"result":{} ,"error":{} ,"error":null'.split(
    ' ',
  ),
  ...'"method":"x", ,"method":"x" ,"method":1 ,"params":[] ,"params":null ,"params":{} "jsonrpc":"2.0", "jsonrpc":2.0, ,"jsonrpc":"1.0" ,"x":1 9007199254740993'.split(
    ' ',
  ),
  ...['"__proto__":{"id":9},', '"\\u0069d":3,', '"ID":4,', '"i\\u0000d":5,', '[{', '}]', '\\ud800'],
  ...[
    '"\u00efd":1,',
    'é',
    '\ufeff',
    ' ',
    '\n',
    '\0',
    '"toString":1,',
    '"constructor":{},',
    '"a":1',
  ],
]

/** Members that one has too many of, or that are not what they should be. */
const MEMBERS =
  '"id":null "id":1.5 "id":-0 "id":1e2 "id":"" "id":[] "id":true "method":"x" "method":"" "method":null "params":{} "params":[] "params":null "result":{} "result":[] "error":{} "error":null "jsonrpc":"2.0" "jsonrpc":2.0 "x":1 "__proto__":{"id":9} "ID":4 "\\u0069d":3'.split(
    ' ',
  )

function nearMessage(messages: readonly string[], chance: Chance): string {
  const text = pick(chance, messages)
  return chance(2) === 0
    ? changed(text, PIECES, chance, 2)
    : text.replace('{', `{${pick(chance, MEMBERS)},`)
}

type Plain = Readonly<Record<string, unknown>>

const isMembers = (value: unknown): value is Plain =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * What a message says by JSON-RPC 2.0, sections 4 and 5, as MCP and A2A narrow it: parameters by name, results and errors that
 * are objects, ids that are texts or whole numbers, and no batches.
 */
function said(message: unknown): unknown {
  if (!isMembers(message)) return null
  const names = Object.keys(message).toSorted().join()
  const { jsonrpc, id, method, params, result, error } = message
  const named = (typeof id === 'string' && id.length < 129) || Number.isSafeInteger(id)
  if (jsonrpc !== '2.0') return null
  const isCall = typeof method === 'string' && method !== '' && method.length < 129
  switch (names) {
    case 'id,jsonrpc,method':
      return isCall && named ? ['request', id, method, {}] : null
    case 'id,jsonrpc,method,params':
      return isCall && named && isMembers(params) ? ['request', id, method, params] : null
    case 'jsonrpc,method':
      return isCall ? ['notification', method, {}] : null
    case 'jsonrpc,method,params':
      return isCall && isMembers(params) ? ['notification', method, params] : null
    case 'id,jsonrpc,result':
      return named && isMembers(result) ? ['response', id, result] : null
    case 'error,id,jsonrpc':
      return named && isMembers(error) ? ['response', id, 'an error'] : null
    default:
      return null
  }
}

function ofOurs(read: RpcRequest | RpcNotification | RpcResponse): readonly unknown[] {
  switch (read.kind) {
    case 'request':
      return [read.kind, read.id, read.method, read.params]
    case 'notification':
      return [read.kind, read.method, read.params]
    default:
      return [read.kind, read.id, read.result ?? 'an error']
  }
}

export const rpc: readonly Kind[] = [
  {
    name: 'messages of JSON-RPC, beside the parser of JavaScript and plain rules',
    share: 25,
    read: (chance) => {
      const text = nearMessage(MESSAGES, chance)
      const bytes = Buffer.from(text)
      const message = orRefused(() => parseJson(bytes, { maxDepth: 32 }))
      if (message === undefined) return 'refused'
      const isClient = chance(2) === 0
      const ours = orRefused(() =>
        isClient ? readRpcMessage(message) : readRpc(message, 'SP_A2A_MESSAGE'),
      )
      const plain: unknown = JSON.parse(text)
      const theirs = said(plain)
      // One that only asks is not answered.
      const hears = isClient || !Array.isArray(theirs) || theirs[0] !== 'response'
      demandSame('message', text, (ours && ofOurs(ours)) ?? null, hears ? theirs : null)
      if (!ours) return 'refused'
      if (ours.kind !== 'notification') {
        const ids = [rpcResult(ours.id, {}), rpcError(ours.id, 1, 'x')].map((answer) => {
          const { id }: Plain = JSON.parse(answer)
          return id
        })
        const { id } = isMembers(plain) ? plain : {}
        demandSame('id of the answer', text, ids, [id, id])
      }
      return 'same'
    },
  },
  {
    name: 'answers of JSON-RPC, beside the parser of JavaScript and plain rules',
    share: 10,
    read: (chance) => {
      const text = nearMessage(ANSWERS, chance)
      const ours = orRefused(() => rpcResultOf(parseJson(Buffer.from(text), { maxDepth: 32 }), 'q'))
      if (ours === undefined) return 'refused'
      const plain: unknown = JSON.parse(text)
      if (!isMembers(plain)) throw new Error(`an answer that is no object: ${text}`)
      const { jsonrpc, id, result, error } = plain
      demandSame('whose answer it is', text, ['2.0', 'q'], [jsonrpc, id])
      demandSame('whether it is an error', text, false, isMembers(error))
      demandSame('result', text, ours, result)
      return 'same'
    },
  },
]
