import { once } from 'node:events'
import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import {
  FrameReader,
  int16,
  int32,
  message,
  text,
} from '../../../packages/gateway/src/sql/wire/frames.ts'
import type { Frame } from '../../../packages/gateway/src/sql/wire/frames.ts'
import { errorFields } from '../../../packages/gateway/src/sql/wire/messages.ts'
import type { SqlWorld } from './world.ts'

/** A client that says whatever it likes. */
export class Raw {
  readonly socket: TLSSocket
  readonly frames: Frame[] = []
  /** What errors said, in words. */
  readonly errors: string[] = []
  readonly #reader = new FrameReader(1 << 26)
  #wake: () => void = () => undefined

  constructor(socket: TLSSocket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      const frames = this.#reader.push(chunk) ?? []
      this.frames.push(...frames)
      for (const { type, body } of frames) {
        if (type === 'E') this.errors.push(errorFields(body)['M'] ?? '')
      }
      this.#wake()
    })
    socket.on('error', () => undefined)
    socket.on('close', () => this.#wake())
  }

  static async open(
    world: SqlWorld,
    agent: string,
    started = true,
    instance?: string,
  ): Promise<Raw> {
    const { chainPem, keyPem, rootsPem } = world.material(agent, instance)
    const socket = connect({
      ...{ host: '127.0.0.1', port: world.gateway.postgresAddress?.port ?? 0 },
      ...{ cert: chainPem, key: keyPem, ca: rootsPem, checkServerIdentity: () => undefined },
      ALPNProtocols: ['postgresql'],
    })
    await once(socket, 'secureConnect')
    const raw = new Raw(socket)
    if (started) {
      raw.start({ user: agent, database: 'ledger' })
      await raw.until('Z')
    }
    return raw
  }

  start(settings: Readonly<Record<string, string>>, version = 196_608): void {
    const parts = Object.entries(settings).flatMap((entry) => entry.map(text))
    const body = Buffer.concat([int32(version), ...parts, Buffer.from([0])])
    this.socket.write(Buffer.concat([int32(body.length + 4), body]))
  }

  send(...messages: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(messages))
  }

  /** Types of what came, up to the first of `type`, with what errors say; `gone` where the connection ended. */
  async until(type: string): Promise<string[]> {
    for (;;) {
      const at = this.frames.findIndex((frame) => frame.type === type)
      const end = at < 0 && this.socket.destroyed ? this.frames.length - 1 : at
      if (at >= 0 || this.socket.destroyed) {
        const told = this.frames.splice(0, end + 1).map(say)
        return at >= 0 ? told : [...told, 'gone']
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}

function say({ type, body }: Frame): string {
  if (type === 'Z') return `Z${body.toString('latin1')}`
  if (type === 'E') return `E${errorFields(body)['C'] ?? ''}`
  if (type === 'D') return 'D'
  return type
}

export const parse = (sql: string, name = '', oids: readonly number[] = []): Buffer =>
  message('P', text(name), text(sql), int16(oids.length), ...oids.map(int32))
export const bind = (
  values: readonly Buffer[] = [],
  formats: readonly number[] = [],
  portal = '',
): Buffer =>
  message(
    ...(['B', text(portal), text('')] as const),
    ...[int16(formats.length), ...formats.map(int16), int16(values.length)],
    ...values.flatMap((value) => [int32(value.length), value]),
    int16(0),
  )
export const execute = (portal = '', most = 0): Buffer => message('E', text(portal), int32(most))
export const describe = (kind: 'S' | 'P', name = ''): Buffer => message('D', kind, text(name))
export const SYNC: Buffer = message('S')
export const FLUSH: Buffer = message('H')
