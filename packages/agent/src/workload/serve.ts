import { chmodSync, lstatSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { resolve } from 'node:path'

import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js'
import type { ServerUnaryCall, status, UntypedServiceImplementation } from '@grpc/grpc-js'
import { SallyportError } from '@sallyport/base'

import { failure, SDS_SERVICE, WORKLOAD_SERVICE } from './grpc.ts'
import { secretDiscovery } from './sds.ts'
import type { WorkloadSource } from './source.ts'
import { workloadApi } from './workload-api.ts'

/** What one connection may have. */
export interface Admission {
  readonly source: WorkloadSource
  /** Whoever connected is still there and still the same program. @throws SallyportError `SP_WORKLOAD_DENIED` */
  recheck(): void
}

export interface WorkloadApiOptions {
  /** Of the Unix socket. One that is there is replaced, anything else is not. */
  readonly path: string
  /** Of the socket (default 0600: the owner's only). */
  readonly mode?: number
  /**
   * Who connected; called once for each connection, before a byte of it is answered.
   *
   * @throws SallyportError `SP_WORKLOAD_DENIED` for whoever gets nothing
   */
  admit(socket: Socket): Promise<Admission>
  /** Connections at once (default 256). */
  readonly maxConnections?: number
  /** Told of each connection that was turned away, and of secrets that an Envoy did not take. */
  readonly onRefused?: (error: unknown) => void
}

export interface WorkloadApi {
  /** `unix:///…`, as `SPIFFE_ENDPOINT_SOCKET` is written. */
  readonly endpoint: string
  /** Closes the socket and every connection. */
  close(): void
}

const MAX_CONNECTIONS = 256
const DRAIN_MS = 1000
const LIMITS = {
  'grpc.max_concurrent_streams': 32,
  'grpc.max_receive_message_length': 65_536,
  'grpc.max_send_message_length': 4 << 20,
  // A connection without a call is closed; streams that wait for a rotation are calls.
  'grpc.max_connection_idle_ms': 60_000,
  'grpc-node.max_session_memory': 4,
  'grpc.enable_channelz': 0,
}

/**
 * Serves the SPIFFE Workload API and Envoy's SDS on a Unix socket. Each connection has a server of its own, which knows
 * its caller: no handler ever has to ask whose call it answers.
 *
 * @throws SallyportError `SP_WORKLOAD_SOCKET`
 */
export async function serveWorkloadApi(options: WorkloadApiOptions): Promise<WorkloadApi> {
  const path = resolve(options.path)
  const open = new Set<Socket>()
  const listener = createServer({ pauseOnConnect: true }, (socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    // Whoever went away needs no answer.
    socket.on('error', () => undefined)
    void take(socket, options)
  })
  listener.maxConnections = options.maxConnections ?? MAX_CONNECTIONS
  await listen(listener, path, options.mode ?? 0o600)
  return {
    endpoint: `unix://${path}`,
    close() {
      listener.close()
      rmSync(path, { force: true })
      for (const socket of open) socket.destroy()
    },
  }
}

async function listen(listener: Server, path: string, mode: number): Promise<void> {
  const left = lstatSync(path, { throwIfNoEntry: false })
  if (left && !left.isSocket()) throw noSocket('something that is no socket has this name')
  rmSync(path, { force: true })
  await new Promise<void>((listening, reject) => {
    listener.once('error', (cause) => {
      reject(noSocket(cause.message, cause))
    })
    // Bound in this very call, so that nobody finds it open to more than its owner, not even for a moment.
    const before = process.umask(0o177)
    try {
      listener.listen(path, listening)
    } finally {
      process.umask(before)
    }
  })
  chmodSync(path, mode)
}

function noSocket(detail: string, cause?: Error): SallyportError {
  return new SallyportError('SP_WORKLOAD_SOCKET', 'the workload API socket cannot be made', {
    detail,
    fix: 'name a path of at most 100 characters in a folder that this user may write to',
    ...(cause === undefined ? {} : { cause }),
  })
}

/** Answers one connection, once its caller is known; whoever has no identity is told so as the standard says. */
async function take(socket: Socket, options: WorkloadApiOptions): Promise<void> {
  const server = new GrpcServer(LIMITS)
  const injector = server.createConnectionInjector(ServerCredentials.createInsecure())
  try {
    const admission = await options.admit(socket)
    server.addService(WORKLOAD_SERVICE, workloadApi(admission))
    server.addService(SDS_SERVICE, secretDiscovery(admission, options.onRefused))
  } catch (error) {
    options.onRefused?.(error)
    // The next attempt is to be judged anew, so it must not come over this connection.
    const last = (): void => {
      injector.drain(DRAIN_MS)
    }
    for (const service of [WORKLOAD_SERVICE, SDS_SERVICE]) {
      server.addService(service, refusing(service, error, last))
    }
  }
  if (socket.destroyed) {
    server.forceShutdown()
    return
  }
  socket.once('close', () => {
    server.forceShutdown()
  })
  injector.injectConnection(socket)
  socket.resume()
}

/** Every method of a service with the same failure. */
function refusing(
  service: typeof WORKLOAD_SERVICE,
  error: unknown,
  answered: () => void,
): UntypedServiceImplementation {
  const failed = failure(error)
  const answer = (
    call: ServerUnaryCall<object, object>,
    callback?: (failed: { code: status; details: string }) => void,
  ): void => {
    if (callback) callback(failed)
    else call.emit('error', failed)
    setImmediate(answered)
  }
  return Object.fromEntries(Object.keys(service).map((name) => [name, answer]))
}
