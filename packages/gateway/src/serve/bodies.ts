import type { JsonValue } from '@sallyport/base'
import type { InputMember } from '@sallyport/network'
import { FORM_TYPE, readForm } from '../adapters/forms.ts'
import type { Route } from '../adapters/http.ts'
import { boundaryOf, readParts } from '../adapters/parts.ts'
import type { ReadParts } from '../adapters/parts.ts'
import { readBytes, readJsonBody } from '../edge/body.ts'
import type { CanonicalRequest } from '../edge/canonical.ts'
import type { EdgeRequest } from '../edge/message.ts'
import { Refusal } from '../refusal.ts'
import type { GatewaySettings } from '../settings.ts'

export interface ReadBody {
  readonly value: JsonValue | undefined
  readonly files: ReadParts['files']
}

export const NOTHING: ReadBody = { value: undefined, files: new Map() }

/** Bodies of requests as their operations declare them: JSON, forms, or parts with files. */
export class Bodies {
  readonly #settings: GatewaySettings
  /** Bytes of files that are held, in all and by who sent them. */
  #held = 0
  readonly #heldOf = new Map<string, number>()

  constructor(settings: GatewaySettings) {
    this.#settings = settings
  }

  /**
   * @param session who sends it, as bounds count them
   * @param ends is given what lets go of what is held
   * @throws Refusal `SP_REQUEST_BODY`, `SP_REQUEST_FORM`, `SP_REQUEST_PARTS`, `SP_REQUEST_TOO_LARGE`, `SP_OVERLOADED`,
   *   `SP_INPUT_*`; SallyportError `SP_JSON_*`
   */
  async read(
    req: EdgeRequest,
    request: CanonicalRequest,
    { operation, binding }: Route,
    session: string,
    ends: (() => void)[],
  ): Promise<ReadBody> {
    const { maxBodyBytes, maxUploadBytes } = this.#settings
    const { body } = binding
    if (!body) return { ...NOTHING, value: await readJsonBody(req, request, maxBodyBytes) }
    if (!request.hasBody) return NOTHING
    const members = Object.fromEntries(
      Object.entries(operation.input.members).filter(
        ([name]) => binding.parameters[name] === 'body',
      ),
    ) satisfies Readonly<Record<string, InputMember>>
    const { contentType, all } = request.headers
    if (body.kind === 'form') {
      if (!FORM_TYPE.test(contentType ?? '')) throw notOf('application/x-www-form-urlencoded')
      const bytes = await readBytes(req, request, maxBodyBytes)
      return bytes.length === 0
        ? NOTHING
        : { ...NOTHING, value: readForm(bytes, members, body.deep) }
    }
    if (body.kind === 'raw') return NOTHING
    // As it was sent: a boundary has its case.
    const boundary = boundaryOf(all.get('content-type'))
    if (boundary === undefined) throw notOf('multipart/form-data')
    const bytes = await readBytes(req, request, maxUploadBytes, this.#holder(session, ends))
    return readParts(bytes, boundary, members, body.files)
  }

  /** Counts bytes in, as long as there is room; `ends` is given what counts them out. */
  #holder(session: string, ends: (() => void)[]): (bytes: number) => void {
    const { maxUploadsBytes, maxUploadsBytesPerInstance } = this.#settings
    let own = 0
    const count = (bytes: number): void => {
      own += bytes
      this.#held += bytes
      const of = (this.#heldOf.get(session) ?? 0) + bytes
      if (of > 0) this.#heldOf.set(session, of)
      else this.#heldOf.delete(session)
    }
    ends.push(() => {
      count(-own)
    })
    return (bytes) => {
      const of = (this.#heldOf.get(session) ?? 0) + bytes
      if (this.#held + bytes > maxUploadsBytes || of > maxUploadsBytesPerInstance) {
        throw new Refusal('SP_OVERLOADED', 'too many files are in flight', {
          status: 503,
          close: true,
          retryAfterSeconds: 1,
        })
      }
      count(bytes)
    }
  }
}

const notOf = (type: string): Refusal =>
  new Refusal('SP_REQUEST_BODY', `the request body is not \`${type}\``, {
    status: 415,
    close: true,
  })
