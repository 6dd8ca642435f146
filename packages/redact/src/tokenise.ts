import { hkdfSync } from 'node:crypto'
import { aessiv } from '@noble/ciphers/aes.js'
import { SallyportError } from '@sallyport/base'

export interface Tokeniser {
  /**
   * The token of a value: the same for the same kind, value and key, and unlinkable across kinds. Letters, digits, `-` and `_`
   * only; the length tells the value's only in steps of 16 bytes.
   *
   * @param kind `DATASET.FIELD`
   * @throws SallyportError `SP_TOKEN_KIND`, `SP_TOKEN_VALUE`
   */
  tokenise(kind: string, value: string): string
  /**
   * The value behind a token of this kind.
   *
   * @throws SallyportError `SP_TOKEN_INVALID` for anything that this key did not make for this kind
   */
  restore(kind: string, token: string): string
  /** Whether a text looks like a token; says nothing of its validity. */
  isToken(text: string): boolean
}

const BLOCK = 16
const TAG = 16
const MAX_VALUE_BYTES = 4096
const KIND = /^[A-Za-z][A-Za-z0-9_-]{0,127}(?:\.[A-Za-z][A-Za-z0-9_-]{0,127})*$/
const TOKEN = /^tok_[A-Za-z0-9_-]+_[A-Za-z0-9_-]{43,}$/

/**
 * Deterministic, reversible tokens by AES-256-SIV (RFC 5297) with the kind as associated data.
 *
 * @param key 32 secret bytes; whoever has them can restore every token
 * @throws SallyportError `SP_TOKEN_KEY`
 */
export function createTokeniser(key: Uint8Array): Tokeniser {
  if (key.byteLength !== 32) {
    throw new SallyportError('SP_TOKEN_KEY', 'a tokeniser key has 32 bytes')
  }
  const sivKey = new Uint8Array(hkdfSync('sha256', key, '', 'sallyport/redact/aes-256-siv/1', 64))
  return {
    tokenise(kind, value) {
      const prefix = prefixOf(kind)
      const bytes = Buffer.from(value)
      if (!value.isWellFormed() || bytes.length > MAX_VALUE_BYTES) {
        throw new SallyportError('SP_TOKEN_VALUE', 'a value cannot be turned into a token', {
          detail: `it has more than ${MAX_VALUE_BYTES} bytes or an unpaired surrogate`,
        })
      }
      const sealed = aessiv(sivKey, Buffer.from(kind)).encrypt(padded(bytes))
      return prefix + Buffer.from(sealed).toString('base64url')
    },
    restore(kind, token) {
      const prefix = prefixOf(kind)
      if (!token.startsWith(prefix)) throw invalid('it is of another kind')
      const text = token.slice(prefix.length)
      const sealed = Buffer.from(text, 'base64url')
      // One token, one spelling: base64url has respellings of its last character.
      if (sealed.toString('base64url') !== text || sealed.length < TAG + BLOCK) {
        throw invalid('it is not a token')
      }
      if (sealed.length > TAG + BLOCK + MAX_VALUE_BYTES) throw invalid('it is too long')
      try {
        return unpadded(aessiv(sivKey, Buffer.from(kind)).decrypt(sealed))
      } catch {
        throw invalid('it was not made with this key for this kind')
      }
    },
    isToken: (text) => TOKEN.test(text),
  }
}

function prefixOf(kind: string): string {
  if (!KIND.test(kind)) {
    throw new SallyportError('SP_TOKEN_KIND', 'a token kind is names joined by dots')
  }
  // Kinds that fall together here are still told apart by the associated data.
  return `tok_${kind.replaceAll('.', '-')}_`
}

/** ISO/IEC 7816-4 padding to whole blocks: hides the exact length, and nothing is ever empty. */
function padded(bytes: Uint8Array): Uint8Array {
  const result = new Uint8Array((Math.floor(bytes.length / BLOCK) + 1) * BLOCK)
  result.set(bytes)
  result[bytes.length] = 0x80
  return result
}

function unpadded(bytes: Uint8Array): string {
  const end = bytes.lastIndexOf(0x80)
  return Buffer.from(bytes.subarray(0, end)).toString('utf8')
}

function invalid(detail: string): SallyportError {
  return new SallyportError('SP_TOKEN_INVALID', 'the token is not valid here', { detail })
}
