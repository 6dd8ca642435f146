import { accessSync, constants, existsSync, realpathSync, statSync } from 'node:fs'
import { basename, delimiter, dirname, isAbsolute, join, resolve } from 'node:path'

import { SallyportError } from '@sallyport/base'

import { ownMounts, placesOf, readOnly, uncovered, within } from './mounts.ts'

/** What of the file system a program is to see. */
export interface View {
  /** Folders (or files) that seem empty, whatever their modes say. */
  readonly hide: readonly string[]
  /** Of what is hidden, files and folders that stay, read-only. */
  readonly expose: readonly string[]
  readonly cwd: string
}

/** Everything that the program must not reach; what it leaves of file systems is read-only. */
const PRIVATE = ['/tmp', '/var/tmp']
/** Sockets of the machine's own services, which obey whoever has the right user id. */
const SERVICES = ['/run', '/var/run']
const TOOLS = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** Of the file system, the folders that a program has for itself: whole names, where they are there. */
export const ownPlaces = (): string[] => [...real(PRIVATE), ...real(services())]

function services(): string[] {
  const runtime = process.env['XDG_RUNTIME_DIR']
  return [...SERVICES, ...(runtime === undefined || runtime === '' ? [] : [runtime])]
}

const real = (paths: readonly string[]): string[] => [
  ...new Set(paths.filter((path) => existsSync(path)).map((path) => realpathSync(path))),
]

/** Where an executable is, by the launcher's own `PATH`, never the program's. */
export function tool(name: string): string | undefined {
  return toolPath()
    .split(delimiter)
    .map((dir) => join(dir, name))
    .find((path) => isAbsolute(path) && existsSync(path))
}

const toolPath = (): string =>
  process.env['PATH'] === undefined ? TOOLS : `${process.env['PATH']}:${TOOLS}`

/** Words that drop every capability for good and die with the parent. */
const DROP = [
  '--pdeathsig=KILL',
  '--no-new-privs',
  '--inh-caps=-all',
  '--ambient-caps=-all',
  '--bounding-set=-all',
  '--',
]

/**
 * Process 1 of the namespace: reaps, and ends with the program's own code (128 + n for signal n). It is not the program
 * itself, which would not be ended by signals that it does not handle. `ready` is said by the process that becomes the
 * program, so that whoever waits for it can end it at once; it starts once descriptor 3 is closed at the other end. Nothing but stdio is
 * open in it then.
 */
const INIT = `
(printf 'ready\\n' >&3; read -r _ <&3; exec 3>&-; exec "$@")
exit $?
`

/**
 * Sets the namespaces up before a program starts, as process 1, still with capabilities over them. Whatever must hold
 * and does not ends it, and says so on descriptor 3, before the program starts. `stage` is a folder that every Linux has
 * and where no path to expose can be; the program never sees it.
 */
