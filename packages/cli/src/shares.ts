import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'

/** What standard input may bring, at most: 255 shares of 83 letters, with room. */
const MAX_BYTES = 65_536

/**
 * Shares from standard input, one a line; at a terminal one, asked for, and not shown while it is typed.
 *
 * @param what the prompt
 */
export async function readShares(what: string): Promise<string[]> {
  const { stdin } = process
  if (stdin.isTTY) {
    process.stderr.write(`${what}: `)
    const lines = createInterface({ input: stdin, output: nowhere(), terminal: true })
    const { promise, resolve } = Promise.withResolvers<string>()
    lines.once('line', resolve)
    lines.once('close', () => resolve(''))
    const line = await promise
    lines.close()
    process.stderr.write('\n')
    return line.trim() === '' ? [] : [line.trim()]
  }
  let text = ''
  stdin.setEncoding('utf8')
  for await (const chunk of stdin) {
    text += String(chunk)
    if (text.length > MAX_BYTES) break
  }
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
}

const nowhere = (): Writable => new Writable({ write: (_chunk, _encoding, done) => done() })
