import { spawnSync } from 'node:child_process'
import { chmodSync, chownSync, lstatSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { SallyportError } from '@sallyport/base'

/** As whom the database runs. PostgreSQL refuses root, and is better off with a user that owns nothing else. */
export interface Account {
  /** Put in front of every database program. */
  readonly prefix: readonly string[]
  /** For `spawn`; empty where the present user runs it. */
  readonly ids: { readonly uid?: number; readonly gid?: number }
  /** Hands a file or folder to the database. */
  give(path: string): void
}

/**
 * The present user where that is not root; else `nobody`, where it can reach the folders; else root seen as `nobody` in a
 * user namespace of its own.
 *
 * @param dir the database's folder; its parent is the data directory, which may be opened for passing through (not reading)
 * @throws SallyportError `SP_DB_ROOT` where root can be neither
 */
export function databaseAccount(dir: string): Account {
  const bind = has('setpriv') ? ['setpriv', '--pdeathsig', 'INT', '--'] : []
  if (process.getuid?.() !== 0) return { prefix: bind, ids: {}, give: () => undefined }
  const nobody = nobodyIds()
  if (nobody) {
    const parent = dirname(resolve(dir))
    if (reachable(dirname(parent), nobody.uid)) {
      // Whoever may pass still reads nothing: every folder inside is closed by itself.
      if (!reachable(parent, nobody.uid)) chmodSync(parent, statSync(parent).mode | 0o011)
      return { prefix: bind, ids: nobody, give: (path) => chownTree(path, nobody) }
    }
  }
  const seen = ['unshare', '--user', '--map-user=65534', '--']
  if (has('unshare') && spawnSync('unshare', [...seen.slice(1), 'true']).status === 0) {
    return { prefix: [...seen, ...bind], ids: {}, give: () => undefined }
  }
  throw new SallyportError('SP_DB_ROOT', 'the embedded database cannot run as root here', {
    detail: `the user nobody cannot reach ${dir}, and user namespaces are not permitted`,
    fix: 'run as an ordinary user, use a data directory that others may pass through, or set DATABASE_URL',
  })
}

/** Whether `uid` may pass through `path` and every folder above it (by owner and other bits). */
export function reachable(path: string, uid: number): boolean {
  for (let at = resolve(path); ; at = dirname(at)) {
    const { mode, uid: owner } = statSync(at)
    if ((mode & (owner === uid ? 0o100 : 0o001)) === 0) return false
    if (at === dirname(at)) return true
  }
}

function nobodyIds(): { uid: number; gid: number } | undefined {
  let lines: string[]
  try {
    lines = readFileSync('/etc/passwd', 'utf8').split('\n')
  } catch {
    return undefined
  }
  const [, , uid, gid] = lines.find((line) => line.startsWith('nobody:'))?.split(':') ?? []
  if (!uid || !gid || Number(uid) === 0) return undefined
  return { uid: Number(uid), gid: Number(gid) }
}

function chownTree(path: string, { uid, gid }: { uid: number; gid: number }): void {
  const info = lstatSync(path)
  if (info.isSymbolicLink()) return
  if (info.uid !== uid || info.gid !== gid) chownSync(path, uid, gid)
  else return
  if (info.isDirectory())
    for (const name of readdirSync(path)) {
      chownTree(join(path, name), { uid, gid })
    }
}

function has(program: string): boolean {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).status === 0
}
