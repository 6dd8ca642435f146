import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import type { Declaration, Operation } from '@sallyport/network'
import type { OutcomeRecord } from '@sallyport/wire'
import type { GatewaySettings } from '../src/settings.ts'
import { startWorld, until } from './support/world.ts'
import type { TestAgent, World } from './support/world.ts'

const LINES = 'application/x-ndjson'
const PATH = '/bank/v1/watch'
const LINE = `${JSON.stringify({ account: { id: 'ACC-1', owner: 'Ann Lee', balance: 1 } })}\n`

/** The operation `watch` as one whose description says that it answers in lines. */
const inLines = (declaration: Declaration): Declaration => {
  const changed = (operation: Operation): Operation =>
    operation.binding.kind === 'http' && operation.name === 'watch'
      ? { ...operation, binding: { ...operation.binding, lines: [LINES] } }
      : operation
  const systems = declaration.network.systems.map((system) => ({
    ...system,
    operations: system.operations.map(changed),
  }))
  return { ...declaration, network: { ...declaration.network, systems } }
}

const head = (type: string, ...more: readonly string[]): string =>
  ['HTTP/1.1 200 OK', `Content-Type: ${type}`, ...more, '\r\n'].join('\r\n')
const chunk = (text: string | Buffer): Buffer =>
  Buffer.concat([
    Buffer.from(`${Buffer.byteLength(text).toString(16)}\r\n`),
    Buffer.from(text),
    Buffer.from('\r\n'),
  ])
const zipped = gzipSync(LINE.repeat(3))

/** What was sent of an answer when its system was killed: never its end. */
const HALVES: Readonly<Record<string, readonly (string | Buffer)[]>> = {
  'lines of a stated length': [head(LINES, 'Content-Length: 1000'), LINE],
  'lines in chunks': [head(LINES, 'Transfer-Encoding: chunked'), chunk(LINE)],
  'lines in chunks, encoded and whole': [
    head(LINES, 'Transfer-Encoding: chunked', 'Content-Encoding: gzip'),
    chunk(zipped),
  ],
  'lines that end with their connection': [head(LINES), LINE],
  'lines that end with their connection, encoded': [
    head(LINES, 'Content-Encoding: gzip'),
    zipped.subarray(0, -9),
  ],
  'JSON that ends with its connection': [head('application/json'), LINE],
  'nothing yet, of what ends with its connection': [head('application/json')],
  'events that end with their connection': [head('text/event-stream'), `data: ${LINE}\n`],
  'events in chunks': [
    head('text/event-stream', 'Transfer-Encoding: chunked'),
    chunk(`data: ${LINE}\n`),
  ],
  'half a head': ['HTTP/1.1 200 OK\r\nContent-Type: appl'],
}

const cutOver = (codec: GatewaySettings['codec']) => (): void => {
  let world: World
  let agent: TestAgent
  before(async () => {
    world = await startWorld({ settings: { codec } }, undefined, inLines)
    agent = world.agent('reader')
  })
  after(() => world.close())

  const outcomes = (): OutcomeRecord[] =>
    world.plane.records().filter((one) => one.kind === 'outcome')

  for (const [what, pieces] of Object.entries(HALVES)) {
    for (const end of ['end', 'destroy'] as const) {
      it(`are never whole: ${what} (${end})`, async () => {
        const before = outcomes().length
        world.bank.answer = (_seen, res) => {
          const { socket } = res
          for (const piece of pieces) socket?.write(piece)
          // What was written is on its way.
          setTimeout(() => {
            socket?.[end]()
          }, 30)
        }
        const accept = what.startsWith('events') ? 'text/event-stream' : LINES
        const whole = await agent.pool
          .request({ method: 'GET', path: PATH, headers: { accept } })
          .then(async (answer) => {
            const text = await answer.body.text()
            return answer.statusCode === 200 ? text : undefined
          })
          .catch(() => undefined)
        assert.equal(whole, undefined)
        await until(() => outcomes().length > before)
        assert.equal(outcomes()[before]?.result, 'upstream-error')
      })
    }
  }
}

describe('answers of a system that is killed, with llhttp', cutOver('llhttp'))
describe('answers of a system that is killed, with the lean codec', cutOver('lean'))
