import type { Writable } from 'node:stream'

import type { Admission } from './serve.ts'
import { failure } from './grpc.ts'

/**
 * Sends `message()` on a stream at once, and again after every change of the source (and of `alsoOn`). A reader that is behind gets the
 * newest when it has caught up. The stream ends where the caller is no longer who it was, or has no identity any more.
 */
export function feed(
  call: Writable,
  admission: Admission,
  message: () => object,
  alsoOn?: (listener: () => void) => () => void,
): void {
  let behind = false
  let ended = false
  const send = (): void => {
    if (ended) return
    if (call.writableNeedDrain) {
      behind = true
      return
    }
    behind = false
    try {
      admission.recheck()
      call.write(message())
    } catch (error) {
      end()
      call.emit('error', failure(error))
    }
  }
  const unsubscribe = admission.source.onChange(send)
  const unsubscribeToo = alsoOn?.(send)
  const end = (): void => {
    ended = true
    unsubscribe()
    unsubscribeToo?.()
  }
  call.on('drain', () => {
    if (behind) send()
  })
  call.once('close', end)
  call.once('cancelled', end)
  send()
}
