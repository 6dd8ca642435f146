import { readFileSync } from 'node:fs'
import { SallyportError } from '@sallyport/base'

/** A secret's value as the API takes it. */
export interface GivenValue {
  readonly value: string
  readonly encoding: 'utf8' | 'base64'
}

export interface ValueOptions {
  readonly file?: string
  readonly raw?: boolean
}

const STDIN = 0

/**
 * Reads a secret from a file or from standard input, never from the command line, where every user of the machine could see it.
 * Without `raw`, one line end at the end is not part of it.
 *
 * @throws SallyportError `SP_USAGE_VALUE`
 */
export function givenValue({ file, raw }: ValueOptions): GivenValue {
  if (file === undefined && process.stdin.isTTY) {
    throw new SallyportError('SP_USAGE_VALUE', 'no value was given', {
      fix: 'pipe it in (`… < key.txt`), or name its file with --file',
    })
  }
  let bytes: Buffer
  try {
    bytes = readFileSync(file ?? STDIN)
  } catch (cause) {
    throw new SallyportError('SP_USAGE_VALUE', 'the value cannot be read', {
      detail: cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown',
      fix: 'name a file that can be read, or pipe the value in',
    })
  }
  const text = bytes.toString('utf8')
  if (!Buffer.from(text).equals(bytes)) {
    return { value: bytes.toString('base64'), encoding: 'base64' }
  }
  return { value: raw === true ? text : text.replace(/\r?\n$/, ''), encoding: 'utf8' }
}
