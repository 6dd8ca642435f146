import { sha256 } from './merkle.ts'

/**
 * On disk a segment is a header and then frames, each one group commit, in a file preallocated with zeros.
 *
 *     segment = "SPLS" version:u32 number:u32 start:u64 origin:32 check:8
 *     frame   = "SPLF" start:u64 count:u32 length:u32 root:32 check:8 (length:u32 record)*
 *
 * Integers are big-endian. `root` is the tree's root after the frame; `check` is the start of SHA-256 over the header
 * before it, and only tells a torn write from a whole one: integrity comes from the roots and the signed checkpoints.
 */
export const SEGMENT_HEADER = 60
export const FRAME_HEADER = 60
/** C2SP tlog-tiles bounds a record at 65,535 bytes. */
export const MAX_RECORD = 65_535

const SEGMENT_MAGIC = Buffer.from('SPLS')
const FRAME_MAGIC = Buffer.from('SPLF')

const check = (header: Buffer): Buffer => sha256(header).subarray(0, 8)

export function encodeSegmentHeader(number: number, start: number, origin: string): Buffer {
  const header = Buffer.alloc(SEGMENT_HEADER)
  SEGMENT_MAGIC.copy(header)
  header.writeUInt32BE(1, 4)
  header.writeUInt32BE(number, 8)
  header.writeBigUInt64BE(BigInt(start), 12)
  sha256(origin).copy(header, 20)
  check(header.subarray(0, 52)).copy(header, 52)
  return header
}

export interface FrameHeader {
  readonly start: number
  readonly count: number
  /** Bytes of records, length prefixes included. */
  readonly length: number
  readonly root: Buffer
}

export function encodeFrame(start: number, records: readonly Uint8Array[], root: Buffer): Buffer {
  let length = 0
  for (const record of records) length += 4 + record.byteLength
  const frame = Buffer.allocUnsafe(FRAME_HEADER + length)
  FRAME_MAGIC.copy(frame)
  frame.writeBigUInt64BE(BigInt(start), 4)
  frame.writeUInt32BE(records.length, 12)
  frame.writeUInt32BE(length, 16)
  root.copy(frame, 20)
  check(frame.subarray(0, 52)).copy(frame, 52)
  let at = FRAME_HEADER
  for (const record of records) {
    frame.writeUInt32BE(record.byteLength, at)
    frame.set(record, at + 4)
    at += 4 + record.byteLength
  }
  return frame
}

/** The header at `at`, or undefined where no whole header stands. */
export function decodeFrameHeader(bytes: Buffer, at: number): FrameHeader | undefined {
  if (at + FRAME_HEADER > bytes.length) return undefined
  const header = bytes.subarray(at, at + FRAME_HEADER)
  if (!header.subarray(0, 4).equals(FRAME_MAGIC)) return undefined
  if (!header.subarray(52).equals(check(header.subarray(0, 52)))) return undefined
  const start = Number(header.readBigUInt64BE(4))
  return {
    start,
    count: header.readUInt32BE(12),
    length: header.readUInt32BE(16),
    root: Buffer.from(header.subarray(20, 52)),
  }
}

/** The records of a frame body, or undefined where lengths do not add up. */
export function decodeRecords(body: Buffer, count: number): Buffer[] | undefined {
  const records: Buffer[] = []
  let at = 0
  while (at < body.length) {
    if (at + 4 > body.length) return undefined
    const length = body.readUInt32BE(at)
    if (length > MAX_RECORD || at + 4 + length > body.length) return undefined
    records.push(body.subarray(at + 4, at + 4 + length))
    at += 4 + length
  }
  return records.length === count && count > 0 ? records : undefined
}

/** Whether a whole frame header of a later record stands anywhere after `from`: then what is before it was not a torn tail. */
export function hasLaterFrame(bytes: Buffer, from: number, start: number): boolean {
  for (
    let at = bytes.indexOf(FRAME_MAGIC, from);
    at >= 0;
    at = bytes.indexOf(FRAME_MAGIC, at + 1)
  ) {
    const header = decodeFrameHeader(bytes, at)
    if (header && header.start > start) return true
  }
  return false
}
