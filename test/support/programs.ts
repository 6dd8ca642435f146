import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findApart } from '../../packages/gateway/src/upstream/apart.ts'
import type { Apart } from '../../packages/gateway/src/upstream/apart.ts'

/** A server that does what its tests ask. */
export const PROGRAM: string = fileURLToPath(import.meta.resolve('./stdio-mcp.ts'))

/** Another user's program must be able to read what it runs. */
function isOpenToAll(path: string): boolean {
  for (let at = path; at !== dirname(at); at = dirname(at)) {
    if ((statSync(at).mode & 0o5) === 0) return false
  }
  return true
}

export const apart: Apart | undefined = await findApart(['/tmp'])

/** Why no program can be started here; false where one can. */
export const noPrograms: string | false =
  apart === undefined
    ? 'this machine cannot start programs apart'
    : process.getuid?.() === 0 && ![process.execPath, PROGRAM].every(isOpenToAll)
      ? 'another user cannot read this checkout'
      : false
