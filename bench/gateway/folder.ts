import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Undo } from './children.ts'

/** Runs with a folder of its own; everything in `undo` is undone at the end, last first, and the folder removed. */
export async function inFolder<T>(run: (dir: string, undo: Undo) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), 'sp-bench-'))
  const undo: Undo = [
    () => {
      rmSync(dir, { recursive: true, force: true })
    },
  ]
  try {
    return await run(dir, undo)
  } finally {
    for (const one of undo.toReversed()) await one()
  }
}