const SETUP = `
umask 022
agent_path=\${PATH-}; PATH=$1; cwd=$2; fence=$3; shift 3
stage=/proc/driver
fail() { printf '%s\\n' "$*" >&3; exit 125; }
must() { said=$("$@" 2>&1 3>&-) || fail "$* $said"; }
tmpfs() { must mount -n -t tmpfs -o "nosuid,nodev,$1" sallyport "$2"; }
file() { : >"$1" || fail "$1 cannot be made"; }
setpriv=$(command -v setpriv) || fail 'setpriv is missing'
sh=$(command -v sh) || fail 'sh is missing'
# No further namespaces inside: each would hand capabilities over itself back.
[ "$fence" = no ] || { printf 0 >/proc/sys/user/max_user_namespaces; } 2>/dev/null
tmpfs mode=700,size=1m $stage
for node in null zero full random urandom; do
  file "$stage/$node"
  must mount -n --bind "/dev/$node" "$stage/$node"
done
while [ "$1" != -- ]; do
  case $1 in
  readonly)
    mount -n -o "$2" "$3" 2>/dev/null 3>&-
    shift 3 ;;
  take)
    if [ -d "$3" ]; then must mkdir "$stage/$2"; else file "$stage/$2"; fi
    must mount -n --rbind "$3" "$stage/$2"
    shift 3 ;;
  private)
    tmpfs mode=1777,size=512m "$2"
    shift 2 ;;
  hide)
    # What this user cannot even find, the program cannot either.
    if [ -d "$2" ]; then tmpfs mode=755,size=1m "$2"
    elif [ -e "$2" ]; then must mount -n --bind "$stage/null" "$2"; fi
    shift 2 ;;
  put)
    if [ ! -e "$3" ]; then
      must mkdir -p "\${3%/*}"
      if [ -d "$stage/$2" ]; then must mkdir "$3"; else file "$3"; fi
      must mount -n --rbind "$stage/$2" "$3"
    fi
    shift 3 ;;
  seal)
    mount -n -o remount,bind,ro,nosuid,nodev,noexec "$2" 2>/dev/null 3>&-
    shift 2 ;;
  esac
done
shift
tmpfs mode=755,size=1m /dev
for node in null zero full random urandom; do
  file "/dev/$node"
  must mount -n --bind "$stage/$node" "/dev/$node"
done
must ln -s /proc/self/fd /dev/fd
must ln -s /proc/self/fd/0 /dev/stdin
must ln -s /proc/self/fd/1 /dev/stdout
must ln -s /proc/self/fd/2 /dev/stderr
must mkdir /dev/shm /dev/pts
tmpfs mode=1777,size=256m /dev/shm
mount -n -t devpts -o newinstance,ptmxmode=0666,mode=0600 devpts /dev/pts 2>/dev/null 3>&- &&
  must ln -s pts/ptmx /dev/ptmx
must mount -n -o remount,bind,ro,nosuid /dev
must umount -n -l $stage
must mount -n -o remount,bind,ro,nosuid,nodev,noexec /proc
# The folder it stands in may lie under what is hidden now, and would lead there still.
cd "$cwd" 2>/dev/null || cd /
PATH=$agent_path
exec "$setpriv" ${DROP.join(' ')} "$sh" -c '${INIT.replaceAll("'", "'\\''")}' sallyport "$@"
`

/** Namespaces that a program gets: its own network always; `full` adds files, processes, IPC and host name. */
export interface Way {
  readonly user: boolean
  readonly full: boolean
}

/**
 * The words that start `program` with what `way` gives it. With `full`, descriptor 3 must be a pipe: `ready` on it means
 * that everything is in place, anything else is what went wrong, and the program was not started.
 *
 * @throws SallyportError `SP_LAUNCH_FAILED` for a path that cannot be hidden or is not there to expose
 */
export function enclosed(way: Way, view: View, program: readonly string[]): readonly string[] {
  const setpriv = tool('setpriv') ?? 'setpriv'
  const unshare = [tool('unshare') ?? 'unshare', ...(way.user ? ['-Ur'] : []), '--net']
  if (!way.full) return [...unshare, '--', setpriv, ...DROP, ...program]
  const apart = '--mount --ipc --uts --pid --fork --kill-child --mount-proc --'.split(' ')
  return [
    // The outermost process stays behind and must not outlive the launcher: its end ends the rest.
    setpriv,
    '--pdeathsig=KILL',
    '--',
    ...unshare,
    ...apart,
    tool('sh') ?? 'sh',
    '-c',
    SETUP,
    'sallyport',
    toolPath(),
    view.cwd,
    way.user ? 'yes' : 'no',
    ...steps(view),
    '--',
    ...program,
  ]
}

