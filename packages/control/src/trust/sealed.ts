import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { SallyportError } from '@sallyport/base'
import type { Barrier } from '@sallyport/seal'
import { boundedServer, closed } from '../listen.ts'
import { listenPrivately } from '../operator/private-socket.ts'
import { readBody, sendJson, sendProblem, setSecurityHeaders } from '../operator/http.ts'
import type { Site } from '../site/site.ts'

const MAX_SHARE_BODY = 4096

/**
 * What a sealed control plane is: it says that it is sealed, and takes shares over the admin socket. Everything else is refused with
 * `SP_SEALED`, and nothing listens for gateways and agents, since nothing could prove to them who it is.
 *
 * @param deps.signal gives up waiting
 * @throws SallyportError `SP_SEALED` where it was given up, `SP_LISTEN_FAILED`, `SP_API_SOCKET`
 */
export async function waitForShares(
  barrier: Barrier,
  deps: {
    readonly site: Site
    readonly adminSocket: string
    readonly signal?: AbortSignal
    /** Told once it listens. */
    readonly onSealed: () => void
    readonly onError: (error: unknown) => void
  },
): Promise<void> {
  const done = Promise.withResolvers<void>()
  const stop = (): void => done.reject(sealed())
  const handle =
    (local: boolean): RequestListener =>
    (request, response) => {
      answer(barrier, request, response, local)
        .then((unsealed) => unsealed && done.resolve())
        .catch((error: unknown) => {
          if (!(error instanceof SallyportError)) deps.onError(error)
          if (response.headersSent) response.destroy()
          else sendProblem(response, error, local)
        })
    }
  const web = await deps.site.listen(handle(false))
  const admin = boundedServer(handle(true))
  try {
    await listenPrivately(admin, deps.adminSocket)
    deps.signal?.addEventListener('abort', stop)
    if (deps.signal?.aborted) stop()
    deps.onSealed()
    await done.promise
  } finally {
    deps.signal?.removeEventListener('abort', stop)
    // Whoever gave the last share still gets the answer.
    await Promise.all([closed(admin), web.close()])
  }
}

/** @returns whether this call unsealed the barrier */
async function answer(
  barrier: Barrier,
  request: IncomingMessage,
  response: ServerResponse,
  local: boolean,
): Promise<boolean> {
  setSecurityHeaders(response)
  const call = `${request.method} ${request.url}`
  if (call === 'GET /api/health') {
    sendJson(response, 503, { control: 'sealed', state: barrier.status().state })
    return false
  }
  if (!local || (call !== 'GET /api/unseal' && call !== 'POST /api/unseal')) throw sealed()
  if (request.method === 'GET') {
    sendJson(response, 200, barrier.status())
    return false
  }
  const { share } = await readBody(request, MAX_SHARE_BODY)
  if (typeof share !== 'string') {
    throw new SallyportError('SP_API_INPUT', '`share` must be a string')
  }
  const status = await barrier.unsealWithShare(share)
  const { promise, resolve } = Promise.withResolvers<void>()
  response.once('close', resolve)
  sendJson(response, 200, status)
  await promise
  return status.state === 'unsealed'
}

function sealed(): SallyportError {
  return new SallyportError('SP_SEALED', 'the control plane is sealed', {
    fix: 'let the holders of shares run `sallyport unseal` on its machine',
  })
}
