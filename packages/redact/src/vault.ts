import { createHmac } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import type { Kind } from './recognise/recogniser.ts'
import { KINDS } from './recognise/recogniser.ts'
import type { RedactingStream } from './redactor.ts'

/** What stands in for values within one session, and the way back. */
export interface Vault {
  /** The stand-in of a value: the same for the same value and key, and nothing that the value could be told from. */
  token(kind: Kind, value: string): string
  /** The text with every stand-in that this vault made replaced by its value. */
  restore(text: string): string
  /**
   * The same for a text that comes in pieces.
   *
   * @param write how a value is written into the text, e.g. with the escapes of JSON
   */
  restoring(write?: (value: string) => string): RedactingStream
  /** Whether a text is a stand-in that this vault made. */
  has(token: string): boolean
}

/** Crockford's base 32: no letter that is read as another. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const LENGTH = 12
const TOKEN = new RegExp(`(?:${KINDS.join('|')})_[${ALPHABET}]{${LENGTH}}`, 'g')
const MAX_TOKEN = Math.max(...KINDS.map((kind) => kind.length)) + 1 + LENGTH
/** What could still become a stand-in. */
const TAIL = new RegExp(`[A-Z0-9_]{1,${MAX_TOKEN - 1}}$`)

/**
 * Stand-ins like `EMAIL_7K2M9Q4X0B3D`: words that a language model copies faithfully. They are keyed, so that nobody can
 * compute the one of a guessed value, and bound to the vault: another session's stand-in is only a word here.
 *
 * @param key 32 secret bytes of this session alone
 * @param maxEntries values that can be restored; the oldest go first
 * @throws SallyportError `SP_TOKEN_KEY`
 */
export function createVault(key: Uint8Array, maxEntries = 100_000): Vault {
  if (key.byteLength !== 32) throw new SallyportError('SP_TOKEN_KEY', 'a vault key has 32 bytes')
  const values = new Map<string, string>()
  const tokens = new Map<string, string>()
  const restore = (text: string, write: (value: string) => string): string =>
    text.replaceAll(TOKEN, (token) => {
      const value = values.get(token)
      return value === undefined ? token : write(value)
    })
  const plain = (value: string): string => value
  return {
    token(kind, value) {
      const known = tokens.get(value)
      // The same value may be found as different things; it keeps its first name.
      if (known !== undefined) return known
      const token = `${kind}_${stamp(key, value)}`
      const oldest = values.entries().next().value
      if (values.size >= maxEntries && oldest) {
        values.delete(oldest[0])
        tokens.delete(oldest[1])
      }
      values.set(token, value)
      tokens.set(value, token)
      return token
    },
    restore: (text) => restore(text, plain),
    restoring(write = plain) {
      let held = ''
      return {
        push(piece) {
          const text = restore(held + piece, write)
          // A value may end like the beginning of a stand-in: it is held for a piece longer, and no more.
          held = TAIL.exec(text)?.[0] ?? ''
          return text.slice(0, text.length - held.length)
        },
        end() {
          const rest = restore(held, write)
          held = ''
          return rest
        },
      }
    },
    has: (token) => values.has(token),
  }
}

function stamp(key: Uint8Array, value: string): string {
  const mac = createHmac('sha256', key).update(value).digest()
  let text = ''
  for (let i = 0; i < LENGTH; i++) text += ALPHABET[(mac[i] ?? 0) & 31] ?? ''
  return text
}
