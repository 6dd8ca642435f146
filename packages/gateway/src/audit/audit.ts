import { join } from 'node:path'
import { canonicalJson, errorCode, sha256Hex } from '@sallyport/base'
import type { Clock } from '@sallyport/base'
import { openKeyring } from '@sallyport/seal'
import type { Keyring } from '@sallyport/seal'
import { openLog } from '@sallyport/tlog'
import type { Log } from '@sallyport/tlog'
import { encodeRecord } from '@sallyport/wire'
import type { AuditRecord, EventRecord, SealedValue } from '@sallyport/wire'
import { Refusal } from '../refusal.ts'
import { readIfThere, writeDurably } from '../state/files.ts'
import { logSigner, secretFile } from './keys.ts'
import { Throttle } from './throttle.ts'

export interface AuditOptions {
  readonly dataDir: string
  readonly trustDomain: string
  readonly id: string
  /** SPIFFE id of this gateway. */
  readonly gateway: string
  readonly clock: Clock
}

export interface LoggedRecord {
  readonly index: number
  /** As it stands in the log: canonical JSON. */
  readonly record: Uint8Array
  readonly explanation?: unknown
}

/** Sealed plaintexts above this are cut to their digest: a log record has at most 65,535 bytes. */
const MAX_SEALED = 20_000
/** Events that strangers can cause are written at most this often a second and subject. */
const EVENTS_PER_SECOND = 20

/** The gateway's shard of the audit log. What cannot be made durable did not happen: callers refuse. */
export class Audit {
  readonly log: Log
  readonly #keyring: Keyring
  readonly #options: AuditOptions
  readonly #throttle: Throttle
  /** Who is told of checkpoints; the log is opened before anyone listens. */
  readonly #heard: { tell?: (note: string) => void }
  #listener: ((logged: LoggedRecord) => void) | undefined

  private constructor(
    log: Log,
    keyring: Keyring,
    heard: { tell?: (note: string) => void },
    options: AuditOptions,
  ) {
    this.log = log
    this.#heard = heard
    this.#keyring = keyring
    this.#options = options
    this.#throttle = new Throttle(EVENTS_PER_SECOND, options.clock)
  }

  /** @throws SallyportError `SP_LOG_*`, `SP_SEAL_*`, `SP_GATEWAY_STATE` */
  static async open(options: AuditOptions): Promise<Audit> {
    const { dataDir, trustDomain, id } = options
    const signer = await logSigner(dataDir)
    const kek = await secretFile(join(dataDir, 'seal.key'))
    const dir = join(dataDir, 'log')
    const origin = `${trustDomain}/gateway/${id}`
    if ((await readIfThere(join(dir, 'origin')))?.trim() !== origin) {
      await writeDurably(join(dir, 'origin'), `${origin}\n`)
    }
    const heard: { tell?: (note: string) => void } = {}
    const log = await openLog({ dir, origin, signer, onCheckpoint: (note) => heard.tell?.(note) })
    try {
      const keyring = await openKeyring({ dir: join(dataDir, 'keyring'), kek })
      return new Audit(log, keyring, heard, options)
    } catch (error) {
      await log.close()
      throw error
    }
  }

  /** True once the log, or the keys of what stands in it, cannot be written any more. */
  get failed(): boolean {
    return this.log.failed || this.#keyring.failed
  }

  /** Called with every record as it becomes durable, in order. */
  onRecord(listener: (logged: LoggedRecord) => void): void {
    this.#listener = listener
  }

  /** Called with every new signed checkpoint. */
  onCheckpoint(listener: (note: string) => void): void {
    this.#heard.tell = listener
  }

