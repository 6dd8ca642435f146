import { createCipheriv, createDecipheriv, createPrivateKey, createPublicKey } from 'node:crypto'
import {
  createSecretKey,
  generateKeyPairSync,
  hkdfSync,
  randomBytes,
  sign,
  verify,
} from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import type { Network, TransitAct, TransitKey } from '@sallyport/network'
import type { Barrier } from '@sallyport/seal'
import type { Store, Tx } from '../store/store.ts'
import { nameOf } from './access.ts'
import type { Reader } from './access.ts'
import type { Recorder } from './custody.ts'

/** A key as operators see it. Times are milliseconds since the epoch. */
export interface TransitView {
  readonly name: string
  readonly owner: string
  readonly use: string
  readonly type: TransitKey['type']
  /** 0 before its first use. */
  readonly newest: number
  /** What older versions encrypted does not open any more. */
  readonly minDecrypt: number
  readonly createdAt: number | null
  /** Of the newest version of a signing key, PEM. */
  readonly publicKey: string | null
}

interface Version {
  readonly version: number
  readonly minDecrypt: number
  readonly key: KeyObject
}

const SALT_BYTES = 32
const TAG_BYTES = 16
const MAX_BYTES = 65_536
const MAX_CONTEXT = 1024

/** Encryption and signatures with keys that never leave: for those whom the declaration names, each act recorded. */
export class Transit {
  readonly #store: Store
  readonly #clock: Clock
  readonly #barrier: () => Barrier
  readonly #network: () => Network
  readonly #record: Recorder
  readonly #keys = new Map<string, KeyObject>()

  constructor(deps: {
    readonly store: Store
    readonly clock: Clock
    readonly barrier: () => Barrier
    readonly network: () => Network
    readonly record: Recorder
  }) {
    this.#store = deps.store
    this.#clock = deps.clock
    this.#barrier = deps.barrier
    this.#network = deps.network
    this.#record = deps.record
  }

  /**
   * AES-256-GCM with the newest version, under a key and nonce derived for this one text (HKDF-SHA-256 over 256 random bits): no number
   * of texts comes near a repetition.
   *
   * @param context has to be given again to decrypt, and is not kept
   * @returns `spt:VERSION:BASE64URL`
   * @throws SallyportError `SP_TRANSIT_REFUSED`, `SP_TRANSIT_INPUT`, and the barrier's
   */
  async encrypt(user: Reader, name: string, plaintext: Buffer, context = ''): Promise<string> {
    const declared = this.#allowed(user, name, 'encrypt')
    bounded(plaintext, context)
    const key = await this.#newest(declared)
    await this.#note(user, name, 'encrypt', key.version)
    return sealed(key, name, plaintext, context)
  }

  /** @throws SallyportError `SP_TRANSIT_REFUSED`, `SP_TRANSIT_INVALID`, `SP_TRANSIT_VERSION` */
  async decrypt(user: Reader, name: string, ciphertext: string, context = ''): Promise<Buffer> {
    const declared = this.#allowed(user, name, 'decrypt')
    const opened = await this.#open(declared, ciphertext, context)
    await this.#note(user, name, 'decrypt', opened.version)
    return opened.plaintext
  }

  /** The same text under the newest version; whoever asks does not see it. @throws SallyportError as `decrypt` */
  async rewrap(user: Reader, name: string, ciphertext: string, context = ''): Promise<string> {
    const declared = this.#allowed(user, name, 'rewrap')
    const { plaintext } = await this.#open(declared, ciphertext, context)
    const key = await this.#newest(declared)
    await this.#note(user, name, 'rewrap', key.version)
    return sealed(key, name, plaintext, context)
  }

  /** Ed25519 (RFC 8032). @returns `spt:VERSION:BASE64URL` */
  async sign(user: Reader, name: string, data: Buffer): Promise<string> {
    const declared = this.#allowed(user, name, 'sign')
    bounded(data, '')
    const { key, version } = await this.#newest(declared)
    await this.#note(user, name, 'sign', version)
    return `spt:${version}:${sign(null, data, key).toString('base64url')}`
  }

  /** Whether a version that is still accepted made this signature. */
  async verify(user: Reader, name: string, data: Buffer, signature: string): Promise<boolean> {
    const declared = this.#allowed(user, name, 'verify')
    bounded(data, '')
    const { version, bytes } = parsed(signature)
    const { key } = await this.#accepted(declared, version)
    return verify(null, data, createPublicKey(key), bytes)
  }

