import type { Socket } from 'node:net'

/**
 * A connection once it stands.
 *
 * @param stands the event that says so
 * @param timeoutMs for all that it takes until then; milliseconds
 * @throws what connecting fails of
 */
export function opened<T extends Socket>(
  socket: T,
  stands: 'connect' | 'secureConnect',
  timeoutMs: number,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const timer = setTimeout(() => {
    socket.destroy(new Error('the connection took too long'))
  }, timeoutMs)
  socket.on('error', (error) => {
    clearTimeout(timer)
    reject(error)
  })
  socket.once(stands, () => {
    clearTimeout(timer)
    resolve(socket)
  })
  return promise
}
