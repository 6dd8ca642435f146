import { createSecretKey, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { canonicalJson, newId, sha256Hex, SallyportError } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { openKeyring } from '@sallyport/seal'
import type { Keyring, Signer } from '@sallyport/seal'
import { controlId } from '@sallyport/spiffe'
import { openLog } from '@sallyport/tlog'
import type { Log } from '@sallyport/tlog'
import { decodeRecord, encodeRecord } from '@sallyport/wire'
import type { AuditRecord, FeedItem, SealedValue } from '@sallyport/wire'
import type { Decisions } from '../domain/decisions.ts'
import { serially } from '../domain/serially.ts'

/** Sealed plaintexts above this are cut to their digest: a log record has at most 65,535 bytes. */
const MAX_SEALED = 20_000
/** Files of the control plane's shard grow by this: it writes far less than a gateway. */
const SEGMENT_BYTES = 8 << 20
const BATCH = 500
/** Letters of an explanation that travel, as gateways have it; the log has a longer one sealed, whole or by digest. */
const MAX_EXPLANATION = 65_536

export interface AuditOptions {
  /** `DATA/control`: `log/`, its keys and the keyring. */
  readonly dir: string
  readonly trustDomain: string
  /** The Ed25519 key that signs the shard's checkpoints. */
  readonly signer: Signer
  readonly clock: Clock
  readonly decisions: Pick<Decisions, 'ingest'>
}

interface Entry {
  readonly record: AuditRecord
  /** For operators, in the clear; goes to the feed and not into the log. */
  readonly explanation?: unknown
}

/** The shard, opened when it is first needed; where it exists already, at once, so that a crash leaves no gap in the feed. */
export function auditShard(options: AuditOptions): {
  readonly get: () => Promise<ControlAudit>
  close(): Promise<void>
} {
  let opening: Promise<ControlAudit> | undefined
  let closed = false
  const get = (): Promise<ControlAudit> => {
    if (closed) return Promise.reject(unavailable(new Error('the control plane is closing')))
    opening ??= ControlAudit.open(options).then(async (audit) => {
      await audit.catchUp().catch(() => undefined)
      return audit
    })
    opening.catch(() => {
      // Asked for again, it is tried again.
      opening = undefined
    })
    return opening
  }
  if (existsSync(join(options.dir, 'log', 'origin'))) get().catch(() => undefined)
  return {
    get,
    async close() {
      closed = true
      const audit = await opening?.catch(() => undefined)
      await audit?.close()
    },
  }
}

export type { ControlAudit }

/** The control plane's own shard of the audit log: what it decides for other enforcement points stands there. */
class ControlAudit {
  /** SPIFFE id that its records are written under; stays with the directory. */
  readonly id: string
  readonly #log: Log
  readonly #keyring: Keyring
  readonly #options: AuditOptions
  readonly #turn = serially()
  /** In the log and not in the feed yet, oldest first. */
  #waiting: FeedItem[] = []

  private constructor(id: string, log: Log, keyring: Keyring, options: AuditOptions) {
    this.id = id
    this.#log = log
    this.#keyring = keyring
    this.#options = options
  }

  /** @throws SallyportError `SP_AUDIT_UNAVAILABLE` */
  static async open(options: AuditOptions): Promise<ControlAudit> {
    const { dir, trustDomain, signer } = options
    try {
      await mkdir(join(dir, 'log'), { recursive: true, mode: 0o700 })
      const origin = await kept(join(dir, 'log', 'origin'), () => {
        return `${trustDomain}/control/${newId('c').slice(2)}`
      })
      const name = origin.slice(origin.lastIndexOf('/') + 1)
      // For verifiers, beside what it signs.
      await kept(join(dir, 'log.pub'), () =>
        signer.publicKey.export({ format: 'pem', type: 'spki' }).toString(),
      )
      const log = await openLog({
        dir: join(dir, 'log'),
        origin,
        signer,
        segmentBytes: SEGMENT_BYTES,
      })
      try {
        const secret = await kept(join(dir, 'seal.key'), () =>
          randomBytes(32).toString('base64url'),
        )
        const kek = createSecretKey(Buffer.from(secret, 'base64url'))
        const keyring = await openKeyring({ dir: join(dir, 'keyring'), kek })
        return new ControlAudit(controlId(trustDomain, name), log, keyring, options)
      } catch (error) {
        await log.close()
        throw error
      }
    } catch (cause) {
      throw unavailable(cause)
    }
  }

  /** What every record begins with. */
  base(): { readonly v: 1; readonly at: number; readonly gateway: string } {
    return { v: 1, at: this.#options.clock.now(), gateway: this.id }
  }

  /**
   * Appends records in this order. When this resolves they are durable in the log, and operators and later decisions see
   * them.
   *
   * @throws SallyportError `SP_AUDIT_UNAVAILABLE`, `SP_STORE_UNAVAILABLE`
   */
  async append(entries: readonly Entry[]): Promise<void> {
    let items: FeedItem[]
    try {
      // Encoded before the first is appended: of one answer all records stand there, or none.
      const encoded = entries.map((entry) => ({ ...entry, bytes: encodeRecord(entry.record) }))
      items = await Promise.all(
        encoded.map(async ({ bytes, record, explanation }) => {
          const { index } = await this.#log.append(bytes)
          return { index, record, ...(travels(explanation) ? { explanation } : {}) }
        }),
      )
    } catch (cause) {
      throw unavailable(cause)
    }
    await this.#turn(async () => {
      this.#waiting = [...this.#waiting, ...items].toSorted((a, b) => a.index - b.index)
      await this.#feed()
    })
  }

  /** Brings into the feed what a crash kept from it. @throws SallyportError `SP_STORE_UNAVAILABLE` */
  async catchUp(): Promise<void> {
    await this.#turn(async () => {
      for await (const { index, record } of this.#log.read(Math.max(0, this.#log.size - 1), 1)) {
        if (!this.#waiting.some((item) => item.index === index)) {
          this.#waiting.push({ index, record: decodeRecord(record) })
        }
      }
      await this.#feed()
    })
  }

  /**
   * Seals a value under its subject's key. Longer ones are replaced by their digest and beginning.
   *
   * @throws SallyportError `SP_AUDIT_UNAVAILABLE`
   */
  async seal(subject: string, value: unknown, aad: string): Promise<SealedValue> {
    let text = canonicalJson(value)
    const bytes = Buffer.byteLength(text)
    if (bytes > MAX_SEALED) {
      const start = text.slice(0, 4096).toWellFormed()
      text = canonicalJson({ truncated: true, sha256: sha256Hex(text), bytes, start })
    }
    try {
      return await this.#keyring.seal(subject, Buffer.from(text), aad)
    } catch (cause) {
      throw unavailable(cause)
    }
  }

  async close(): Promise<void> {
    await this.#log.close()
    await this.#keyring.close()
  }

  async #feed(): Promise<void> {
    const { decisions } = this.#options
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.slice(0, BATCH)
      const { next } = await decisions.ingest(this.id, this.#log.origin, batch)
      const [first] = this.#waiting
      if (first && next < first.index)
        this.#waiting.unshift(...(await this.#between(next, first.index)))
      else this.#waiting = this.#waiting.filter(({ index }) => index >= next)
    }
  }

  async #between(from: number, to: number): Promise<FeedItem[]> {
    const items: FeedItem[] = []
    for await (const { index, record } of this.#log.read(from, Math.min(BATCH, to - from))) {
      items.push({ index, record: decodeRecord(record) })
    }
    return items
  }
}

/** The trimmed text of a file that is written durably, once. */
async function kept(path: string, make: () => string): Promise<string> {
  try {
    return (await readFile(path, 'utf8')).trim()
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
  }
  const text = make().trim()
  const temporary = `${path}.new`
  const file = await open(temporary, 'w', 0o600)
  try {
    await file.writeFile(`${text}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temporary, path)
  const folder = await open(join(path, '..'), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
  return text
}

/** One that the feed would refuse would hold up everything after it. */
function travels(explanation: unknown): boolean {
  return explanation !== undefined && JSON.stringify(explanation).length <= MAX_EXPLANATION
}

function unavailable(cause: unknown): SallyportError {
  return new SallyportError('SP_AUDIT_UNAVAILABLE', 'the decision cannot be recorded', {
    detail: cause instanceof Error ? cause.message : String(cause),
    cause,
  })
}