function steps({ hide, expose, cwd }: View): string[] {
  const mounts = ownMounts()
  const places = hide.flatMap((path) => placesOf(whole(path), mounts))
  // Another `proc` shows processes of outside.
  const processes = mounts.filter(({ type, path }) => type === 'proc' && path !== '/proc')
  const hidden = [
    ...real(services()),
    ...processes.map(({ path }) => path).filter((path) => !within(path, '/proc')),
    ...places,
  ]
  if (hidden.includes('/')) throw impossible('the whole file system cannot be hidden')
  const shown = expose.map((path) => ({
    from: whole(path),
    // Where the program looks for it, even if the file itself is a link to elsewhere.
    to: placeOf(path),
  }))
  const writable = uncovered(mounts).filter(
    ({ path, flags }) =>
      !within(path, '/proc') &&
      !within(path, '/dev') &&
      !(flags.includes('ro') && flags.includes('nodev')),
  )
  const kept = needed(cwd)
  return [
    ...writable.flatMap((mount) => ['readonly', readOnly(mount), mount.path]),
    ...shown.flatMap(({ from }, i) => ['take', String(i), from]),
    ...kept.flatMap((path, i) => ['take', `kept${i}`, path]),
    ...real(PRIVATE).flatMap((path) => ['private', path]),
    // Before anything is hidden: what is hidden below them is covered again.
    ...kept.flatMap((path, i) => ['put', `kept${i}`, path]),
    ...hidden.flatMap((path) => ['hide', path]),
    ...shown.flatMap(({ to }, i) => ['put', String(i), to]),
    ...hidden.flatMap((path) => ['seal', path]),
  ]
}

/**
 * Refuses a program that its namespace would not show. Where it is a word, whatever else of that name stands further along the `PATH` would
 * be started in its place: another version, or another program.
 *
 * @param path the program's `PATH`
 * @throws SallyportError `SP_LAUNCH_FAILED`
 */
export function mustSee(command: string, { hide, expose, cwd }: View, path: string): void {
  const file = command.includes('/')
    ? resolve(cwd, command)
    : path
        .split(delimiter)
        .map((dir) => resolve(cwd, dir, command))
        .find(isProgram)
  // What is nowhere is refused as such, by whoever starts it.
  if (file === undefined || !existsSync(file)) return
  const covers = [...real(PRIVATE), ...real(services()), ...real(hide)]
  const kept = needed(cwd)
  // What holds a folder that is kept stands there already, with that folder alone: it is not shown whole.
  const put = expose.filter((one) => !kept.some((path) => within(path, placeOf(one))))
  const shown = [...kept, ...real(put), ...put.map((one) => placeOf(one))]
  const lost = [placeOf(file), realpathSync(file)].find(
    (at) => covers.some((cover) => within(at, cover)) && !shown.some((one) => within(at, one)),
  )
  if (lost === undefined) return
  throw new SallyportError('SP_LAUNCH_FAILED', 'the agent would not see its program', {
    detail: `\`${command}\` is \`${lost}\`, and agents have folders of their own in place of ${covers.filter((cover) => within(lost, cover)).join(', ')}`,
    fix: 'keep it elsewhere, a clone in a home folder say',
  })
}

/** Where it is looked for: its own name, in a folder without links. */
const placeOf = (path: string): string => join(whole(dirname(path)), basename(path))

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile()
  } catch {
    return false
  }
}

/** What a program cannot start without, where it lies below a folder that becomes private: its folder, and Node's. */
function needed(cwd: string): string[] {
  const roots = real(PRIVATE)
  return [...new Set(real([cwd, dirname(process.execPath)]))].filter((path) =>
    roots.some((root) => path !== root && within(path, root)),
  )
}

function whole(path: string): string {
  try {
    return realpathSync(path)
  } catch (cause) {
    throw impossible(`\`${path}\` is not there`, cause)
  }
}

function impossible(detail: string, cause?: unknown): SallyportError {
  return new SallyportError('SP_LAUNCH_FAILED', 'the agent cannot be enclosed as asked', {
    detail,
    ...(cause === undefined ? {} : { cause }),
  })
}
