import { realpathSync } from 'node:fs'
import { sep } from 'node:path'

/** What a program started in a mount namespace of its own does not see, and what of it it still does. */
export interface Covers {
  /** Folders that seem empty. */
  readonly hide: readonly string[]
  /** Folders below them that stay as they are. */
  readonly keep: readonly string[]
  /** Files below them that it gets a copy of. */
  readonly show: readonly string[]
}

const quoted = (path: string): string => `'${path.replaceAll("'", `'\\''`)}'`

/** File descriptors of a POSIX shell have one digit; 0 to 2 are taken. */
const MAX_OPEN = 7

/**
 * Words that go between `unshare -m` and a program: a shell that covers the folders with empty read-only ones, then
 * becomes the program. Whatever fails ends it before the program starts.
 */
export function coverWords({ hide, keep, show }: Covers): readonly string[] {
  const hidden = hide.map((path) => realpathSync(path))
  const below = (path: string): boolean => hidden.some((dir) => path.startsWith(dir + sep))
  const kept = keep.map((path) => realpathSync(path)).filter(below)
  const shown = show.filter((path) => below(realpathSync(path)))
  if (kept.length + shown.length > MAX_OPEN) throw new RangeError('too many paths to keep')
  // Opened before they are covered: what is open stays reachable by its descriptor.
  const open = [...kept, ...shown].map((path, i) => `exec ${i + 3}<${quoted(path)}`)
  const close = open.map((_line, i) => `exec ${i + 3}<&-`)
  const script = [
    'set -e',
    'umask 077',
    ...open,
    ...hidden.map((path) => `mount -t tmpfs -o mode=0700,size=1m sallyport ${quoted(path)}`),
    ...kept.flatMap((path, i) => [
      `mkdir -p ${quoted(path)}`,
      `mount --no-canonicalize --bind /proc/self/fd/${i + 3} ${quoted(path)}`,
    ]),
    ...shown.flatMap((path, i) => [
      `mkdir -p "$(dirname ${quoted(path)})"`,
      `cat <&${i + kept.length + 3} >${quoted(path)}`,
    ]),
    ...hidden.map((path) => `mount -o remount,ro ${quoted(path)}`),
    ...close,
    // A working directory below a covered folder would still lead into what is covered.
    'cd "$PWD" 2>/dev/null || cd /',
    'exec "$@"',
  ]
  return ['sh', '-c', script.join('\n'), 'sallyport']
}
