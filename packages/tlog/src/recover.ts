import type { KeyObject } from 'node:crypto'
import { SallyportError } from '@sallyport/base'
import { parseCheckpoint } from './checkpoint.ts'
import type { Checkpoint } from './checkpoint.ts'
import type { Recovery } from './log.ts'
import { FrameIndex } from './frame-index.ts'
import { CompactTree } from './merkle.ts'
import {
  CHECKPOINT_FILE,
  CheckpointMatcher,
  isZero,
  scanSegment,
  segmentName,
  segmentNames,
  splitNotes,
} from './scan.ts'
import type { Break } from './scan.ts'
import type { Storage } from './storage.ts'

export interface RecoveredState {
  readonly tree: CompactTree
  readonly frames: FrameIndex
  /** Segment that takes the next frame, and where. */
  readonly segment: number
  readonly segments: number
  readonly offset: number
  readonly checkpointBytes: number
  readonly signedSize: number
  readonly recovery: Recovery | undefined
}

/** How many of the newest checkpoints opening compares; `audit verify` compares all. */
const COMPARED = 64

const tampered = (message: string): SallyportError =>
  new SallyportError('SP_LOG_TAMPERED', message, {
    fix: 'do not start on this log: keep it as evidence, run `sallyport audit verify`, and open a new shard',
  })

/** Rehashes a shard, discards a torn tail that no checkpoint covers, and refuses anything else that is not as written. */
export async function recover(
  storage: Storage,
  origin: string,
  publicKey: KeyObject,
): Promise<RecoveredState> {
  const names = await segmentNames(storage)
  const { checkpoints, bytes: checkpointBytes } = await newestCheckpoints(
    storage,
    origin,
    publicKey,
  )
  const signedSize = checkpoints.at(-1)?.size ?? 0
  const matcher = new CheckpointMatcher(checkpoints)
  const tree = new CompactTree()
  const frames = new FrameIndex()
  let segment = 0
  let offset = 0
  let torn: { number: number; end: number; bytes: Buffer; broken: Break } | undefined

  for (const number of names.keys()) {
    const bytes = await storage.read(segmentName(number))
    if (torn) {
      if (!isZero(bytes, 0)) throw tampered(`the log is damaged: ${torn.broken.message}`)
      continue
    }
    const { end, broken } = scanSegment(bytes, number, origin, tree, (frame) => {
      frames.add(frame.start, number, frame.offset)
      matcher.at(tree)
    })
    if (broken?.kind === 'bad') throw tampered(`the log is damaged: ${broken.message}`)
    if (broken) torn = { number, end, bytes, broken }
    if (end > 0 || number === 0 || torn) {
      segment = number
      offset = end
    }
  }
  matcher.at(tree)
  if (tree.size < signedSize) {
    throw tampered(`the log has ${tree.size} records, a signed checkpoint covers ${signedSize}`)
  }
  if (matcher.mismatches[0]) {
    throw tampered(`the log differs from its signed checkpoint at ${matcher.mismatches[0].size}`)
  }
  let recovery: Recovery | undefined
  if (torn) {
    const { number, end, bytes } = torn
    const file = await storage.open(segmentName(number))
    await file.write(Buffer.alloc(bytes.length - end), end)
    await file.sync()
    await file.close()
    recovery = { size: tree.size, discardedBytes: bytes.length - end }
  }
  return {
    tree,
    frames,
    segment,
    segments: names.length,
    offset,
    checkpointBytes,
    signedSize,
    recovery,
  }
}

async function newestCheckpoints(
  storage: Storage,
  origin: string,
  publicKey: KeyObject,
): Promise<{ checkpoints: Checkpoint[]; bytes: number }> {
  if (!(await storage.list()).includes(CHECKPOINT_FILE)) return { checkpoints: [], bytes: 0 }
  const file = await storage.read(CHECKPOINT_FILE)
  const notes = splitNotes(file)
  const checkpoints: Checkpoint[] = []
  const older = notes.slice(0, -COMPARED)
  let bytes = older.reduce((sum, note) => sum + note.length, 0)
  for (const note of notes.slice(-COMPARED)) {
    try {
      checkpoints.push(parseCheckpoint(note.toString(), publicKey, origin))
    } catch (error) {
      // One note may have been being written when the power went; it has not been shown to anyone.
      if (file.length - bytes <= longestNote(origin)) break
      throw error
    }
    bytes += note.length
  }
  return { checkpoints, bytes }
}

/** The longest a note of this log can be: two names, 16 digits, a root and a signature. */
const longestNote = (origin: string): number => 2 * Buffer.byteLength(origin) + 170
