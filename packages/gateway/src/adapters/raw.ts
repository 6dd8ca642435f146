import type { JsonValue } from '@sallyport/base'
import type { CedarJson } from '@sallyport/cedar'
import type { RawBody, UpstreamRequest } from '../calls/types.ts'
import type { CanonicalRequest } from '../edge/canonical.ts'
import { Refusal } from '../refusal.ts'

/** As types of files are: no parameters, which systems read differently. */
const TYPE = /^[a-z0-9][a-z0-9!#$&^_.+-]{0,62}\/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}$/

/** Whether this is a media type, lower case, without parameters. */
export const isPlainType = (type: string): boolean => TYPE.test(type)

/** RFC 9530, section 2, with this one digest. */
const DIGEST = /^sha-256=:([A-Za-z0-9+/]{43}=):$/
const SHA256_BYTES = 32
/** SHA-256 of no bytes. */
const OF_NOTHING = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

/** What a caller states of a body before it sends it. */
export interface StatedBody extends RawBody {
  readonly type: string
}

/**
 * What a request says of a body that is handed on as it comes.
 *
 * @param maxBytes of the body
 * @returns undefined where there is none
 * @throws Refusal `SP_REQUEST_LENGTH`, `SP_REQUEST_TOO_LARGE`, `SP_REQUEST_BODY`, `SP_REQUEST_DIGEST`
 */
export function statedBody(
  { headers, hasBody }: CanonicalRequest,
  maxBytes: number,
): StatedBody | undefined {
  const { contentLength: size, contentType: type, all } = headers
  if (size === undefined) {
    if (!hasBody) return undefined
    throw new Refusal('SP_REQUEST_LENGTH', 'the request does not say how long its body is', {
      status: 411,
      close: true,
    })
  }
  if (size > maxBytes) {
    throw new Refusal('SP_REQUEST_TOO_LARGE', `the request body is larger than ${maxBytes} bytes`, {
      status: 413,
      close: true,
    })
  }
  if (type === undefined || !isPlainType(type)) {
    throw new Refusal('SP_REQUEST_BODY', 'the request does not say plainly what its body is', {
      status: 415,
      close: true,
    })
  }
  const digest = all.get('content-digest')
  const sha256 = digest === undefined ? undefined : sha256Of(digest)
  if (size === 0 && sha256 !== undefined && sha256 !== OF_NOTHING) throw otherDigest()
  return { type, size, sha256 }
}

function sha256Of(digest: string): string {
  const [, text = ''] = DIGEST.exec(digest) ?? []
  const bytes = Buffer.from(text, 'base64')
  // Of several digests, of others, and of one with two spellings, nobody could say which of them was authorised.
  if (bytes.length !== SHA256_BYTES || bytes.toString('base64') !== text) {
    throw new Refusal('SP_REQUEST_DIGEST', '`content-digest` is not one plain `sha-256`', {
      status: 400,
      close: true,
    })
  }
  return bytes.toString('hex')
}

/** A body that is not the one whose digest was authorised. */
export const otherDigest = (): Refusal =>
  new Refusal('SP_REQUEST_DIGEST', 'the request body is not the one that its digest states', {
    status: 400,
    close: true,
  })

/** The body's member of an operation's input. */
export const inputOf = ({ type, size, sha256 }: StatedBody): JsonValue => ({
  body: sha256 === undefined ? { type, size } : { type, size, sha256 },
})

/** The request to forward, all but the bytes of its body. */
export function forwardRaw(
  to: Pick<UpstreamRequest, 'method' | 'path'>,
  input: Readonly<Record<string, CedarJson>>,
  headers: Readonly<Record<string, string>> | undefined,
): UpstreamRequest {
  // As its schema has typed it.
  const { type, size, sha256 } = input['body'] as unknown as StatedBody
  const digest =
    sha256 === undefined ? undefined : `sha-256=:${Buffer.from(sha256, 'hex').toString('base64')}:`
  return {
    ...to,
    body: undefined,
    raw: { size, sha256 },
    headers: {
      ...headers,
      'content-type': type,
      ...(digest === undefined ? {} : { 'content-digest': digest }),
    },
  }
}
