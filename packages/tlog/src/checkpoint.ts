import { createPublicKey, hash, sign, verify } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SallyportError } from '@sallyport/base'

/** A signed tree head. */
export interface Checkpoint {
  readonly origin: string
  readonly size: number
  readonly root: Buffer
}

/** Signs checkpoints where its Ed25519 key is kept: in this process, or in a token that never gives it out. */
export interface CheckpointSigner {
  readonly publicKey: KeyObject
  /** RFC 8032, 64 bytes. */
  sign(data: Uint8Array): Buffer
}

/** Raw 32-byte Ed25519 public key of a public or private key. */
function rawPublicKey(key: KeyObject): Buffer {
  const { x } = (key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' })
  if (key.asymmetricKeyType !== 'ed25519' || x === undefined) {
    throw new SallyportError('SP_LOG_KEY', 'the log key is not an Ed25519 key', {
      fix: 'give the Ed25519 key that signs this log',
    })
  }
  return Buffer.from(x, 'base64url')
}

/** Key id of C2SP signed-note: first four bytes of SHA-256(name || LF || 0x01 || key). */
function keyId(origin: string, key: KeyObject): Buffer {
  const id = Buffer.concat([Buffer.from(`${origin}\n`), Buffer.from([1]), rawPublicKey(key)])
  return hash('sha256', id, 'buffer').subarray(0, 4)
}

export function checkpointSigner(privateKey: KeyObject): CheckpointSigner {
  return {
    publicKey: createPublicKey(privateKey),
    sign: (data) => sign(null, data, privateKey),
  }
}

/** Signs a checkpoint as a C2SP signed note (tlog-checkpoint v1.0). Sign only sizes that are already durable. */
export function signCheckpoint(checkpoint: Checkpoint, signer: CheckpointSigner): string {
  const { origin, size, root } = checkpoint
  const text = `${origin}\n${size}\n${root.toString('base64')}\n`
  const signature = signer.sign(Buffer.from(text))
  return `${text}\n— ${origin} ${Buffer.concat([keyId(origin, signer.publicKey), signature]).toString('base64')}\n`
}

const NOTE =
  /^([^\n+\s]+)\n(0|[1-9]\d{0,15})\n([A-Za-z0-9+/]{43}=)\n\n— ([^\n+\s]+) ([A-Za-z0-9+/]{91}=)\n$/

/**
 * Parses and verifies a checkpoint of exactly our form: three lines and one signature by this key.
 *
 * @throws SallyportError `SP_LOG_CHECKPOINT`
 */
export function parseCheckpoint(note: string, publicKey: KeyObject, origin: string): Checkpoint {
  const bad = (why: string): SallyportError =>
    new SallyportError('SP_LOG_CHECKPOINT', `the checkpoint is not valid: ${why}`, {
      fix: 'use a checkpoint of this log exactly as it was printed, and the public key of this log',
    })
  const match = NOTE.exec(note)
  if (!match) throw bad('it is not a signed note')
  const [, noteOrigin = '', size = '', root = '', signer = '', signature = ''] = match
  if (noteOrigin !== origin || signer !== origin) throw bad('it is of another log')
  const signed = Buffer.from(signature, 'base64')
  const rootBytes = Buffer.from(root, 'base64')
  // Base 64 whose spare bits are set decodes to the same bytes; one text, one meaning.
  if (signed.toString('base64') !== signature || rootBytes.toString('base64') !== root) {
    throw bad('its base64 is not canonical')
  }
  const body = note.slice(0, note.indexOf('\n\n') + 1)
  if (
    !signed.subarray(0, 4).equals(keyId(origin, publicKey)) ||
    !verify(null, Buffer.from(body), publicKey, signed.subarray(4))
  ) {
    throw bad('its signature does not verify')
  }
  return { origin, size: Number(size), root: rootBytes }
}
