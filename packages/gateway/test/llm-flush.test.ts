/** Events of a model that become much longer than they came: they are written on as they are made, whole and in order. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseJson } from '@sallyport/base'
import { chunk, lastText, manyModels } from './support/many-models.ts'
import type { Json } from './support/world.ts'

/** What `serve/events.ts` writes together, about. */
const AT_ONCE = 65_536
/** A stand-in has 18 characters, this has 208. */
const EMAIL = `${'a'.repeat(60)}@${'b'.repeat(60)}.${'c'.repeat(60)}.${'d'.repeat(20)}.org`
const EACH = 40
/** As much as the model may say. */
const EVENTS = 35

describe('a stream whose events grow as they are restored', () => {
  const models = manyModels()

  /** Asks by a connection of its own, and reads each piece that the gateway wrote as the chunk that it is (RFC 9112, section 7.1). */
  async function ask(): Promise<{ readonly chunks: readonly string[]; readonly isWhole: boolean }> {
    const socket = await models.teller.raw()
    const body = JSON.stringify({
      model: 'lone',
      stream: true,
      messages: [{ role: 'user', content: `write to ${EMAIL}` }],
    })
    socket.write(
      `POST /models/v1/chat/completions HTTP/1.1\r\nHost: g\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    const pieces: Buffer[] = []
    try {
      // Without an encoding set, a socket yields buffers.
      for await (const piece of socket) pieces.push(piece as Buffer)
    } catch {
      // Cut off: what came until then is looked at.
    }
    const text = Buffer.concat(pieces).toString('latin1')
    assert.match(text, /^HTTP\/1\.1 200 /)
    const chunks: string[] = []
    let at = text.indexOf('\r\n\r\n') + 4
    for (;;) {
      const end = text.indexOf('\r\n', at)
      const size = end < 0 ? NaN : Number.parseInt(text.slice(at, end), 16)
      if (!(size > 0)) return { chunks, isWhole: size === 0 }
      chunks.push(text.slice(end + 2, end + 2 + size))
      at = end + 2 + size + 2
    }
  }

  const contents = (text: string): string[] =>
    [...text.matchAll(/^data: (\{.*\})$/gm)].map(([, data = '']) => {
      const [choice] = (parseJson(data) as { choices: Json[] }).choices
      const text = (choice?.['delta'] as Json | undefined)?.['content']
      return typeof text === 'string' ? text : ''
    })

  const tokenIn = (text: string): string =>
    /EMAIL_[0-9A-Z]{12}/.exec(text)?.[0] ?? assert.fail(text)
  const events = (token: string): string =>
    Array.from({ length: EVENTS }, (_, i) =>
      chunk({ content: `${i}: ${Array<string>(EACH).fill(token).join(' ')}; ` }),
    ).join('')
  const restored = (count: number): string =>
    Array.from(
      { length: count },
      (_, i) => `${i}: ${Array<string>(EACH).fill(EMAIL).join(' ')}; `,
    ).join('')
  /** One event, and what is held back of the one before it. */
  const slack = 2 * restored(1).length + 1000

  it('has all of them once and in order, and never much more than is written together', async () => {
    models.first.answer = (asked, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      res.end(`${events(tokenIn(lastText(asked)))}${chunk({}, 'stop')}data: [DONE]\n\n`)
    }
    const { chunks, isWhole } = await ask()
    assert.ok(isWhole)
    assert.equal(contents(chunks.join('')).join(''), restored(EVENTS))
    assert.ok(chunks.join('').endsWith('data: [DONE]\n\n'))
    const sizes = chunks.map(({ length }) => length)
    assert.ok(Math.max(...sizes) < AT_ONCE + slack, sizes.join())
    // Or nothing was seen of what is tried here.
    assert.ok(sizes.filter((size) => size >= AT_ONCE).length >= 3, sizes.join())
  })

  it('lets through what came before an event that cannot be used, and nothing of what comes after', async () => {
    models.first.answer = (asked, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' })
      const token = tokenIn(lastText(asked))
      res.end(`${events(token)}data: {"choices":[]\n\n${events(token)}data: [DONE]\n\n`)
    }
    const { chunks, isWhole } = await ask()
    assert.ok(!isWhole, 'an answer that broke off is not one that ended')
    const said = contents(chunks.join('')).join('')
    assert.ok(restored(EVENTS).startsWith(said))
    // Cutting the connection may take the last of what was written with it, which was less than is written together.
    assert.ok(said.length > restored(EVENTS).length - 2 * AT_ONCE, `${said.length} characters`)
  })
})
