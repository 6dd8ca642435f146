import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { SallyportError } from '@sallyport/base'
import { databaseAccount, reachable } from './account.ts'
import type { Account } from './account.ts'
import { linkedBinaries } from './binaries.ts'
import type { Binaries } from './binaries.ts'

export interface EmbeddedPostgres {
  /** Of the owner of the schema, over a Unix socket. */
  readonly url: string
  /** Process id of the server that runs now. */
  readonly pid: number
  /** Shuts it down properly; resolves when it has ended. */
  stop(): Promise<void>
}

export interface EmbeddedOptions {
  /** A folder of its own, e.g. `.sallyport/pg`; made where it is missing. */
  readonly dir: string
  /** Starts the server again whenever it ends by itself (default true). */
  readonly restart?: boolean
  /** More of the server's settings, e.g. to listen on loopback with TLS. */
  readonly settings?: Readonly<Record<string, string>>
}

const OWNER = 'sallyport'
/** `sun_path` holds 107 bytes, and PostgreSQL appends `/.s.PGSQL.5432`. */
const MAX_SOCKET_DIR = 90
/** Recovery after a crash replays the log, which may take a while. */
const START_MS = 120_000
/** How long a server that is going down may hold on: one whose parent was killed, or backends of one that was. */
const LOCKED_MS = 6000

/**
 * Runs the real PostgreSQL server on `dir`, made there the first time: checksums, scram, no network, one Unix socket. It
 * dies with this process where the system can arrange that, and recovers by itself from a crash of either.
 *
 * @throws SallyportError `SP_DB_PLATFORM`, `SP_DB_ROOT`, `SP_DB_INIT`, `SP_DB_START`, `SP_DB_LOCKED`
 */
export async function startEmbeddedPostgres(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const dir = resolve(options.dir)
  mkdirSync(dir, { recursive: true, mode: 0o711 })
  const account = databaseAccount(dir)
  // The folder is only passed through; what is in it is closed.
  chmodSync(dir, 0o711)
  const uid = account.ids.uid
  const binaries = linkedBinaries(
    join(dir, 'native'),
    (native) => uid === undefined || reachable(native, uid),
  )
  const password = await cluster(dir, account, binaries)
  const socket = socketDir(dir, account)
  const server = new Server(dir, socket, account, binaries, options)
  await server.start()
  const query = new URLSearchParams({ host: socket })
  return {
    url: `postgres://${OWNER}:${password}@localhost/postgres?${query.toString()}`,
    get pid() {
      return server.pid
    },
    async stop() {
      await server.stop()
      if (!socket.startsWith(dir)) rmSync(socket, { recursive: true, force: true })
    },
  }
}

/** Makes the database the first time, complete or not at all. @returns the owner's password */
async function cluster(dir: string, account: Account, { initdb }: Binaries): Promise<string> {
  const passwordFile = join(dir, 'password')
  const data = join(dir, 'data')
  if (existsSync(data)) return readFileSync(passwordFile, 'utf8').trim()
  const password = randomBytes(24).toString('base64url')
  const partial = join(dir, 'data.partial')
  rmSync(partial, { recursive: true, force: true })
  mkdirSync(partial, { mode: 0o700 })
  // initdb reads the password as the database's user, from a file that only that user can read.
  const handover = join(dir, 'password.initdb')
  writeFileSync(handover, `${password}\n`, { mode: 0o600 })
  account.give(partial)
  account.give(handover)
  try {
    const how = ['--username', OWNER, '--auth=scram-sha-256', `--pwfile=${handover}`]
    const what = ['--encoding=UTF8', '--locale=C', '--data-checksums']
    await run(account, initdb, ['--no-sync', '-D', partial, ...how, ...what])
    await run(account, initdb, ['--sync-only', '-D', partial])
  } finally {
    rmSync(handover, { force: true })
  }
  writeFileSync(passwordFile, `${password}\n`, { mode: 0o600, flush: true })
  renameSync(partial, data)
  return password
}

function socketDir(dir: string, account: Account): string {
  const inside = join(dir, 'socket')
  const path =
    Buffer.byteLength(inside) <= MAX_SOCKET_DIR ? inside : mkdtempSync(join(tmpdir(), 'sp-pg-'))
  mkdirSync(path, { recursive: true, mode: 0o700 })
  account.give(path)
  return path
}

