import type { KeyObject } from 'node:crypto'
import { errorCode } from '@sallyport/base'
import { parseCheckpoint } from './checkpoint.ts'
import type { Checkpoint } from './checkpoint.ts'
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
import { fileStorage } from './storage.ts'

export interface VerifyOptions {
  readonly dir: string
  readonly origin: string
  /** The log's public key, got out of band. */
  readonly publicKey: KeyObject
  /** An earlier checkpoint, held elsewhere: without one, truncation cannot be excluded. */
  readonly checkpoint?: string
  /** Called with every record, in order. */
  readonly onRecord?: (index: number, record: Buffer) => void
}

export interface Problem {
  readonly code: string
  readonly message: string
}

export interface Verification {
  readonly ok: boolean
  readonly records: number
  /** Records under the newest signed checkpoint. */
  readonly signed: number
  readonly checkpoints: number
  /** What was shown, in words, and no more than that. */
  readonly statement: string
  readonly problems: readonly Problem[]
  /**
   * Whether all that is wrong is a frame cut short at the very end, as beside a writer that runs: no checkpoint covers it, and nothing
   * follows it.
   */
  readonly torn: boolean
}

/**
 * Verifies a shard offline, from its files, its public key and, where given, an earlier checkpoint: rehashes every
 * record, follows every frame, compares every signed checkpoint. Finds any flipped, removed, reordered or inserted
 * byte; truncation only back to the given checkpoint.
 */
export async function verifyLog(options: VerifyOptions): Promise<Verification> {
  const { origin, publicKey } = options
  const storage = await fileStorage(options.dir)
  const problems: Problem[] = []
  const tree = new CompactTree()
  let checkpoints: Checkpoint[] = []
  let held: Checkpoint | undefined
  let tail = false
  try {
    if (options.checkpoint !== undefined) {
      held = parseCheckpoint(options.checkpoint, publicKey, origin)
    }
    const files = await storage.list()
    const names = await segmentNames(storage)
    const notes = files.includes(CHECKPOINT_FILE)
      ? splitNotes(await storage.read(CHECKPOINT_FILE))
      : []
    checkpoints = notes.flatMap((note) => {
      try {
        return [parseCheckpoint(note.toString(), publicKey, origin)]
      } catch (error) {
        // One that a full disk or a kill cut short is a problem, and no reason to leave the records unread.
        problems.push(problemOf(error))
        return []
      }
    })
    for (const [i, checkpoint] of checkpoints.entries()) {
      if (checkpoint.size <= (checkpoints[i - 1]?.size ?? 0)) {
        problems.push({
          code: 'SP_LOG_CHECKPOINT',
          message: `checkpoint ${i} does not grow: it covers ${checkpoint.size} records`,
        })
      }
    }
    const matcher = new CheckpointMatcher(held ? [...checkpoints, held] : checkpoints)
    let broken = false
    for (const number of names.keys()) {
      const bytes = await storage.read(segmentName(number))
      if (broken) {
        if (!isZero(bytes, 0)) {
          problems.push({
            code: 'SP_LOG_TAMPERED',
            message: `segment ${number} follows a damaged one and could not be checked`,
          })
        }
        continue
      }
      const result = scanSegment(bytes, number, origin, tree, (frame) => {
        matcher.at(tree)
        for (const [i, record] of frame.records.entries()) {
          options.onRecord?.(frame.start + i, record)
        }
      })
      if (result.broken) {
        broken = true
        tail = result.broken.kind === 'torn' && result.end > 0
        problems.push({ code: 'SP_LOG_TAMPERED', message: result.broken.message })
      }
    }
    for (const { size } of matcher.mismatches) {
      problems.push({
        code: 'SP_LOG_TAMPERED',
        message: `the records differ from the signed checkpoint over ${size}`,
      })
    }
    for (const { size } of matcher.unreached) {
      problems.push({
        code: 'SP_LOG_TRUNCATED',
        message: `a signed checkpoint covers ${size} records, the log has ${tree.size}`,
      })
    }
  } catch (error) {
    problems.push(problemOf(error))
  }
  const ok = problems.length === 0
  const torn = tail && problems.length === 1
  const signed = checkpoints.at(-1)?.size ?? 0
  return {
    ok,
    records: tree.size,
    signed,
    checkpoints: checkpoints.length,
    statement:
      ok || torn
        ? `${statement(tree.size, signed, held)}${torn ? '; a frame at the end is cut short' : ''}`
        : 'not verified',
    problems,
    torn,
  }
}

function problemOf(error: unknown): Problem {
  return {
    code: errorCode(error),
    message: error instanceof Error ? error.message : String(error),
  }
}

function statement(records: number, signed: number, held: Checkpoint | undefined): string {
  const unsigned =
    signed < records ? `; the last ${records - signed} records are not yet under a checkpoint` : ''
  const truncation = held
    ? `; nothing up to record ${held.size} of the given checkpoint was removed`
    : '; truncation not excluded'
  return `consistent up to ${records}${truncation}${unsigned}`
}
