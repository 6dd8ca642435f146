/** A gateway in a process of its own. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { startGateway } from '@sallyport/gateway'
import type { GatewayOptions } from '@sallyport/gateway'

export interface GatewayState {
  readonly port: number
  /** Processor time since the start, microseconds. */
  readonly cpu: number
  readonly rss: number
  /** Bytes in use, in the heap and beside it; only after a collection, for whoever asked for `held`, nothing else is among them. */
  readonly used: number
  readonly openConnections: number
  readonly inFlight: number
  readonly upstreamPools: number
  /** Open in this process, whoever's. */
  readonly sockets: number
}

const options = JSON.parse(process.env['BENCH_GATEWAY'] ?? '{}') as GatewayOptions
const gateway = await startGateway(options)
setFlagsFromString('--expose-gc')
// The flag makes one of this name.
const collect = runInNewContext('gc') as () => void
const state = (): GatewayState => {
  const { rss, heapUsed, external } = process.memoryUsage()
  const { user, system } = process.cpuUsage()
  const { openConnections, inFlight, upstreamPools } = gateway.stats()
  return {
    port: gateway.address.port,
    cpu: user + system,
    rss,
    used: heapUsed + external,
    openConnections,
    inFlight,
    upstreamPools,
    sockets: process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length,
  }
}
process.on('message', (what) => {
  if (what === 'held') {
    collect()
    // Memory beside the heap is given back behind a collection, not within it.
    setTimeout(() => {
      collect()
      process.send?.(state())
    }, 1000)
  } else process.send?.(state())
})
process.once('disconnect', () => {
  void gateway.close().then(() => process.exit(0))
})
process.send?.(state())