  /** A new version for what is encrypted and signed from now on. */
  async rotate(by: string, name: string): Promise<number> {
    const declared = this.#declared(name)
    await this.#record('transit-rotated', by, { key: name })
    return this.#store.transaction((tx) => this.#make(tx, declared))
  }

  /**
   * Below this version nothing opens, and no signature is good, any more: for good, since lowering it would let back in what was
   * shut out.
   *
   * @throws SallyportError `SP_TRANSIT_VERSION`
   */
  async setMinDecrypt(by: string, name: string, version: number): Promise<void> {
    const { name: key } = this.#declared(name)
    await this.#record('transit-min-version', by, { key, version })
    const updated = await this.#store.run((db) =>
      db
        .updateTable('transit_keys')
        .set({ min_decrypt: version })
        .where('name', '=', key)
        .where('newest', '>=', version)
        .where('min_decrypt', '<=', version)
        .returning('name')
        .executeTakeFirst(),
    )
    if (!updated) throw tooOld()
  }

  async list(): Promise<readonly TransitView[]> {
    const rows = await this.#store.run((db) =>
      db
        .selectFrom('transit_keys as k')
        .innerJoin('transit_versions as v', (join) =>
          join.onRef('v.name', '=', 'k.name').onRef('v.version', '=', 'k.newest'),
        )
        .select(['k.name', 'k.newest', 'k.min_decrypt', 'v.created_at', 'v.public_key'])
        .execute(),
    )
    return (this.#network().transit ?? []).map(({ name, owner, use, type }) => {
      const row = rows.find((one) => one.name === name)
      return {
        ...{ name, owner, use, type },
        newest: row?.newest ?? 0,
        minDecrypt: row?.min_decrypt ?? 1,
        createdAt: row?.created_at ?? null,
        publicKey: row?.public_key ?? null,
      }
    })
  }

  async #open(
    declared: TransitKey,
    ciphertext: string,
    context: string,
  ): Promise<{ readonly plaintext: Buffer; readonly version: number }> {
    const { version, bytes } = parsed(ciphertext)
    bounded(bytes, context)
    const { key } = await this.#accepted(declared, version)
    if (bytes.length < SALT_BYTES + TAG_BYTES) throw invalid()
    const { own, iv, aad } = derived(
      key,
      declared.name,
      version,
      bytes.subarray(0, SALT_BYTES),
      context,
    )
    const decipher = createDecipheriv('aes-256-gcm', own, iv, { authTagLength: TAG_BYTES })
    decipher.setAAD(aad).setAuthTag(bytes.subarray(-TAG_BYTES))
    try {
      const body = bytes.subarray(SALT_BYTES, -TAG_BYTES)
      return { plaintext: Buffer.concat([decipher.update(body), decipher.final()]), version }
    } catch (cause) {
      throw invalid(cause)
    }
  }

  async #newest(declared: TransitKey): Promise<Version> {
    const row = await this.#row(declared.name)
    const version =
      row?.newest ??
      (await this.#store.transaction(async (tx) => {
        // Made on first use, once.
        const made = await lockedKey(tx, declared)
        return made.newest > 0 ? made.newest : this.#make(tx, declared)
      }))
    return { version, minDecrypt: row?.min_decrypt ?? 1, key: await this.#key(declared, version) }
  }

  async #accepted(declared: TransitKey, version: number): Promise<Version> {
    const row = await this.#row(declared.name)
    if (!row || version > row.newest || version < 1) throw invalid()
    if (version < row.min_decrypt) throw tooOld()
    return { version, minDecrypt: row.min_decrypt, key: await this.#key(declared, version) }
  }

  #row(name: string) {
    return this.#store.run((db) =>
      db
        .selectFrom('transit_keys')
        .selectAll()
        .where('name', '=', name)
        .where('newest', '>', 0)
        .executeTakeFirst(),
    )
  }

  async #make(tx: Tx, declared: TransitKey): Promise<number> {
    const { name, type } = declared
    const { newest } = await lockedKey(tx, declared)
    const version = newest + 1
    const { material, publicKey } = newMaterial(type)
    const key = await this.#barrier().encrypt(`transit/${name}`, version, material)
    await tx
      .insertInto('transit_versions')
      .values({ name, version, key, public_key: publicKey, created_at: this.#clock.now() })
      .execute()
    await tx.updateTable('transit_keys').set({ newest: version }).where('name', '=', name).execute()
    return version
  }

  async #key({ name, type }: TransitKey, version: number): Promise<KeyObject> {
    const barrier = this.#barrier()
    const id = `${name}@${version}`
    // Sealing takes the keys that were opened before, too.
    if (barrier.status().state !== 'unsealed') this.#keys.clear()
    const known = this.#keys.get(id)
    if (known) return known
    const row = await this.#store.run((db) =>
      db
        .selectFrom('transit_versions')
        .select('key')
        .where('name', '=', name)
        .where('version', '=', version)
        .executeTakeFirst(),
    )
    if (!row) throw invalid()
    const material = await barrier.decrypt(`transit/${name}`, version, row.key)
    const key =
      type === 'ed25519'
        ? createPrivateKey({ key: material, format: 'der', type: 'pkcs8' })
        : createSecretKey(material)
    this.#keys.set(id, key)
    return key
  }

  #declared(name: string): TransitKey {
    const declared = (this.#network().transit ?? []).find((one) => one.name === name)
    if (declared) return declared
    throw refused()
  }

  #allowed(user: Reader, name: string, act: TransitAct): TransitKey {
    const declared = this.#declared(name)
    const workload = user.kind === 'agent' || user.kind === 'service' ? user.name : undefined
    const acts =
      workload !== undefined && Object.hasOwn(declared.users, workload)
        ? declared.users[workload]
        : undefined
    if (acts?.includes(act) === true) return declared
    throw refused()
  }

  #note(user: Reader, key: string, act: TransitAct, version: number): Promise<void> {
    return this.#record(`transit-${act}`, nameOf(user), { key, version })
  }
}

