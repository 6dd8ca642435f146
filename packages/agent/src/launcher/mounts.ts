import { readFileSync } from 'node:fs'
import { join, relative } from 'node:path'

/** One line of `/proc/PID/mountinfo` (proc_pid_mountinfo(5)). */
export interface Mount {
  readonly id: number
  readonly parent: number
  /** Major and minor number of the file system. */
  readonly device: string
  /** Which part of the file system is mounted. */
  readonly root: string
  readonly path: string
  /** Flags of this mount, not of its file system: `ro`, `nosuid`, … */
  readonly flags: readonly string[]
  readonly type: string
  readonly source: string
}

/** The mounts of this process. */
export const ownMounts = (): Mount[] => parseMounts(readFileSync('/proc/self/mountinfo', 'utf8'))

/** Reads `mountinfo`. A line of another form is left out. */
export function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ')
    const [id, parent, device, root, path, flags] = before.split(' ')
    const [type = '', source = ''] = after.split(' ')
    if (device === undefined || root === undefined || path === undefined || flags === undefined)
      return []
    return {
      id: Number(id),
      parent: Number(parent),
      device,
      root: unescape(root),
      path: unescape(path),
      flags: flags.split(','),
      type,
      source: unescape(source),
    }
  })
}

/** Spaces, tabs, line ends and backslashes are written in octal. */
const unescape = (text: string): string =>
  text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  )

/** Whether `path` is `dir` or lies in it. Both absolute and without `..`. */
export const within = (path: string, dir: string): boolean =>
  path === dir || path.startsWith(dir.endsWith('/') ? dir : `${dir}/`)

/** The mounts that a path leads to: those that no other lies over. */
export function uncovered(mounts: readonly Mount[]): Mount[] {
  const byId = new Map(mounts.map((mount) => [mount.id, mount]))
  // Had the other been there first, it would be the parent of what is mounted inside it.
  const buried = (mount: Mount): boolean => {
    const over = mounts.some(
      ({ parent, path }) =>
        parent === mount.parent && path !== mount.path && within(mount.path, path),
    )
    const parent = byId.get(mount.parent)
    return over || (parent !== undefined && parent.id !== mount.id && buried(parent))
  }
  const topped = ({ id, path }: Mount): boolean =>
    mounts.some((other) => other.id !== id && other.parent === id && other.path === path)
  return mounts.filter((mount) => !topped(mount) && !buried(mount))
}

/**
 * A path and every other that leads to the same place, because its file system or a part of it is mounted elsewhere too.
 *
 * @param path absolute, without links
 */
export function placesOf(path: string, mounts: readonly Mount[]): string[] {
  const seen = uncovered(mounts)
  const home = seen
    .filter((mount) => within(path, mount.path))
    .toSorted((a, b) => b.path.length - a.path.length)[0]
  if (!home) return [path]
  const inside = join(home.root, relative(home.path, path))
  const others = seen.flatMap((mount) => {
    if (mount.device !== home.device || mount === home) return []
    if (within(inside, mount.root)) return [join(mount.path, relative(mount.root, inside))]
    // Only a part of what is to be hidden.
    return within(mount.root, inside) && !within(mount.path, path) ? [mount.path] : []
  })
  return [...new Set([path, ...others])]
}

/** Options of a remount that takes writing and devices away and nothing that the kernel holds locked. */
export function readOnly({ flags }: Mount): string {
  const kept = flags.filter((flag) => !['rw', 'ro', 'nodev'].includes(flag))
  const times = ['relatime', 'noatime', 'strictatime'].some((flag) => kept.includes(flag))
  return ['remount', 'bind', 'ro', 'nodev', ...kept, ...(times ? [] : ['strictatime'])].join(',')
}
