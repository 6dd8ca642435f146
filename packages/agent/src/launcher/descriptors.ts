import { closeSync, openSync, readFileSync, readdirSync } from 'node:fs'

const CLOSE_ON_EXEC = 0o2000000

/**
 * Descriptors above stdio that a child of this process would inherit: those it was itself started with. Node marks what
 * it opens, and of the others only the first few.
 */
function strayDescriptors(): number[] {
  const dir = '/proc/self/fdinfo'
  try {
    return readdirSync(dir)
      .map(Number)
      .filter((fd) => fd > 2 && !closesOnExec(`${dir}/${fd}`))
  } catch {
    // No /proc: no Linux, and nothing is claimed of it.
    return []
  }
}

function closesOnExec(file: string): boolean {
  try {
    const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(file, 'utf8'))?.[1] ?? '0'
    return (Number.parseInt(flags, 8) & CLOSE_ON_EXEC) !== 0
  } catch {
    // Closed since: the one that the listing itself was read with.
    return true
  }
}

type Stdio = 'pipe' | 'ignore' | 'inherit' | number

/** Runs `start` with a `stdio` that puts `/dev/null` in the place of every descriptor the child must not inherit. */
export function withoutStrays<T>(stdio: readonly Stdio[], start: (stdio: Stdio[]) => T): T {
  const strays = strayDescriptors().filter((fd) => fd >= stdio.length)
  if (strays.length === 0) return start([...stdio])
  const nothing = openSync('/dev/null', 'r')
  try {
    const all: Stdio[] = [...stdio]
    for (const fd of strays) {
      // Those in between are closed.
      while (all.length < fd) all.push('ignore')
      all[fd] = nothing
    }
    return start(all)
  } finally {
    closeSync(nothing)
  }
}
