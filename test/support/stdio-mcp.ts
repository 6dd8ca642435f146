/** A small MCP server on standard input and output that does what its tests ask, and tells how it runs. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { networkInterfaces } from 'node:os'
import { createInterface } from 'node:readline'

interface Message {
  readonly id?: string
  readonly method?: string
  readonly params?: { readonly arguments?: { readonly what?: string; readonly path?: string } }
}

const say = (message: unknown): void => {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}

function facts(path: string): unknown {
  let entries: string[] | string = []
  try {
    entries = existsSync(path) ? readdirSync(path) : 'none'
  } catch (error) {
    entries = String(error)
  }
  return {
    uid: process.getuid?.(),
    pid: process.pid,
    env: Object.keys(process.env).toSorted(),
    args: process.argv.slice(2),
    interfaces: Object.keys(networkInterfaces()),
    entries,
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    return String(error)
  }
}

/** Whether anything outside can be reached from here. */
function dial(port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.on('connect', () => {
      resolve('connected')
    })
    socket.on('error', (error) => {
      resolve(error.message)
    })
  })
}

const lines = createInterface({ input: process.stdin }).on('line', (line) => {
  // What the gateway sends is JSON-RPC.
  const { id, method, params } = JSON.parse(line) as Message
  const text = (given: unknown): void => {
    const content = [{ type: 'text', text: JSON.stringify(given) }]
    say({ jsonrpc: '2.0', id, result: { content } })
  }
  if (method === 'initialize') {
    const serverInfo = { name: 'p', version: '1' }
    say({
      jsonrpc: '2.0',
      id,
      result: { protocolVersion: '2025-06-18', capabilities: { tools: {} }, serverInfo },
    })
    return
  }
  if (method !== 'tools/call') return
  const { what, path = '' } = params?.arguments ?? {}
  switch (what) {
    case 'facts':
      text(facts(path))
      break
    case 'read':
      text(read(path))
      break
    case 'dial':
      void dial(Number(path)).then(text)
      break
    case 'exit':
      process.exit(3)
      break
    case 'noise':
      process.stdout.write('this is no message\n')
      break
    case 'flood':
      process.stdout.write('x'.repeat(64 * 1024 * 1024))
      break
    case 'nothing':
      break
    case 'deaf':
      lines.pause()
      process.stdin.pause()
      text('done')
      // It stays, though nothing comes in.
      setInterval(() => undefined, 60_000)
      break
    case 'chatter':
      for (let i = 0; i < Number(path); i++) {
        say({ jsonrpc: '2.0', method: 'notifications/message', params: { data: 'x'.repeat(100) } })
      }
      text('done')
      break
    case 'busy':
      setInterval(() => {
        say({ jsonrpc: '2.0', method: 'notifications/progress', params: { progressToken: id } })
      }, 5)
      break
    default:
      process.stderr.write('\u001B[31mtold\u0007 to standard error\n')
      text('done')
  }
})