  /** What every record begins with. */
  base(): { readonly v: 1; readonly at: number; readonly gateway: string } {
    return { v: 1, at: this.#options.clock.now(), gateway: this.#options.gateway }
  }

  /**
   * Appends a record; it takes its place in the log in the turn of this call, and is durable when this resolves.
   *
   * @param explanation goes to the feed beside the record, not into the log
   * @throws Refusal `SP_AUDIT_UNAVAILABLE`; `SP_RECORD_TOO_LARGE`, `SP_RECORD_INVALID` for what is no record, and takes no place
   */
  append(entry: AuditRecord, explanation?: unknown): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#submit(entry, explanation, false, (error, index) => {
        if (error) reject(error)
        else resolve(index)
      })
    })
  }

  /**
   * The same of several, one behind the other: where one of them cannot be a record, none is appended.
   *
   * @throws Refusal as `append`
   */
  async appendAll(entries: readonly AuditRecord[]): Promise<void> {
    try {
      for (const entry of entries) encodeRecord(entry)
    } catch (cause) {
      throw unrecorded(cause)
    }
    await Promise.all(entries.map((entry) => this.append(entry)))
  }

  /**
   * The same of what nobody waits for: it is durable with the next record that somebody does wait for, or a few milliseconds later.
   * A log that fails shows at the next call.
   */
  appendSoon(entry: AuditRecord): void {
    this.#submit(entry, undefined, true, ignore)
  }

  /** @param settled called once, perhaps before this returns; it must not throw */
  #submit(
    entry: AuditRecord,
    explanation: unknown,
    soon: boolean,
    settled: (error: Refusal | undefined, index: number) => void,
  ): void {
    try {
      const record = encodeRecord(entry)
      this.log.submit(record, soon, (cause, index) => {
        let error = cause && unrecorded(cause)
        try {
          // In the order of the log, and before whoever waits goes on.
          if (!error) this.#listener?.({ index, record, explanation })
        } catch (thrown) {
          error = unrecorded(thrown)
        }
        settled(error, index)
      })
    } catch (cause) {
      settled(unrecorded(cause), -1)
    }
  }

  /** Appends an event of the gateway's own. Not awaited: a log that fails shows at the next call. */
  event(event: string, facts: Partial<Pick<EventRecord, 'code' | 'subject' | 'facts'>> = {}): void {
    const record: EventRecord = { ...this.base(), kind: 'event', event, facts: {}, ...facts }
    this.append(record).catch(() => undefined)
  }

  /**
   * The same for what peers can cause as often as they like; what is left out is counted in the next one.
   *
   * @returns whether it is in the log
   */
  boundedEvent(
    event: string,
    facts: Partial<Pick<EventRecord, 'code' | 'subject' | 'facts'>>,
  ): boolean {
    const suppressed = this.#throttle.take(`${event} ${facts.subject ?? ''}`)
    if (suppressed === undefined) return false
    this.event(
      event,
      suppressed === 0 ? facts : { ...facts, facts: { ...facts.facts, suppressed } },
    )
    return true
  }

  /**
   * Seals a value under its subject's key: at once, where no key has to be made durable first. Longer ones are replaced by their
   * digest and beginning.
   *
   * @throws Refusal `SP_AUDIT_UNAVAILABLE`
   */
  seal(subject: string, value: unknown, aad: string): SealedValue | Promise<SealedValue> {
    let text = canonicalJson(value)
    // A character has three bytes at most.
    if (text.length > MAX_SEALED / 3 && Buffer.byteLength(text) > MAX_SEALED) {
      text = canonicalJson({
        truncated: true,
        sha256: sha256Hex(text),
        bytes: Buffer.byteLength(text),
        start: text.slice(0, 4096).toWellFormed(),
      })
    }
    try {
      return this.#keyring.sealNow(subject, text, aad) ?? this.#sealLater(subject, text, aad)
    } catch (cause) {
      throw unrecorded(cause)
    }
  }

  async #sealLater(subject: string, text: string, aad: string): Promise<SealedValue> {
    try {
      return await this.#keyring.seal(subject, text, aad)
    } catch (cause) {
      throw unrecorded(cause)
    }
  }

  async close(): Promise<void> {
    await this.log.close()
    await this.#keyring.close()
  }
}

const ignore = (): void => undefined

function unrecorded(cause: unknown): Refusal {
  switch (errorCode(cause)) {
    case 'SP_RECORD_TOO_LARGE':
      return new Refusal('SP_RECORD_TOO_LARGE', 'the call is larger than a record of it may be', {
        status: 413,
        cause,
      })
    case 'SP_RECORD_INVALID':
      return new Refusal('SP_RECORD_INVALID', 'there is no record of such a call', {
        status: 503,
        cause,
      })
    default:
      return new Refusal('SP_AUDIT_UNAVAILABLE', 'the call cannot be recorded', {
        status: 503,
        cause,
      })
  }
}
