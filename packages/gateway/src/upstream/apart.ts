import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, realpathSync } from 'node:fs'
import { join, sep } from 'node:path'

/** How programs are started apart from the gateway: its keys are a file away from whoever has its user id. */
export interface Apart {
  /** No network but a loopback of its own. */
  readonly network: boolean
  /**
   * The words before the program's own.
   *
   * @param hide folders and files that it must not see, as `hiding` gives them
   */
  words(name: string, hide: readonly string[]): readonly string[]
}

const PLACES = ['/usr/bin', '/bin', '/usr/sbin', '/sbin']
const PROBE_MS = 10_000
/** User ids that nobody else has, one for each name. */
const FIRST_UID = 0x70_00_00_00
const UIDS = 0x10_00_00

/** Ends with whoever started it, and has no more rights than it was started with. */
const TIED = ['--pdeathsig', 'KILL', '--no-new-privs', '--']
const POWERLESS = [
  '--no-new-privs',
  '--inh-caps=-all',
  '--bounding-set=-all',
  '--pdeathsig',
  'KILL',
]
/** Namespaces of its own: network, processes, mounts. Process 1 ends with its parent, and everything in it with that. */
const NAMESPACES = ['--net', '--pid', '--mount', '--fork', '--kill-child=KILL']
/**
 * The one script there is: it hides what comes before `--` and shows the right processes, and reads nothing that is declared. Whatever
 * cannot be hidden ends it before the program begins.
 */
const HIDING = [
  'set -e',
  'while [ "$1" != -- ]; do',
  'if [ -d "$1" ]; then mount -t tmpfs -o ro,size=4k none "$1"',
  'else mount --bind /dev/null "$1"; fi',
  'shift; done; shift',
  'mount -t proc proc /proc',
  'unset PWD OLDPWD; exec "$@"',
].join('\n')

/**
 * Finds how this machine lets a program be started apart, and proves it by one that really was.
 *
 * @returns undefined where it does not: no program is to be started then
 */
export function findApart(hide: readonly string[]): Promise<Apart | undefined> {
  found ??= search(hide)
  return found
}

let found: Promise<Apart | undefined> | undefined

async function search(hide: readonly string[]): Promise<Apart | undefined> {
  const [setpriv, unshare, sh] = ['setpriv', 'unshare', 'sh'].map(tool)
  if (setpriv === undefined) return undefined
  const isRoot = process.getuid?.() === 0
  const own = (name: string): string[] => {
    const id = String(uidOf(name))
    return ['--reuid', id, '--regid', id, '--clear-groups']
  }
  const ways: Apart[] = []
  if (unshare !== undefined && sh !== undefined) {
    const users = isRoot ? [] : ['--user', '--map-root-user']
    ways.push({
      network: true,
      words: (name, hidden) => [
        ...[setpriv, ...TIED, unshare, ...users, ...NAMESPACES, '--', sh, '-c', HIDING, sh],
        ...[...hidden, '--'],
        ...[setpriv, ...(isRoot ? own(name) : []), ...POWERLESS, '--'],
      ],
    })
  }
  if (isRoot) {
    ways.push({
      network: false,
      words: (name) => [setpriv, ...own(name), ...POWERLESS, '--'],
    })
  }
  for (const way of ways) if (await works(way, hide)) return way
  return undefined
}

function works(way: Apart, hide: readonly string[]): Promise<boolean> {
  const [command = '', ...args] = way.words('probe', hide)
  return new Promise((resolve) => {
    const yes = tool('true') ?? '/bin/true'
    execFile(command, [...args, yes], { timeout: PROBE_MS, env: {} }, (error) => {
      resolve(error === null)
    })
  })
}

/**
 * What is to be hidden, as the machine knows it: nothing twice, and nothing within what is hidden already.
 *
 * @returns undefined where one of them does not exist: it could come back while the program runs
 */
export function hiding(paths: readonly string[]): readonly string[] | undefined {
  if (!paths.every((path) => existsSync(path))) return undefined
  const real = [...new Set(paths.map((path) => realpathSync(path)))]
  const within = (path: string, other: string): boolean => path.startsWith(join(other, sep))
  return real.filter((path) => !real.some((other) => other !== path && within(path, other)))
}

const tool = (name: string): string | undefined =>
  PLACES.map((place) => join(place, name)).find((path) => existsSync(path))

/** The same for the same name. */
function uidOf(name: string): number {
  const digest = createHash('sha256').update(name).digest()
  return FIRST_UID + (digest.readUInt32BE(0) % UIDS)
}
