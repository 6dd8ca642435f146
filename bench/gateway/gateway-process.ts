/** A gateway in a process of its own. */
import { startGateway } from '@sallyport/gateway'
import type { GatewayOptions } from '@sallyport/gateway'

export interface GatewayState {
  readonly port: number
  /** Processor time since the start, microseconds. */
  readonly cpu: number
  readonly rss: number
  readonly openConnections: number
  readonly inFlight: number
  readonly upstreamPools: number
  /** Open in this process, whoever's. */
  readonly sockets: number
}

const options = JSON.parse(process.env['BENCH_GATEWAY'] ?? '{}') as GatewayOptions
const gateway = await startGateway(options)
const state = (): GatewayState => {
  const { user, system } = process.cpuUsage()
  const { openConnections, inFlight, upstreamPools } = gateway.stats()
  return {
    port: gateway.address.port,
    cpu: user + system,
    rss: process.memoryUsage.rss(),
    openConnections,
    inFlight,
    upstreamPools,
    sockets: process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap').length,
  }
}
process.on('message', () => process.send?.(state()))
process.once('disconnect', () => {
  void gateway.close().then(() => process.exit(0))
})
process.send?.(state())
