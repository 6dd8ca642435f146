import { chmod, lstat, mkdir, unlink } from 'node:fs/promises'
import type { Server } from 'node:http'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import { SallyportError } from '@sallyport/base'

/**
 * Listens on a Unix socket that only this user can open (0600, in a 0700 directory). A stale socket of an earlier process is replaced, a
 * live one is not.
 *
 * @throws SallyportError `SP_API_SOCKET`
 */
export async function listenPrivately(server: Server, path: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const stats = await lstat(path).catch(() => undefined)
  if (stats) {
    if (!stats.isSocket()) throw taken(path, 'something else than a socket stands there')
    if (await answers(path)) throw taken(path, 'another process listens there')
    await unlink(path)
  }
  // Between listen and chmod the mode must already hold, so it comes from the mask.
  const mask = process.umask(0o177)
  try {
    const listening = Promise.withResolvers<void>()
    server.once('error', listening.reject)
    server.listen(path, listening.resolve)
    await listening.promise
    server.off('error', listening.reject)
  } catch (cause) {
    throw taken(path, cause instanceof Error ? cause.message : String(cause))
  } finally {
    process.umask(mask)
  }
  await chmod(path, 0o600)
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

function taken(path: string, detail: string): SallyportError {
  return new SallyportError('SP_API_SOCKET', `cannot listen on the admin socket \`${path}\``, {
    detail,
    fix: 'Stop the other control plane of this data directory, or remove what stands there.',
  })
}
