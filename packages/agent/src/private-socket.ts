import { chmodSync, rmSync } from 'node:fs'
import type { Server } from 'node:net'

import { SallyportError } from '@sallyport/base'

/**
 * Listens on a Unix socket of its owner only (0600), in the place of one that a run before left there.
 *
 * @param what what cannot be made where it fails
 * @throws SallyportError `SP_LAUNCH_FAILED`
 */
export async function listenPrivately(server: Server, path: string, what: string): Promise<void> {
  rmSync(path, { force: true })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      const { message: detail } = cause
      reject(new SallyportError('SP_LAUNCH_FAILED', `${what} cannot be made`, { detail, cause }))
    })
    server.listen(path, resolve)
  })
  chmodSync(path, 0o600)
}
