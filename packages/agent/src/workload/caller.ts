import { createHash } from 'node:crypto'
import { closeSync, readFileSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import type { Socket } from 'node:net'

import { denied } from './grpc.ts'

const SOL_SOCKET = 1
const SO_PEERCRED = 17
/** Linux 6.5: a descriptor of the very process that connected, whatever its number comes to mean. */
const SO_PEERPIDFD = 77
const POLLIN = 1
const ENOPROTOOPT = 92
const MAX_EXECUTABLE_BYTES = 1 << 30
const CHUNK = 1 << 20

/** What the kernel itself says of the executable that a process runs. */
export interface Executable {
  readonly dev: bigint
  readonly ino: bigint
  readonly ownerUid: number
  /** Whether its group or everybody may write to it. */
  readonly openToOthers: boolean
  /** SHA-256 of what the file holds now, lower-case hex. @throws SallyportError `SP_WORKLOAD_DENIED` */
  sha256(): Promise<string>
}

interface Kernel {
  peer(fd: number): { readonly pid: number; readonly uid: number; readonly gid: number }
  /** Undefined where this kernel has none. @throws SallyportError `SP_WORKLOAD_DENIED` */
  pidfd(fd: number): number | undefined
  ended(pidfd: number): boolean
}

let loaded: Promise<Kernel> | undefined

/** The three calls of the C library that Node has no words for. */
async function kernel(): Promise<Kernel> {
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) {
    throw denied('processes are attested on Linux (x64, arm64) only')
  }
  const { default: koffi } = await import('koffi')
  const library = koffi.load(null)
  const getsockopt = library.func(
    'int getsockopt(int fd, int level, int name, _Out_ void *value, _Inout_ uint32_t *length)',
  )
  const poll = library.func('int poll(_Inout_ void *fds, unsigned long count, int timeout)')
  const option = (fd: number, name: number, size: number): Buffer | undefined => {
    const value = Buffer.alloc(size)
    const length = [size]
    return getsockopt(fd, SOL_SOCKET, name, value, length) === 0 && length[0] === size
      ? value
      : undefined
  }
  return {
    peer(fd) {
      const ucred = option(fd, SO_PEERCRED, 12)
      const pid = ucred?.readInt32LE(0) ?? 0
      // A process of a namespace that this one cannot see has the number 0.
      if (!ucred || pid <= 0) throw denied('the kernel does not say who connected')
      return { pid, uid: ucred.readUInt32LE(4), gid: ucred.readUInt32LE(8) }
    },
    pidfd(fd) {
      const value = option(fd, SO_PEERPIDFD, 4)
      if (value) return value.readInt32LE(0)
      if (koffi.errno() === ENOPROTOOPT) return undefined
      throw denied('the process that connected has ended')
    },
    ended(pidfd) {
      const set = Buffer.alloc(8)
      set.writeInt32LE(pidfd, 0)
      set.writeInt16LE(POLLIN, 4)
      // A pidfd is readable once its process has ended.
      return poll(set, 1, 0) !== 0
    },
  }
}

/**
 * The process at the other end of a Unix socket. User and group are those at the moment it connected. Its number alone
 * proves nothing: it may have been given to another process since. What is read under it counts only where the descriptor
 * of the process that connected says, afterwards, that that process still runs: until then, the number is its own.
 */
export class Caller implements Disposable {
  readonly pid: number
  readonly uid: number
  readonly gid: number
  readonly #kernel: Kernel
  readonly #pidfd: number | undefined
  readonly #started: string
  #file: FileHandle | undefined
  #executable: Executable | undefined
  #disposed = false

  private constructor(
    system: Kernel,
    peer: { readonly pid: number; readonly uid: number; readonly gid: number },
    pidfd: number | undefined,
  ) {
    this.pid = peer.pid
    this.uid = peer.uid
    this.gid = peer.gid
    this.#kernel = system
    this.#pidfd = pidfd
    this.#started = startOf(peer.pid)
  }

  /**
   * @param socket accepted on a Unix socket of this process
   * @throws SallyportError `SP_WORKLOAD_DENIED` where it is gone already, or this machine cannot tell
   */
  static async of(socket: Socket): Promise<Caller> {
    loaded ??= kernel()
    const system = await loaded
    const fd = descriptorOf(socket)
    const peer = system.peer(fd)
    const pidfd = system.pidfd(fd)
    try {
      const caller = new Caller(system, peer, pidfd)
      caller.check()
      return caller
    } catch (error) {
      if (pidfd !== undefined) closeSync(pidfd)
      throw error
    }
  }

