import { once } from 'node:events'
import { createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'

/** How one connection to a plain service ended: whether in order, and with what. */
export interface Ended {
  readonly got: Buffer
  /** The other side ended what it sent; otherwise it was broken off. */
  readonly inOrder: boolean
}

/** A system that speaks plain TCP and a protocol of lines, as many old ones do: it greets first, and answers each line. */
export class PlainService {
  readonly connections: Socket[] = []
  readonly ended: Ended[] = []
  /** Called for each connection in place of the protocol of lines, where set. */
  serve: ((socket: Socket) => void) | undefined
  readonly #server = createServer({ allowHalfOpen: true }, (socket) => {
    this.connections.push(socket)
    const pieces: Buffer[] = []
    socket.on('error', () => undefined)
    socket.once('close', () => {
      this.ended.push({ got: Buffer.concat(pieces), inOrder: socket.readableEnded })
    })
    if (this.serve) {
      this.serve(socket)
      return
    }
    socket.on('data', (bytes: Buffer) => pieces.push(bytes))
    lines(socket)
  })

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return this.port
  }

  get port(): number {
    // A TCP listener has an AddressInfo.
    return (this.#server.address() as AddressInfo).port
  }

  get open(): number {
    return this.connections.filter(({ destroyed }) => !destroyed).length
  }

  close(): Promise<void> {
    for (const socket of this.connections) socket.destroy()
    return new Promise((resolve) => this.#server.close(() => resolve()))
  }
}

/** Greets; `SUM a b` is answered, all else is echoed; what is asked before an end is still answered after it. */
function lines(socket: Socket): void {
  let rest = ''
  socket.write('HELLO mainframe\r\n')
  socket.on('data', (bytes: Buffer) => {
    rest += bytes.toString('latin1')
    const whole = rest.split('\n')
    rest = whole.pop() ?? ''
    for (const line of whole) {
      const [, a, b] = /^SUM (\d+) (\d+)\r?$/.exec(line) ?? []
      socket.write(a === undefined ? `ECHO ${line}\n` : `= ${Number(a) + Number(b)}\n`)
    }
  })
  socket.once('end', () => socket.end(`BYE ${rest.length}\n`))
}
