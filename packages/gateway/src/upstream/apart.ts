import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** How programs are started apart from the gateway: its keys are a file away from whoever has its user id. */
export interface Apart {
  /** No network but a loopback of its own. */
  readonly network: boolean
  /** The words before the program's own. */
  words(name: string, hide: string): readonly string[]
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
/** The one script there is: it hides a folder and shows the right processes, and reads nothing that is declared. */
const HIDING =
  'mount -t tmpfs -o ro,size=4k none "$0" && mount -t proc proc /proc && unset PWD OLDPWD && exec "$@"'

/**
 * Finds how this machine lets a program be started apart, and proves it by one that really was.
 *
 * @returns undefined where it does not: no program is to be started then
 */
export function findApart(hide: string): Promise<Apart | undefined> {
  found ??= search(hide)
  return found
}

let found: Promise<Apart | undefined> | undefined

async function search(hide: string): Promise<Apart | undefined> {
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
        ...[setpriv, ...TIED, unshare, ...users, ...NAMESPACES, '--', sh, '-c', HIDING, hidden],
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

function works(way: Apart, hide: string): Promise<boolean> {
  const [command = '', ...args] = way.words('probe', hide)
  return new Promise((resolve) => {
    const yes = tool('true') ?? '/bin/true'
    execFile(command, [...args, yes], { timeout: PROBE_MS, env: {} }, (error) => {
      resolve(error === null)
    })
  })
}

const tool = (name: string): string | undefined =>
  PLACES.map((place) => join(place, name)).find((path) => existsSync(path))

/** The same for the same name. */
function uidOf(name: string): number {
  const digest = createHash('sha256').update(name).digest()
  return FIRST_UID + (digest.readUInt32BE(0) % UIDS)
}