  /**
   * That the process which connected still runs, and still runs the program that was looked at.
   *
   * @throws SallyportError `SP_WORKLOAD_DENIED`
   */
  check(): void {
    // Its descriptors may be somebody else's by now.
    if (this.#disposed) throw denied('the connection is closed')
    if (this.#executable) {
      const now = lookAt(this.pid)
      if (now.dev !== this.#executable.dev || now.ino !== this.#executable.ino) {
        throw denied(`process ${this.pid} runs another program now`)
      }
    }
    // In this order: what was read before is of the process that connected only if that has not ended now.
    if (startOf(this.pid) !== this.#started) throw gone(this.pid)
    if (this.#pidfd !== undefined && this.#kernel.ended(this.#pidfd)) throw gone(this.pid)
  }

  /**
   * The executable, held open so that it stays the one that was looked at.
   *
   * @throws SallyportError `SP_WORKLOAD_DENIED` where it cannot be read, or the kernel is too old to tell whose it is
   */
  async executable(): Promise<Executable> {
    if (this.#executable) return this.#executable
    if (this.#pidfd === undefined) {
      throw denied('this kernel (before Linux 6.5) cannot tell which program connected')
    }
    let file: FileHandle
    try {
      file = await open(`/proc/${this.pid}/exe`, 'r')
    } catch (cause) {
      throw denied(`the executable of process ${this.pid} cannot be read: ${String(cause)}`)
    }
    if (this.#disposed) {
      await file.close()
      throw denied('the connection is closed')
    }
    this.#file = file
    const { dev, ino, uid, mode } = await file.stat({ bigint: true })
    this.#executable = {
      dev,
      ino,
      ownerUid: Number(uid),
      openToOthers: (mode & 0o022n) !== 0n,
      sha256: () => hashOf(file),
    }
    this.check()
    return this.#executable
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return
    this.#disposed = true
    if (this.#pidfd !== undefined) closeSync(this.#pidfd)
    this.#file?.close().catch(() => undefined)
  }
}

const gone = (pid: number): Error => denied(`process ${pid} is not the one that connected`)

/** What only the handle below a Node socket knows. */
function descriptorOf(socket: Socket): number {
  const handle: unknown = Reflect.get(socket, '_handle')
  const fd: unknown = typeof handle === 'object' && handle !== null && Reflect.get(handle, 'fd')
  if (typeof fd === 'number' && fd >= 0) return fd
  throw denied('the connection is closed')
}

/** When a process started, in ticks since boot (proc(5), `stat`, field 22). */
function startOf(pid: number): string {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    throw gone(pid)
  }
  // The name before may hold spaces and parentheses; after its last one come numbers only, the first of them field 3.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [state = '', start = ''] = [fields[0], fields[19]]
  // A process that has ended keeps its number until it is waited for.
  if (!/^\d+$/.test(start) || state === 'Z' || state === 'X') throw gone(pid)
  return start
}

function lookAt(pid: number): { dev: bigint; ino: bigint } {
  try {
    return statSync(`/proc/${pid}/exe`, { bigint: true })
  } catch {
    throw gone(pid)
  }
}

let hashing: Promise<unknown> = Promise.resolve()

/**
 * Read anew each time: that a file has the times and the size of one that was hashed before says nothing where whoever
 * runs it may set both. One after the other, so that many callers cannot take all of the machine.
 */
function hashOf(file: FileHandle): Promise<string> {
  const turn = hashing.then(() => hashNow(file))
  hashing = turn.catch(() => undefined)
  return turn
}

async function hashNow(file: FileHandle): Promise<string> {
  const before = await file.stat({ bigint: true })
  if (!before.isFile() || before.size > MAX_EXECUTABLE_BYTES) {
    throw denied('the executable is no file, or too large to be hashed')
  }
  const hash = createHash('sha256')
  const buffer = Buffer.alloc(CHUNK)
  for (let at = 0; ;) {
    const { bytesRead } = await file.read(buffer, 0, CHUNK, at)
    if (bytesRead === 0) break
    hash.update(buffer.subarray(0, bytesRead))
    at += bytesRead
    if (at > before.size) break
  }
  const after = await file.stat({ bigint: true })
  if (after.size !== before.size || after.ctimeNs !== before.ctimeNs) {
    throw denied('the executable was changed while it was hashed')
  }
  return hash.digest('hex')
}
