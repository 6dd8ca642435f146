import { createHmac } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import type { Kind } from './recognise/recogniser.ts'
import { KINDS } from './recognise/recogniser.ts'
import type { RedactingStream } from './redactor.ts'
import { own } from './words.ts'

/** What stands in for values within one session, and the way back. */
export interface Vault {
  /**
   * The stand-in of a value: the same for the same value and key, and nothing that the value could be told from.
   *
   * @throws SallyportError `SP_REDACT_FULL` where there is no room for what is held
   */
  token(kind: Kind, value: string): string
  /** From here on what is used is not forgotten. @returns ends that */
  hold(): () => void
  /** How much memory it takes, about. */
  readonly bytes: number
  /**
   * The text with every stand-in that this vault made replaced by its value.
   *
   * @param write how a value is written into the text, e.g. with the escapes of JSON
   */
  restore(text: string, write?: (value: string) => string): string
  /** The same for a text that comes in pieces. */
  restoring(write?: (value: string) => string): RedactingStream
  /** Whether a text is a stand-in that this vault made. */
  has(token: string): boolean
}

/** Crockford's base 32: no letter that is read as another. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const LENGTH = 12
const TOKEN = new RegExp(`(?:${KINDS.join('|')})_[${ALPHABET}]{${LENGTH}}`, 'g')
const MAX_TOKEN = Math.max(...KINDS.map((kind) => kind.length)) + 1 + LENGTH

/** How much at the end of a text could still become a stand-in: capitals, figures and `_`. */
function tailOf(text: string): number {
  const most = Math.min(text.length, MAX_TOKEN - 1)
  for (let tail = 0; tail < most; tail++) {
    const c = text.charCodeAt(text.length - 1 - tail)
    if (!((c >= 0x41 && c <= 0x5a) || (c >= 0x30 && c <= 0x39) || c === 0x5f)) return tail
  }
  return most
}

export interface VaultOptions {
  /** Values that can be restored, and bytes of memory that they may take; the oldest go first. */
  readonly maxEntries: number
  readonly maxBytes: number
}

/** A value that can be restored. */
interface Entry {
  readonly token: string
  readonly value: string
  /** When it was used last, in calls of `hold`. */
  used: number
}

/** What an entry takes beside its texts, about. */
const ENTRY_BYTES = 256
const bytesOf = ({ token, value }: Entry): number => ENTRY_BYTES + 2 * (token.length + value.length)

/**
 * Stand-ins like `EMAIL_7K2M9Q4X0B3D`: words that a language model copies faithfully. They are keyed, so that nobody can
 * compute the one of a guessed value, and bound to the vault: another session's stand-in is only a word here.
 *
 * @param key 32 secret bytes of this session alone
 * @throws SallyportError `SP_TOKEN_KEY`
 */
export function createVault(key: Uint8Array, options: Partial<VaultOptions> = {}): Vault {
  if (key.byteLength !== 32) throw new SallyportError('SP_TOKEN_KEY', 'a vault key has 32 bytes')
  const { maxEntries = 100_000, maxBytes = 16 << 20 } = options
  // Used last, last.
  const byToken = new Map<string, Entry>()
  const byValue = new Map<string, Entry>()
  const holds = new Set<number>()
  let clock = 0
  let bytes = 0
  /** Makes room for one more by what nobody holds. */
  const makeRoom = (more: number): void => {
    const [first = clock + 1] = holds
    while (byToken.size >= maxEntries || bytes + more > maxBytes) {
      const oldest = byToken.values().next().value
      if (!oldest || oldest.used >= first) {
        throw new SallyportError('SP_REDACT_FULL', 'there are too many values to stand in for', {
          detail: `they take more than ${maxEntries} entries or ${maxBytes} bytes`,
        })
      }
      byToken.delete(oldest.token)
      byValue.delete(oldest.value)
      bytes -= bytesOf(oldest)
    }
  }
  const restore = (text: string, write: (value: string) => string): string =>
    // Each has one in it.
    byToken.size === 0 || !text.includes('_')
      ? text
      : text.replaceAll(TOKEN, (token) => {
          const entry = byToken.get(token)
          return entry === undefined ? token : write(entry.value)
        })
  const plain = (value: string): string => value
  return {
    token(kind, value) {
      const known = byValue.get(value)
      // The same value may be found as different things; it keeps its first name.
      if (known !== undefined) {
        if (known.used < clock) {
          known.used = clock
          byToken.delete(known.token)
          byToken.set(known.token, known)
        }
        return known.token
      }
      const entry = { token: `${kind}_${stamp(key, value)}`, value: own(value), used: clock }
      makeRoom(bytesOf(entry))
      byToken.set(entry.token, entry)
      byValue.set(entry.value, entry)
      bytes += bytesOf(entry)
      return entry.token
    },
    hold() {
      const from = ++clock
      holds.add(from)
      return () => {
        holds.delete(from)
      }
    },
    get bytes() {
      return bytes
    },
    restore: (text, write = plain) => restore(text, write),
    restoring(write = plain) {
      let held = ''
      return {
        push(piece) {
          const text = restore(held + piece, write)
          // A value may end like the beginning of a stand-in: it is held for a piece longer, and no more.
          const sure = text.length - tailOf(text)
          held = text.slice(sure)
          return text.slice(0, sure)
        },
        end() {
          const rest = restore(held, write)
          held = ''
          return rest
        },
      }
    },
    has: (token) => byToken.has(token),
  }
}

function stamp(key: Uint8Array, value: string): string {
  const mac = createHmac('sha256', key).update(value).digest()
  let text = ''
  for (let i = 0; i < LENGTH; i++) text += ALPHABET[(mac[i] ?? 0) & 31] ?? ''
  return text
}
