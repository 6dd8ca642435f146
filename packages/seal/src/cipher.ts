import { createCipheriv, createDecipheriv, randomFillSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

const TAG_BYTES = 16
const IV_BYTES = 12

/** Random bytes of IVs to come: asking for twelve at a time takes as long as encrypting a short value. */
const random = Buffer.alloc(256 * IV_BYTES)
let used = random.length

function freshIv(): Buffer {
  if (used === random.length) {
    randomFillSync(random)
    used = 0
  }
  const iv = Buffer.from(random.subarray(used, used + IV_BYTES))
  // Handed out once, and by this alone.
  used += IV_BYTES
  return iv
}

/** AES-256-GCM (NIST SP 800-38D), of a text as UTF-8, with a random 96-bit IV; the tag stands at the end of `ct`. */
export function encrypt(
  key: KeyObject,
  plaintext: string | Uint8Array,
  aad: string | Uint8Array,
): { readonly iv: Buffer; readonly ct: Buffer } {
  const iv = freshIv()
  const cipher = createCipheriv('aes-256-gcm', key, iv)
  cipher.setAAD(octets(aad))
  const ct =
    typeof plaintext === 'string' ? cipher.update(plaintext, 'utf8') : cipher.update(plaintext)
  // GCM holds nothing back for the end.
  cipher.final()
  return { iv, ct: Buffer.concat([ct, cipher.getAuthTag()]) }
}

/** @throws Error where key, IV, ciphertext or associated data are not those of the encryption */
export function decrypt(
  key: KeyObject,
  iv: Uint8Array,
  ct: Uint8Array,
  aad: string | Uint8Array,
): Buffer {
  if (iv.byteLength !== IV_BYTES || ct.byteLength < TAG_BYTES) throw new Error('not a ciphertext')
  const decipher = createDecipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES })
  decipher.setAAD(octets(aad))
  decipher.setAuthTag(ct.subarray(ct.byteLength - TAG_BYTES))
  return Buffer.concat([
    decipher.update(ct.subarray(0, ct.byteLength - TAG_BYTES)),
    decipher.final(),
  ])
}

function octets(aad: string | Uint8Array): Uint8Array {
  return typeof aad === 'string' ? Buffer.from(aad) : aad
}
