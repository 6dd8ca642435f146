import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import { combine, split } from 'shamir-secret-sharing'

/**
 * A share as people hold it: Crockford base 32 in groups of six, 45 bytes:
 * version (1) · set (5) · index (1) · threshold (1) · share (33) · checksum (4, SHA-256 cut).
 */
export interface Share {
  /** Hex, the same in every share of one split. */
  readonly set: string
  /** 1 … number of shares. */
  readonly index: number
  readonly threshold: number
  /** 32 bytes of the polynomial's values and its coordinate. */
  readonly bytes: Uint8Array
}

export interface SplitSecret {
  readonly set: string
  readonly threshold: number
  /** As people hold them. Each is a secret. */
  readonly shares: readonly string[]
  /** Digest of each share, by index: tells a wrong one, and nothing about the others. */
  readonly commitments: readonly string[]
}

const VERSION = 1
const SECRET_BYTES = 32
const SET_BYTES = 5
const SHARE_BYTES = SECRET_BYTES + 1
const HEAD_BYTES = 1 + SET_BYTES + 1 + 1
const CHECKSUM_BYTES = 4
const ALL_BYTES = HEAD_BYTES + SHARE_BYTES + CHECKSUM_BYTES
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
const LETTERS = (ALL_BYTES * 8) / 5
/** What a person may put between letters, at most, before it is not a share any more. */
const MAX_TEXT = 4 * LETTERS

/**
 * Splits 32 secret bytes by Shamir's scheme over GF(2⁸).
 *
 * @param count shares to make, 2 … 255
 * @param threshold shares that recover the secret, 2 … count
 * @throws SallyportError `SP_SEAL_SHARES`
 */
export async function splitSecret(
  secret: Uint8Array,
  count: number,
  threshold: number,
): Promise<SplitSecret> {
  const whole = Number.isSafeInteger(count) && Number.isSafeInteger(threshold)
  if (!whole || threshold < 2 || count < threshold || count > 255) {
    throw new SallyportError('SP_SEAL_SHARES', 'these numbers of shares cannot be made', {
      detail: `${count} shares, threshold ${threshold}`,
      fix: 'ask for 2 to 255 shares, and a threshold from 2 to the number of shares',
    })
  }
  if (secret.byteLength !== SECRET_BYTES) {
    throw new SallyportError('SP_SEAL_SHARES', 'only 32 secret bytes can be split')
  }
  // The library asks for a plain `Uint8Array`; a Buffer is refused.
  const plain = Uint8Array.from(secret)
  const parts = await split(plain, count, threshold)
  plain.fill(0)
  const set = randomBytes(SET_BYTES)
  const shares: string[] = []
  const commitments: string[] = []
  for (const [i, bytes] of parts.entries()) {
    const share = { set: set.toString('hex'), index: i + 1, threshold, bytes }
    shares.push(encodeShare(share))
    commitments.push(commitmentOf(share))
    bytes.fill(0)
  }
  return { set: set.toString('hex'), threshold, shares, commitments }
}

/** Recovers the secret. The caller has checked the shares against their commitments. */
export async function combineShares(shares: readonly Share[]): Promise<Buffer> {
  const found = await combine(shares.map(({ bytes }) => bytes))
  const secret = Buffer.from(found)
  found.fill(0)
  return secret
}

/**
 * Reads a share as a person types it: upper or lower case, hyphens and spaces anywhere, `O` for `0`, `I` or `L` for `1`.
 *
 * @throws SallyportError `SP_SEAL_SHARE`; never shows what was typed
 */
export function decodeShare(text: string): Share {
  const bad = (why: string): SallyportError =>
    new SallyportError('SP_SEAL_SHARE', `this is not a share: ${why}`, {
      fix: 'type the share again exactly as it was handed out: 72 letters and digits in groups of six',
    })
  if (text.length > MAX_TEXT) throw bad('it is too long')
  const letters = text.toUpperCase().replaceAll(/[\s-]/g, '').replaceAll('O', '0')
  const canonical = letters.replaceAll(/[IL]/g, '1')
  if (canonical.length !== LETTERS) {
    throw bad(`it has ${canonical.length} letters instead of ${LETTERS}`)
  }
  const all = fromBase32(canonical)
  if (!all) throw bad('it has a letter that no share has')
  const body = all.subarray(0, ALL_BYTES - CHECKSUM_BYTES)
  if (!timingSafeEqual(checksum(body), all.subarray(ALL_BYTES - CHECKSUM_BYTES))) {
    all.fill(0)
    throw bad('its checksum does not match, a letter is wrong')
  }
  const [version, index = 0, threshold = 0] = [all[0], all[1 + SET_BYTES], all[2 + SET_BYTES]]
  if (version !== VERSION || index < 1 || threshold < 2) throw bad('it is of another format')
  const set = all.subarray(1, 1 + SET_BYTES).toString('hex')
  const bytes = Uint8Array.from(body.subarray(HEAD_BYTES))
  all.fill(0)
  return { set, index, threshold, bytes }
}

/** Binds the share's bytes to its set and index. The bytes are uniformly random, so that the digest says nothing of them. */
export function commitmentOf({ set, index, threshold, bytes }: Share): string {
  const head = `sallyport-share/1 ${set} ${index} ${threshold} `
  return hash('sha256', Buffer.concat([Buffer.from(head), bytes]), 'hex')
}

function encodeShare({ set, index, threshold, bytes }: Share): string {
  const head = [Buffer.from([VERSION]), Buffer.from(set, 'hex'), Buffer.from([index, threshold])]
  const body = Buffer.concat([...head, bytes])
  const text = toBase32(Buffer.concat([body, checksum(body)]))
  return (text.match(/.{6}/g) ?? []).join('-')
}

function checksum(body: Uint8Array): Buffer {
  const input = Buffer.concat([Buffer.from('sallyport-share/1 checksum '), body])
  return hash('sha256', input, 'buffer').subarray(0, CHECKSUM_BYTES)
}

function toBase32(bytes: Uint8Array): string {
  let [text, bits, held] = ['', 0, 0]
  for (const byte of bytes) {
    held = (held << 8) | byte
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET.charAt((held >> (bits - 5)) & 31)
    held &= (1 << bits) - 1
  }
  return text
}

function fromBase32(text: string): Buffer | undefined {
  const bytes = Buffer.alloc((text.length * 5) / 8)
  let [at, bits, held] = [0, 0, 0]
  for (const letter of text) {
    const value = ALPHABET.indexOf(letter)
    if (value < 0) return undefined
    held = (held << 5) | value
    bits += 5
    if (bits < 8) continue
    bits -= 8
    bytes[at++] = held >> bits
    held &= (1 << bits) - 1
  }
  return bytes
}
