import { createHmac, createSecretKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import { isGrouped, lay, squeeze } from './forms/characters.ts'
import { Draw } from './forms/draw.ts'
import { formOf } from './forms/form.ts'
import type { Form } from './forms/form.ts'
import { FormIndex } from './forms/form-index.ts'
import type { Formed } from './forms/form-index.ts'
import type { GrowingText } from './growing.ts'
import type { KnownScanner, KnownSource } from './known.ts'
import type { Kind, Span } from './recognise/recogniser.ts'
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
  /**
   * One of the same form, where the value has one that is worth keeping; the same for the same letters and figures. What it stands
   * for is restored through `standIns`, never by `restore` here.
   *
   * @param isTaken whether something stands for itself where this would be read
   * @returns undefined where nothing of its form is nobody's for sure
   * @throws SallyportError `SP_REDACT_FULL`
   */
  formed(kind: Kind, value: string, isTaken: (text: string) => boolean): Stood | undefined
  /** The same where it is remembered. */
  recall(value: string): Stood | undefined
  /** Finds the words that it made: recognisers of names take a part of one for a name. */
  readonly words: KnownSource
  /** Those of the same form that it made. */
  readonly forms: FormIndex
  /** One of these is used again. */
  use(formed: Formed): void
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

/** What stands in a text for a value, and what is known of it. */
interface Stood {
  readonly text: string
  readonly formed: Formed
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
  /** What it is found by: its token, and what it stands for. */
  readonly token: string
  readonly value: string
  /** Where it has the value's form. */
  readonly formed?: Formed
  /** Nothing of its form was to be had. */
  formless?: true
  /** When it was used last, in calls of `hold`. */
  used: number
}

/** What an entry takes beside its texts, about; one with a form stands in two indices for as long as a call lasts. */
const ENTRY_BYTES = 256
const FORMED_BYTES = 512
const bytesOf = ({ token, value, formed }: Entry): number =>
  ENTRY_BYTES + (formed ? FORMED_BYTES : 0) + 2 * (token.length + value.length)

/** No token and no value begins like this. */
const formKey = (core: string): string => `\0${core}`
const formToken = formKey
/** How often another one is drawn where one is somebody's, or taken. */
const MAX_DRAWS = 64
/** After so many values for which that was in vain most that there is of some form stands for something: nobody draws for long. */
const MAX_IN_VAIN = 32
const DRAWS_IN_VAIN = 4

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
  const forms = new FormIndex()
  // From bytes Node makes a key object for each call, which takes four times as long as the call.
  const secret = createSecretKey(key)
  const formsKey = createSecretKey(
    createHmac('sha256', secret).update('sallyport/redact/forms/1').digest(),
  )
  const holds = new Set<number>()
  let clock = 0
  let inVain = 0
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
      if (oldest.formed) forms.delete(oldest.formed)
      bytes -= bytesOf(oldest)
    }
  }
  const touch = (entry: Entry): void => {
    if (entry.used >= clock) return
    entry.used = clock
    byToken.delete(entry.token)
    byToken.set(entry.token, entry)
  }
  const add = (entry: Entry): void => {
    makeRoom(bytesOf(entry))
    byToken.set(entry.token, entry)
    byValue.set(entry.value, entry)
    if (entry.formed) forms.add(entry.formed)
    bytes += bytesOf(entry)
  }
  /** What stands for a value of a form, after as many draws as it takes. */
  const draw = (form: Form, isFree: (core: string) => boolean): string | undefined => {
    const most = inVain < MAX_IN_VAIN ? MAX_DRAWS : DRAWS_IN_VAIN
    for (let i = 0; i < most; i++) {
      const core = form.draw(new Draw(formsKey, `${i}\0${form.core}`))
      if (core !== form.core && isFree(core) && form.isNobodys(core)) return core
    }
    inVain++
    return undefined
  }
  const recall = (value: string): Stood | undefined => {
    const known = byValue.get(formKey(value)) ?? byValue.get(formKey(squeeze(value)))
    if (!known?.formed) return undefined
    if (known.formed.loose ? !isGrouped(value) : known.formed.value !== value) return undefined
    touch(known)
    const { formed } = known
    return { text: formed.loose ? lay(value, formed.core) : formed.core, formed }
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
        touch(known)
        return known.token
      }
      const token = `${kind}_${stamp(secret, value)}`
      add({ token, value: own(value), used: clock })
      return token
    },
    formed(kind, value, isTaken) {
      const known = recall(value)
      if (known !== undefined || byValue.get(value)?.formless) return known
      const formless = (): undefined => {
        this.token(kind, value)
        const word = byValue.get(value)
        if (word) word.formless = true
      }
      const form = formOf(kind, value)
      if (form === undefined) return formless()
      const text = (drawn: string): string => (form.loose ? lay(value, drawn) : drawn) + form.after
      const before = byValue.get(formKey(form.core))?.formed
      if (before !== undefined) {
        this.use(before)
        return { text: text(before.core), formed: before }
      }
      const drawn = draw(
        form,
        (one) =>
          !byToken.has(formToken(one)) &&
          !byValue.has(formKey(one)) &&
          !byValue.has(text(one)) &&
          !isTaken(text(one)),
      )
      if (drawn === undefined) return formless()
      const formed = { core: drawn, loose: form.loose, value: own(form.core) }
      add({ token: formToken(drawn), value: formKey(formed.value), formed, used: clock })
      return { text: text(drawn), formed }
    },
    recall,
    forms,
    use({ core }) {
      const entry = byToken.get(formToken(core))
      if (entry) touch(entry)
    },
    hold() {
      const from = ++clock
      holds.add(from)
      return () => {
        holds.delete(from)
      }
    },
    get bytes() {
      return bytes + forms.bytes
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
    words: {
      version: 0,
      lacks: (text) => byToken.size === 0 || !text.includes('_'),
      scanner: () => new WordScanner((token) => byToken.has(token)),
    },
    has: (token) => byToken.has(token),
  }
}

/** Finds words of a vault, wherever pieces of a text meet. */
class WordScanner implements KnownScanner {
  readonly #has: (token: string) => boolean
  decided = 0

  constructor(has: (token: string) => boolean) {
    this.#has = has
  }

  shift(by: number): void {
    this.decided -= by
  }

  advance({ text, length, ended }: GrowingText, spans: Span[]): void {
    let at = this.decided
    if (text.includes('_', at)) {
      TOKEN.lastIndex = at
      for (let match = TOKEN.exec(text); match; match = TOKEN.exec(text)) {
        at = match.index + match[0].length
        if (this.#has(match[0])) spans.push({ start: match.index, end: at, kind: 'RECORD' })
      }
      TOKEN.lastIndex = 0
    }
    this.decided = Math.max(at, ended ? length : length - tailOf(text))
  }
}

function stamp(key: KeyObject, value: string): string {
  const mac = createHmac('sha256', key).update(value).digest()
  let text = ''
  for (let i = 0; i < LENGTH; i++) text += ALPHABET[(mac[i] ?? 0) & 31] ?? ''
  return text
}
