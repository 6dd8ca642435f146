import { SallyportError } from '@sallyport/base'
import type { Checkpoint } from './checkpoint.ts'
import {
  decodeFrameHeader,
  decodeRecords,
  encodeSegmentHeader,
  FRAME_HEADER,
  hasLaterFrame,
  SEGMENT_HEADER,
} from './frame.ts'
import { CompactTree, leafHash } from './merkle.ts'
import type { Storage } from './storage.ts'

export const CHECKPOINT_FILE = 'checkpoints'
const SEGMENT_NAME = /^\d{8}\.seg$/

export const segmentName = (number: number): string => `${String(number).padStart(8, '0')}.seg`

/** Names of the segment files in order. @throws SallyportError `SP_LOG_TAMPERED` where one is missing */
export async function segmentNames(storage: Storage): Promise<string[]> {
  const names = (await storage.list()).filter((name) => SEGMENT_NAME.test(name)).toSorted()
  for (const [i, name] of names.entries()) {
    if (name !== segmentName(i)) {
      throw new SallyportError('SP_LOG_TAMPERED', `log segment ${segmentName(i)} is missing`, {
        fix: 'restore the missing file from a copy; until then the log cannot be trusted',
      })
    }
  }
  return names
}

/** Splits the checkpoint file into its notes. What is not a note is returned too, and fails to parse. */
export function splitNotes(file: Buffer): Buffer[] {
  const notes: Buffer[] = []
  for (let at = 0; at < file.length;) {
    const blank = file.indexOf('\n\n', at)
    const end = blank < 0 ? -1 : file.indexOf('\n', blank + 2)
    const next = end < 0 ? file.length : end + 1
    notes.push(file.subarray(at, next))
    at = next
  }
  return notes
}

/** A place where the scan could not go on. */
export interface Break {
  readonly kind: 'torn' | 'bad'
  readonly message: string
}

export interface Frame {
  readonly start: number
  readonly records: readonly Buffer[]
  readonly leaves: readonly Buffer[]
  /** Offset of the frame and of what follows it. */
  readonly offset: number
  readonly end: number
}

/**
 * Walks the frames of one segment, rehashing each; `tree` grows along. Returns where it ended and, unless the rest is
 * the zeros of preallocation, why.
 */
export function scanSegment(
  bytes: Buffer,
  number: number,
  origin: string,
  tree: CompactTree,
  onFrame: (frame: Frame) => void,
): { end: number; broken?: Break } {
  const expected = encodeSegmentHeader(number, tree.size, origin)
  if (!bytes.subarray(0, SEGMENT_HEADER).equals(expected)) {
    if (isZero(bytes, 0)) return { end: 0 }
    return { end: 0, broken: { kind: 'torn', message: 'the segment header is not as written' } }
  }
  let at = SEGMENT_HEADER
  while (at < bytes.length) {
    const header = decodeFrameHeader(bytes, at)
    if (!header) {
      if (isZero(bytes, at)) return { end: at }
      return broken(bytes, at, tree.size, 'bytes that are no frame')
    }
    const end = at + FRAME_HEADER + header.length
    const body = bytes.subarray(at + FRAME_HEADER, end)
    const records = end <= bytes.length ? decodeRecords(body, header.count) : undefined
    if (header.start !== tree.size || !records) {
      return broken(bytes, at, tree.size, 'a frame that does not follow')
    }
    const next = tree.clone()
    const leaves = records.map(leafHash)
    for (const leaf of leaves) next.add(leaf)
    if (!next.root().equals(header.root)) {
      return broken(bytes, at, tree.size, 'records that do not hash to the root')
    }
    for (const leaf of leaves) tree.add(leaf)
    onFrame({ start: header.start, records, leaves, offset: at, end })
    at = end
  }
  return { end: at }
}

function broken(
  bytes: Buffer,
  at: number,
  size: number,
  what: string,
): { end: number; broken: Break } {
  const kind = hasLaterFrame(bytes, at + 1, size) ? 'bad' : 'torn'
  return { end: at, broken: { kind, message: `${what} after record ${size - 1}, at byte ${at}` } }
}

export function isZero(bytes: Buffer, from: number): boolean {
  const zeros = Buffer.alloc(65_536)
  for (let at = from; at < bytes.length; at += zeros.length) {
    const part = bytes.subarray(at, at + zeros.length)
    if (!part.equals(zeros.subarray(0, part.length))) return false
  }
  return true
}

/** Compares the tree with checkpoints as it passes their sizes. */
export class CheckpointMatcher {
  readonly #pending: Checkpoint[]
  readonly mismatches: Checkpoint[] = []

  constructor(checkpoints: readonly Checkpoint[]) {
    this.#pending = checkpoints.toSorted((a, b) => a.size - b.size)
  }

  /** Call with the tree at every size that a checkpoint may have. */
  at(tree: CompactTree): void {
    for (;;) {
      const next = this.#pending[0]
      if (!next || next.size > tree.size) return
      if (next.size < tree.size || !tree.root().equals(next.root)) this.mismatches.push(next)
      this.#pending.shift()
    }
  }

  get nextSize(): number {
    return this.#pending[0]?.size ?? Number.POSITIVE_INFINITY
  }

  /** Checkpoints over more records than there are. */
  get unreached(): readonly Checkpoint[] {
    return this.#pending
  }
}