function newMaterial(type: TransitKey['type']): { material: Buffer; publicKey: string | null } {
  if (type === 'aes256-gcm') return { material: randomBytes(32), publicKey: null }
  const pair = generateKeyPairSync('ed25519')
  return {
    material: pair.privateKey.export({ format: 'der', type: 'pkcs8' }),
    publicKey: pair.publicKey.export({ format: 'pem', type: 'spki' }).toString(),
  }
}

async function lockedKey(tx: Tx, { name, type }: TransitKey): Promise<{ readonly newest: number }> {
  await tx
    .insertInto('transit_keys')
    .values({ name, type, newest: 0, min_decrypt: 1 })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  return tx
    .selectFrom('transit_keys')
    .select('newest')
    .where('name', '=', name)
    .where('type', '=', type)
    .forUpdate()
    .executeTakeFirstOrThrow(refused)
}

function sealed(
  { key, version }: Version,
  name: string,
  plaintext: Buffer,
  context: string,
): string {
  const salt = randomBytes(SALT_BYTES)
  const { own, iv, aad } = derived(key, name, version, salt, context)
  const cipher = createCipheriv('aes-256-gcm', own, iv).setAAD(aad)
  const bytes = Buffer.concat([salt, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
  return `spt:${version}:${bytes.toString('base64url')}`
}

function derived(
  key: KeyObject,
  name: string,
  version: number,
  salt: Buffer,
  context: string,
): { readonly own: Buffer; readonly iv: Buffer; readonly aad: Buffer } {
  const bytes = Buffer.from(hkdfSync('sha256', key, salt, 'sallyport transit/1', 44))
  const aad = Buffer.from(JSON.stringify(['sallyport transit/1', name, version, context]))
  return { own: bytes.subarray(0, 32), iv: bytes.subarray(32), aad }
}

function parsed(text: string): { readonly version: number; readonly bytes: Buffer } {
  const match = /^spt:([1-9]\d{0,8}):([A-Za-z0-9_-]+)$/.exec(text)
  const bytes = Buffer.from(match?.[2] ?? '', 'base64url')
  // One text, one spelling.
  if (!match || bytes.toString('base64url') !== match[2]) throw invalid()
  return { version: Number(match[1]), bytes }
}

function bounded(bytes: Buffer, context: string): void {
  if (bytes.length <= MAX_BYTES + SALT_BYTES + TAG_BYTES && context.length <= MAX_CONTEXT) return
  throw new SallyportError('SP_TRANSIT_INPUT', `at most ${MAX_BYTES} bytes at a time`)
}

const refused = (): SallyportError =>
  new SallyportError('SP_TRANSIT_REFUSED', 'there is no such key for this act of this caller', {
    fix: 'have it declared under `transit` in network.yaml',
  })

const invalid = (cause?: unknown): SallyportError =>
  new SallyportError('SP_TRANSIT_INVALID', 'this was not made with this key and context', { cause })

const tooOld = (): SallyportError =>
  new SallyportError('SP_TRANSIT_VERSION', 'this version of the key is not accepted', {
    fix: 'encrypt again what is needed, with the newest version',
  })
