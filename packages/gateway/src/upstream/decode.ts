import zlib from 'node:zlib'
import { Refusal } from '../refusal.ts'
import { AnswerBody } from './answer-body.ts'
import type { AnswerControl } from './connections.ts'

type Decompressor = zlib.Gunzip | zlib.Inflate | zlib.BrotliDecompress | zlib.ZstdDecompress

export interface DecodeBounds {
  /** Bytes out for each that came in, once an answer is longer than `FREE`. */
  readonly maxRatio: number
  /** Bytes that may come in. */
  readonly maxBytes: number
}

/** Bytes that may come of however few: what is that short harms nobody. */
const FREE = 1024 * 1024
const CHUNK = 65_536
/** RFC 9659, section 3: no window of more than 8 MiB. */
const ZSTD_WINDOW_LOG = 23

/** RFC 9110, section 8.4.1; RFC 7932; RFC 8878. Each once: a coding of a coding is nobody's wish. */
const CODINGS: Readonly<Record<string, () => Decompressor>> = {
  gzip: () => zlib.createGunzip({ chunkSize: CHUNK }),
  'x-gzip': () => zlib.createGunzip({ chunkSize: CHUNK }),
  deflate: () => zlib.createInflate({ chunkSize: CHUNK }),
  br: () => zlib.createBrotliDecompress({ chunkSize: CHUNK }),
  zstd: () =>
    zlib.createZstdDecompress({
      chunkSize: CHUNK,
      params: { [zlib.constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG },
    }),
}

export const undecodable = (detail: string, cause?: unknown): Refusal =>
  new Refusal('SP_UPSTREAM_ENCODING', 'the system gave an answer that cannot be decoded', {
    status: 502,
    detail,
    cause,
  })

/**
 * What decodes an answer, whatever it was encoded in; undefined where it is not.
 *
 * @param coding `content-encoding` as it came: absent, or all its values
 * @throws Refusal `SP_UPSTREAM_ENCODING` for a coding that is unknown, or for more than one
 */
export function decoderOf(
  coding: string | readonly string[] | undefined,
  controller: AnswerControl,
  bounds: DecodeBounds,
): Decoder | undefined {
  if (coding === undefined) return undefined
  const name = typeof coding === 'string' ? coding.trim().toLowerCase() : ''
  if (name === 'identity') return undefined
  const make = Object.hasOwn(CODINGS, name) ? CODINGS[name] : undefined
  if (!make) throw undecodable('its coding is not one that is known')
  return new Decoder(make, controller, bounds)
}

/** Decodes an answer as fast as it is read, and no faster than it comes. */
export class Decoder {
  /** What is read of it. */
  readonly body: AnswerBody
  readonly #make: () => Decompressor
  readonly #controller: AnswerControl
  readonly #bounds: DecodeBounds
  #stream: Decompressor | undefined
  #in = 0
  #out = 0
  #hasEnded = false

  constructor(make: () => Decompressor, controller: AnswerControl, bounds: DecodeBounds) {
    this.#make = make
    this.#controller = controller
    this.#bounds = bounds
    this.body = new AnswerBody({
      pause: () => {
        this.#stream?.pause()
      },
      resume: () => {
        this.#stream?.resume()
      },
      abort: (reason) => {
        this.#close(reason)
      },
    })
  }

  push(piece: Buffer): void {
    if (piece.length === 0) return
    // An answer without a body may say how it would have been encoded.
    const stream = (this.#stream ??= this.#open())
    if (stream.destroyed) return
    this.#in += piece.length
    if (this.#in > this.#bounds.maxBytes) this.#refuse(undecodable('it is too large'))
    else if (!stream.write(piece)) this.#controller.pause()
  }

  end(): void {
    this.#hasEnded = true
    if (this.#stream) this.#stream.end()
    else this.body.end()
  }

  fail(error: Error): void {
    this.#hasEnded = true
    this.#stream?.destroy()
    this.body.fail(error)
  }

  #open(): Decompressor {
    const stream = this.#make()
    stream.on('data', (piece: Buffer) => {
      this.#out += piece.length
      if (this.#out > FREE && this.#out > this.#in * this.#bounds.maxRatio) {
        this.#refuse(undecodable('it becomes too large by being decoded'))
      } else this.body.push(piece)
    })
    stream.on('drain', () => {
      if (!this.#hasEnded) this.#controller.resume()
    })
    stream.on('error', (cause) => {
      this.#refuse(undecodable('it is not what its coding says', cause))
    })
    stream.on('end', () => {
      // Something behind the end: another reader could take it for part of the answer.
      if (stream.bytesWritten === this.#in) this.body.end()
      else this.#refuse(undecodable('something stands behind its end'))
    })
    return stream
  }

  #refuse(refusal: Refusal): void {
    this.body.fail(refusal)
    this.#close(refusal)
  }

  #close(reason: Error): void {
    this.#stream?.destroy()
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#controller.abort(reason)
  }
}
