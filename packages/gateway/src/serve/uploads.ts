import type { Audit } from '../audit/audit.ts'
import type { Grant, Pipeline } from '../calls/pipeline.ts'
import { Places } from '../edge/places.ts'
import { Refusal, toRefusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'
import type { Stats } from '../stats.ts'
import type { RequestContext } from './context.ts'
import { Upload } from './upload.ts'

export interface UploadParts {
  readonly pipeline: Pipeline
  readonly audit: Pick<Audit, 'event'>
  readonly settings: GatewaySettings
  readonly stats: Stats
}

interface Open {
  readonly grant: Grant
  readonly upload: Upload
}

/** Bodies that are handed on as they come: each decision is taken anew while its body lasts, and once more before its end goes on. */
export class Uploads {
  readonly #parts: UploadParts
  readonly #places: Places
  readonly #open = new Set<Open>()
  readonly #timer: NodeJS.Timeout

  constructor(parts: UploadParts) {
    this.#parts = parts
    const { maxRawBodies, maxRawBodiesPerInstance, streamRecheckMs } = parts.settings
    this.#places = new Places(maxRawBodies, maxRawBodiesPerInstance)
    this.#timer = setInterval(() => {
      this.recheck()
    }, streamRecheckMs).unref()
  }

  /** Takes a place, for a body of this session. @returns gives it back. @throws Refusal `SP_OVERLOADED` */
  enter(session: string): () => void {
    return this.#places.enter(session)
  }

  /** Decides what is on its way again, and breaks off what no longer holds. */
  recheck(): void {
    for (const open of this.#open) {
      try {
        // Of one that is whole, all has been handed on.
        if (!open.upload.isWhole) this.#confirm(open)
      } catch {
        // It is broken off.
      }
    }
  }

  close(): void {
    clearInterval(this.#timer)
    const message = 'the gateway is closing'
    for (const open of this.#open) {
      this.#cut(open, new Refusal('SP_GATEWAY_CLOSING', message, { status: 503, close: true }))
    }
  }

  /**
   * Forwards a granted call with its body.
   *
   * @param forward sends it, and gives out the answer
   * @throws Refusal as `forward`
   */
  async run(
    context: RequestContext,
    granted: Grant,
    forward: (context: RequestContext, grant: Grant, upload: Upload) => Promise<void>,
  ): Promise<void> {
    const { settings } = this.#parts
    const stated = granted.upstream.raw ?? NOTHING
    const upload = new Upload(context, stated, settings, () => {
      this.#confirm(open)
    })
    const grant: Grant = { ...granted, body: upload }
    const open = { grant, upload }
    this.#open.add(open)
    try {
      await forward(context, grant, upload)
    } finally {
      this.#open.delete(open)
      upload.close()
    }
  }

  /** Decides one again. @throws Refusal for what does not hold any more, which breaks it off */
  #confirm(open: Open): void {
    try {
      this.#parts.pipeline.still.demand(open.grant)
    } catch (error) {
      const refusal = toRefusal(error)
      this.#cut(open, refusal)
      throw refusal
    }
  }

  #cut({ grant, upload }: Open, reason: Refusal): void {
    if (upload.failure) return
    const { audit, stats } = this.#parts
    upload.cut(reason)
    stats.streamsCut++
    audit.event('stream-cut', {
      code: reason.code,
      subject: grant.caller.instance,
      facts: { decision: grant.id },
    })
  }
}

const NOTHING = { size: 0, sha256: undefined }
