import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
// The flag makes it there.
const collect = runInNewContext('gc') as () => void

/** Bytes of buffers in this process that somebody holds: what was let go is collected first. */
export function heldBytes(): number {
  collect()
  return process.memoryUsage().arrayBuffers
}
