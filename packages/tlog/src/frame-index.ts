import { SallyportError } from '@sallyport/base'
import { decodeFrameHeader, decodeRecords, FRAME_HEADER } from './frame.ts'
import { segmentName } from './scan.ts'
import type { Storage } from './storage.ts'

interface FramePosition {
  /** Index of its first record. */
  readonly start: number
  readonly segment: number
  readonly offset: number
}

/** Bytes of a segment between two frames whose places are kept: those between are found by walking. */
const STRIDE = 64 * 1024
/** Bytes that are read at once. */
const WINDOW = 256 * 1024

/** Where frames stand, in memory that grows a thousandth as fast as the log. */
export class FrameIndex {
  readonly #kept: FramePosition[] = []

  /** @param start index of the frame's first record; frames are told of in their order */
  add(start: number, segment: number, offset: number): void {
    const last = this.#kept.at(-1)
    if (last?.segment === segment && offset - last.offset < STRIDE) return
    this.#kept.push({ start, segment, offset })
  }

  /**
   * Reads records in order, up to and without `end`, all of which are in frames that were told of.
   *
   * @throws SallyportError `SP_LOG_TAMPERED` where they no longer stand as they were written
   */
  async *read(
    storage: Storage,
    from: number,
    end: number,
  ): AsyncGenerator<{ index: number; record: Buffer }> {
    let at = this.#before(from)
    let index = from
    while (index < end) {
      if (!at) throw unreadable(index)
      const { segment, offset } = at
      let bytes = await storage.readAt(segmentName(segment), offset, WINDOW)
      const first = decodeFrameHeader(bytes, 0)
      if (!first) {
        // What follows stands in the next segment.
        at = this.#kept.find((one) => one.segment > segment)
        continue
      }
      const least = FRAME_HEADER + first.length
      if (least > bytes.length) bytes = await storage.readAt(segmentName(segment), offset, least)
      let place = 0
      for (let header = first; index < end;) {
        const body = place + FRAME_HEADER
        if (body + header.length > bytes.length) {
          // Only the first was read whole for certain.
          if (place === 0) throw unreadable(index)
          break
        }
        if (header.start > index) throw unreadable(index)
        if (header.start + header.count > index) {
          const records = decodeRecords(bytes.subarray(body, body + header.length), header.count)
          if (!records) throw unreadable(index)
          for (const record of records.slice(index - header.start, end - header.start)) {
            yield { index: index++, record }
          }
        }
        place = body + header.length
        const next = decodeFrameHeader(bytes, place)
        if (!next) break
        header = next
      }
      at = { start: index, segment, offset: offset + place }
    }
  }

  /** The last frame whose place is kept, of those that begin no later than a record. */
  #before(index: number): FramePosition | undefined {
    let low = 0
    let high = this.#kept.length - 1
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if ((this.#kept[middle]?.start ?? 0) <= index) low = middle
      else high = middle - 1
    }
    return this.#kept[low]
  }
}

const unreadable = (index: number): SallyportError =>
  new SallyportError('SP_LOG_TAMPERED', `log record ${index} cannot be read`)