async function run(account: Account, program: string, args: readonly string[]): Promise<void> {
  const [command = program, ...rest] = [...account.prefix, program, ...args]
  const child = spawn(command, rest, {
    ...account.ids,
    cwd: '/',
    env: { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const tail = tailOf(child)
  const closed = silenced(child)
  const code = await ended(child)
  await closed
  if (code !== 0) {
    throw new SallyportError('SP_DB_INIT', 'the embedded database could not be made', {
      detail: tail(),
      fix: 'check that the data directory has room and is on a local disk, or set DATABASE_URL',
    })
  }
}

class Server {
  readonly #dir: string
  readonly #socket: string
  readonly #account: Account
  readonly #binaries: Binaries
  readonly #restart: boolean
  readonly #settings: Readonly<Record<string, string>>
  #child: ChildProcess | undefined
  #stopping = false

  constructor(
    dir: string,
    socket: string,
    account: Account,
    binaries: Binaries,
    { restart = true, settings = {} }: EmbeddedOptions,
  ) {
    this.#dir = dir
    this.#socket = socket
    this.#account = account
    this.#binaries = binaries
    this.#restart = restart
    this.#settings = settings
  }

  get pid(): number {
    return this.#child?.pid ?? -1
  }

  /** Tries until it is up: after a kill, the backends of the one before need a moment to notice. */
  async start(): Promise<void> {
    const until = performance.now() + LOCKED_MS
    for (;;) {
      const failure = await this.#once()
      if (failure === undefined) return
      const locked = /lock file .* already exists|pre-existing shared memory/.test(failure)
      if (this.#stopping || !locked || performance.now() > until) {
        throw new SallyportError(
          locked ? 'SP_DB_LOCKED' : 'SP_DB_START',
          locked
            ? 'another process runs the embedded database of this data directory'
            : 'the embedded database did not start',
          {
            detail: failure,
            fix: locked
              ? 'stop the other control plane, or use another data directory'
              : 'read the reason above; restore the data directory from a backup if it is damaged',
          },
        )
      }
      await delay(100)
    }
  }

  /** @returns undefined when it is ready, what it said when it ended instead */
  async #once(): Promise<string | undefined> {
    const settings = {
      listen_addresses: '',
      unix_socket_directories: this.#socket,
      unix_socket_permissions: '0700',
      password_encryption: 'scram-sha-256',
      max_connections: '40',
      shared_buffers: '64MB',
      jit: 'off',
      log_checkpoints: 'off',
      fsync: 'on',
      full_page_writes: 'on',
      synchronous_commit: 'on',
      ...this.#settings,
    }
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const [command = '', ...rest] = [
      ...this.#account.prefix,
      this.#binaries.postgres,
      '-D',
      join(this.#dir, 'data'),
      ...args,
    ]
    const child = spawn(command, rest, {
      ...this.#account.ids,
      cwd: '/',
      // Not in our process group: what a terminal sends on Ctrl-C is ours, and we stop the server when we are done.
      detached: true,
      env: { PATH: process.env['PATH'], LC_ALL: 'C', TZ: 'UTC' },
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#child = child
    const tail = tailOf(child)
    const closed = silenced(child)
    const { promise, resolve: settle } = Promise.withResolvers<string | undefined>()
    let ready = false
    const timer = setTimeout(() => child.kill('SIGQUIT'), START_MS)
    child.stderr?.on('data', () => {
      if (!ready && tail().includes('ready to accept connections')) {
        ready = true
        clearTimeout(timer)
        settle(undefined)
      }
    })
    void ended(child).then(async () => {
      clearTimeout(timer)
      // Its last words, which say why it did not start, may still be on their way.
      if (!ready) await closed
      settle(tail())
      if (ready && !this.#stopping && this.#restart) void this.#revive()
    })
    return promise
  }

  async #revive(): Promise<void> {
    for (let wait = 100; !this.#stopping; wait = Math.min(wait * 2, 5000)) {
      try {
        await this.start()
        return
      } catch {
        // Meanwhile every call fails closed with SP_STORE_UNAVAILABLE, which is what operators see.
        await delay(wait, undefined, { ref: false })
      }
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const done = ended(child)
    child.kill('SIGINT')
    const late = setTimeout(() => child.kill('SIGQUIT'), 10_000)
    await done
    clearTimeout(late)
  }
}

function ended(child: ChildProcess): Promise<number | null> {
  const { promise, resolve: settle } = Promise.withResolvers<number | null>()
  if (child.exitCode !== null || child.signalCode !== null) settle(child.exitCode)
  child.once('exit', (code) => settle(code))
  child.once('error', () => settle(null))
  return promise
}

/** Keeps the last of what a program says, for the one error that may need it. */
/** Resolves when nothing more can come on its standard error. */
function silenced(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once('close', () => resolve())
    child.once('error', () => resolve())
  })
}

function tailOf(child: ChildProcess): () => string {
  let text = ''
  child.stderr?.setEncoding('utf8')
  child.stderr?.on('data', (chunk: string) => {
    text = (text + chunk).slice(-4096)
  })
  child.once('error', (error) => {
    text += error.message
  })
  return () => text.trim()
}
